"""The build: same bytes whatever happens on the way, splits by melody, every drop told."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nota_jax.data.build import dataset as build_module
from nota_jax.data.build import drawn, splits, staging
from nota_jax.data.build.__main__ import main
from nota_jax.data.build.dataset import build
from nota_jax.data.build.pages import Settings
from nota_jax.data.build.report import Tally, general
from nota_jax.data.build.splits import part_of
from nota_jax.data.store import reader
from nota_jax.data.store.reader import PageReader
from nota_jax.errors import UserError
from nota_jax.files import full_disk_is_an_error
from nota_jax.notation import abc
from nota_jax.notation.engraving import boxes, fonts
from nota_jax.notation.engraving.pool import EngravePool
from tests.notation.engraving.test_pool import fragile

SETTINGS = Settings(variants=2, seed=3)
# Their melodies' hashes put the last three into test and number 10 into validation.
NUMBERS = (*range(14), 31, 44, 80)
WITH_COMPOSER = range(6)


def tune_text(number: int) -> str:
    """A tune of eight bars."""
    rng = random.Random(number)
    bars = ["".join(rng.choice("DEFGABcd") for _ in range(4)) for _ in range(8)]
    composer = f"C:Composer {number}\n" if number in WITH_COMPOSER else ""
    origin = ("China", "Ireland", "USA")[number % 3]
    return (
        f"X:{number}\nT:Tune {number}\n{composer}O:{origin}\nZ:Me {number}\nR:reel\nM:2/4\nL:1/8\n"
        f"K:{rng.choice(('G', 'D', 'Am'))}\n{'|'.join(bars)}|]\n\n"
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    """A folder of tunes: one is there twice, one has two voices, one is too long for a page."""
    folder = tmp_path_factory.mktemp("corpora") / "mine"
    folder.mkdir()
    tunes = [tune_text(number) for number in NUMBERS]
    odd = [
        tune_text(5).replace("X:5\nT:Tune 5", "X:90\nT:Again").replace("K:", "N:again\nK:"),
        "X:92\nT:Long\nM:2/4\nL:1/32\nK:G\n" + "GABcdefgGABcdefg|" * 60 + "G16|]\n\n",
    ]
    (folder / "tunes.abc").write_text("".join(tunes + odd))
    voices = "X:91\nT:Voices\nM:2/4\nL:1/8\nK:G\nV:1\nGABc|]\nV:2\nGABc|]\n"
    (folder / "voices.abc").write_text(voices)
    (folder / "page.abc").write_text("<html><body>404</body></html>")
    return f"path:{folder}"


@pytest.fixture(scope="module")
def dataset(corpus, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built") / "set"
    build(out, [corpus], settings=SETTINGS, workers=2)
    return out


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(build_module, "CHUNK_TUNES", 2)


def files_of(directory: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()
    }


def pages_of(directory: Path) -> list:
    return list(PageReader(directory, list(reader.split_sizes(directory))))


def test_one_worker_gives_the_same_bytes_as_two(corpus, dataset, tmp_path):
    build(tmp_path / "set", [corpus], settings=SETTINGS, workers=1)
    assert files_of(tmp_path / "set") == files_of(dataset)


def test_an_interrupted_build_continues_to_the_same_bytes(
    corpus, tmp_path, monkeypatch, small_chunks
):
    corpus_limit = ([corpus], 8)
    build(tmp_path / "whole", *corpus_limit, workers=1)
    written = []

    def interrupted(path, records, tally):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        return write_chunk(path, records, tally)

    write_chunk = staging.write_chunk
    with monkeypatch.context() as patch:
        patch.setattr(staging, "write_chunk", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "set", *corpus_limit, workers=1)
    assert not (tmp_path / "set").exists()

    last = staging.chunk_path(tmp_path / "set.partial", 1)
    last.write_bytes(last.read_bytes()[:-1])  # as a machine that lost power leaves it
    redone = []
    monkeypatch.setattr(
        staging, "write_chunk", lambda path, *rest: (redone.append(path), write_chunk(path, *rest))
    )
    monkeypatch.delattr(splits, "melodies")  # what took a minute is known
    build(tmp_path / "set", *corpus_limit, workers=1)
    assert [path.name for path in redone] == ["000001", "000002", "000003"]
    assert files_of(tmp_path / "set") == files_of(tmp_path / "whole")
    assert not (tmp_path / "set.partial").exists()


def test_a_full_disk_keeps_what_is_finished(corpus, tmp_path, monkeypatch, small_chunks, capsys):
    arguments = ["--out", str(tmp_path / "set"), "--corpora", corpus, "--limit", "4"]
    write_chunk, n = staging.write_chunk, []

    def full(path, records, tally):
        n.append(path)
        if len(n) == 2:
            with full_disk_is_an_error(path):
                raise OSError(28, "No space left on device")
        write_chunk(path, records, tally)

    with monkeypatch.context() as patch:
        patch.setattr(staging, "write_chunk", full)
        assert main([*arguments, "--workers", "1"]) == 2
    error = capsys.readouterr().err
    assert "error: the disk is full" in error and "Traceback" not in error
    assert staging.read_chunk(n[0]) is not None and not (tmp_path / "set").exists()
    assert main([*arguments, "--workers", "1"]) == 0


def test_a_finished_build_is_left_alone_and_another_one_refused(corpus, dataset):
    before = files_of(dataset)
    report = build(dataset, [corpus], settings=SETTINGS, workers=1)
    assert report == json.loads((dataset / "build_report.json").read_text())
    with pytest.raises(UserError, match=r"holds a dataset .* seed 3 \(now 4\).* another --out"):
        build(dataset, [corpus], settings=Settings(variants=2, seed=4))
    assert files_of(dataset) == before


def test_an_unfinished_build_is_not_continued_with_other_arguments(corpus, tmp_path):
    with staging.opened(tmp_path / "set", {"seed": 1}), pytest.raises(UserError, match="another"):
        with staging.opened(tmp_path / "set", {"seed": 1}):
            pass
    with pytest.raises(UserError, match=r"unfinished build .*seed 1 \(now 0\)"):
        build(tmp_path / "set", [corpus], 2)


@pytest.mark.parametrize("name, content", [("letters.txt", "dear"), ("build_report.json", "{}")])
def test_a_folder_of_something_else_is_refused(corpus, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match="is no dataset of ours"):
        build(tmp_path, [corpus], 2)


def test_no_melody_is_in_two_parts(dataset):
    parts: dict[str, set[str]] = {}
    for page in pages_of(dataset):
        part = str(page.metadata["split"]).partition("_")[0]
        parts.setdefault(str(page.metadata["melody_hash"]), set()).add(part)
        assert part == part_of(str(page.metadata["melody_hash"]))
    assert len(parts) == len(NUMBERS) and all(len(names) == 1 for names in parts.values())


def test_held_out_fonts_are_drawn_for_test_style_alone(dataset):
    held_out = {fonts.TEST_MUSIC_FONT, fonts.TEST_TEXT_FONT}
    there = Counter()
    for page in pages_of(dataset):
        used = {page.metadata["music_font"], page.metadata["text_font"]}
        assert used == held_out if page.metadata["split"] == "test_style" else not used & held_out
        there[page.metadata["split"]] += 1
    assert there["test"] == there["test_style"] == 3 * 3
    assert there["test_scan"] == 3 * 2  # nothing is analysed there


def test_extraction_and_analysis_ask_about_one_picture_that_is_stored_once(dataset):
    assert not {"extraction_train", "analysis_train"} & set(reader.stored(dataset))
    asked = [PageReader(dataset, [f"{task}_train"]) for task in ("extraction", "analysis")]
    for extraction, analysis in zip(*asked, strict=True):
        assert extraction.png == analysis.png and extraction.symbols == analysis.symbols
        assert extraction.id.removesuffix("extraction") == analysis.id.removesuffix("analysis")
        assert len(extraction.turns) == 6 and analysis.turns
    assert asked[0].fingerprint() != asked[1].fingerprint()


def test_a_style_page_differs_from_its_test_page_in_the_picture_alone(dataset):
    tests = PageReader(dataset, ["extraction_test"])
    styles = PageReader(dataset, ["extraction_test_style"])
    for test, style in zip(tests, styles, strict=True):
        assert style.id == test.id.replace("/0/", "/0-style/") and style.png != test.png
        asked = [(turn.question, turn.answer) for turn in test.turns if turn.subtask != "abc"]
        assert asked == [(t.question, t.answer) for t in style.turns if t.subtask != "abc"]


def test_every_answer_is_true_of_the_page_it_is_about(dataset):
    for page in pages_of(dataset):
        tune = abc.parse(str(page.metadata["abc"]))
        answers = {turn.subtask: turn.answer for turn in page.turns}
        if page.task == "extraction":
            assert answers["abc"] == page.metadata["abc"]
            assert answers["title"] == tune.title and answers["key"] == abc.key_text(tune.key)
        if page.task == "alignment":
            first, last = map(int, str(page.metadata["highlight"]).split("-"))
            assert 0 <= first <= last < len(tune.bars) and last - first < 4
            assert answers["alignment"] == abc.write_body(tune, range(first, last + 1))
        assert {turn.task for turn in page.turns} == {page.task}


def test_a_scanned_page_is_its_test_page_with_faults_and_symbols_moved_along(dataset):
    tests = PageReader(dataset, ["extraction_test", "alignment_test"])
    scans = PageReader(dataset, ["extraction_test_scan", "alignment_test_scan"])
    for test, scan in zip(tests, scans, strict=True):
        assert scan.id == test.id.replace("/0/", "/0-scan/") and scan.turns == test.turns
        before, after = boxes.unpack(test.symbols), boxes.unpack(scan.symbols)
        assert (before[["kind", "bar", "event"]] == after[["kind", "bar", "event"]]).all()
        assert np.abs(before["box"] - after["box"]).max() < 60
        with Image.open(io.BytesIO(scan.png)) as picture:
            grey = np.asarray(picture.convert("L")).astype(int)
        head = after["kind"] == boxes.KINDS.index("head")
        for left, top, right, bottom in after["box"][head]:
            x, y = round((left + right) / 2), round((top + bottom) / 2)
            assert grey[y - 2 : y + 3, x - 2 : x + 3].min() < 0.7 * np.median(grey)


def test_pictures_have_the_wished_size_and_colour_where_bars_are_tinted(dataset):
    for page in pages_of(dataset):
        with Image.open(io.BytesIO(page.png)) as picture:
            assert picture.size == (SETTINGS.size, SETTINGS.size)
            colours = picture.convert("RGB").getcolors(2**17)
        tinted = any(len(set(colour)) > 1 for _, colour in colours)
        if page.metadata["split"] != "test_scan":  # where paper may be yellowed
            assert tinted == (page.task == "alignment")
        assert page.metadata["staff_spacing"] >= 4


def test_composers_are_marked_as_the_sources_or_invented(dataset):
    seen = Counter()
    for page in PageReader(dataset, ["extraction_train"]):
        answer = next(turn.answer for turn in page.turns if turn.subtask == "composer")
        place = int(str(page.metadata["source_id"]).split("#")[1]) - 1
        number = (*NUMBERS, 5)[place]  # the last one is number 5 again
        source = page.metadata["composer_source"]
        seen[source] += 1
        assert (source == "source") == (number in WITH_COMPOSER)
        if source == "source":
            assert answer == f"Composer {number}"
        assert ("C:" in page.metadata["abc"]) == (source != "none")
    assert set(seen) == {"source", "synthetic", "none"}


def test_further_variants_are_transposed_and_the_first_is_not(dataset):
    keys: dict[str, dict[str, int]] = {}
    for page in PageReader(dataset, ["extraction_train"]):
        source, variant, _ = page.id.rsplit("/", 2)
        keys.setdefault(source, {})[variant] = page.metadata["transposition"]
    assert all(set(variants) == {"0", "1"} for variants in keys.values())
    assert all(variants["0"] == 0 != variants["1"] for variants in keys.values())


def test_the_report_accounts_for_every_tune(dataset):
    report = json.loads((dataset / "build_report.json").read_text())
    assert report["tunes"]["in"] == len(NUMBERS) + 3
    assert report["tunes"]["parsed"] == len(NUMBERS) + 2
    assert report["tunes"]["drawn"] == len(NUMBERS) + 1
    on_disk = {split: info.num_examples for split, info in reader.stored(dataset).items()}
    assert report["pages"] == on_disk
    reasons = {drop["reason"]: drop for drop in report["drops"]}
    (voices,) = [drop for reason, drop in reasons.items() if reason.startswith("parse")]
    assert voices["count"] == 1 and "voices.abc: tune 91, line " in voices["examples"][0]
    (too_long,) = [drop for reason, drop in reasons.items() if reason.startswith("engrave")]
    assert "mine/tunes.abc#19" in too_long["examples"][0]
    assert report["files_without_pages"] == {
        "mine/page.abc": "it is HTML, not ABC",
        "mine/voices.abc": "its one tune was not drawn",
    }
    questions = Counter(
        (f"{page.task}_{page.metadata['split']}", turn.subtask)
        for page in pages_of(dataset)
        for turn in page.turns
    )
    for (split, subtask), n in questions.items():
        assert report["questions"][split][subtask] == n


def test_report_and_contact_sheet_lie_beside_the_data(dataset):
    text = (dataset / "build_report.md").read_text()
    assert "| mine " in text and "tune 91" in text and "| alignment " in text
    assert "- mine/page.abc: it is HTML, not ABC" in text
    with Image.open(dataset / "contact_sheet.png") as sheet:
        assert sheet.width > 4 * 336


def test_nothing_to_draw_is_said(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bad.abc").write_text("X:1\nT:Bad\nK:G\nV:1\nG|]\nV:2\nG|]\n")
    arguments = ["--out", str(tmp_path / "set"), "--corpora", f"path:{tmp_path / 'mine'}"]
    assert main([*arguments, "--workers", "1"]) == 2
    assert "error: no tune could be drawn" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option, value, wanted",
    [
        ("variants", 0, "at least 1"),
        ("size", 31, "32 to 4096"),
        ("size", 99999999, "32 to 4096"),
        ("staff-spacing", "nan", "at least 1"),
        ("composer-share", 7.0, "0 to 1"),
        ("workers", -1, "at least 1"),
    ],
)
def test_a_number_out_of_its_range_is_said(corpus, tmp_path, capsys, option, value, wanted):
    arguments = ["--out", str(tmp_path / "set"), "--corpora", corpus, "--limit", "1"]
    assert main([*arguments, f"--{option}", str(value)]) == 2
    said = f"error: {option.replace('-', '_')} is {value}: {wanted} is needed"
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_said(corpus, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    arguments = ["--out", str(tmp_path / "file" / "set"), "--corpora", corpus, "--limit", "1"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert (
        "error: cannot write" in error
        and "Not a directory; make it writable, or choose another" in error
    )


def test_tallies_add_up_through_json():
    one, other = Tally(), Tally()
    one.count("page", "extraction_train", "China")
    one.drop("parse", "bar 3: 'x' is wrong", "a: bar 3: 'x' is wrong")
    other.count("page", "extraction_train", "China")
    other.drop("parse", "bar 12: 'y' is wrong", "b: bar 12: 'y' is wrong")
    one.add(Tally.from_json(json.loads(json.dumps(other.to_json()))))
    assert one.counts["page", "extraction_train", "China"] == 2
    assert one.counts["drop", "parse", general("bar 3: 'x' is wrong")] == 2
    assert len(one.examples["drop", "parse", "bar #: … is wrong"]) == 2


def test_a_reason_names_no_single_tune():
    """Or a collection of odd headers has as many reasons as tunes."""
    for text in ("K:Gmaj9", "K:| 2 A"):
        assert general(f"{text} is no key; write it as K:G") == "K:… is no key; write it as K:G"
    assert general("M:3/7 is no meter: a note value of 1/7 is not drawn") == (
        "M:… is no meter: a note value of # is not drawn"
    )
    assert general("bar 12: the text 'x' is too long") == "bar #: the text … is too long"


def test_a_build_goes_on_over_dead_and_hanging_workers_and_reports_them(
    tmp_path, monkeypatch, capsys
):
    """kill -9 and a sleep inside the workers, real processes both."""
    titles = {0: "Tune 0", 1: "segfault", 2: "hang", 3: "unlucky", 4: "Tune 4"}
    texts = [
        tune_text(number).replace(f"T:Tune {number}", f"T:{titles[number]}") for number in titles
    ]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tunes.abc").write_text("".join(texts))
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    pool = build_module.EngravePool
    monkeypatch.setattr(
        build_module,
        "EngravePool",
        lambda n, work: pool(n, timeout=3.0, work=dataclasses.replace(work, engrave=fragile)),
    )
    report = build(tmp_path / "set", [f"path:{tmp_path / 'mine'}"], workers=2)
    assert report["tunes"]["in"] == 5 and report["tunes"]["drawn"] == 3
    dropped = {drop["reason"]: drop["examples"] for drop in report["drops"]}
    assert dropped == {
        "engrave: worker crashed": ["mine/tunes.abc#2/0: worker crashed"],
        "engrave: worker timed out": ["mine/tunes.abc#3/0: worker timed out"],
    }
    said = capsys.readouterr().err
    assert "5 engraving workers were replaced (worker crashed: 3, worker timed out: 2)" in said


class InThisProcess(EngravePool):
    """A pool without workers, whose work the test can get at."""

    def map(self, jobs):
        return ((key, self._work(*arguments)) for key, *arguments in jobs)


@pytest.mark.parametrize("place", ["drawings", "pages"])
def test_a_bug_costs_one_tune_and_shows_in_the_report(place, corpus, tmp_path, monkeypatch):
    right, asked = getattr(drawn, place), []

    def wrong(first, *rest):
        asked.append(getattr(first, "source", first))
        if asked[-1] == asked[0]:
            raise ZeroDivisionError("a bug")
        return right(first, *rest)

    monkeypatch.setattr(drawn, place, wrong)
    monkeypatch.setattr(build_module, "EngravePool", InThisProcess)
    report = build(tmp_path / "set", [corpus], 4, workers=1)
    stage = {"drawings": "parse", "pages": "ask"}[place]
    (drop,) = [drop for drop in report["drops"] if "ZeroDivisionError" in drop["reason"]]
    assert drop["reason"] == f"{stage}: unexpected ZeroDivisionError: a bug" and drop["count"] == 1
