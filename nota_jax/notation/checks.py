"""Checks of a tune: bar lengths, ties, repeats.  A failed check is reported, never mended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from nota_jax.notation.tune import Bar, Event, Meter, Tune
from nota_jax.notation.walk import signatures, split_changes, ties


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
    problems = [*bar_lengths(tune), *_ties(tune), *_repeats(tune)]
    return sorted(problems, key=lambda problem: problem.bar)


def _seam(left: Bar, right: Bar) -> bool:
    """Between two bars something other than a plain barline is drawn."""
    return left.barline != "|" or right.repeat_start or bool(right.ending) or left.ending_stop


def _changes_meter_inside(bar: Bar) -> bool:
    """The meter changes between two notes of the bar, so that no one length is the right one.

    A change behind the last note is the next bar's.
    """
    _, rest = split_changes(bar)
    last = max((i for i, item in enumerate(rest) if isinstance(item, Event)), default=0)
    return any(isinstance(item, Meter) for item in rest[:last])


def bar_lengths(tune: Tune) -> Iterator[Problem]:
    """Bars that are longer than their meter, or shorter where nothing allows it.

    A bar may be short at a seam: a pick-up at the beginning of the tune or of a section, its
    complement at the end, the two halves of a bar that a repeat or an ending cuts.  At the end of
    the tune the last bar must complete a pick-up, unless it is a repeat's end.
    """
    last = len(tune.bars) - 1
    pick_ups: set[Fraction] = set()
    for i, (bar, in_force) in enumerate(zip(tune.bars, signatures(tune), strict=True)):
        full = in_force.meter.duration
        if full is None or _changes_meter_inside(bar):
            continue
        begins = i == 0 or _seam(tune.bars[i - 1], bar)
        ends = i == last or _seam(bar, tune.bars[i + 1])
        missing = full - bar.duration
        if begins and missing > 0:
            pick_ups.add(bar.duration)
        completes = i < last or bar.barline == ":|" or missing in pick_ups or begins
        if missing < 0 or (missing and not (begins or (ends and completes))):
            has = f"{bar.duration} of a whole note"
            yield Problem("bar length", i, f"{has} in a bar of {in_force.meter.text} ({full})")


def _ties(tune: Tune) -> Iterator[Problem]:
    """Ties that do not lead to a note of the same pitch in the next event."""
    for tie in ties(tune):
        i = tie.start.bar
        # Into an ending, or around a repeat, the next event is not the next on the page.
        ends_bar = tie.start.index == len(tune.bars[i].events) - 1
        leaves = ends_bar and (tune.bars[i].barline == ":|" or tune.bars[i].ending_stop)
        if not tie.joins and not leaves:
            note = tie.note
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
