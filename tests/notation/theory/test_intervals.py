"""Names of intervals against music21's, and degrees of scales."""

import itertools

from music21 import interval, note

from nota_jax.notation.theory.intervals import (
    degree,
    interval_name,
    note_called,
    note_name,
    pitch_class,
)
from nota_jax.notation.tune import STEPS, Key, Note


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


def test_degrees_of_modes():
    assert degree(Note("G", 4), Key("D", "dorian")) == 4
    assert degree(Note("B", 4, -1), Key("D", "minor")) == 6
    assert degree(Note("C", 4, 1), Key("D", "minor")) is None


def test_a_note_is_found_by_its_name():
    assert note_called("Bb", 3) == Note("B", 3, -1)
    assert [pitch_class(note_called(name)) for name in ("C", "F##", "Ebb")] == ["C", "F##", "Ebb"]
    assert note_name(note_called("F#")) == "F#4"
