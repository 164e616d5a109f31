"""Checks of a tune: bar lengths, ties, repeats.  A failed check is reported, never mended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from nota_jax.notation.tune import Bar, Event, Meter, Tune


@dataclass(frozen=True)
class Problem:
    """kind: "bar length", "tie" or "repeat"; bar: its index from 0; message for the reader."""

    kind: str
    bar: int
    message: str

    def __str__(self) -> str:
        return f"bar {self.bar + 1}: {self.message}"


def check(tune: Tune) -> list[Problem]:
    """Everything that is wrong with a tune, in the order of its bars."""
    problems = [*_bar_lengths(tune), *_ties(tune), *_repeats(tune)]
    return sorted(problems, key=lambda problem: problem.bar)


def _seam(left: Bar, right: Bar) -> bool:
    """Between two bars something other than a plain barline is drawn."""
    return left.barline != "|" or right.repeat_start or bool(right.ending) or left.ending_stop


def _bar_lengths(tune: Tune) -> Iterator[Problem]:
    """Bars that are longer than their meter, or shorter where nothing allows it.

    A bar may be short at a seam: a pick-up at the beginning of the tune or of a section, its
    complement at the end, the two halves of a bar that a repeat or an ending cuts.  At the end of
    the tune the last bar must complete a pick-up, unless it is a repeat's end.
    """
    meter, last = tune.meter, len(tune.bars) - 1
    pick_ups: set[Fraction] = set()
    for i, bar in enumerate(tune.bars):
        changes = [item for item in bar.items if isinstance(item, Meter)]
        if changes and isinstance(bar.items[0], Meter | Event):
            meter = changes[0] if isinstance(bar.items[0], Meter) else meter
        full = meter.duration
        begins = i == 0 or _seam(tune.bars[i - 1], bar)
        ends = i == last or _seam(bar, tune.bars[i + 1])
        length = bar.duration
        if full is not None and len(changes) == (meter in changes):
            missing = full - length
            if begins and missing > 0:
                pick_ups.add(length)
            completes = i < last or bar.barline == ":|" or missing in pick_ups or begins
            if missing < 0 or missing and not (begins or ends and completes):
                yield Problem(
                    "bar length", i, f"{length} of a whole note in a bar of {meter.text} ({full})"
                )
        meter = changes[-1] if changes else meter


def _ties(tune: Tune) -> Iterator[Problem]:
    """Ties that do not lead to a note of the same pitch in the next event."""
    places = [(i, event) for i, bar in enumerate(tune.bars) for event in bar.events]
    for (i, event), (j, following) in pairwise([*places, (-1, Event())]):
        pitches = {note.midi for note in following.notes}
        for note in event.notes:
            # Into an ending, or around a repeat, the next event is not the next on the page.
            leaves = j != i and (tune.bars[i].barline == ":|" or tune.bars[i].ending_stop)
            if note.tie and note.midi not in pitches and not leaves:
                yield Problem("tie", i, f"the tie from {note.step}{note.octave} leads nowhere")


def _repeats(tune: Tune) -> Iterator[Problem]:
    """Start-repeats inside or without an end, second endings without a first."""
    start: int | None = None
    endings = False
    for i, bar in enumerate(tune.bars):
        if bar.repeat_start:
            if start is not None:
                yield Problem("repeat", start, "a repeat begins here that another one interrupts")
            start = i
        if bar.ending:
            first = bar.ending[0] == "1" or not bar.ending[0].isdigit()
            if not first and not endings:
                yield Problem("repeat", i, f"ending {bar.ending} without a first ending")
            endings = True
        if bar.barline == ":|":
            start = None
        elif endings and bar.ending_stop:
            endings = i + 1 < len(tune.bars) and bool(tune.bars[i + 1].ending)
    if start is not None:
        yield Problem("repeat", start, "a repeat begins here that does not end")
