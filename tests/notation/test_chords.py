"""Chord symbols: which texts are some, and how their note names move."""

from __future__ import annotations

import time

import pytest

from nota_jax.notation import chords
from nota_jax.notation.abc import canonical, parse, write
from nota_jax.notation.transpose import (
    UNISON,
    Interval,
    TransposeError,
    move_chord_symbol,
    transpose,
    transpositions,
)

SECOND, OCTAVE = Interval(1, 2), Interval(7, 12)
UNDERSTOOD = (
    "A Am7 B♭ Bb C° Cø7 G/b D/f+ F#m7b5/C Bbmaj7 BMa7 (G7) (D/F#) Gsus4 G(Em) G/Em C6/9 C7(b9,#11) "
    "Cm(maj7) Am7-5 C+ C7+ E♭m C♯m7♭5/g♯ CΔ7 Co7 C-7 CmM7 Dadd9 Aaug Bdim7 C7alt C^7 C/E/G"
).split()
WORDS = "Fine D.C. D.S. Coda Bis Com Dom Bomb DC DS End BREAK DANCE Fermat:a Cronan. 2nd p".split()
LOOK_LIKE_CHORDS = "Cfoo7 G7. C7/x Bbx9 Am7/h".split()


def tune(text: str) -> str:
    return f"X:1\nM:4/4\nL:1/8\nK:C\n{text}\n"


@pytest.mark.parametrize("word", UNDERSTOOD)
def test_the_common_spellings_are_understood(word):
    assert chords.is_understood(word) and chords.are_chords(word)


@pytest.mark.parametrize("word", WORDS)
def test_words_are_no_chords(word):
    assert not chords.are_chords(word)


@pytest.mark.parametrize("word", LOOK_LIKE_CHORDS)
def test_what_looks_like_a_chord_is_one_that_is_not_understood(word):
    assert chords.are_chords(word) and not chords.is_understood(word)


@pytest.mark.parametrize(
    ("symbol", "moved"),
    [
        ("C°", "D°"), ("B♭", "C"), ("A♭maj7", "B♭maj7"), ("Cø7", "Dø7"), ("G/b", "A/c#"),
        ("D/f+", "E/g#"), ("G(Em)", "A(F#m)"), ("C/E/G", "D/F#/A"), ("C♯m7♭5/g♯", "D♯m7♭5/a♯"),
        ("C7(b9,#11)", "D7(b9,#11)"), ("Ebm7-5", "Fm7-5"), ("C Am", "D Bm"),
    ],
)  # fmt: skip
def test_every_note_name_of_a_symbol_moves_and_nothing_else(symbol, moved):
    assert move_chord_symbol(symbol, SECOND) == moved


def test_a_symbol_that_is_not_understood_moves_by_octaves_only():
    music = parse(tune('"Cfoo7"c4 "Am"e4|]'))
    assert [event.chord_symbol for event in music.events] == ["Cfoo7", "Am"]
    with pytest.raises(TransposeError, match="chord symbol 'Cfoo7' is not understood"):
        transpose(music, SECOND)
    assert '"Cfoo7"' in write(transpose(music, -OCTAVE))
    assert {interval.fifths for interval in transpositions(music)} == {0}
    assert len(transpositions(parse(tune('"C7"c4 "Am"e4|]')))) > 5


def test_a_text_above_is_no_chord_symbol_and_stays():
    music = parse(tune('"^Cfoo7"c4 "Fine"e4|]'))
    assert [event.annotations for event in music.events] == [("^Cfoo7",), ("^Fine",)]
    assert transpose(music, UNISON) == music
    assert '"^Cfoo7"' in write(transpose(music, SECOND))


@pytest.mark.parametrize("texts", ['"F""Bb"', '"F Bb"', '"F"  "Bb"'])
def test_two_symbols_on_one_note_are_their_own_canonical_text_and_both_move(texts):
    text = canonical(tune(texts + 'A4 "C"G4|]'))
    assert canonical(text) == text
    assert '"G C"B2 "D"A2' in write(transpose(parse(text), SECOND))


def test_a_long_text_costs_no_time():
    began = time.process_time()
    for text in ("C" + "-5" * 5000 + "x", "C" + "1" * 9000 + "x", "(" * 9000, "A" * 9000):
        assert not chords.are_chords(text)
    assert time.process_time() - began < 1
