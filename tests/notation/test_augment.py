"""Notes twice as long: the same music, in another meter."""

from fractions import Fraction

import pytest
from hypothesis import given

from nota_jax.notation import abc
from nota_jax.notation.augment import LONGEST, augmented
from nota_jax.notation.checks import check
from nota_jax.notation.engraving.layout import Style, engrave
from tests.notation.tune_strategies import tunes

POLKA = """X:1
T:Polka
M:2/4
L:1/8
Q:1/4=112
K:G
GABc {a}(3def g2|"G"z2 dB/A/|[M:3/8]Z|(d e)-|[M:2/4][K:D]e>d [cA]2:|
"""
DOUBLED = """X:1
T:Polka
M:2/2
L:1/4
Q:1/2=112
K:G
G A B c {a}(3d e f g2|"G"z2 d B/A/|[M:3/4]Z|(d e-)|[M:2/2][K:D]e3/2 d/ [cA]2:|
"""


def written(text: str) -> str:
    return abc.write(abc.parse(text))


def test_quarters_stand_where_eighths_did():
    assert abc.write(augmented(abc.parse(POLKA))) == written(DOUBLED)


def test_sixteenths_become_beamed_eighths():
    doubled = augmented(abc.parse("X:1\nM:2/4\nL:1/16\nK:C\nCDEF G2AB|c4 c2BA|G8|]\n"))
    assert abc.write(doubled) == written("X:1\nM:2/2\nL:1/8\nK:C\nCDEF G2 AB|c4 c2 BA|G8|]\n")


@pytest.mark.parametrize(
    ("meter", "twice"),
    [
        ("C", "4/2"),
        ("C|", "4/2"),
        ("6/8", "6/4"),
        ("2+3/8", "2+3/4"),
        ("none", "none"),
        ("4/1", ""),
    ],
)
def test_a_meters_beats_are_twice_as_long(meter, twice):
    doubled = augmented(abc.parse(f"X:1\nM:{meter}\nL:1/8\nK:C\nC\n"))
    assert (doubled.meter.text if doubled else "") == twice


def test_a_note_too_long_is_left_alone():
    assert augmented(abc.parse("X:1\nM:4/4\nL:1/8\nK:C\nC6D2|]\n")) is not None
    assert augmented(abc.parse("X:1\nM:4/4\nL:1/8\nK:C\nC6D2|C8|]\n")) is None


@given(tunes())
def test_the_music_is_the_same_and_its_text_is_read_back(tune):
    doubled = augmented(tune)
    if doubled is None:
        assert any(2 * event.duration > LONGEST for event in tune.events)
        return
    assert [2 * bar.duration for bar in tune.bars] == [bar.duration for bar in doubled.bars]
    assert [e.notes for e in tune.events] == [e.notes for e in doubled.events]
    assert [(p.kind, p.bar) for p in check(tune)] == [(p.kind, p.bar) for p in check(doubled)]
    text = abc.write(doubled)
    assert written(text) == text


def test_its_page_is_proved():
    picture = engrave(augmented(abc.parse(POLKA)), Style(music_font="Leipzig"))
    assert picture.tune.meter.text == "2/2"
    assert min(e.duration for e in picture.tune.events) == Fraction(1, 8)
