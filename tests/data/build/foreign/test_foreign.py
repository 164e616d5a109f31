"""Records that others wrote become pages of our store: all of what they say, and nothing else."""

import io
import json
import re
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from nota_jax.data.build import staging
from nota_jax.data.build.__main__ import main
from nota_jax.data.build.foreign import build as builds
from nota_jax.data.build.foreign import index, sources, streams
from nota_jax.data.build.foreign.records import Bad, Reading, read
from nota_jax.data.store import layout
from nota_jax.data.store.reader import split_sizes
from nota_jax.errors import UserError
from tests.data.build.foreign.made import (
    asked,
    llava,
    pages_of,
    picture,
    write_array,
    write_lines,
)


def build(tmp_path, kind, file, *arguments: str) -> int:
    """The command, into `tmp_path / "set"`."""
    given = ["--from", f"{kind}:{file}", "--images", str(tmp_path / "images"), "--workers", "2"]
    return main(["--out", str(tmp_path / "set"), *given, *arguments])


def report_of(tmp_path) -> dict:
    return json.loads((tmp_path / "set" / "build_report.json").read_text())


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    for n in range(6):
        picture(folder, f"{n}.png", 100 + n)
    return folder


@pytest.mark.parametrize("write", [write_array, write_lines])
def test_llavas_conversations_share_the_page_of_their_picture(tmp_path, images, write):
    records = [
        llava("a", "0.png", ("What is it?", "A reel."), ("And its key?", "G.")),
        llava("b", "1.png", ("What is it?", "A jig.")),
        llava("c", "./0.png", ("Who wrote it?", "Nobody knows.")),
    ]
    file = write(tmp_path / "train_mine.json", records)
    assert build(tmp_path, "llava", file) == 0
    pages = pages_of(tmp_path / "set")
    assert split_sizes(tmp_path / "set") == {"extraction_train": 2}  # as the file's name says
    page = pages["train_mine/0.png/extraction"]
    assert asked(page) == [
        ("What is it?", "A reel."), ("And its key?", "G."), ("Who wrote it?", "Nobody knows."),
    ]  # fmt: skip
    assert {(turn.task, turn.subtask) for turn in page.turns} == {("extraction", "other")}
    assert page.png == (images / "0.png").read_bytes() and page.symbols == b""
    known = {name: value for name, value in page.metadata.items() if value}
    assert known == {"corpus": "train_mine", "split": "train", "source_id": "0.png"}


def test_flat_records_are_read_by_the_names_that_they_have(tmp_path, images):
    records = [
        {"file": "0.png", "q": "Which title?", "a": "Roslin", "about": {"kind": "Title"},
         "from": "Europe", "set": "dev", "note": 1},
        {"file": "1.png", "q": "How many bars?", "a": 16, "about": {"kind": "counting"}},
        {"file": "0.png", "q": "How does it move?", "a": "By steps.", "about": {"kind": "contour"}},
    ]  # fmt: skip
    file = write_lines(tmp_path / "mine.jsonl", records)
    names = "image=file,question=q,answer=a,subtask=about.kind,region=from,split=set"
    assert build(tmp_path, "records", file, "--map", names) == 0
    pages = pages_of(tmp_path / "set")
    title = pages["mine/0.png/extraction"]
    assert [turn.subtask for turn in title.turns] == ["title"] and title.metadata["region"] == (
        "Europe"
    )
    assert [turn.subtask for turn in pages["mine/0.png/analysis"].turns] == ["contour"]
    assert pages["mine/0.png/analysis"].metadata["split"] == "validation"
    (unknown,) = pages["mine/1.png/extraction"].turns
    assert (unknown.subtask, unknown.answer) == ("other", "16")
    assert report_of(tmp_path)["unread_fields"] == {"note": 1}


PLAIN = {"image": "image", "question": "question", "answer": "answer", "split": "split"}
CHAT = {"image": "image", "conversations": "conversations"}


@pytest.mark.parametrize(
    "record, reason",
    [
        ([1], "the record is no JSON object"),
        ({"question": "q", "answer": "a"}, "names no picture"),
        ({"image": ["a", "b"], "question": "q", "answer": "a"}, "about several pictures"),
        ({"image": "a", "question": "q", "answer": " \n"}, "the answer is empty"),
        ({"image": "a", "question": "<image>\n", "answer": "a"}, "the question is empty"),
        ({"image": "a", "question": "q", "answer": None}, "the answer is missing"),
        ({"image": "a", "question": "q", "answer": {"x": 1}}, "the answer is no text"),
        ({"image": "a", "question": "q", "answer": "x" * 21}, "21 characters, more than 20"),
        ({"image": "a", "question": "q", "answer": "\ud800"}, "holds what is no character"),
        ({"image": "/etc/passwd", "question": "q", "answer": "a"}, "lies outside the folder"),
        ({"image": "a/../../b", "question": "q", "answer": "a"}, "lies outside the folder"),
        ({"image": "a", "question": "q", "answer": "a", "split": "old"}, "the record's split is"),
        ({"image": "a", "conversations": [{"from": "human", "value": "q"}]}, "has no answer"),
        ({"image": "a", "conversations": []}, "the record has no conversation"),
        (
            {"image": "a", "conversations": [{"from": "gpt"}, {"from": "human"}]},
            "no exchange of human and gpt",
        ),
    ],
)
def test_a_bad_record_says_what_is_wrong_with_it(record, reason):
    chat = isinstance(record, dict) and "conversations" in record
    with pytest.raises(Bad, match=re.escape(reason)):
        read(record, Reading(CHAT if chat else PLAIN, longest=20))


def test_bad_records_are_skipped_and_listed_up_to_a_share(tmp_path, images, capsys):
    good = [llava(str(n), f"{n % 3}.png", (f"Question {n}?", "Yes.")) for n in range(9)]
    (images / "broken.png").write_bytes((images / "5.png").read_bytes()[:60])
    (images / "no.png").write_text("a letter")
    huge = Image.new("1", (9000, 8000))
    huge.save(images / "huge.png")
    bad = [
        llava("8", "0.png", ("The id again?", "Yes.")),
        llava("b", "there/is/none.png", ("?", "Yes.")),
        llava("c", "broken.png", ("?", "Yes.")),
        llava("d", "no.png", ("?", "Yes.")),
        llava("e", "huge.png", ("?", "Yes.")),
        llava("f", "0.png", ("?", "")),
    ]
    file = write_array(tmp_path / "mine.json", good + bad)
    assert build(tmp_path, "llava", file) == 2
    error = capsys.readouterr().err
    assert "5 of 15 records are bad (33.3 %, --max-bad is 1 %): mine.json, record 10: its id" in (
        error
    )
    assert not (tmp_path / "set").exists()
    # Of one picture only decoding tells that it is broken: then it stops once more.
    assert build(tmp_path, "llava", file, "--max-bad", "34") == 2
    assert "6 of 15 records are bad (40.0 %" in capsys.readouterr().err
    assert build(tmp_path, "llava", file, "--max-bad", "40") == 0
    lines = (tmp_path / "set" / "bad_records.jsonl").read_text().splitlines()
    listed = {one["place"]: one["reason"] for one in map(json.loads, lines)}
    assert listed.keys() == {f"mine.json, record {n}" for n in range(10, 16)}
    for number, reason in (
        (10, "its id '8' is also that of mine.json, record 9"),
        (11, "there is no picture none.png"),
        (12, "cannot read broken.png"),
        (13, "in no format that Pillow reads"),
        (14, "9000 × 8000 pixels: more than 64 million"),
        (15, "the answer is empty"),
    ):
        assert reason in listed[f"mine.json, record {number}"]
    report = report_of(tmp_path)
    assert report["records"] == {"in": 15, "used": 9, "bad": 6}
    assert sum(n for of in report["questions"].values() for n in of.values()) == 9


def test_what_was_mended_is_looked_at_again(tmp_path, images):
    records = [llava("a", "0.png", ("?", "Yes.")), llava("b", "late.png", ("?", "Yes."))]
    file = write_array(tmp_path / "mine.json", records)
    assert build(tmp_path, "llava", file) == 2
    picture(images, "late.png", 7)
    assert build(tmp_path, "llava", file) == 0
    assert report_of(tmp_path)["records"] == {"in": 2, "used": 2, "bad": 0}


def test_ids_may_come_again_where_that_is_said(tmp_path, images):
    records = [llava("a", "0.png", (f"{n}?", "Yes.")) for n in range(2)]
    file = write_array(tmp_path / "mine.json", records)
    assert build(tmp_path, "llava", file, "--repeated-ids") == 0
    assert len(asked(pages_of(tmp_path / "set")["mine/0.png/extraction"])) == 2


def test_no_picture_is_in_two_parts(tmp_path, images):
    """Neither under one name, nor under two, nor as one of a family."""
    (images / "copy.png").write_bytes((images / "1.png").read_bytes())
    picture(images, "tune7-a.png", 1)
    picture(images, "tune7-b.png", 2)
    train = ["0.png", "copy.png", "tune7-a.png", "2.png"]
    test = ["0.png", "1.png", "tune7-b.png"]
    for name, of in (("train", train), ("test", test)):
        write_array(tmp_path / f"{name}.json", [llava(i, i, ("?", "Yes.")) for i in of])
    both = f"{tmp_path / 'train.json'}", f"llava:{tmp_path / 'test.json'}"
    given = ["--repeated-ids", "--max-bad", "50", "--together", r"tune\d+"]
    arguments = ["--from", f"llava:{both[0]}", both[1], "--images", str(images), *given]
    assert main(["--out", str(tmp_path / "set"), *arguments]) == 0
    parts = {page.metadata["source_id"]: page.metadata["split"]
             for page in pages_of(tmp_path / "set").values()}  # fmt: skip
    assert parts == {"2.png": "train", **dict.fromkeys(test, "test")}
    lines = (tmp_path / "set" / "bad_records.jsonl").read_text().splitlines()
    assert [json.loads(line)["place"] for line in lines] == [
        f"train.json, record {n}" for n in (1, 2, 3)
    ]
    assert "it is in train, and its picture, or one like it, in test" in lines[0]


def test_where_nobody_says_the_pictures_name_decides(tmp_path):
    for n in range(60):
        picture(tmp_path / "images", f"{n}.png", n)
    records = [llava(str(n), f"{n}.png", ("?", "Yes.")) for n in range(60)]
    file = write_array(tmp_path / "mine.json", records)
    assert build(tmp_path, "llava", file) == 0
    sizes = split_sizes(tmp_path / "set")
    assert set(sizes) == {"extraction_train", "extraction_validation", "extraction_test"}
    assert sizes["extraction_train"] > 45


@pytest.mark.parametrize("name", ["page.jpg", "page.tif", "page.webp", "page.gif", "page.pdf"])
def test_pictures_of_any_kind_are_stored_as_png(tmp_path, images, name):
    with Image.open(images / "0.png") as grey:
        grey.convert("RGB").resize((480, 640)).save(images / name)
    file = write_array(tmp_path / "mine.json", [llava("a", name, ("?", "Yes."))])
    assert build(tmp_path, "llava", file) == 0
    (page,) = pages_of(tmp_path / "set").values()
    with Image.open(io.BytesIO(page.png)) as stored:
        assert stored.format == "PNG" and stored.mode in ("L", "RGB")
        pixels = np.asarray(stored.convert("L"))
    assert abs(float(np.median(pixels)) - 100) < 3


def test_a_file_of_several_pages_is_no_picture(tmp_path, images):
    pages = [Image.new("L", (100, 100), n) for n in (0, 9)]
    pages[0].save(images / "two.tif", save_all=True, append_images=pages[1:])
    records = [llava("a", "two.tif", ("?", "Yes.")), llava("b", "0.png", ("?", "Yes."))]
    file = write_array(tmp_path / "mine.json", records)
    assert build(tmp_path, "llava", file, "--max-bad", "50") == 0
    (bad,) = report_of(tmp_path)["bad"]
    assert "holds 2 pages" in bad["examples"][0]


def test_an_interrupted_build_goes_on_and_gives_the_same_dataset(tmp_path, monkeypatch):
    for n in range(8):
        picture(tmp_path / "images", f"{n}.png", n)
    records = [llava(str(n), f"{n}.png", ("?", "Yes.")) for n in range(8)]
    file = write_array(tmp_path / "mine.json", records)
    monkeypatch.setattr(builds, "CHUNK_PICTURES", 3)
    assert build(tmp_path, "llava", file) == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}
    (tmp_path / "set").rename(tmp_path / "whole")

    write, written = staging.write_chunk, []

    def interrupted(path, *rest):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(path)
        write(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(staging, "write_chunk", interrupted)
        assert build(tmp_path, "llava", file) == 130
    assert not (tmp_path / "set").exists()
    with monkeypatch.context() as patch:
        patch.setattr(index, "read_all", None)  # what was read is not read again
        patch.setattr(
            staging, "write_chunk", lambda path, *rest: (written.append(path), write(path, *rest))
        )
        assert build(tmp_path, "llava", file) == 0
    assert [path.name for path in written] == ["000000", "000001", "000002"]
    again = {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}
    assert again == whole and not (tmp_path / "set.partial").exists()
    # A finished dataset is left alone, and other records are another dataset.
    assert build(tmp_path, "llava", file) == 0
    write_array(tmp_path / "mine.json", records[:5])
    assert build(tmp_path, "llava", file) == 2


@pytest.mark.parametrize(
    "content, said",
    [
        ("", "holds no records"),
        ("hello", "neither a JSON array of records nor a JSON object a line"),
        ('[{"id": "a"}, {"id', "breaks off behind record 1"),
        ('[{"id": "a"}] {"id": "b"}', "breaks off behind record 1"),
        ('[{"id": ' + "9" * 9999 + "}]", "breaks off behind record 0"),
    ],
)
def test_a_file_that_is_no_records_is_said(tmp_path, images, capsys, content, said):
    (tmp_path / "mine.json").write_text(content)
    assert build(tmp_path, "llava", tmp_path / "mine.json") == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error and not (tmp_path / "set").exists()


@pytest.mark.parametrize("write", [write_array, write_lines])
def test_whatever_stands_in_a_record_it_is_bad_or_a_page(tmp_path, images, write):
    odd = [
        {}, None, 1, "text", [], {"image": {}}, {"image": True}, {"image": "0.png"},
        {"image": "a" * 5000, "conversations": []}, llava("x", "a" * 5000, ("?", "Yes.")),
        llava("x", "images", ("?", "Yes.")), llava("x", "0.png/1.png", ("?", "Yes.")),
        llava("x", ".", ("?", "Yes.")), llava("x", "\0", ("?", "Yes.")),
        llava("x", "0.png", ("", "")),
        {"image": "0.png", "conversations": {"from": "human"}},
        {"image": "0.png", "conversations": [1, 2]},
        {"image": "0.png", "conversations": [{"from": ["human"]}, {"from": {}}]},
        {**llava("y", "0.png", ("?", "Yes.")), "id": [1]},
        {**llava("y", "0.png", ("?", "Yes.")), "\ud800": 1},
    ]  # fmt: skip
    file = write(tmp_path / "mine.json", odd)
    assert build(tmp_path, "llava", file, "--max-bad", "100") == 0
    assert report_of(tmp_path)["records"] == {"in": 20, "used": 1, "bad": 19}


def test_a_broken_line_is_one_bad_record(tmp_path, images):
    lines = [json.dumps(llava("a", "0.png", ("?", "Yes."))), '{"id": ', "[" * 9999, "\xff"]
    (tmp_path / "mine.jsonl").write_bytes("\n".join(lines).encode("latin-1"))
    assert build(tmp_path, "llava", tmp_path / "mine.jsonl", "--max-bad", "75") == 0
    assert report_of(tmp_path)["records"] == {"in": 4, "used": 1, "bad": 3}


@pytest.mark.parametrize("write", [write_array, write_lines])
def test_memory_does_not_grow_with_the_file(tmp_path, write):
    def peak(n: int) -> int:
        record = llava("a", "0.png", ("What is it?", "x" * 5000))
        file = write(tmp_path / "mine.json", [record] * n)
        tracemalloc.start()
        try:
            assert sum(1 for _ in streams.records(file)) == n
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(1600) < peak(100) + 100_000  # of a file of 8 MB


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--from", "llava:x.json"], "needs --images DIR"),
        (["--from", "llava:x.json", "--images", "{}/images"], "there is no file x.json"),
        (["--from", "llava:x.json", "--images", "{}/none"], "there is no folder of pictures"),
        (["--from", "records:x.json", "--images", "{}/images"], "image=… and either question=…"),
        (
            ["--from", "records:x.json", "--images", "{}/images", "--map", "img=a"],
            "there is no 'img' to map, only image, question",
        ),
        (["--from", "coco:x.json", "--images", "{}/images"], "one of llava, records, release"),
        (["--from", "release:{}/images"], "needs --mapping FILE"),
    ],
)
def test_an_argument_that_is_none_is_said(tmp_path, images, capsys, arguments, said):
    given = [argument.format(tmp_path) for argument in arguments]
    assert main(["--out", str(tmp_path / "set"), *given]) == 2
    assert said in capsys.readouterr().err


def test_a_file_is_named_after_its_part():
    names = {"train_alignment": "train", "test_IE": "test", "val2017": "validation",
             "llava_instruct_150k": "", "train_and_test": "", "contest": ""}  # fmt: skip
    assert {name: sources.part_of_name(name) for name in names} == names


def test_every_part_that_a_record_may_say_is_one_of_ours():
    assert set(index.HELD_OUT_FIRST) == set(layout.PARTS)
    with pytest.raises(UserError, match="--longest"):
        sources.sources(["llava:x"], None, longest=40_000)
