"""Facts against tunes built by hand, and against music21's independent arithmetic."""

import itertools
from fractions import Fraction

import pytest
from music21 import interval, note

from nota_jax.errors import UserError
from nota_jax.notation import abc
from nota_jax.notation.theory.facts import (
    beat,
    degree,
    facts,
    interval_name,
    melody,
    melody_hash,
    note_name,
)
from nota_jax.notation.tune import STEPS, Key, Meter, Note


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


def test_ties_make_one_melody_note_and_chords_count_by_their_highest():
    tones = melody(tune("C2-|C2 [EGc]2 z2 C2|]"))
    assert [(t.note.midi, t.duration) for t in tones] == [
        (60, Fraction(1, 2)), (72, Fraction(1, 4)), (60, Fraction(1, 4)),
    ]  # fmt: skip


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


def test_degrees_of_modes():
    assert degree(Note("G", 4), Key("D", "dorian")) == 4
    assert degree(Note("B", 4, -1), Key("D", "minor")) == 6
    assert degree(Note("C", 4, 1), Key("D", "minor")) is None


def test_pitch_classes_run_upwards_from_the_tonic():
    f = facts(tune("cBAG|FED2|]", key="G"))
    assert f.pitch_classes == ("G", "A", "B", "C", "D", "E", "F#")
    assert not f.pentatonic
    assert facts(tune("CDEG|A2c2|]")).pentatonic
    assert not facts(tune("CDEF|G2c2|]")).pentatonic


def test_interval_names_are_music21s():
    low = [Note(step, 4, alter) for step in STEPS for alter in (-1, 0, 1)]
    high = [
        Note(step, octave, alter) for step in STEPS for octave in (4, 5) for alter in (-1, 0, 1)
    ]
    compared = 0
    for one, other in itertools.product(low, high):
        if one.midi > other.midi or one.diatonic > other.diatonic:
            continue
        theirs = interval.Interval(note.Note(_music21(one)), note.Note(_music21(other)))
        ours = interval_name(one, other)
        if "interval" in ours:  # doubly augmented and the like have no everyday name
            assert theirs.niceName.startswith(("Doubly", "Triply"))
            continue
        names = {"octave": "perfect octave", "unison": "perfect unison"}
        name = theirs.niceName.lower().replace("double-octave", "fifteenth")
        assert ours == names.get(name, name)
        compared += 1
    assert compared > 500


def _music21(n):
    return n.step + "#" * max(n.alter, 0) + "-" * max(-n.alter, 0) + str(n.octave)


def test_the_hash_ignores_key_unit_and_note_values():
    same = [
        tune("G2|c2 e2 dc B2|c6|]"),
        tune("D2|G2 B2 AG F2|G6|]", key="G"),
        tune("G2|c2 e2 dc B2|c6|]", unit="1/4", meter="4/2"),
        tune("G|c e d/c/ B|c3|]", unit="1/4"),
        tune("G2|c2 e2 dc B2|c2|]"),  # the last note's length
        tune("Gz|c2 e2 dc Bz|c6|]"),  # rests instead of held notes
        tune("{a}G2|c2 [ce]2 dc B2|c6|]"),
    ]
    assert len({melody_hash(t) for t in same}) == 1


@pytest.mark.parametrize(
    "body",
    ["G2|c2 e2 dc A2|c6|]", "G2|c2 e2 d>c B2|c6|]", "G2|c2 e2 dc B2|]", "G2|c4 dc B2|c6|]"],
)
def test_the_hash_tells_other_melodies_apart(body):
    assert melody_hash(tune(body)) != melody_hash(tune("G2|c2 e2 dc B2|c6|]"))


def test_a_tune_without_notes_is_refused_with_a_sentence():
    with pytest.raises(UserError, match="has no notes"):
        facts(tune("z4|]"))
    assert melody_hash(tune("z4|]")) == melody_hash(tune("z8|z8|]"))
