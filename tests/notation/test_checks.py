"""What the checks report, and what they let pass."""

from __future__ import annotations

import pytest

from nota_jax.notation.abc import check, parse


def problems(body: str, meter: str = "3/4") -> list[tuple[str, int]]:
    tune = parse(f"X:1\nM:{meter}\nL:1/4\nK:C\n{body}")
    return [(problem.kind, problem.bar) for problem in check(tune)]


@pytest.mark.parametrize(
    "body",
    [
        "ABc|ABc|]",
        "A|ABc|AB|]",  # a pick-up and its complement
        "A|ABc|AB:|A|ABc|AB:|",  # bars at repeats
        "A|ABc|AB||A|ABc|AB||",  # sections with pick-ups of their own
        "|:AB|1 A:|2 c|ABc|]",
        "(3ABc d|ABc|]",
        "Z|ABc|]",
        "ABc|[M:2/4]AB|AB|[M:3/4]ABc|]",
        "ABc|[K:G][M:2/4]AB|AB|[M:3/4][K:C]ABc|]",
        "ABc|A[M:2/4]BcAB|AB|]",  # a meter that changes inside says no length for this bar
        "ABc|ABc[M:2/4]|AB|]",  # behind the last note it is the next bar's
        "ABc-|cBA-|1 ABc-:|2 ABc|]",
        "[CE]-[C2E]|ABc|]",
    ],
)
def test_sound_tunes_pass(body):
    assert problems(body) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("ABc|ABcd|ABc|]", [("bar length", 1)]),
        ("ABc|AB|ABc|]", [("bar length", 1)]),
        ("ABcd|ABc|]", [("bar length", 0)]),
        ("ABc|ABc|AB|]", [("bar length", 2)]),  # the last bar is short, and there is no pick-up
        ("A|ABc|A|]", [("bar length", 2)]),  # it does not complete the pick-up
        ("ABc|[M:2/4]ABc|AB|]", [("bar length", 1)]),
        ("ABc|[K:G][M:2/4]ABc|AB|]", [("bar length", 1)]),
        ("ABc|[M:2/4][K:G]ABc|AB|]", [("bar length", 1)]),
        ("ABc|ABcd[M:2/4]|AB|]", [("bar length", 1)]),
        ("ABc-|zAB|]", [("tie", 0)]),
        ("AB[C-c-]|C AB|]", [("tie", 0)]),
        ("ABc-|]", [("tie", 0)]),
        ("|:ABc|:ABc:|", [("repeat", 0)]),
        ("ABc:|:ABc|]", [("repeat", 1)]),
        ("ABc|2 ABc|]", [("repeat", 1)]),
    ],
)
def test_what_is_wrong_is_reported_with_its_bar(body, expected):
    assert problems(body) == expected


def test_a_free_meter_has_no_bar_lengths():
    assert problems("A|ABcdef|AB|]", meter="none") == []


def test_a_problem_says_where_and_what():
    (problem,) = check(parse("X:1\nM:3/4\nL:1/4\nK:C\nABc|ABcd|ABc|]"))
    assert str(problem) == "bar 2: 1 of a whole note in a bar of 3/4 (3/4)"
