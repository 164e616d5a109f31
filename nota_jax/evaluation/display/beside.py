"""Two pieces of music beside each other: which notes are wrong, where, and in words.

What is marked is what the scores count: the same alignment (`alignment.aligned`) of the same notes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from nota_jax.data.build.prose import value_name
from nota_jax.evaluation.alignment import (
    BarErrors,
    NoteErrors,
    Pair,
    aligned,
    compare_bars,
    difference,
)
from nota_jax.evaluation.alignment import compare_notes as note_errors
from nota_jax.evaluation.reading import Music
from nota_jax.notation.engraving.inline import Marks, note_id
from nota_jax.notation.theory.form import bar_numbers
from nota_jax.notation.theory.intervals import note_name
from nota_jax.notation.tune import Tune
from nota_jax.notation.walk import Sounding, sounding_notes

MOST_BARS, MOST_EVENTS = 80, 600  # of a tune, that are drawn: models can go on and on
MOST_WORDS = 30  # wrong notes that are told in words
# What a wrong note is called in the style sheet, by `alignment.difference`, and on paper.
KINDS = {1: "pitch", 2: "rhythm", 3: "both"}
LEGEND = {
    "pitch": "wrong pitch",
    "rhythm": "wrong length",
    "both": "both wrong",
    "missing": "missing",
    "invented": "not there",
}


@dataclass(frozen=True)
class Beside:
    """truth, read: marks on the notes of both, as `engraving.inline` takes them.

    words: each wrong note in a line, at most `MOST_WORDS`; more: how many further there are.
    """

    truth: Marks
    read: Marks
    words: tuple[str, ...]
    more: int
    notes: NoteErrors
    bars: BarErrors


def beside(truth: Music, read: Music, *, beginning: bool = False) -> Beside | None:
    """None where one of the two is no music.

    beginning: what was read is the beginning of an answer; of alignments that are equally good the
      one is taken that leaves out the end, and not notes here and there.
    """
    if truth.tune is None or read.tune is None:
        return None
    on_truth: dict[str, tuple[str, str]] = {}
    on_read: dict[str, tuple[str, str]] = {}
    words = []
    sides = _Side(truth.tune), _Side(read.tune)
    pairs = (
        _from_the_front(truth, read) if beginning else reversed(aligned(truth.notes, read.notes))
    )
    for i, j in pairs:
        if i is None and j is not None:
            kind, place = "invented", sides[1].place(j)
            said = f"{place}: {sides[1].name(j)} is not there"
        elif j is None and i is not None:
            kind, place = "missing", sides[0].place(i)
            said = f"{place}: {sides[0].name(i)} is missing"
        elif (
            i is not None and j is not None and (code := difference(truth.notes[i], read.notes[j]))
        ):
            kind, place = KINDS[code], sides[0].place(i)
            said = f"{place}: {sides[0].name(i)} read as {sides[1].name(j)}"
        else:
            continue
        words.append(said)
        for side, index, marks in ((0, i, on_truth), (1, j, on_read)):
            if index is not None:
                marks |= {name: (kind, said) for name in sides[side].ids(index)}
    return Beside(
        on_truth, on_read, tuple(words[:MOST_WORDS]), max(0, len(words) - MOST_WORDS),
        note_errors(truth.notes, read.notes), compare_bars(truth.bars, read.bars),
    )  # fmt: skip


def _from_the_front(truth: Music, read: Music) -> Iterator[Pair]:
    """As `aligned`, which prefers the latest of equal notes, does with both turned round."""
    n, m = len(truth.notes), len(read.notes)
    for i, j in aligned(truth.notes[::-1], read.notes[::-1]):
        yield None if i is None else n - 1 - i, None if j is None else m - 1 - j


def shortened(tune: Tune) -> tuple[Tune, int]:
    """As much of a tune as is drawn, and how many bars that leaves out."""
    ends = accumulate(len(bar.events) for bar in tune.bars)
    fit = sum(events <= MOST_EVENTS for events in ends)
    kept = max(1, min(fit, MOST_BARS))
    return dataclasses.replace(tune, bars=tune.bars[:kept]), max(0, len(tune.bars) - kept)


class _Side:
    """A tune whose sounding notes can be named."""

    def __init__(self, tune: Tune):
        self.tune = tune
        self.notes: list[Sounding] = sounding_notes(tune)
        self.numbers, _ = bar_numbers(tune)

    def place(self, index: int) -> str:
        number = self.numbers[self.notes[index].heads[0][0]]
        return f"bar {number}" if number else "pick-up"

    def name(self, index: int) -> str:
        """ "F#4, eighth note"."""
        note = self.notes[index]
        bar, event, head = note.heads[0]
        written = self.tune.bars[bar].events[event].notes[head]
        return f"{note_name(written)}, {value_name(note.duration)}"

    def ids(self, index: int) -> list[str]:
        return [
            note_id(bar, event, head, len(self.tune.bars[bar].events[event].notes) > 1)
            for bar, event, head in self.notes[index].heads
        ]


def kinds(*marks: Mapping[str, tuple[str, str]]) -> list[str]:
    """Which of `LEGEND` are among some marks, in its order."""
    there = {kind for some in marks for kind, _ in some.values()}
    return [kind for kind in LEGEND if kind in there]
