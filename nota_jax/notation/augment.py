"""Augmentation: the same tune in note values twice as long, 2/4 as 2/2, 6/8 as 6/4.

It sounds the same (a tempo's beat lengthens too) and looks otherwise: other heads, no beams where
eighths were, another meter.  Grace notes stay as they are written.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from nota_jax.notation.tune import Bar, Event, Item, Key, Meter, Tune

LONGEST = Fraction(3, 2)  # a dotted whole note: longer ones are rarely met in print
_QUARTER = Fraction(1, 4)


def augmented(tune: Tune) -> Tune | None:
    """The tune with every duration doubled; None where a note would be longer than `LONGEST` or a
    meter's beat a breve (4/1)."""
    meters = [tune.meter, *(item for item in tune.items if isinstance(item, Meter))]
    if any(meter.text.endswith("/1") for meter in meters):
        return None
    if any(2 * event.duration > LONGEST for event in tune.events if not event.bar_rest):
        return None
    tempo = tune.tempo
    if tempo is not None:
        tempo = dataclasses.replace(tempo, beats=tuple(2 * beat for beat in tempo.beats))
    bars = tuple(_bar(bar) for bar in tune.bars)
    return dataclasses.replace(tune, meter=_doubled(tune.meter), tempo=tempo, bars=bars)


def _bar(bar: Bar) -> Bar:
    items: list[Item] = []
    followed = False  # by a note that can have a beam
    for item in reversed(bar.items):
        if isinstance(item, Event):
            short = 2 * item.duration < _QUARTER
            beam = item.beam and short and followed
            items.append(dataclasses.replace(item, duration=2 * item.duration, beam=beam))
            followed = short
        else:
            items.append(item if isinstance(item, Key) else _doubled(item))
    return dataclasses.replace(bar, items=tuple(reversed(items)))


def _doubled(meter: Meter) -> Meter:
    if meter.text == "none":
        return meter
    if meter.text in ("C", "C|"):
        return Meter("4/2")
    top, bottom = meter.text.rsplit("/", 1)
    return Meter(f"{top}/{int(bottom) // 2}")
