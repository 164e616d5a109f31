"""Alignments small enough to be done by hand, and all of them against the plain algorithm."""

from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from nota_jax.evaluation import alignment
from nota_jax.evaluation.alignment import BarErrors, NoteErrors, compare_bars, compare_notes

E, Q = Fraction(1, 8), Fraction(1, 4)
TUNE = [(60, E), (62, E), (64, Q), (65, E)]


@pytest.mark.parametrize(
    ("read", "errors"),
    [
        (TUNE, NoteErrors(4, 0, 0, 0, 0, 0)),
        (TUNE[:1] + TUNE[2:], NoteErrors(3, 0, 0, 0, 1, 0)),  # those behind stay right
        ([*TUNE[:2], (72, E), *TUNE[2:]], NoteErrors(4, 0, 0, 0, 0, 1)),
        ([(60, E), (61, E), (64, Q), (65, E)], NoteErrors(3, 1, 0, 0, 0, 0)),
        ([(60, E), (62, Q), (64, Q), (65, E)], NoteErrors(3, 0, 1, 0, 0, 0)),
        ([(60, E), (61, Q), (64, Q), (65, E)], NoteErrors(3, 0, 0, 1, 0, 0)),
        ([], NoteErrors(0, 0, 0, 0, 4, 0)),
    ],
)
def test_each_kind_of_error(read, errors):
    assert compare_notes(TUNE, read) == errors


def test_the_alignment_says_which_note_is_which():
    read = [(60, E), (61, E), (72, E), (65, E)]  # a wrong pitch, the third another note altogether
    assert alignment.aligned(TUNE, read) == [(3, 3), (2, 2), (1, 1), (0, 0)]
    assert alignment.aligned(TUNE, TUNE[1:]) == [(3, 2), (2, 1), (1, 0), (0, None)]
    assert alignment.aligned([], TUNE[:2]) == [(None, 1), (None, 0)]
    others = ((60, E), (62, E), (60, Q), (62, Q))
    assert [alignment.difference((60, E), note) for note in others] == [0, 1, 2, 3]


def test_of_nothing_all_is_invented():
    assert compare_notes([], TUNE) == NoteErrors(0, 0, 0, 0, 0, 4)


def test_the_fast_table_is_the_plain_algorithm():
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = (
            [(int(p), [E, Q][r]) for p, r in rng.integers(0, [4, 2], (rng.integers(0, 9), 2))]
            for _ in range(2)
        )

        @cache
        def cost(i, j, a=a, b=b):
            if not i or not j:
                return alignment.GAP * (i + j)
            pitch, rhythm = (x != y for x, y in zip(a[i - 1], b[j - 1], strict=True))
            here = {(0, 0): 0, (1, 0): 4, (0, 1): 2, (1, 1): 5}[int(pitch), int(rhythm)]
            gaps = min(cost(i - 1, j), cost(i, j - 1)) + alignment.GAP
            return min(cost(i - 1, j - 1) + here, gaps)

        e = compare_notes(a, b)
        assert e.right + e.pitch + e.rhythm + e.both + e.missing == len(a)
        assert e.right + e.pitch + e.rhythm + e.both + e.invented == len(b)
        total = 4 * e.pitch + 2 * e.rhythm + 5 * e.both + 3 * (e.missing + e.invented)
        assert total == cost(len(a), len(b))


def test_bars():
    assert compare_bars("abcd", "abcd") == BarErrors(4, 0, 0, 0)
    assert compare_bars("abcd", "acd") == BarErrors(3, 0, 1, 0)
    assert compare_bars("abcd", "axcde") == BarErrors(3, 1, 0, 1)
    assert compare_bars("abcd", "") == BarErrors(0, 0, 4, 0)
