"""Static lengths: which rows share a batch, and how long that batch's arrays are.

Accelerators compile for one shape at a time.  Rows are therefore sorted into a few classes of
length; all rows of a batch are of one class, so padding stays small and every process has the same
shape at every step.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LengthClass:
    """Rows that are batched together.

    limit: the configured length; static: the length of their arrays, T, at most the limit.
    rows: their numbers, ascending.
    """

    limit: int
    static: int
    rows: np.ndarray


def length_classes(
    needed: np.ndarray, limits: Sequence[int], batch: int, multiple: int = 0
) -> list[LengthClass]:
    """Sorts rows into classes, the shortest first; a class may have no rows.

    Every class but the largest is a whole number of batches: the longest rows beyond that move
    one class up.  If then the largest class has rows, but fewer than a batch, a batch of the next
    smaller class joins it, so that no row is left out in every epoch.

    needed: tokens of each row; limits: the configured lengths, any order, of which the largest
      holds every row; batch: rows of a batch.
    multiple: see `static_length`.
    """
    limits = sorted(set(limits))
    by_need = np.argsort(needed, kind="stable")
    ends: list[int] = []
    for limit in limits[:-1]:
        fit = int(np.searchsorted(needed[by_need], limit, side="right"))
        start = ends[-1] if ends else 0
        ends.append(start + (fit - start) // batch * batch)
    if ends and 0 < len(by_need) - ends[-1] < batch and ends[-1] >= batch:
        ends[-1] -= batch
        ends = [min(end, ends[-1]) for end in ends]
    return [
        LengthClass(limit, static_length(limit, needed[rows], multiple), np.sort(rows))
        for limit, rows in zip(limits, np.split(by_need, ends), strict=True)
    ]


def static_length(limit: int, needed: np.ndarray, multiple: int) -> int:
    """T for rows of these lengths: the longest of them, rounded up to a multiple.

    At most the `limit`, which it is where `multiple` is 0 or there are no rows.
    """
    if not multiple or not len(needed):
        return limit
    return min(limit, -(-int(needed.max()) // multiple) * multiple)


def batches_by_length(classes: Sequence[LengthClass], batch: int) -> dict[int, int]:
    """T → whole batches that an epoch has of it; with a batch of 1, its rows."""
    counts: dict[int, int] = collections.Counter()
    for members in classes:
        if n := len(members.rows) // batch:
            counts[members.static] += n
    return dict(counts)


def batch_rows(questions: int, questions_per_row: float) -> int:
    """Rows of a batch that holds about so many questions; at least one."""
    return max(1, round(questions / questions_per_row))


def filled_up(rows: int, multiple: int) -> int:
    """The rows of a batch and those of padding behind them, so that equal parts can be made."""
    return -(-rows // multiple) * multiple
