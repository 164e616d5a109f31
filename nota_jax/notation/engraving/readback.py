"""What a page shows, read from the drawing alone: SVG → `LaidOut`.

Nothing of the MEI is looked at.  A pitch is the height of a note head against the staff lines
and the clef drawn before it; a duration is the kind of head, the flags on or beams across its
stem, and its dots; a bar line is how many thin and thick strokes stand side by side; a volta is
a bracket over some bars; a slur is a curve whose ends are nearest to two notes.  The ids that
`mei.py` gave say to which event a drawn text, tie or ornament belongs.

Lengths are Verovio's SVG units (180 between two staff lines) unless they say pixels.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from nota_jax.notation.engraving.barlines import BarLine, read_bar_lines
from nota_jax.notation.engraving.bars import read_bar
from nota_jax.notation.engraving.curves import attach_curves, attach_voltas
from nota_jax.notation.engraving.errors import MismatchError
from nota_jax.notation.engraving.glyphs import SPACE, TEMPO_BEATS
from nota_jax.notation.engraving.svg import (
    TEXT,
    G,
    Glyph,
    RawBar,
    RawEvent,
    RawHead,
    Text,
    joined,
    numbers,
    texts,
)
from nota_jax.notation.tempo import Tempo
from nota_jax.notation.tune import STEPS

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Head:
    """A note head: staff position (C4 is 28, one a step) and the accidental before it."""

    position: int
    accidental: int | None
    tie: bool = False

    @property
    def step(self) -> str:
        return STEPS[self.position % 7]


@dataclass(frozen=True)
class DrawnEvent:
    """A note, chord or rest as drawn; `duration` 0 is a whole-bar rest.

    group: number of the beam it is under, counted in its bar; None where it has flags or none.
    tuplet: (number of the bracket counted in the bar, figure drawn); None outside.
    marks: sorted (kind, text): chord symbol, annotation, decoration, lyric.
    slurs: for each slur that begins here, the (bar, event) where it ends.
    """

    heads: tuple[Head, ...]
    duration: Fraction
    group: int | None = None
    tuplet: tuple[int, str] | None = None
    graces: tuple[tuple[Head, Fraction], ...] = ()
    slash: bool = False
    marks: tuple[tuple[str, str], ...] = ()
    slurs: tuple[tuple[int, int], ...] = ()


# A sign between events: ("clef", (shape, line, octave)), ("key", ((step, alter), …)) or
# ("meter", text).
Sign = tuple[str, Any]


@dataclass(frozen=True)
class DrawnBar:
    """One bar as drawn, in reading order.

    items: signs and events; courtesies: signs behind its right bar line (end of a system).
    volta: text of the bracket above it, None for none; volta_start: the text stands here.
    """

    items: tuple[Sign | DrawnEvent, ...]
    courtesies: tuple[Sign, ...]
    repeat_start: bool
    barline: str
    volta: str | None
    volta_start: bool

    @property
    def events(self) -> tuple[DrawnEvent, ...]:
        return tuple(item for item in self.items if isinstance(item, DrawnEvent))


@dataclass(frozen=True)
class Place:
    """Where a bar is on the page, in pixels: its staff, and how high and low its notes reach."""

    system: int
    box: Box
    extent: tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """Verovio's units into pixels of the page."""

    left: float
    top: float
    scale: float

    def x(self, x: float) -> float:
        return self.left + x * self.scale

    def y(self, y: float) -> float:
        return self.top + y * self.scale


@dataclass(frozen=True)
class HeaderPart:
    """A line of the header's text or a glyph of its tempo, in pixels.

    name: "title", "composer" or "tempo"; number: of the title, 0 for the others.
    """

    name: str
    number: int
    drawn: Text | Glyph


@dataclass(frozen=True)
class LaidOut:
    """Everything a page shows, and where its parts are drawn.

    raw: what `bars` was read from; its places are in Verovio's units, `frame` makes them pixels.
    staff_spacing: in pixels, measured.  least_distance: between neighbouring heads of a bar, left
    edge to left edge, in staff spaces.
    """

    titles: tuple[str, ...]
    composer: str
    tempo: Tempo | None
    bars: tuple[DrawnBar, ...]
    places: tuple[Place, ...]
    staff_spacing: float
    least_distance: float
    header: tuple[HeaderPart, ...]
    raw: tuple[RawBar, ...]
    bar_lines: tuple[BarLine, ...]
    frame: Frame


# ------------------------------------------------------------------ the page


def read_page(svg: str) -> LaidOut:
    """Reads a page composed by `page.compose`.

    Raises `MismatchError` where something drawn is no notation known here.
    """
    root = ET.fromstring(svg)
    header = next((g for g in root if g.get("class") == "header"), None)
    music = next((g for g in root if g.get("class") == "music"), None)
    if header is None or music is None:
        raise MismatchError("the page has no header or no music")
    raw = _read_bars(music)
    frame = Frame(*numbers(music.get("transform", ""))[:3])
    clef, bar_lines = Clef(), read_bar_lines(raw)
    bars = [_finish(bar, clef, line) for bar, line in zip(raw, bar_lines, strict=True)]
    groups = {name: [g for g in header if g.get("class") == name]
              for name in ("title", "composer", "tempo")}  # fmt: skip
    return LaidOut(
        titles=tuple(joined(texts(g)) for g in groups["title"]),
        composer=" ".join(joined(texts(g)) for g in groups["composer"]),
        tempo=next((_tempo(g) for g in groups["tempo"]), None),
        bars=tuple(bars),
        places=tuple(_place(bar, frame) for bar in raw),
        staff_spacing=(raw[0].lines[1] - raw[0].lines[0]) * frame.scale if raw else 0.0,
        least_distance=_least_distance(raw),
        header=tuple(
            HeaderPart(name, number, part)
            for name, drawn in groups.items()
            for number, group in enumerate(drawn)
            for part in _header_parts(group)
        ),
        raw=tuple(raw),
        bar_lines=tuple(bar_lines),
        frame=frame,
    )


def _read_bars(music: ET.Element) -> list[RawBar]:
    """Every bar of the music, with the curves and brackets that begin or end there."""
    bars: list[RawBar] = []
    curves: list[tuple[int, ET.Element]] = []
    brackets: list[tuple[int, ET.Element]] = []
    system = -1
    for element in music.iter(G):
        kind = element.get("class", "")
        if kind == "system":
            system += 1
        elif kind == "measure":
            bars.append(read_bar(element, system))
        elif kind.split(" ")[0] in ("tie", "lv", "slur"):
            curves.append((system, element))
        elif kind == "voltaBracket":
            brackets.append((system, element))
    if [bar.number for bar in bars] != list(range(len(bars))):
        raise MismatchError("bars are missing or out of order")
    attach_curves(bars, curves)
    attach_voltas(bars, brackets)
    return bars


def _least_distance(bars: list[RawBar]) -> float:
    pairs = (pair for bar in bars for pair in itertools.pairwise(bar.events))
    return min((b.x - a.x for a, b in pairs), default=float("inf")) / SPACE


def _header_parts(group: ET.Element) -> Iterator[Text | Glyph]:
    """The lines of text in a group of the header, and the notes of a tempo."""
    dx, dy = numbers(group.get("transform", "0 0"))[:2]
    for line in texts(group):
        yield dataclasses.replace(line, x=line.x + dx, y=line.y + dy)
    for child in group:
        if child.tag == G:
            x, y, scale = numbers(child.get("transform", ""))
            yield Glyph(child.get("class", ""), x + dx, y + dy, scale)


def _tempo(element: ET.Element) -> Tempo:
    words, rate = "", None
    beats: list[tuple[Fraction, int]] = []  # undotted value and number of dots
    for child in element:
        code = child.get("class", "")
        if child.tag == TEXT:
            text = "".join(child.itertext())
            if match := re.fullmatch("= ([0-9]+)", text):
                rate = int(match[1])
            else:
                words = text
        elif code in TEMPO_BEATS:
            beats.append((TEMPO_BEATS[code], 0))
        elif beats:  # a dot
            beats[-1] = (beats[-1][0], beats[-1][1] + 1)
    return Tempo(words, tuple(base * (2 - Fraction(1, 2**dots)) for base, dots in beats), rate)


# ------------------------------------------------------------------ one bar, read


# Staff position (C4 is 28) of the line that a clef names.
_CLEF_POSITION = {"G": 32, "F": 24, "C": 28}


@dataclass
class Clef:
    """The clef in force, by the staff position of the lowest line under it (E4 at first)."""

    lowest: int = 30

    def change(self, shape: str, line: int, octave: int) -> None:
        self.lowest = _CLEF_POSITION[shape] - 2 * (line - 1) + 7 * octave

    def position(self, y: float, bar: RawBar) -> int:
        return self.lowest + height(y, bar)


def height(y: float, bar: RawBar) -> int:
    """Staff positions above the lowest line."""
    steps = (bar.lines[4] - y) / (SPACE / 2)
    if abs(steps - round(steps)) > 0.2:
        raise MismatchError(f"bar {bar.number + 1}: a head neither on a line nor in a space")
    return round(steps)


def in_pitch_order(heads: Iterable[RawHead]) -> list[RawHead]:
    """From the lowest head to the highest; of two at one height, the first in the chord."""
    return sorted(heads, key=lambda head: (-head.y, head.index))


def _finish(bar: RawBar, clef: Clef, line: BarLine) -> DrawnBar:
    """Raw places into notation, in reading order."""
    last = max((event.x for event in bar.events), default=bar.left)
    edge = min((stroke.x for stroke in bar.strokes if stroke.x > last), default=bar.right)
    items: list[Sign | DrawnEvent] = []
    courtesies: list[Sign] = []
    groups: dict[int, int] = {}
    tuplets: dict[int, int] = {}
    for part in bar.parts:
        if isinstance(part, RawEvent):
            items.append(_read_event(part, bar, clef, groups, tuplets))
            continue
        value = part.value
        if part.kind == "clef":
            clef.change(*value)
        elif part.kind == "key":
            value = tuple((STEPS[clef.position(y, bar) % 7], alter) for alter, y in value)
        (courtesies if part.x > edge else items).append((part.kind, value))
    return DrawnBar(
        items=tuple(items),
        courtesies=tuple(courtesies),
        repeat_start=line.starts_repeat,
        barline=line.closes,
        volta=bar.volta,
        volta_start=bar.volta_start,
    )


def _read_event(
    event: RawEvent, bar: RawBar, clef: Clef, groups: dict[int, int], tuplets: dict[int, int]
) -> DrawnEvent:
    """An event under the clef; beams and tuplets are numbered as they come in the bar."""

    def heads(part: RawEvent) -> tuple[Head, ...]:
        return tuple(
            Head(clef.position(head.y, bar), head.accidental, head.tie)
            for head in in_pitch_order(part.notes)
        )

    group = None if event.group is None else groups.setdefault(event.group, len(groups))
    tuplet = None
    if event.tuplet is not None:
        number = tuplets.setdefault(event.tuplet.key, len(tuplets))
        tuplet = (number, event.tuplet.figure)
    return DrawnEvent(
        heads=heads(event),
        duration=event.duration,
        group=group,
        tuplet=tuplet,
        graces=tuple((head, grace.duration) for grace in event.graces for head in heads(grace)),
        slash=any(grace.slash for grace in event.graces),
        marks=tuple(sorted((mark.kind, mark.text) for mark in event.marks)),
        slurs=tuple(sorted(event.slurs)),
    )


def _place(bar: RawBar, frame: Frame) -> Place:
    ys = [*bar.ys, bar.lines[0], bar.lines[4]]
    box = (frame.x(bar.left), frame.y(bar.lines[0]), frame.x(bar.right), frame.y(bar.lines[4]))
    return Place(bar.system, box, (frame.y(min(ys) - SPACE), frame.y(max(ys) + SPACE)))
