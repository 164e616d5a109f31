"""The texts of a page's parts make the text of the page."""

import dataclasses

import pytest

from nota_jax.notation import abc
from nota_jax.notation.tune import Meter
from nota_jax.read import joining

TUNE = """X:1
T:A Tune
C:Somebody
M:6/8
L:1/8
K:G
|:GAB cde|g2f edc|
B3- B2A|(3GAB c2 d2 d|
GAB c2d|e6:|
"""


def part(bars, header=True):
    """What a reader of these bars alone would write: the meter is not drawn again."""
    tune = abc.parse(TUNE)
    first = bars.start == 0
    return abc.write(
        dataclasses.replace(
            tune,
            titles=tune.titles if first else (),
            composer=tune.composer if first else "",
            meter=tune.meter if first else Meter("none"),
            bars=tune.bars[bars.start : bars.stop],
        )
    ).strip()


def whole():
    return abc.write(abc.parse(TUNE))


def test_a_page_read_system_by_system_is_the_page():
    parts = [part(range(0, 2)), part(range(2, 4)), part(range(4, 6))]
    assert joining.join(parts, [(0,), (1,), (2,)]) == (whole(), [])


def test_two_systems_in_one_part_keep_their_lines():
    parts = [part(range(0, 4)), part(range(4, 6))]
    assert joining.join(parts, [(0, 1), (2,)]) == (whole(), [])


def test_a_system_that_was_cut_is_one_line_again():
    parts = [part(range(0, 1)), part(range(1, 3)), part(range(3, 6))]
    text, notes = joining.join(parts, [(0,), (0, 1), (1, 2)])
    assert not notes
    assert abc.parse(text).bars == abc.parse(whole()).bars or text.count("\n") <= 9


@pytest.mark.parametrize("broken", [0, 1])
def test_a_part_that_is_no_abc_is_named_and_nothing_is_lost(broken):
    parts = [part(range(0, 2)), part(range(2, 6))]
    parts[broken] += " [CE"
    text, notes = joining.join(parts, [(0,), (1, 2)])
    assert len(notes) == 1 and f"part {broken + 1} of 2" in notes[0]
    assert "GAB cde" in text and "e6" in text
    assert text.count("K:G") == 1


def test_another_unit_note_length_in_a_part_changes_no_note():
    tune = abc.parse(TUNE)
    long = dataclasses.replace(
        tune, titles=(), composer="", meter=Meter("none"), bars=tune.bars[5:6]
    )
    text = abc.write(long).strip()
    assert "L:1/4" in text  # a dotted half alone is shorter so
    joined, _ = joining.join([part(range(0, 5)), text], [(0, 1, 2), (2,)])
    assert [bar.duration for bar in abc.parse(joined).bars] == [b.duration for b in tune.bars]


def test_a_part_that_was_cut_off_in_its_header_is_named_and_left_out():
    parts = [part(range(0, 2)), "X:1\nT:a title that does not end", part(range(2, 6))]
    text, notes = joining.join(parts, [(0,), (1,), (1, 2)])
    assert len(notes) == 1 and "part 2 of 3" in notes[0]
    assert abc.parse(text).bars[:2] == abc.parse(whole()).bars[:2] and text.count("X:") == 1
