"""Claims of analyses: every sentence of ours is read back, and a false one is found false."""

import itertools
import random
from fractions import Fraction

import pytest

from nota_jax.data.build import corpora
from nota_jax.data.build.questions import analysis_turns
from nota_jax.evaluation import facts as checked
from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.claims import claims, note_value, sentences
from nota_jax.evaluation.facts import Share, agrees, judge, marks
from nota_jax.notation import abc
from nota_jax.notation.theory.facts import facts

PAGE = "X:1\nT:Rose\nM:2/4\nL:1/8\nK:G\nD|GABc|dBcA|e2 d2|G3|]\n"
ODD = [
    "X:1\nM:none\nL:1/8\nK:none\nA|B c d2|e f|]\n",
    "X:1\nM:4/4\nL:1/4\nK:C\n|:CDEG|A2c2:|\n",
    "X:1\nM:4/4\nL:1/4\nK:Dmix\nDDDD|D4|]\n",
    "X:1\nM:2/4\nL:1/4\nK:Am\nAB|[K:D =c]d2|[K:Gm]G2|]\n",
    "X:1\nM:C|\nL:1/4\nK:C\nCDEF|[M:3/4]GAB|c3|]\n",
    "X:1\nM:2/4\nL:1/8\nK:G\nG|:B2 d2|(3gfe d2|{a}g2 f>e|1 d2 d:|2 d2 d2||[K:Em]z2 ^d2|^^f2 e2|]\n",
]


def answer(said, truth="", page=PAGE, subtask="form"):
    return Answer("p:x", "p", subtask, truth, said, task="analysis", about={"abc": page})


@pytest.fixture(scope="module")
def analyses():
    """(ABC of the page, subtask, true answer) of odd tunes and of a sample of the corpora."""
    found = []
    texts = [(text, "slip jig") for text in ODD]
    texts += [(s.text, s.dance_type) for s in itertools.islice(corpora.read(), 0, None, 150)]
    for n, (text, dance) in enumerate(texts):
        try:
            tune = abc.parse(text)
        except abc.AbcError:
            continue
        page = abc.write(tune)
        for turn in analysis_turns(facts(abc.parse(page)), dance, random.Random(n)):
            found.append((page, turn.subtask, turn.answer))
    return found


def test_every_sentence_of_ours_is_read_back_and_right(analyses):
    assert len(analyses) > 600
    for page, subtask, text in analyses:
        right, wrong, unchecked = judge(answer(text, text, page, subtask))
        assert right and not wrong and not unchecked, text
        said = marks(answer(text, text, page, subtask))
        assert said["facts.found"][0] == said["facts.found"][1] > 0
        assert said["facts.missing"][0] == 0


def test_a_word_that_is_changed_makes_a_sentence_wrong(analyses):
    changes = {"one": "five", "two": "eleven", "C": "D", "G": "A", "tonic": "third degree",
               "major": "minor", "upwards": "downwards", "steps": "thirds or wider",
               "eighth": "sixteenth", "6/8": "9/8", "arch": "bowl"}  # fmt: skip
    tried = 0
    for page, subtask, text in analyses:
        for old, new in changes.items():
            changed = text.replace("As one line", "On the whole").replace(f" {old} ", f" {new} ", 1)
            if f" {new} " in changed and changed != text.replace("As one line", "On the whole"):
                _, wrong, unchecked = judge(answer(changed, text, page, subtask))
                tried += 1
                assert wrong or unchecked, changed
    assert tried > 400


def test_the_analysis_of_another_tune_is_mostly_wrong(analyses):
    ranges = [(page, text) for page, subtask, text in analyses if subtask == "range"]
    wrong = right = 0
    for (page, _), (_, other) in zip(ranges, ranges[1:], strict=False):
        good, bad, unchecked = judge(answer(other, page=page))
        wrong, right = wrong + len(bad), right + len(good)
        assert not unchecked
    assert wrong > 2 * right


def test_the_claims_of_one_sentence_are_judged_one_by_one():
    said = "The range is a major ninth, from D4 to F5. That is nine semitones."
    right, wrong, unchecked = judge(answer(said))
    assert right == [("range", "major ninth"), ("lowest note", "D4")]
    assert wrong == [("highest note", "F5"), ("range in semitones", 9)] and not unchecked


def test_right_wrong_unchecked_found_missing():
    truth = "The melody closes on G, the tonic. It begins on D4 and ends higher, on G4, a perfect "
    truth += "fourth away."
    # Claims: last pitch class, final degree; first note, ends, last note, from first to last.
    said = "The melody closes on G, the third degree. It is a merry tune. A prime marks a variant."
    found = marks(answer(said, truth))
    assert found["facts.right"] == (1, 2) and found["facts.wrong"] == (1, 2)
    assert found["facts.unchecked"] == (1, 3)  # the remark about primes is no statement
    assert found["facts.found"] == (1, 6) and found["facts.missing"] == (4, 6)


def test_no_answer_says_nothing():
    found = marks(answer(None, "The melody closes on G, the tonic."))
    assert found["facts.right"] == (0, 0) and found["facts.missing"] == (2, 2)
    assert marks(Answer("p:key", "p", "key", "G", "G")) == {}


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("This piece is in E minor.", {"key": "E minor"}),
        ("The time signature is 6/8.", {"meter": "6/8"}),
        ("The meter is C|.", {"meter": "C|"}),
        ("The tune is in C major.", {"key": "C major"}),  # and not in the meter C
        ("The melody ends on the tonic.", {"final degree": 1}),
        ("It is a merry tune.", {}),
    ],
)
def test_words_that_are_nearly_ours(sentence, found):
    assert dict(claims(sentence)) == found


def test_what_only_the_source_tells_is_taken_from_the_true_answer():
    truth = "The source calls this tune a reel; it is notated in 2/4."
    assert judge(answer(truth, truth)) == ([("meter", "2/4"), ("kind of tune", "reel")], [], 0)
    jig = truth.replace("a reel", "a jig")
    assert judge(answer(jig, truth))[1] == [("kind of tune", "jig")]
    assert judge(answer(truth, "another question"))[2] == 1


def test_what_cannot_be_known_is_not_checked():
    free = "X:1\nM:none\nL:1/8\nK:none\nA|B c d2|e f|]\n"
    said = "It is written in three bars. The melody ends on the tonic."
    assert judge(answer(said, page=free)) == ([], [], 2)
    assert judge(answer(said, page=""))[2] == 2


@pytest.mark.parametrize(
    ("said", "part", "whole", "right"),
    [
        ("about 33 %", 1, 3, True), ("34%", 1, 3, True), ("about 35 %", 1, 3, False),
        ("all", 3, 3, True), ("all", 299, 300, False), ("nearly all", 299, 300, True),
        ("nearly all", 3, 3, False), ("none", 0, 3, True), ("hardly any", 1, 300, True),
        ("hardly any", 1, 3, False),
    ],
)  # fmt: skip
def test_shares_are_rounded(said, part, whole, right):
    assert agrees(said, Share(Fraction(part, whole))) == right


def test_note_values():
    assert note_value("dotted quarter notes") == Fraction(3, 8)
    assert note_value("double-dotted half note") == Fraction(7, 8)
    assert note_value("double whole note") == 2
    assert note_value("notes of 5/8") == Fraction(5, 8)


def test_sentences_are_cut_where_they_end():
    assert sentences("It has 3 bars. The key is B♭ major! Yes") == [
        "It has 3 bars.", "The key is Bb major!", "Yes",
    ]  # fmt: skip


def test_nothing_that_a_model_may_say_breaks_the_reading(analyses):
    rng = random.Random(1)
    letters = "ABCGabn0123456789/'#% .,|-"
    for page, subtask, text in analyses[::3]:
        broken = list(text)
        for _ in range(rng.randrange(1, 9)):
            broken[rng.randrange(len(broken))] = rng.choice(letters)
        judge(answer("".join(broken), text, page, subtask))


def test_every_true_value_is_claimed_by_some_sentence(analyses):
    """So that no fact is computed that no answer can be checked on."""
    names = {
        name for _, _, text in analyses for s in sentences(text) for name, _ in claims(s) or ()
    }
    assert set(checked._TRUE) - names == set()
