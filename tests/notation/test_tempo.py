"""Tempo marks, from `Q:` and back."""

from __future__ import annotations

from fractions import Fraction

import pytest

from nota_jax.errors import UserError
from nota_jax.notation.abc import canonical, parse
from nota_jax.notation.tempo import Tempo


def tempo(field: str, unit: str = "1/8") -> Tempo | None:
    return parse(f"X:1\nQ:{field}\nL:{unit}\nK:C\nc8|]").tempo


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("1/4=120", Tempo("", (Fraction(1, 4),), 120)),
        ('3/8 = 060 "Not  too fast"', Tempo("Not too fast", (Fraction(3, 8),), 60)),
        ("1/4 1/8=72", Tempo("", (Fraction(1, 4), Fraction(1, 8)), 72)),
        ('"Slow"', Tempo("Slow")),
        ("80", Tempo("", (Fraction(1, 8),), 80)),
        ("C=80", Tempo("", (Fraction(1, 8),), 80)),
        ("C3=40", Tempo("", (Fraction(3, 8),), 40)),
        ("1/4=ca. 80", Tempo("", (Fraction(1, 4),), 80)),
        ("1/4=112.5", Tempo("", (Fraction(1, 4),), 113)),
        ("Quick", Tempo("Quick")),
        ("Andante 1/4=72", Tempo("Andante", (Fraction(1, 4),), 72)),
        ("Allegro (1/4=120)", Tempo("Allegro", (Fraction(1, 4),), 120)),
        ("1/4=120-132", Tempo("1/4=120-132")),
        (r'"Dol\u00e7e, 50\% &amp; up"', Tempo("Dolçe, 50% & up")),
        ("", None),
        ('""', None),
    ],
)
def test_a_tempo_has_words_beats_and_a_rate(field, expected):
    assert tempo(field) == expected


def test_a_number_alone_counts_unit_notes_whatever_stands_first():
    assert tempo("80", unit="1/4") == Tempo("", (Fraction(1, 4),), 80)


@pytest.mark.parametrize("field", ["1/4=", "=80", "0/4=80", "1/0=80", "1/4=12345"])
def test_what_is_no_tempo_is_refused_with_its_place(field):
    with pytest.raises(UserError, match=r"line 2, column 3: Q:.* is no tempo; write it as"):
        tempo(field)


def test_two_spellings_of_one_beat_have_one_canonical_text():
    header = "X:1\nQ:{}\nM:4/4\nL:1/4\nK:C\nc4|]\n"
    assert canonical(header.format('2/4=60 "Slow"')) == canonical(header.format('"Slow"1/2=60'))
    assert '\nQ:"Slow" 1/2=60\n' in canonical(header.format('2/4=60 "Slow"'))
