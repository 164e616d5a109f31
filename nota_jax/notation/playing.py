"""A tune as it is played: repeats and endings in their order.

By ABC 2.1, 4.8 and 4.9: what ends with `:|` comes again from its `|:`, or where it has none from
the latest double bar line, end of a repeat, or the beginning; each time with the ending whose
numbers name it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from nota_jax.notation.tune import Bar, Tune
from nota_jax.notation.walk import Signatures, split_changes

_MOST_TIMES = 9  # that a section is played


def played(tune: Tune) -> Tune:
    """The tune without repeats: its bars in the order in which they are played.

    A bar that is not reached from the one before it shows the key and meter that are in force.
    """
    reached, last, bars = _in_force(tune), -1, list[Bar]()
    for number in order(tune.bars):
        bar = tune.bars[number]
        if bars and number != last + 1:
            changes = {type(item) for item in split_changes(bar)[0]}
            shown = (reached[number].key, reached[number].meter)
            items = (*(item for item in shown if type(item) not in changes), *bar.items)
            bar = dataclasses.replace(bar, items=items)
        bars.append(
            dataclasses.replace(bar, repeat_start=False, ending="", ending_stop=False, barline="|")
        )
        last = number
    return dataclasses.replace(tune, bars=tuple(bars))


def _in_force(tune: Tune) -> list[Signatures]:
    """Key and meter at the beginning of each bar, as written."""
    found = [Signatures(tune.key, tune.meter)]
    for bar in tune.bars:
        now = found[-1]
        for item in bar.items:
            now = now.after(item)
        found.append(now)
    return found


def order(bars: tuple[Bar, ...]) -> list[int]:
    """Numbers of the bars as they are played; each bar is, at least once."""
    out, number, start, opened, time = list[int](), 0, 0, False, 1
    while number < len(bars):
        bar = bars[number]
        if bar.repeat_start and number != start:
            start, time = number, 1
        opened = opened or bar.repeat_start
        if number in out and bar.ending and time not in (_times(bar.ending) or {time}):
            number = 1 + next(i for i in range(number, len(bars)) if bars[i].ending_stop)
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
    if re.fullmatch(r"[0-9,-]+", ending):
        for part in ending.split(","):
            first, _, last = part.partition("-")
            found |= set(range(int(first or 0), min(int(last or first or 0), _MOST_TIMES) + 1))
    return found


def _most(bars: tuple[Bar, ...], start: int, number: int) -> int:
    """How often the section from `start` is played, whose repeat sign bar `number` has."""
    endings = (bar.ending for bar in bars[start : number + 1] if bar.ending)
    highest = _highest(endings)
    behind = number + 1
    while behind < len(bars) and bars[behind].ending:  # the endings that follow
        highest = max(highest, _highest([bars[behind].ending]))
        behind += 1
        while behind < len(bars) and not bars[behind - 1].ending_stop:
            behind += 1
    return max(2, min(highest, _MOST_TIMES))


def _highest(endings: Iterable[str]) -> int:
    return max((time for ending in endings for time in _times(ending)), default=0)
