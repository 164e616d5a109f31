"""The questions of the three tasks and their answers."""

import random

import pytest

from nota_jax.data.build.phrasings import (
    ALIGNMENT_QUESTIONS,
    ANALYSIS_QUESTIONS,
    COMPOSERS,
    EXTRACTION_QUESTIONS,
    NO_COMPOSER,
    NO_TITLE,
)
from nota_jax.data.build.questions import (
    EXTRACTION_SUBTASKS,
    alignment_turns,
    extraction_turns,
)
from nota_jax.evaluation.matching import value_of
from nota_jax.notation import abc
from nota_jax.notation.transpose import transpose, transpositions

TUNE = """X:7
T:The Rose Tree
T:Second title
C:Ann Lee
R:reel
M:C|
L:1/8
K:Em
B2|e2 ef g2 f2|e2 d2 B2 A2|B2 g2 ^d2 f2|e6|]
"""


def answers(turns):
    return {turn.subtask: turn.answer for turn in turns}


def test_extraction_asks_the_six_subtasks_of_the_paper():
    turns = extraction_turns(abc.parse(TUNE), random.Random(0))
    assert [turn.subtask for turn in turns] == list(EXTRACTION_SUBTASKS)
    assert set(EXTRACTION_SUBTASKS) == {
        "title", "key", "meter", "unit_note_length", "composer", "abc",
    }  # fmt: skip
    assert {turn.task for turn in turns} == {"extraction"}


def test_extraction_answers_are_what_the_page_shows():
    tune = abc.parse(TUNE)
    assert answers(extraction_turns(tune, random.Random(0))) == {
        "title": "The Rose Tree",
        "key": "Em",
        "meter": "C|",
        "unit_note_length": "1/4",
        "composer": "Ann Lee",
        "abc": abc.canonical(TUNE),
    }


def test_the_header_of_the_whole_abc_agrees_with_the_single_answers():
    tune = abc.parse(TUNE)
    for interval in transpositions(tune):
        found = answers(extraction_turns(transpose(tune, interval), random.Random(0)))
        lines = found["abc"].splitlines()
        for letter, subtask in [("T", "title"), ("K", "key"), ("M", "meter"), ("C", "composer"),
                                ("L", "unit_note_length")]:  # fmt: skip
            assert f"{letter}:{found[subtask]}" in lines


def test_what_is_not_printed_has_a_fixed_answer():
    tune = abc.parse("X:1\nM:4/4\nL:1/4\nK:C\nCDEF|]\n")
    found = answers(extraction_turns(tune, random.Random(0)))
    assert (found["title"], found["composer"]) == (NO_TITLE, NO_COMPOSER)


def test_alignment_answers_with_the_highlighted_bars_in_the_unit_of_the_whole_tune():
    tune = abc.parse(TUNE)
    (turn,) = alignment_turns(tune, (1, 2), random.Random(0))
    assert turn.answer == abc.write_body(tune, range(1, 3))
    assert turn.answer.strip() in abc.write(tune)
    assert (turn.task, turn.subtask) == ("alignment", "alignment")


@pytest.mark.parametrize("make", [extraction_turns, lambda t, r: alignment_turns(t, (0, 0), r)])
def test_a_seed_fixes_the_phrasing_and_other_seeds_vary_it(make):
    tune = abc.parse(TUNE)
    assert make(tune, random.Random(5)) == make(tune, random.Random(5))
    variants = {tuple(turn.question for turn in make(tune, random.Random(s))) for s in range(20)}
    assert len(variants) > 3


def test_every_question_has_several_phrasings_and_belongs_to_one_subtask():
    tables = {"alignment": ALIGNMENT_QUESTIONS, **EXTRACTION_QUESTIONS, **ANALYSIS_QUESTIONS}
    assert all(len(set(phrasings)) >= 4 for phrasings in tables.values())
    everything = [question for phrasings in tables.values() for question in phrasings]
    assert len(everything) == len(set(everything))


def test_composers_are_many_different_names_that_fit_a_page():
    assert len(COMPOSERS) == len(set(COMPOSERS)) > 1000
    assert max(map(len, COMPOSERS)) <= 24
    assert NO_COMPOSER not in COMPOSERS


def test_composers_are_told_apart_by_the_metric():
    assert len({value_of("composer", name) for name in COMPOSERS}) == len(COMPOSERS)
