"""The melody of a tune, and the hash that finds it again in another key or notation."""

from fractions import Fraction

import pytest

from nota_jax.notation import abc
from nota_jax.notation.theory.melody import melody, melody_hash


def tune(body, meter="4/4", key="C", unit="1/8"):
    return abc.parse(f"X:1\nM:{meter}\nL:{unit}\nK:{key}\n{body}\n")


def test_ties_make_one_melody_note_and_chords_count_by_their_highest():
    tones = melody(tune("C2-|C2 [EGc]2 z2 C2|]"))
    assert [(t.note.midi, t.duration) for t in tones] == [
        (60, Fraction(1, 2)), (72, Fraction(1, 4)), (60, Fraction(1, 4)),
    ]  # fmt: skip


def test_what_only_goes_on_sounding_is_no_new_note_of_the_melody():
    assert [t.note.midi for t in melody(tune("[C2-E2] C2 D2|]"))] == [64, 62]
    assert [t.note.midi for t in melody(tune("[C2E2-] [E2G2] D2|]"))] == [64, 67, 62]


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


def test_tunes_without_notes_hash_alike():
    assert melody_hash(tune("z4|]")) == melody_hash(tune("z8|z8|]"))
