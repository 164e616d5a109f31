"""The table of answers that the old rules got wrong, in docs/evaluation.md, from the answers."""

import json
import re
from pathlib import Path

import pytest

from nota_jax.evaluation import failures, transcription
from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.extraction import marks as extracted
from nota_jax.evaluation.summary import marks

ROOT = Path(__file__).parents[2]
RECORDS = json.loads((ROOT / "tests/evaluation/ten_answers.json").read_text())
ROWS = re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "docs/evaluation.md").read_text(), re.MULTILINE)


def row(number):
    """(page, asked, true, answer, old, now)"""
    (found,) = (text for n, text in ROWS if int(n) == number)
    cells = [cell.strip().replace("\\|", "|") for cell in re.split(r" (?<!\\)\| ", found)]
    assert len(cells) == 6, cells
    return cells


def answer(number):
    record = RECORDS[number - 1]
    return Answer(page="p", **record)


@pytest.mark.parametrize("number", range(1, 11))
def test_the_page_and_the_question_are_those(number):
    page, asked, *_ = row(number)
    found = answer(number)
    collection, _, tune = page.partition(",")[0].partition("#")
    assert found.id.startswith(collection.split("/")[0])
    assert collection.split("/")[1] in found.id and (not tune or f"#{tune}/" in found.id)
    assert {"whole page": "abc", "bars": "alignment"}.get(asked, asked) == found.subtask


@pytest.mark.parametrize("number", range(1, 5))
def test_the_texts_of_the_fields_are_those(number):
    assert row(number)[2:4] == [answer(number).truth, answer(number).said]


def test_fields():
    title, key, composer, alone = map(answer, range(1, 5))
    assert extracted(title) == {"title.strict": (0, 1), "title.lenient": (1, 1)}
    assert extracted(key)["key.lenient"] == (0, 1) and extracted(key)["key.signature"] == (1, 1)
    assert marks(composer)["hallucination.fields"] == (1, 1)
    assert failures.confusion(alone) == ""


@pytest.mark.parametrize("number", range(5, 11))
def test_transcriptions(number):
    found, (*_, old, now) = answer(number), row(number)
    of = {name.partition(".")[2]: pair for name, pair in transcription.marks(found).items()}
    wrong, length = of["character_errors"]
    assert old == f"{wrong} of {length} characters wrong"
    right, notes = of["note_recall"]
    missing, canonical = of["notes_missing"][0], of["canonical_distance"][0]
    figures = {
        f"{right:.0f} of {notes:.0f} notes": "of" in now
        and "notes" in now
        and "missing" not in now,
        "all of the music right": of["music_right"][0],
        f"{canonical} characters in one spelling": "in one spelling" in now,
        f"no valid ABC, {missing:.0f} of {notes:.0f} notes missing": not of["valid"][0],
        f"{of['rhythm_errors'][0]:.0f} with a wrong length": "wrong length" in now,
    }
    for words, said in figures.items():
        assert (words in now) == bool(said), words
