"""The canonical text of a tune."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from nota_jax.notation.abc import canonical, parse, unit_note_length, write, write_body

# A first line of eighths, so that the unit is an eighth whatever follows.
FIRST_LINE = "ABcdefgabagfedcBA||\n"


def spelled(code: str) -> str:
    """The canonical spelling of some music in eighths."""
    text = write_body(parse(f"X:1\nM:4/4\nL:1/8\nK:C\n{FIRST_LINE}{code}"))
    assert text.startswith(FIRST_LINE)
    return text.removeprefix(FIRST_LINE)


def test_the_header_is_in_order_and_holds_what_is_drawn():
    text = canonical(
        'X:42\nO:Ireland\nC:N.N.\nT:One\nR:jig\nT:Two % not this\nQ:"Slow"\nM:C|\nZ:someone\n'
        "L:1/16\nK:E minor\nE8|"
    )
    assert text == 'X:1\nT:One\nT:Two\nC:N.N.\nM:C|\nL:1/4\nQ:"Slow"\nK:Em\nE2|]\n'


@pytest.mark.parametrize(
    ("code", "unit"),
    [
        ("A2 B2|", Fraction(1, 4)),  # AB in quarters
        ("ABcd|", Fraction(1, 8)),
        ("A/B/c/d/|", Fraction(1, 16)),
        ("A2B|", Fraction(1, 4)),  # "AB/" is as short as "A2B"
        ("z8|", Fraction(1, 4)),
    ],
)
def test_the_unit_is_the_one_of_the_shortest_body_and_the_longer_on_a_tie(code, unit):
    assert unit_note_length(parse(f"X:1\nL:1/8\nK:C\n{code}")) == unit


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("A>B c<d|", "A3/B/ c/d3/|]"),
        ("A1 B2/2 c/2d/2|", "A B c/d/|]"),
        ("A - A-|A|", "A- A-|A|]"),
        ("(3:2:3abc (3::2a2b|", "(3abc (3::2a2 b|]"),
        ("((3abc)|", "(3(abc)|]"),
        ("{/gf}A{B}c {d}e|", "{/gf}A{B}c {d}e|]"),
        ("[G2E2C2] [CE-]2[CE]|", "[CEG]2 [CE-]2 [CE]|]"),
        ('!trill!"_x""C".A|', '"C""_x".TA|]'),
        ("A8|x8|Z|", "A8|Z|]"),
        ("AB zA|", "AB z A|]"),
        ("A B\\\nc d |e", "A B c d|e|]"),
        ("|: AB :||: cd :|", "|:AB::cd:|"),
        ("AB |1 c :|2 d ||[1 e", "AB|1 c:|2 d||[1 e|]"),
        ("A2|\n|:B2:|\n[2c2", "A2|\n|:B2:|\n[2 c2|]"),
        ("A2|[K:G][M:3/4]B2 c2|", "A2|[K:G] [M:3/4] B2 c2|]"),
        ("AB c2|\nw:Hel-lo you\nde|", "AB c2|\nw:Hel-lo you\nde|]"),
    ],
)
def test_canonical_spelling(code, expected):
    assert spelled(code) == expected


def test_a_region_is_written_in_the_unit_of_its_tune():
    tune = parse("X:1\nM:6/8\nL:1/8\nK:C\n(4abcd a2|A>B|:c2|1 d2 [M:4/4]:|2 (4abcd|e2||")
    assert write_body(tune, range(1, 3)) == "A3/B/|:c2|"
    assert write_body(tune, range(3, 5)) == "[1 d2 [M:4/4]:|2 (4abcd|"
    assert write_body(tune, range(5, 6)) == "e2||"
    assert write_body(tune, range(0)) == ""


def test_canonical_text_is_its_own_canonical_text():
    text = canonical("X:3\nT:A  tune\nM:C\nK:D\n|: d>e (3fed|A2 :|\\\n[2 d4|]")
    assert text == "X:1\nT:A tune\nM:C\nL:1/8\nK:D\n|:d3/e/ (3fed|A2:|2 d4|]\n"
    assert canonical(text) == text


@pytest.mark.parametrize(
    "first", ["[{}C-{}C]", "[{}C{}C-]", "[{}C-{}C-]", "[{}C{}C]-", "[{}C{}C]5-"]
)
@pytest.mark.parametrize("second", ["[{}C{}C]", "[{}C{}C]-[CC]", "[{}C{}C-]C", "[{}C-{}C][CC]"])
def test_two_heads_on_one_step_and_their_ties_are_read_back_as_they_were_written(first, second):
    for signs in itertools.product(("", "_", "="), repeat=4):
        tune = parse(f"K:F\n{first.format(*signs[:2])}{second.format(*signs[2:])}C|\n")
        assert parse(write(tune)).bars == tune.bars, signs
