"""Notes beside notes, bars beside bars: the cheapest way to make one sequence of the other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from rapidfuzz.distance import Levenshtein

# What an edit costs.  A note left out and another one invented (6) is dearer than one note with a
# wrong pitch and a wrong length (5), so that such a pair is one misread note.
RHYTHM, PITCH, BOTH, GAP = 2, 4, 5, 3

Note = tuple[int, Fraction]


@dataclass(frozen=True)
class NoteErrors:
    """How many notes are right, have only the pitch, only the length, or both wrong; how many of
    the true ones are missing, and how many of those read are not there."""

    right: int
    pitch: int
    rhythm: int
    both: int
    missing: int
    invented: int


@dataclass(frozen=True)
class BarErrors:
    """How many bars are right, differ, are missing, are not there."""

    right: int
    different: int
    missing: int
    invented: int


def compare_notes(truth: Sequence[Note], read: Sequence[Note]) -> NoteErrors:
    """The errors in the cheapest alignment of the notes in their written order."""
    found = [0, 0, 0, 0]  # right, pitch, rhythm, both
    missing = invented = 0
    for i, j in aligned(truth, read):
        if j is None:
            missing += 1
        elif i is None:
            invented += 1
        else:
            found[difference(truth[i], read[j])] += 1
    right, of_pitch, of_rhythm, both = found
    return NoteErrors(right, of_pitch, of_rhythm, both, missing, invented)


def difference(truth: Note, read: Note) -> int:
    """0 where they are the same; 1 for another pitch, 2 for another length, 3 for both."""
    return (truth[0] != read[0]) + 2 * (truth[1] != read[1])


Pair = tuple[int | None, int | None]


def aligned(truth: Sequence[Note], read: Sequence[Note]) -> list[Pair]:
    """The cheapest alignment of notes, as `cheapest` gives it.

    A rest is no note, so that one left out shows in its bar only.
    """
    if not truth or not read:
        return cheapest(np.zeros((len(truth), len(read)), int), GAP)
    lengths = {length: i for i, length in enumerate({d for _, d in (*truth, *read)})}
    (pitch_a, length_a), (pitch_b, length_b) = (
        np.array([(p, lengths[d]) for p, d in notes], np.int32).T for notes in (truth, read)
    )
    pitch = pitch_a[:, None] != pitch_b
    rhythm = length_a[:, None] != length_b
    costs = np.where(pitch, np.where(rhythm, BOTH, PITCH), np.where(rhythm, RHYTHM, 0))
    return cheapest(costs, GAP)


def cheapest(costs: np.ndarray, gap: int) -> list[Pair]:
    """The cheapest alignment, from the last pair to the first: (index, index), None for a gap.

    Needleman and Wunsch's algorithm, a row at a time: within a row the cost of inserted items is a
    running minimum.

    costs: whole numbers [n, m], of each of the n true items beside each of the m that were read.
    """
    n, m = costs.shape
    table = np.empty((n + 1, m + 1), np.int64)
    inserted = gap * np.arange(m + 1)
    table[0] = inserted
    for i in range(n):
        best = table[i] + gap
        np.minimum(best[1:], table[i, :-1] + costs[i], out=best[1:])
        table[i + 1] = np.minimum.accumulate(best - inserted) + inserted
    found: list[Pair] = []
    i, j = n, m
    while i and j:
        if table[i, j] == table[i - 1, j - 1] + costs[i - 1, j - 1]:
            i, j = i - 1, j - 1
            found.append((i, j))
        elif table[i, j] == table[i - 1, j] + gap:
            i -= 1
            found.append((i, None))
        else:
            j -= 1
            found.append((None, j))
    found += [(k, None) for k in reversed(range(i))]
    return found + [(None, k) for k in reversed(range(j))]


def compare_bars(truth: Sequence[Hashable], read: Sequence[Hashable]) -> BarErrors:
    """By Levenshtein's distance over bars: each that is replaced, left out or put in costs one."""
    different = missing = invented = 0
    for step in Levenshtein.opcodes(truth, read):
        of_truth, of_read = step.src_end - step.src_start, step.dest_end - step.dest_start
        if step.tag == "replace":
            different += of_truth
        elif step.tag == "delete":
            missing += of_truth
        elif step.tag == "insert":
            invented += of_read
    return BarErrors(len(truth) - different - missing, different, missing, invented)
