"""A made-up release of NOTA's shape goes in as configs/nota_release.toml says."""

import pytest

from nota_jax.data.build.__main__ import main
from nota_jax.data.store.reader import split_sizes
from tests.data.build.foreign.made import llava, pages_of, picture, write_array, write_lines

MAPPING = "configs/nota_release.toml"


@pytest.fixture
def release(tmp_path):
    folder = tmp_path / "NOTA"
    for n in range(4):
        picture(folder / "images", f"{n}.png", 50 + n)
    write_array(
        folder / "train_alignment.json",
        [llava("a0", "0.png", ("Write the marked bars in ABC notation.", "GABc|"))],
    )
    write_array(
        folder / "train_IE.json",
        [
            llava("i0", "0.png", ("What is the title (T) of this piece?", "Roslin"),
                  ("What is its key signature?", "G")),
            llava("i1", "1.png", ("What is the unit note length?", "1/8")),
        ],
    )  # fmt: skip
    write_lines(folder / "train_analysis.jsonl", [llava("n1", "1.png", ("Its style?", "A reel."))])
    write_array(
        folder / "test_IE.json",
        [llava("t0", "2.png", ("Give the ABC notation of the page.", "X:1\nK:C\nC4|]"),
               ("Who is the composer?", "Trad."), ("How old is it?", "Very."))],
    )  # fmt: skip
    return folder


def build(release, mapping=MAPPING) -> int:
    given = ["--from", f"release:{release}", "--mapping", str(mapping), "--workers", "1"]
    return main(["--out", str(release.parent / "set"), *given])


def test_each_file_goes_to_its_task_and_part(release):
    assert build(release) == 0
    dataset = release.parent / "set"
    assert split_sizes(dataset) == {
        "alignment_train": 1, "extraction_train": 2, "extraction_test": 1, "analysis_train": 1,
    }  # fmt: skip
    subtasks = {id: [turn.subtask for turn in page.turns] for id, page in pages_of(dataset).items()}
    assert subtasks == {
        "train_alignment/0.png/alignment": ["alignment"],
        "train_alignment/0.png/extraction": ["title", "key"],
        "train_IE/1.png/extraction": ["unit_note_length"],
        "train_IE/1.png/analysis": ["other"],
        "test_IE/2.png/extraction": ["abc", "composer", "other"],
    }


@pytest.mark.parametrize(
    "line, wrong, said",
    [
        ('path = "test_IE*.json*"', 'path = "test.json"', "no test.json, which"),
        ('images = "images"', 'images = "pics"', "there is no folder of pictures"),
        ('image = "image"', 'picture = "image"', "there is no 'picture' to map"),
        ('part = "test"', 'part = "held out"', "part of train, validation, test"),
        ("[subtasks]", "[subtask]", "what is 'subtask'?"),
        ("key = '", "key = '(", "[subtasks] key"),
        ("[record]", "[record", "is no TOML"),
    ],
)
def test_a_line_that_does_not_fit_is_named(release, tmp_path, capsys, line, wrong, said):
    text = open(MAPPING, encoding="utf-8").read()
    assert line in text
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace(line, wrong, 1))
    assert build(release, mine) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_one_line_mends_it(release, tmp_path):
    (release / "test_IE.json").rename(release / "held_out.json")
    (release / "images").rename(release / "png")
    text = open(MAPPING, encoding="utf-8").read()
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace("test_IE*.json*", "held_out.json").replace('"images"', '"png"', 1))
    assert build(release, mine) == 0
    assert split_sizes(release.parent / "set")["extraction_test"] == 1
