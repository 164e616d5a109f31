"""Near-duplicates: one melody in another key, in other note values, ornamented, or a part of it.

What is compared is a tune's *line*: its melody's pitches, where a repeated one counts once.  The
shorter of two lines is laid against the longer wherever it fits best, and the notes are counted
that would have to be changed, left out or put in.  `TWIN` was chosen by looking at pairs on either
side of it (docs/datasets.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby

import numpy as np

from nota_jax.notation.theory.melody import Tone, melody
from nota_jax.notation.tune import Tune

# Two lines of at least this likeness are one melody's.
TWIN = 2 / 3
# Edits that every pair is charged with: what is short agrees by chance, and has to agree better.
_CHARGED = 5
# Pairs that are compared note by note share runs of so many intervals, at so large a share of the
# shorter one's places, within a band of so many notes more or less between the two.
_RUN, _SHARED, _BAND = 5, 0.2, 16
_MOST = 127  # semitones that a line may span, and
_LONGEST = 8192  # its notes: only nonsense has more
_BANDS = 4 * (_LONGEST // _BAND + 1)


def line(tune: Tune) -> bytes:
    """Of its melody, see `line_of`."""
    return line_of(melody(tune))


def line_of(tones: Sequence[Tone]) -> bytes:
    """The melody's pitches above its lowest, in semitones; transposed tunes have the same.

    A note struck again counts once, so that splitting or joining notes changes nothing; neither do
    durations, rests, grace notes and bar lines.
    """
    pitches = [pitch for pitch, _ in groupby(tone.note.midi for tone in tones)]
    lowest = min(pitches, default=0)
    return bytes(min(pitch - lowest, _MOST) for pitch in pitches[:_LONGEST])


def likeness(short: bytes, long: bytes, shift: int) -> float:
    """1 − (edits + 5) / notes of the shorter line, which is moved by `shift` semitones.

    Edits are the fewest that turn it into any stretch of the longer one.
    """
    return 1 - (_edits(short, long, shift) + _CHARGED) / len(short) if short else 0.0


def twins(lines: Sequence[bytes]) -> Iterator[tuple[int, int, float]]:
    """(index, index, likeness) of every two lines that are twins, in no particular order.

    Equal lines are not compared: give each once.  Which pairs are found depends on the two alone,
    not on what else is among the lines.
    """
    order = sorted(range(len(lines)), key=lambda i: (len(lines[i]), lines[i]))
    ranked = [lines[i] for i in order]
    found: dict[tuple[int, int], float] = {}
    for first, company in _candidates(ranked):
        for second, shift in company:
            alike = likeness(ranked[first], ranked[second], shift)
            if alike >= TWIN:
                found[first, second] = max(alike, found.get((first, second), 0.0))
    for (first, second), alike in found.items():
        yield order[first], order[second], alike


def _candidates(ranked: Sequence[bytes]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Of each line, the (longer line, shift) with which it shares enough runs of intervals.

    ranked: lines by length.  An index over all runs is sorted once; a line's later neighbours in
    it are its company.  Only what is shared at one shift and about as far along in both counts.
    """
    keys, owners, pitches, places = _runs(ranked)
    order = np.argsort(keys, kind="stable")  # within a run, by line
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    by_key, by_owner, by_pitch, by_place = (x[order] for x in (keys, owners, pitches, places))
    ends = np.searchsorted(by_key, keys, side="right")
    bounds = np.searchsorted(owners, np.arange(len(ranked) + 1))
    for i, own in enumerate(ranked):
        mine = slice(bounds[i], bounds[i + 1])
        company = ends[mine] - rank[mine] - 1
        before = np.cumsum(company) - company
        met = np.repeat(rank[mine] + 1 - before, company) + np.arange(company.sum())
        met, back = met[others := by_owner[met] > i], np.repeat(np.arange(len(company)), company)
        back = back[others]
        shift = by_pitch[met] - pitches[mine][back] + _MOST
        along = by_place[met] - places[mine][back] + _LONGEST
        # Bands overlap by half, so that none cuts through what belongs together.
        band = np.concatenate([along // _BAND * 2, (along + _BAND // 2) // _BAND * 2 + 1])
        pair = (by_owner[met] * 256 + shift) * _BANDS
        codes = np.sort(np.concatenate([pair, pair]) + band)
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        shared = np.diff(starts, append=len(codes))
        enough = np.unique(codes[starts[shared >= _SHARED * len(own)]] // _BANDS)
        yield i, [(code // 256, code % 256 - _MOST) for code in enough.tolist()]


def _runs(ranked: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of every run of `_RUN` intervals: a key, its line, the pitch it begins on, and where."""
    lengths = np.array([len(own) for own in ranked], np.int64)
    pitches = np.frombuffer(b"".join(ranked), np.uint8).astype(np.int64)
    owners = np.repeat(np.arange(len(ranked)), lengths)
    places = np.arange(len(pitches)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    steps = np.diff(pitches) + 128
    n = max(len(steps) - _RUN + 1, 0)
    keys = np.zeros(n, np.int64)
    for offset in range(_RUN):
        keys = keys * 256 + steps[offset : offset + n]
    inside = owners[:n] == owners[_RUN : n + _RUN]  # no run reaches into the next line
    return keys[inside], owners[:n][inside], pitches[:n][inside], places[:n][inside]


@lru_cache(maxsize=16)
def _rows(short: bytes) -> dict[int, int]:
    """Of every pitch of a line, the places where it stands, a bit each."""
    rows: dict[int, int] = {}
    for row, pitch in enumerate(short):
        rows[pitch] = rows.get(pitch, 0) | 1 << row
    return rows


def _edits(short: bytes, long: bytes, shift: int) -> int:
    """Fewest notes changed, left out or put in that make `short` a stretch of `long`.

    A column of the usual table is kept as two whole numbers, one bit a row: where it grows by one
    over the row above, and where it shrinks (Myers 1999).  A note of the longer line so costs a
    dozen operations on whole numbers instead of a loop over the shorter.
    """
    every, last = (1 << len(short)) - 1, 1 << (len(short) - 1)
    rows = _rows(short)
    grows, shrinks, edits = every, 0, len(short)
    fewest = edits
    for pitch in long:
        same = rows.get(pitch - shift, 0)
        level = (((same & grows) + grows) ^ grows) | same
        to_more, to_less = shrinks | (every & ~(level | grows)), grows & level
        if to_more & last:
            edits += 1
        elif to_less & last:
            edits -= 1
            fewest = min(fewest, edits)
        # The row above the first is 0 everywhere: the line may begin at any note of the longer.
        same |= shrinks
        to_more = to_more << 1 & every
        grows, shrinks = (to_less << 1 & every) | (every & ~(same | to_more)), to_more & same
    return fewest
