"""Every sentence of an analysis is checked against the tune by a second, plainer computation.

A sentence that the grammar of `sentence_checks.py` does not know fails the test, so that no new
wording goes unchecked.
"""

import random
import re
from collections import Counter, defaultdict
from itertools import cycle, islice

import pytest

from nota_jax.data.build import corpora
from nota_jax.data.build.questions import ANALYSIS_SUBTASKS, analysis_turns
from nota_jax.notation import abc
from nota_jax.notation.theory.facts import facts
from tests.data.build.plain_reading import Reading
from tests.data.build.sentence_checks import GRAMMAR, judge


def sentences_of(tune, dance_type, seed):
    for turn in analysis_turns(facts(tune), dance_type, random.Random(seed)):
        yield from re.split(r"(?<=\.) (?=[A-Z])", turn.answer)


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
    ("free and even", "X:1\nM:none\nL:1/8\nK:C\nCDE|F|]\n"),
    ("repeated, longer", "X:1\nM:2/4\nL:1/4\nK:C\n|:CD|EF|GA|c2:|\n"),
    ("minor twice", "X:1\nM:2/4\nL:1/4\nK:Am\nAB|[K:D]d2|[K:Gm]G2|]\n"),
    ("major, later", "X:1\nM:2/4\nL:1/4\nK:Em\nEF|GA|[K:G]G2|]\n"),
    ("equal values", "X:1\nM:none\nL:1/8\nK:C\nC2D|E2F|\n"),
    ("other meter", "X:1\nM:4/4\nL:1/4\nK:C\nCDEF|[M:3/4]GAB|c3|]\n"),
    ("single note", "X:1\nM:4/4\nL:1/4\nK:Ddor\nD4|]\n"),
    ("hand-made", HAND_MADE),
]


@pytest.fixture(scope="module")
def said():
    """template → (sentence, reading of its tune): of odd tunes, and of a sample of the corpus."""
    dances = cycle(("reel", "slip  Jig", "Air"))
    tunes = [(abc.parse(text), next(dances), name) for name, text in SMALL]
    for source in islice(corpora.read(), 0, None, 60):
        try:
            tunes.append((abc.parse(source.text), source.dance_type, source.id))
        except abc.AbcError:
            continue
    found = defaultdict(list)
    for tune, dance_type, name in tunes:
        reading = Reading(tune, dance_type)
        for seed in range(8 if name in dict(SMALL) else 1):
            for sentence in sentences_of(tune, dance_type, f"{name}{seed}"):
                found[judge(sentence, reading).template].append((sentence, reading))
    return found


@pytest.fixture(scope="module")
def texts(said):
    """kind of slot → up to forty texts that stand in slots of that kind."""
    found = defaultdict(set)
    for template, pattern, kinds, _ in GRAMMAR:
        for sentence, _ in said[template]:
            for slot, text in pattern.fullmatch(sentence).groupdict().items():
                found[kinds[slot]].add(text)
    return {kind: sorted(some)[:: -(-len(some) // 40)] for kind, some in found.items()}


def test_every_sentence_is_known_and_true_in_each_of_its_words(said):
    assert sum(map(len, said.values())) > 5000
    assert "" not in said, said[""][:3]
    wrong = [
        (sentence, verdict.wrong)
        for cases in said.values()
        for sentence, reading in cases
        if not (verdict := judge(sentence, reading)).right
    ]
    assert not wrong, wrong[:5]


def test_every_kind_of_sentence_is_said_of_some_tune(said):
    assert {entry[0] for entry in GRAMMAR} == set(said)


@pytest.mark.parametrize("entry", GRAMMAR, ids=[entry[0][:60] for entry in GRAMMAR])
def test_a_false_word_in_each_place_of_a_sentence_is_refused(entry, said, texts):
    """Each slot in turn gets what other sentences say in slots of its kind."""
    template, pattern, kinds, _ = entry
    for slot, kind in kinds.items():
        refused = tried = 0
        for sentence, reading in said[template][-25:]:
            match = pattern.fullmatch(sentence)
            for text in texts[kind]:
                if kind.read(text) == kind.read(match[slot]):
                    continue
                start, end = match.span(slot)
                verdict = judge(sentence[:start] + text + sentence[end:], reading)
                if verdict.template == template:  # else it has become another sentence
                    tried += 1
                    refused += not verdict.right
        # Some facts have two right texts (a share between two percents, one of equal values).
        assert tried and refused >= 0.97 * tried, (slot, refused, tried)


def test_a_sentence_without_places_is_refused_where_it_does_not_hold(said):
    readings = [reading for cases in said.values() for _, reading in cases[:60]]
    for template, _, kinds, _ in GRAMMAR:
        if not kinds:
            assert any(judge(template, reading).wrong == ("holds",) for reading in readings)


@pytest.mark.parametrize(
    "lie",
    [
        "Leaps outweigh stepwise motion.",
        "The meter is 3/4; the commonest note value is the quarter note: about 80 % of the notes.",
        "The highest note first appears in bar 77, the lowest in bar 1.",
        "The range is a perfect fifth, from D4 to A4.",
        "It begins and ends on C4.",
        "The melody closes on G, the tonic.",
        "There are two rests.",
        "There is one rests.",
        "Something that nobody says.",
    ],
)
def test_lies_about_five_steps_upwards_are_refused(lie):
    reading = Reading(abc.parse("X:1\nM:4/4\nL:1/4\nK:C\nCDEF|G4|]\n"))
    assert judge("The range is a perfect fifth, from C4 to G4.", reading).right
    assert not judge(lie, reading).right


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
