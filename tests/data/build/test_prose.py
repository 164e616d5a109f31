"""Every sentence of an analysis is checked against the tune by a second, plainer computation.

A sentence that no checker of `sentence_checks.py` knows fails the test, so that no new wording goes
unchecked.
"""

import random
import re
from collections import Counter
from itertools import islice

import pytest

from nota_jax.data.build import corpora
from nota_jax.data.build.questions import ANALYSIS_SUBTASKS, analysis_turns
from nota_jax.notation import abc
from nota_jax.notation.theory.facts import facts
from tests.data.build.sentence_checks import assert_true


def assert_all_true(tune, dance_type, seed):
    said = set()
    for turn in analysis_turns(facts(tune), dance_type, random.Random(seed)):
        for sentence in re.split(r"(?<=\.) (?=[A-Z])", turn.answer):
            said.add(assert_true(tune, sentence))
    return said


HAND_MADE = """X:1
M:2/4
L:1/8
K:G
G|:B2 d2|(3gfe d2|{a}g2 f>e|1 d2 d:|2 d2 d2||[K:Em][M:3/4]z2 ^d4|^^f2 e3- e|^d6|]
"""
SMALL = [
    ("free", "X:1\nM:none\nL:1/8\nK:none\nA|B c d2|e f|]\n"),
    ("repeated once", "X:1\nM:4/4\nL:1/4\nK:C\n|:CDEG|A2c2:|\n"),
    ("one pitch", "X:1\nM:4/4\nL:1/4\nK:Dmix\nDDDD|D4|]\n"),
    ("open end", "X:1\nM:4/4\nL:1/4\nK:Am\n|:ABcd|e2^g2:|:eecA|B4:|\n"),
    ("single note", "X:1\nM:4/4\nL:1/4\nK:Ddor\nD4|]\n"),
    ("hand-made", HAND_MADE),
]


@pytest.mark.parametrize(("name", "text"), SMALL)
def test_sentences_about_odd_tunes_are_true(name, text):
    for seed in range(8):
        assert_all_true(abc.parse(text), "reel", seed)


def test_sentences_about_corpus_tunes_are_true_and_use_most_wordings():
    said, n = set(), 0
    for name in ("oneills1850", "airdsAirs", "ryansMammoth", "essenFolksong"):
        for source in islice(corpora.read([name]), 0, 700, 20):
            try:
                tune = abc.parse(source.text)
            except abc.AbcError:
                continue
            said |= assert_all_true(tune, "reel", source.id)
            n += 1
    assert n > 100
    assert len(said) >= 35


def test_a_false_sentence_is_caught():
    tune = abc.parse("X:1\nM:4/4\nL:1/4\nK:C\nCDEF|G4|]\n")
    assert_true(tune, "The range is a perfect fifth, from C4 to G4.")
    for lie in ("The range is a perfect fifth, from D4 to A4.", "It begins and ends on C4.",
                "The melody closes on G, the tonic.", "There are two rests."):  # fmt: skip
        with pytest.raises(AssertionError):
            assert_true(tune, lie)


def test_questions_come_in_several_phrasings_and_know_their_subtask():
    tune = abc.parse(HAND_MADE)
    asked = Counter()
    for seed in range(60):
        for turn in analysis_turns(facts(tune), "reel", random.Random(seed)):
            assert turn.task == "analysis"
            asked[turn.subtask, turn.question] += 1
    by_subtask = Counter(subtask for subtask, _ in asked)
    assert set(by_subtask) == set(ANALYSIS_SUBTASKS)
    assert min(by_subtask.values()) >= 4


def test_a_tune_without_dance_type_is_not_asked_for_it():
    turns = analysis_turns(facts(abc.parse(HAND_MADE)), "", random.Random(0))
    assert "dance_type" not in {turn.subtask for turn in turns}


def test_the_same_seed_says_the_same():
    f = facts(abc.parse(HAND_MADE))
    assert analysis_turns(f, "jig", random.Random(3)) == analysis_turns(f, "jig", random.Random(3))
