"""Twins are found however they are written; tunes that only sound alike are not."""

from __future__ import annotations

import dataclasses
import itertools
import random

import pytest

from nota_jax.notation import abc
from nota_jax.notation.theory.twins import TWIN, likeness, line, twins
from nota_jax.notation.transpose import Interval, transpose

BARS = (
    "GABd gdBd", "cAec dBGB", "AGEG cBAG", "FAdA FDEF", "G2dG BGdG", "ecgf edcB", "cdef gedB",
    "AcFA G2D2", "gfga bgdg", "eagf edcB", "cedc BdBG", "AGFA DFAc", "bgdg Bgdg", "aece Acec",
    "defd gfed", "cAFA G2G2",
)  # fmt: skip


def tune(bars, meter="4/4", unit="1/8", key="G"):
    return abc.parse(f"X:1\nM:{meter}\nL:{unit}\nK:{key}\n{'|'.join(bars)}|]\n")


def random_tune(seed: int):
    """Of the same key, meter and number of bars, and by steps and thirds, as tunes go."""
    rng = random.Random(seed)
    scale, place, notes = "DEFGABcdefgab", 5, []
    for _ in range(len(BARS) * 8):
        place += rng.choice((-2, -1, -1, 1, 1, 2))
        place = min(max(place, 0), len(scale) - 1)
        notes.append(scale[place])
    return tune(["".join(notes[i : i + 8]) for i in range(0, len(notes), 8)])


def found(*tunes) -> set[tuple[int, int]]:
    return {tuple(sorted(pair)) for *pair, _ in twins([line(t) for t in tunes])}


def ornamented(bars):
    """Every bar's first note with a turn behind it, in bars as long as before."""
    return [f"{bar[0]}/{'A' if bar[0] != 'A' else 'B'}/{bar[1:]}" for bar in bars]


WRITTEN_OTHERWISE = {
    "ornamented": tune(ornamented(BARS)),
    "a third of the bars changed": tune(
        [bar if i % 4 else "B2d2 g4" for i, bar in enumerate(BARS)]
    ),
    "first part alone": tune(BARS[:8]),
    "second part alone": tune(BARS[8:]),
    "parts written out twice": tune([*BARS[:8], *BARS[:8], *BARS[8:], *BARS[8:]]),
    "another tune behind it": tune([*BARS, *("GFED EFGA", "BAGF GABc") * 3]),
}


@pytest.mark.parametrize("how", WRITTEN_OTHERWISE)
def test_a_tune_is_found_in_another_writing_and_key(how):
    moved = transpose(WRITTEN_OTHERWISE[how], Interval(-1, -2))
    assert found(tune(BARS), moved) == {(0, 1)}


@pytest.mark.parametrize(
    "same",
    [
        tune(BARS, unit="1/16", meter="2/4"),
        tune(["".join(BARS[i : i + 2]) for i in range(0, len(BARS), 2)], meter="8/4"),  # re-barred
        tune([bar.replace("G2", "GG") for bar in BARS]),
        tune([f"{{a}}{bar}" for bar in BARS]),
        transpose(tune(BARS), Interval(3, 5)),
    ],
)
def test_key_bar_lines_note_values_and_graces_are_not_in_the_line(same):
    assert line(same) == line(tune(BARS))


def test_unrelated_tunes_of_the_same_meter_key_and_length_are_no_twins():
    assert found(tune(BARS), *map(random_tune, range(40))) == set()


def test_a_few_notes_that_agree_prove_nothing():
    assert found(tune(BARS), tune(BARS[:1])) == set()


def test_likeness_counts_notes_changed_left_out_and_put_in():
    own = bytes(range(10, 30))
    changed = own[:4] + bytes([0]) + own[5:]
    left_out, put_in = own[:7] + own[8:], own[:7] + bytes([0]) + own[7:]
    assert likeness(own, own, 0) == 1 - 5 / 20
    for other in (changed, left_out, put_in):
        assert likeness(own, other, 0) == pytest.approx(1 - 6 / 20)
    assert likeness(own, bytes(pitch + 3 for pitch in own), 3) == 1 - 5 / 20
    assert likeness(own, bytes([0, 5]) + own + bytes([1]), 0) == 1 - 5 / 20  # a stretch of it


def plain_edits(short, long):
    """The table, row by row; the short one may begin and end anywhere in the long one."""
    row = [0] * (len(long) + 1)
    for i, a in enumerate(short, 1):
        before, row = row, [i]
        for j, b in enumerate(long, 1):
            row.append(min(before[j - 1] + (a != b), before[j] + 1, row[j - 1] + 1))
    return min(row)


def test_the_fast_comparison_is_the_plain_one():
    rng = random.Random(1)
    for _ in range(300):
        short, long = (
            bytes(rng.choice((0, 2, 4, 5)) for _ in range(rng.randint(1, 40))) for _ in range(2)
        )
        edits = round((1 - likeness(short, long, 0)) * len(short)) - 5
        assert edits == plain_edits(short, long)


def test_what_is_found_depends_neither_on_order_nor_on_other_lines():
    tunes = [tune(BARS), *WRITTEN_OTHERWISE.values(), *map(random_tune, range(10))]
    lines = [line(t) for t in tunes]
    pairs = {frozenset((lines[i], lines[j])): alike for i, j, alike in twins(lines)}
    assert pairs and min(pairs.values()) >= TWIN
    turned = lines[::-1]
    assert {frozenset((turned[i], turned[j])): alike for i, j, alike in twins(turned)} == pairs
    for one, other in itertools.combinations(lines, 2):
        alone = [alike for *_, alike in twins([one, other])]
        assert alone == [pairs[pair]] if (pair := frozenset((one, other))) in pairs else not alone


def test_tunes_without_notes_are_nobodys_twins():
    silent = dataclasses.replace(tune(BARS), bars=())
    assert line(silent) == b"" and found(silent, tune(BARS)) == set()
    assert list(twins([])) == []
