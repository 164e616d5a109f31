"""A tune as it is played: repeats and endings in their order.

By ABC 2.1, 4.8 and 4.9: what ends with `:|` comes again from its `|:`, or where it has none from
the latest double bar line, end of a repeat, or the beginning; each time with the ending whose
numbers name it.
"""

from __future__ import annotations

import dataclasses

from nota_jax.notation.abc.fields import is_ending_number
from nota_jax.notation.tune import Bar, Tune
from nota_jax.notation.walk import signatures, split_changes

_MOST_TIMES = 9  # that a section is played


def played(tune: Tune) -> Tune:
    """The tune without repeats: its bars in the order in which they are played.

    A bar that is not reached from the one before it shows the key and meter that are in force.
    """
    in_force, last, bars = signatures(tune), -1, list[Bar]()
    for number in order(tune.bars):
        bar, now = tune.bars[number], in_force[number]
        jumped = number != last + 1
        bars.append(
            dataclasses.replace(
                bar,
                items=(now.key, now.meter, *split_changes(bar)[1]) if jumped else bar.items,
                repeat_start=False,
                ending="",
                ending_stop=False,
                barline="|",
            )
        )
        last = number
    return dataclasses.replace(tune, bars=tuple(bars))


def order(bars: tuple[Bar, ...]) -> list[int]:
    """Numbers of the bars as they are played; each bar is, at least once."""
    out, number, start, opened, time = list[int](), 0, 0, False, 1
    while number < len(bars):
        bar = bars[number]
        if bar.repeat_start and number != start:
            start, time = number, 1
        opened = opened or bar.repeat_start
        if bar.ending and number in out and time not in (_times(bar.ending) or {time}):
            number = _behind(bars, number)
            if number < len(bars) and not bars[number].ending:
                start, opened, time = number, False, 1
            continue
        out.append(number)
        if bar.barline == ":|" and time < _most(bars, start, number):
            number, time = start, time + 1
            continue
        number += 1
        done = bar.barline == ":|" or (bar.ending_stop and time > 1)
        if done or (not opened and bar.barline in ("||", "|]", "[|")):
            start, opened, time = number, False, 1
    return out


def _times(ending: str) -> set[int]:
    """The times at which an ending is played; none where it is called otherwise."""
    found = set[int]()
    for part in ending.split(",") if is_ending_number(ending) else ():
        numbers = [int(number) for number in part.split("-")]
        found |= set(range(numbers[0], min(numbers[-1], _MOST_TIMES) + 1))
    return found


def _most(bars: tuple[Bar, ...], start: int, number: int) -> int:
    """How often the section from `start` is played, whose repeat sign bar `number` has."""
    behind = number + 1
    while behind < len(bars) and bars[behind].ending:  # the endings that follow belong to it
        behind = _behind(bars, behind)
    return max({2}.union(*(_times(bar.ending) for bar in bars[start:behind])))


def _behind(bars: tuple[Bar, ...], number: int) -> int:
    """The bar behind an ending that begins with bar `number`."""
    return next((i + 1 for i in range(number, len(bars)) if bars[i].ending_stop), len(bars))
