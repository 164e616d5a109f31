"""Static lengths: which rows share a batch, and how long that batch's arrays are.

Accelerators compile for one shape at a time.  Rows are therefore sorted into a few classes of
length; all rows of a batch are of one class, so padding stays small and every process has the same
shape at every step.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nota_jax.data.feed.mapped import parts


@dataclass(frozen=True)
class LengthClass:
    """Rows that are batched together.

    limit: the configured length; static: the length of their arrays, T, at most the limit.
    n_rows: how many.  end: where in the order of lengths they end, as (length, how many rows of
    that length still belong here; all shorter ones do).
    """

    limit: int
    static: int
    n_rows: int
    end: tuple[int, int]


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
    of_length = np.zeros(limits[-1] + 1, np.int64)  # rows
    for part in parts(needed):
        of_length += np.bincount(part, minlength=len(of_length))
    up_to = np.cumsum(of_length)
    ends: list[int] = []
    for limit in limits[:-1]:
        start = ends[-1] if ends else 0
        ends.append(start + (int(up_to[limit]) - start) // batch * batch)
    if ends and 0 < len(needed) - ends[-1] < batch and ends[-1] >= batch:
        ends[-1] -= batch
        ends = [min(end, ends[-1]) for end in ends]

    def place(end: int) -> tuple[int, int]:
        length = int(np.searchsorted(up_to, end, side="right"))
        return length, end - int(up_to[length - 1] if length else 0)

    bounds = [0, *ends, len(needed)]
    return [
        LengthClass(
            limit,
            # The longest row is the last before the end.
            static_length(limit, place(end - 1)[0] if end > start else 0, multiple),
            end - start,
            place(end),
        )
        for limit, (start, end) in zip(limits, itertools.pairwise(bounds), strict=True)
    ]


def class_numbers(needed: np.ndarray, classes: Sequence[LengthClass]) -> Iterator[np.ndarray]:
    """Of each row the number of its class, some rows at a time."""
    ends = [members.end for members in classes[:-1]]
    before = [0] * len(ends)  # rows of an end's length, up to here
    for part in parts(needed):
        numbers = np.zeros(len(part), np.int64)
        for i, (length, most) in enumerate(ends):
            same = part == length
            numbers += (part > length) | (same & (before[i] + np.cumsum(same) > most))
            before[i] += int(same.sum())
        yield numbers


def static_length(limit: int, longest: int, multiple: int) -> int:
    """T for rows of which the longest has so many tokens: that, rounded up to a multiple.

    At most the `limit`, which it is where `multiple` is 0 or there are no rows (`longest` is 0).
    """
    if not multiple or not longest:
        return limit
    return min(limit, -(-longest // multiple) * multiple)


def batches_by_length(classes: Sequence[LengthClass], batch: int) -> dict[int, int]:
    """T → whole batches that an epoch has of it; with a batch of 1, its rows."""
    counts: dict[int, int] = collections.Counter()
    for members in classes:
        if n := members.n_rows // batch:
            counts[members.static] += n
    return dict(counts)


def batch_rows(questions: int, questions_per_row: float) -> int:
    """Rows of a batch that holds about so many questions; at least one."""
    return max(1, round(questions / questions_per_row))


def filled_up(rows: int, multiple: int) -> int:
    """The rows of a batch and those of padding behind them, so that equal parts can be made."""
    return -(-rows // multiple) * multiple
