"""Ties, slurs and volta brackets: to which notes and bars of a page a drawn one belongs.

A tie or slur that goes on in the next system is drawn in two pieces with one name.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from nota_jax.notation.engraving.bars import EVENT_ID
from nota_jax.notation.engraving.errors import MismatchError
from nota_jax.notation.engraving.glyphs import SPACE
from nota_jax.notation.engraving.svg import (
    PATH,
    RawBar,
    RawEvent,
    RawHead,
    joined,
    numbers,
    texts,
)

# How far from the left edge of its note's head a tie begins and ends, to the right; and how far
# above or below its middle.
_TIE_STARTS = (0.0, 3 * SPACE)
_TIE_ENDS = (-3 * SPACE, SPACE)
_TIE_HEIGHT = 1.3 * SPACE


@dataclass(frozen=True)
class _Curve:
    """A tie or slur from (x0, y0) in system `first` to (x1, y1) in system `last`."""

    kind: str
    first: int
    x0: float
    y0: float
    last: int
    x1: float
    y1: float


@dataclass(frozen=True)
class _Spot:
    """A note, rest or grace note of a system: where it begins, and the event it belongs to."""

    x: float
    bar: RawBar
    event: RawEvent


def attach_curves(bars: list[RawBar], drawn: list[tuple[int, ET.Element]]) -> None:
    """Ties and slurs, each with the system it is drawn in, to the notes that their ends are at.

    Raises `MismatchError` where one belongs to nothing.
    """
    rows: dict[int, list[_Spot]] = {}
    for bar in bars:
        rows.setdefault(bar.system, []).extend(
            _Spot(part.x, bar, event) for event in bar.events for part in (event, *event.graces)
        )
    for name, curve in _curves(drawn).items():
        match = EVENT_ID.fullmatch(name)
        if match is None:
            raise MismatchError(f"a {curve.kind} that belongs to nothing")
        bar = bars[int(match[1])]
        if int(match[2]) >= len(bar.events):
            raise MismatchError(f"bar {bar.number + 1}: a {curve.kind} whose note is missing")
        if curve.kind == "slur":
            start = _reached(rows[curve.first], curve.x0)
            end = _reached(rows[curve.last], curve.x1 + SPACE / 4)
            start.event.slurs.append((end.bar.number, end.event.number))
        else:
            event = bar.events[int(match[2])]
            for head in event.notes:
                if head.index == int(match[4]):
                    _attach_tie(curve, bar, event, head, rows)


def _curves(drawn: list[tuple[int, ET.Element]]) -> dict[str, _Curve]:
    """The curves by their names; a further piece of one has its name in its class.

    A piece is `M start C … C …`: a curve there and one back, so the fourth of its points is where
    it ends.
    """
    pieces: dict[str, list[tuple[int, list[float]]]] = {}
    kinds: dict[str, str] = {}
    for system, element in drawn:
        kind, *classes = element.get("class", "").split(" ")
        name = element.get("id") or next(c[3:] for c in classes if c.startswith("id-"))
        kinds.setdefault(name, kind)
        for path in element.iter(PATH):
            pieces.setdefault(name, []).append((system, numbers(path.get("d", ""))))
    curves = {}
    for name, parts in pieces.items():
        (first, start), (last, end) = parts[0], parts[-1]
        curves[name] = _Curve(kinds[name], first, start[0], start[1], last, end[6], end[7])
    return curves


def _reached(row: list[_Spot], x: float) -> _Spot:
    """Where a slur's end stands: at the last note or rest that begins before x."""
    before = (spot for spot in row if spot.x <= x)
    return max(before, key=lambda spot: spot.x, default=row[0])


def _attach_tie(
    curve: _Curve, bar: RawBar, event: RawEvent, head: RawHead, rows: dict[int, list[_Spot]]
) -> None:
    """The tie to `head`, if it begins there and ends at a later head of the same height."""
    head.tie = False
    from_head = _TIE_STARTS[0] <= curve.x0 - head.x <= _TIE_STARTS[1]
    if not (from_head and abs(curve.y0 - head.y) <= _TIE_HEIGHT and bar.system == curve.first):
        return
    if curve.kind == "lv":  # it leads back to where the repeat begins
        head.tie = True
        return
    height = head.y - bar.lines[4]
    for spot in rows[curve.last]:
        if (spot.bar.number, spot.event.number) <= (bar.number, event.number):
            continue
        for target in spot.event.notes:
            if (
                abs((target.y - spot.bar.lines[4]) - height) < SPACE / 4
                and abs(target.y - curve.y1) <= _TIE_HEIGHT
                and _TIE_ENDS[0] <= curve.x1 - target.x <= _TIE_ENDS[1]
            ):
                head.tie = target.tie_ends = True
                return


def attach_voltas(bars: list[RawBar], brackets: list[tuple[int, ET.Element]]) -> None:
    """Each bracket to the bars under it; on a further system its text stands in parentheses."""
    for system, bracket in brackets:
        lines = texts(bracket)
        text = joined(lines)
        begins = not (text.startswith("(") and text.endswith(")"))
        strokes = [numbers(path.get("d", "")) for path in bracket if path.tag == PATH]
        level = [(x0, x1) for x0, y0, x1, y1 in strokes if abs(y0 - y1) < 1]
        for bar in bars:
            middle = (bar.left + bar.right) / 2
            if bar.system == system and any(left < middle < right for left, right in level):
                bar.volta, bar.volta_start = text.strip("()"), begins
                bar.volta_texts, lines = lines, ()  # the text stands over the first of them
                begins = False
