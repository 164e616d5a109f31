"""Facts against tunes built by hand."""

from fractions import Fraction

import pytest

from nota_jax.errors import UserError
from nota_jax.notation import abc
from nota_jax.notation.theory.facts import beat, facts
from nota_jax.notation.theory.intervals import note_name
from nota_jax.notation.tune import Meter


def tune(body, meter="4/4", key="C", unit="1/8"):
    return abc.parse(f"X:1\nM:{meter}\nL:{unit}\nK:{key}\n{body}\n")


TUNE = "G2|c2 e2 d>c B2|(3cde c2- c2 z2|G2 ^F2 G4|c6|]"


def test_range_and_pickup_of_a_known_tune():
    f = facts(tune(TUNE))
    assert (note_name(f.lowest), note_name(f.highest)) == ("F#4", "E5")
    assert (f.pickup, f.n_bars) == (Fraction(1, 4), 4)
    assert (f.lowest_bar, f.highest_bar) == (3, 1)
    assert (note_name(f.first), note_name(f.last)) == ("G4", "C5")


def test_motion_of_a_known_tune():
    f = facts(tune("C D D F c B ^B|]", meter="none"))
    assert (f.steps, f.leaps, f.repeated) == (3, 2, 1)
    assert (note_name(f.widest.first), note_name(f.widest.second)) == ("F4", "C5")
    assert facts(tune("C C C|]")).widest is None


def test_rhythm_of_a_known_tune():
    f = facts(tune(TUNE))
    assert dict(f.durations) == {
        Fraction(1, 4): 8, Fraction(1, 8): 3, Fraction(3, 16): 1, Fraction(1, 16): 1,
        Fraction(1, 2): 1, Fraction(3, 4): 1,
    }  # fmt: skip
    assert f.durations[0] == (Fraction(1, 4), 8)
    assert (f.tuplets, f.n_rests, f.drawn_accidentals) == (((3, 1),), 1, 1)


@pytest.mark.parametrize(
    ("body", "meter", "count"),
    [
        ("A B2 c d2 e2|]", "4/4", 1),
        ("A2 B2 c3 d|]", "4/4", 0),
        ("A2 B2 c2|]", "6/8", 1),
        ("A2 B c2 d|]", "6/8", 0),
        ("A3 B-|B4|]", "2/4", 1),
        ("A|B2 c2|d3|]", "2/4", 0),  # the pick-up is the end of a bar
        ("A3 B|]", "none", None),
        ("A4 B4|]", "2/4", None),  # overfull
        ("A3|B2 c2|]", "2/4", 1),  # a pick-up of three: its note crosses a beat
    ],
)
def test_syncopations_are_notes_from_off_the_beat_over_the_next_beat(body, meter, count):
    assert facts(tune(body, meter)).syncopations == count


@pytest.mark.parametrize(
    ("meter", "length"),
    [("4/4", "1/4"), ("C", "1/4"), ("C|", "1/2"), ("6/8", "3/8"), ("3/8", "1/8"), ("3/4", "1/4"),
     ("12/8", "3/8"), ("6/4", "1/4"), ("2+3/8", None), ("none", None)],
)  # fmt: skip
def test_beats_of_meters(meter, length):
    assert beat(Meter(meter)) == (Fraction(length) if length else None)


@pytest.mark.parametrize(
    ("body", "contour"),
    [("CEG|]", "ascending"), ("cGC|]", "descending"), ("CcC|]", "convex"), ("cCc|]", "concave"),
     ("CCC|]", "horizontal"), ("Cc c|]", "ascending-horizontal"), ("CCc|]", "horizontal-ascending"),
     ("cC C|]", "descending-horizontal"), ("ccC|]", "horizontal-descending")],
)  # fmt: skip
def test_contour_follows_huron(body, contour):
    assert facts(tune(body)).contour == contour


def test_final_degree_is_measured_in_the_key_in_force():
    assert facts(tune("CDEF|GABc|]")).final_degree == 1
    assert facts(tune("CDEF|[K:G]GABc|]")).final_degree == 4
    assert facts(tune("CDEF|GAB^c|]")).final_degree is None
    assert facts(tune("CDEF|]", key="none")).final_degree is None


def test_a_key_drawn_behind_the_last_note_counts_for_the_next_bar():
    f = facts(tune("CDEF[K:G]|GABc|]"))
    assert [(i, key.tonic) for i, key in f.key_changes] == [(1, "G")]


def test_pitch_classes_run_upwards_from_the_tonic():
    f = facts(tune("cBAG|FED2|]", key="G"))
    assert f.pitch_classes == ("G", "A", "B", "C", "D", "E", "F#")
    assert not f.pentatonic
    assert facts(tune("CDEG|A2c2|]")).pentatonic
    assert not facts(tune("CDEF|G2c2|]")).pentatonic


def test_a_tune_without_notes_is_refused_with_a_sentence():
    with pytest.raises(UserError, match="has no notes"):
        facts(tune("z4|]"))
