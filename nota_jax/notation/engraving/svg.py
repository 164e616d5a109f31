"""What is drawn on a page: glyphs, lines of text and strokes, and what they make up in a bar.

Lengths are SVG units, x to the right and y downwards; on Verovio's part of a page `glyphs.SPACE`
of them lie between two staff lines.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

_SVG = "{http://www.w3.org/2000/svg}"
G, PATH, USE, TEXT = f"{_SVG}g", f"{_SVG}path", f"{_SVG}use", f"{_SVG}text"
POLYGON, ELLIPSE = f"{_SVG}polygon", f"{_SVG}ellipse"
_TSPAN = f"{_SVG}tspan"
_HREF = "{http://www.w3.org/1999/xlink}href"
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


# ------------------------------------------------------------------ what is drawn


@dataclass(frozen=True)
class Glyph:
    """A glyph and the place of its origin; `scale` is its size in SVG units per font unit."""

    code: str
    x: float
    y: float
    scale: float


@dataclass(frozen=True)
class Text:
    """One line of text: where its anchor ("start", "middle" or "end") stands on its baseline."""

    text: str
    x: float
    y: float
    size: float
    anchor: str


@dataclass(frozen=True)
class RawMark:
    """Something that belongs to an event: its kind, what it says, and what is drawn for it."""

    kind: str
    text: str
    glyphs: tuple[Glyph, ...] = ()
    texts: tuple[Text, ...] = ()


@dataclass(frozen=True)
class RawSign:
    """A clef, key or meter signature.

    value: ("clef") shape, line and octave; ("key") alterations with their heights, because which
    steps they alter depends on the clef; ("meter") its text.
    """

    kind: str
    value: Any
    glyphs: tuple[Glyph, ...]

    @property
    def x(self) -> float:
        return min(glyph.x for glyph in self.glyphs)


@dataclass(frozen=True)
class Stroke:
    """A part of a bar line: "thin" or "thick" with its height, or a repeat's "dot"."""

    x: float
    kind: str
    width: float = 0.0
    top: float = 0.0
    bottom: float = 0.0
    glyph: Glyph | None = None


@dataclass
class RawHead:
    """A note head: its place and what hangs on it; index: the number of the note in its chord."""

    glyph: Glyph
    index: int
    accidental: int | None = None
    accidental_glyph: Glyph | None = None
    tie: bool = False  # begins here
    tie_ends: bool = False

    @property
    def x(self) -> float:
        return self.glyph.x

    @property
    def y(self) -> float:
        return self.glyph.y


@dataclass(frozen=True)
class RawTuplet:
    """The figure over some events; key: the same for all events under it, and for no others."""

    key: int
    figure: str
    glyphs: tuple[Glyph, ...]


@dataclass
class RawEvent:
    """A note, a chord or a rest (which has a glyph and no notes).

    number: its place among the bar's events by its id, −1 for a grace note.
    group: the same for all events under a beam; slurs: (bar, event) at which they end.
    """

    x: float
    notes: list[RawHead]
    duration: Fraction
    number: int = -1
    group: int | None = None
    tuplet: RawTuplet | None = None
    rest: Glyph | None = None
    grace: bool = False
    slash: bool = False
    graces: list[RawEvent] = field(default_factory=list)
    marks: list[RawMark] = field(default_factory=list)
    slurs: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class RawBar:
    """A bar: lines are the heights of its staff lines, from the top; ys what its notes reach."""

    number: int
    system: int
    lines: list[float]
    left: float
    right: float
    events: list[RawEvent] = field(default_factory=list)
    signs: list[RawSign] = field(default_factory=list)
    strokes: list[Stroke] = field(default_factory=list)  # of bar lines
    ledgers: list[tuple[float, float, float]] = field(default_factory=list)  # left, right, y
    ys: list[float] = field(default_factory=list)
    volta: str | None = None
    volta_start: bool = False
    volta_texts: tuple[Text, ...] = ()

    @property
    def parts(self) -> list[RawEvent | RawSign]:
        """Events and signs from left to right."""
        parts: list[RawEvent | RawSign] = [*self.events, *self.signs]
        return sorted(parts, key=lambda part: part.x)


# ------------------------------------------------------------------ small readers


def glyphs(element: ET.Element) -> Iterator[Glyph]:
    """The glyphs in an element: `#E0A4-x1y2` is the code point E0A4."""
    for use in element.iter(USE):
        x, y, *scale = numbers(use.get("transform", ""))
        yield Glyph(use.get(_HREF, "")[1:5], x, y, scale[0] if scale else 1.0)


def texts(element: ET.Element) -> tuple[Text, ...]:
    """The lines of text in an element.  Verovio gives the size to the innermost <tspan>."""
    lines = []
    for text in element.iter(TEXT):
        sizes = [text.get("font-size", "0"), *(span.get("font-size", "0")
                 for span in text.iter(_TSPAN))]  # fmt: skip
        size = max(float(size.removesuffix("px")) for size in sizes)
        x, y = float(text.get("x", "0")), float(text.get("y", "0"))
        lines.append(Text("".join(text.itertext()), x, y, size, text.get("text-anchor", "start")))
    return tuple(lines)


def joined(lines: tuple[Text, ...]) -> str:
    return " ".join(line.text for line in lines)


def numbers(text: str) -> list[float]:
    return [float(number) for number in _NUMBER.findall(text)]


def corners(text: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in (pair.split(",") for pair in text.split()))
