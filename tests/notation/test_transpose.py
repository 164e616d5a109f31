"""Transposition: the same tune for the ear, the same signs on the page, and back again."""

import dataclasses
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from music21 import interval as m21_interval
from music21 import note as m21_note

from nota_jax.notation import abc
from nota_jax.notation.theory.melody import melody_hash
from nota_jax.notation.transpose import (
    UNISON,
    Interval,
    TransposeError,
    move_chord_symbol,
    transpose,
    transpositions,
)
from nota_jax.notation.tune import (
    MODES,
    STEPS,
    Bar,
    Event,
    Grace,
    Key,
    Meter,
    Note,
    Tune,
)
from nota_jax.notation.walk import sounding_notes

SECOND, FIFTH, OCTAVE = Interval(1, 2), Interval(4, 7), Interval(7, 12)
SCORE = """X:1
T:In D
M:4/4
L:1/8
K:D
"D"{c}d2 f2 "A7/C#"^ga =f2|[K:Em]"Em"e2 [^CEG]2 ^d2- d2|"^loud""Fine"e8|]
"""


@st.composite
def keys(draw):
    tonic = draw(st.sampled_from(STEPS)) + draw(st.sampled_from(["", "#", "b"]))
    key = Key(tonic, draw(st.sampled_from(sorted(MODES))))
    assume(abs(key.fifths) <= 7)
    return key


@st.composite
def tunes(draw):
    """Notes altered by the key or by a drawn sign, ties, chords, graces, keys on the way."""
    key = draw(keys())

    def note(tie=False):
        step, octave = draw(st.sampled_from(STEPS)), draw(st.integers(3, 5))
        alter = drawn = draw(st.sampled_from([None, None, None, -1, 0, 1]))
        if drawn is None:
            alter = now.alters[step]
        return Note(step, octave, alter, drawn, tie)

    bars, now = [], key
    for _ in range(draw(st.integers(1, 4))):
        items = []
        if draw(st.booleans()):
            now = draw(keys())
            items.append(now)
        for _ in range(draw(st.integers(1, 5))):
            first = note(tie=draw(st.booleans()))
            heads = [first, *(note() for _ in range(draw(st.integers(0, 1))))]
            graces = tuple((note(), Fraction(1, 16)) for _ in range(draw(st.integers(0, 2))))
            symbol = draw(st.sampled_from(["", "Am", "Bb7/D", "F#m7b5", "Fine"]))
            items.append(
                Event(
                    tuple({n.diatonic: n for n in heads}.values()),
                    draw(st.sampled_from([Fraction(1, 8), Fraction(3, 8)])),
                    grace=Grace(graces) if graces else None,
                    chord_symbol=symbol,
                )
            )
        bars.append(Bar(tuple(items)))
    return Tune(key=key, meter=Meter("none"), bars=tuple(bars))


# So many fifths up, so many octaves down: every interval whose signature may exist.
intervals = st.builds(
    lambda fifths, octaves: Interval(4 * fifths - 7 * octaves, 7 * fifths - 12 * octaves),
    st.integers(-7, 7),
    st.integers(-2, 2),
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(tunes(), intervals)
def test_a_transposed_tune_sounds_shifted_and_comes_back_equal(tune, interval):
    try:
        moved = transpose(tune, interval)
    except TransposeError:
        assume(False)
    assert melody_hash(moved) == melody_hash(tune)
    assert sounding_notes(moved) == [
        dataclasses.replace(n, midi=n.midi + interval.semitones) for n in sounding_notes(tune)
    ]
    assert transpose(moved, -interval) == tune


@settings(max_examples=100, deadline=None, derandomize=True)
@given(tunes(), intervals)
def test_signs_are_drawn_where_they_were_and_the_key_explains_the_rest(tune, interval):
    try:
        moved = transpose(tune, interval)
    except TransposeError:
        assume(False)
    key = moved.key
    for bar, old_bar in zip(moved.bars, tune.bars, strict=True):
        for item, old in zip(bar.items, old_bar.items, strict=True):
            if isinstance(item, Key):
                key = item
                continue
            for note, old_note in zip(item.notes, old.notes, strict=True):
                assert (note.accidental is None) == (old_note.accidental is None)
                sign = key.alters[note.step] if note.accidental is None else note.accidental
                assert note.alter == sign
                assert note.diatonic == old_note.diatonic + interval.steps


@settings(max_examples=50, deadline=None, derandomize=True)
@given(tunes())
def test_offered_transpositions_stay_on_the_staff_and_within_five_signs(tune):
    offered = transpositions(tune)
    assert offered[0] == UNISON and len(set(offered)) == len(offered)
    had_doubles = any(abs(n.alter) > 1 for e in tune.events for n in e.notes)
    for interval in offered[1:]:
        moved = transpose(tune, interval)
        keys = [moved.key, *(i for bar in moved.bars for i in bar.items if isinstance(i, Key))]
        assert all(abs(key.fifths) <= 5 for key in keys)
        notes = [n for event in moved.events for n in event.notes]
        assert all(Note("A", 3).diatonic <= n.diatonic <= Note("C", 6).diatonic for n in notes)
        assert had_doubles or all(abs(n.alter) <= 1 for n in notes)


def test_a_score_in_d_moves_to_e_with_its_graces_keys_chords_and_symbols():
    moved = transpose(abc.parse(SCORE), SECOND)
    assert abc.write(moved) == abc.write(
        abc.parse(
            """X:1
T:In D
M:4/4
L:1/8
K:E
"E"{d}e2 g2 "B7/D#"^ab =g2|[K:F#m]"F#m"f2 [^DFA]2 ^e2- e2|"^loud""Fine"f8|]
"""
        )
    )


def test_a_natural_becomes_the_sign_that_the_new_key_needs():
    tune = abc.parse("X:1\nM:4/4\nL:1/8\nK:D\n=c8|]\n")
    assert "_e4" in abc.write(transpose(tune, Interval(2, 3)))  # in F: D's C natural is E flat


def test_notes_move_as_music21_moves_them():
    for interval, name in [(SECOND, "M2"), (Interval(2, 3), "m3"), (FIFTH, "P5"), (-SECOND, "M-2")]:
        for step in STEPS:
            tune = Tune(key=Key("C"), bars=(Bar((Event((Note(step, 4),)),)),))
            ours = next(transpose(tune, interval).events).notes[0]
            theirs = m21_note.Note(step + "4").transpose(m21_interval.Interval(name))
            assert (ours.step, ours.octave, ours.midi) == (
                theirs.step, theirs.octave, theirs.pitch.midi,
            )  # fmt: skip


@pytest.mark.parametrize(
    ("symbol", "moved"),
    [("Am", "Bm"), ("F#m7b5/C", "G#m7b5/D"), ("Bbmaj7", "Cmaj7"), ("(G7)", "(A7)"),
     ("(D/F#)", "(E/G#)"), ("Gsus4", "Asus4"), ("Fine", "Fine"), ("D.C.", "D.C."), ("", "")],
)  # fmt: skip
def test_chord_symbols_move_and_words_stay(symbol, moved):
    assert move_chord_symbol(symbol, SECOND) == moved
    assert move_chord_symbol(moved, -SECOND) == symbol


def test_a_tune_without_signature_moves_by_octaves_only():
    tune = abc.parse("X:1\nM:4/4\nL:1/8\nK:none\n^c8|]\n")
    with pytest.raises(TransposeError, match="K:none"):
        transpose(tune, SECOND)
    assert "^C4" in abc.write(transpose(tune, -OCTAVE))
    assert set(transpositions(tune)) == {UNISON, OCTAVE, -OCTAVE}


def test_keys_beyond_seven_signs_are_refused():
    tune = abc.parse("X:1\nM:4/4\nL:1/8\nK:E\ne8|]\n")
    with pytest.raises(TransposeError, match="G# major would need 8 sharps"):
        transpose(tune, Interval(2, 4))


def test_triple_sharps_are_refused():
    tune = abc.parse("X:1\nM:4/4\nL:1/8\nK:C\n^^e8|]\n")
    with pytest.raises(TransposeError, match="F4 would need 3|G5 would need 3"):
        transpose(tune, Interval(2, 4))


def test_a_tune_that_is_wide_already_keeps_its_own_key():
    tune = abc.parse("X:1\nM:4/4\nL:1/8\nK:C\nC,,4 c'''4|]\n")
    assert transpositions(tune) == (UNISON,)
