"""What a page shows, read from the drawing alone: SVG → `LaidOut`.

Nothing of the MEI is looked at.  A pitch is the height of a note head against the staff lines
and the clef drawn before it; a duration is the kind of head, the flags on or beams across its
stem, and its dots; a bar line is how many thin and thick strokes stand side by side; a volta is
a bracket over some bars; a slur is a curve whose ends are nearest to two notes.  The ids that
`mei.py` gave say to which event a drawn text, tie or ornament belongs.

Lengths are Verovio's SVG units (180 between two staff lines) unless they say pixels.
"""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from fractions import Fraction

from nota_jax.notation.engraving.svg import (
    EVENT_ID,
    PATH,
    SPACE,
    TEXT,
    G,
    MismatchError,
    RawBar,
    RawEvent,
    meaning,
    numbers,
    read_bar,
    texts,
)  # fmt: skip
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
Sign = tuple[str, object]


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
class LaidOut:
    """Everything a page shows."""

    titles: tuple[str, ...]
    composer: str
    tempo: Tempo | None
    bars: tuple[DrawnBar, ...]
    places: tuple[Place, ...]
    staff_spacing: float  # pixels, measured
    least_distance: float  # between neighbouring heads of a bar, left to left, staff spaces


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
    measures: list[RawBar] = []
    curves: list[tuple[int, ET.Element]] = []
    voltas: list[tuple[int, ET.Element]] = []
    n_systems = 0
    for element in music.iter(G):
        kind = element.get("class", "")
        if kind == "system":
            n_systems += 1
        elif kind == "measure":
            measures.append(read_bar(element, n_systems - 1))
        elif kind.split(" ")[0] in ("tie", "slur"):
            curves.append((n_systems - 1, element))
        elif kind == "voltaBracket":
            voltas.append((n_systems - 1, element))
    if [measure.number for measure in measures] != list(range(len(measures))):
        raise MismatchError("bars are missing or out of order")
    _attach_curves(measures, curves)
    _attach_voltas(measures, voltas)
    left, top, scale = numbers(music.get("transform", ""))[:3]
    clef = _Clef()
    lines = _read_barlines(measures)
    bars = [_finish(measure, clef, line) for measure, line in zip(measures, lines, strict=True)]
    return LaidOut(
        titles=tuple(texts(g) for g in header if g.get("class") == "title"),
        composer=" ".join(texts(g) for g in header if g.get("class") == "composer"),
        tempo=next((_tempo(g) for g in header if g.get("class") == "tempo"), None),
        bars=tuple(bars),
        places=tuple(_place(measure, left, top, scale) for measure in measures),
        staff_spacing=(measures[0].lines[1] - measures[0].lines[0]) * scale if measures else 0.0,
        least_distance=_least_distance(measures),
    )


def _least_distance(measures: list[RawBar]) -> float:
    pairs = (pair for bar in measures for pair in itertools.pairwise(bar.events))
    return min((b.x - a.x for a, b in pairs), default=float("inf")) / SPACE


_BEATS = {"E1D2": Fraction(1), "E1D3": Fraction(1, 2), "E1D5": Fraction(1, 4),
          "E1D7": Fraction(1, 8), "E1D9": Fraction(1, 16)}  # fmt: skip


def _tempo(element: ET.Element) -> Tempo:
    words, rate, beats = "", None, []
    for child in element:
        code = child.get("class", "")
        if child.tag == TEXT:
            text = "".join(child.itertext())
            if match := re.fullmatch("= ([0-9]+)", text):
                rate = int(match[1])
            else:
                words = text
        elif code in _BEATS:
            beats.append([_BEATS[code], Fraction(1)])
        elif beats:  # a dot
            beats[-1][1] += beats[-1][1] / 2 if beats[-1][1] == 1 else Fraction(1, 4)
    return Tempo(words, tuple(base * dots for base, dots in beats), rate)


# ------------------------------------------------------------------ curves and brackets


def _attach_curves(measures: list[RawBar], curves: list[tuple[int, ET.Element]]) -> None:
    """Ties and slurs to the notes that their ends are nearest to."""
    segments: dict[str, list[tuple[int, list[float]]]] = {}
    kinds: dict[str, str] = {}
    for system, element in curves:
        classes = element.get("class", "").split(" ")
        name = element.get("id") or next(c[3:] for c in classes if c.startswith("id-"))
        kinds.setdefault(name, classes[0])
        for path in element.iter(PATH):
            segments.setdefault(name, []).append((system, numbers(path.get("d", ""))))
    rows: dict[int, list[tuple[float, RawBar, RawEvent]]] = {}  # x of every head or rest, by system
    for measure in measures:
        rows.setdefault(measure.system, []).extend(
            (drawn.x, measure, event)
            for event in measure.events
            for drawn in (event, *event.graces)
        )
    for name, parts in segments.items():
        (first, start), (last, end) = parts[0], parts[-1]
        (x0, y0), (x1, y1) = start[:2], end[6:8]
        match = EVENT_ID.fullmatch(name)
        if match is None:
            raise MismatchError(f"a {kinds[name]} that belongs to nothing")
        measure = measures[int(match[1])]
        if int(match[2]) >= len(measure.events):
            raise MismatchError(f"bar {measure.number + 1}: a {kinds[name]} whose note is missing")
        if kinds[name] == "slur":
            begin, stop = _reached(rows[first], x0), _reached(rows[last], x1 + SPACE / 4)
            begin[2].slurs.append((stop[1].number, stop[2].number))
            continue
        event = measure.events[int(match[2])]
        for note in (n for n in event.notes if n.index == int(match[4])):
            near = 0 <= x0 - note.x <= 3 * SPACE and abs(y0 - note.y) <= 1.3 * SPACE
            note.tie = near and measure.system == first
            if note.tie:
                targets = [(m, n) for _, m, e in rows[last] for n in e.notes
                           if (m.number, e.number) > (measure.number, event.number)]  # fmt: skip
                note.tie = any(
                    abs((n.y - m.lines[4]) - (note.y - measure.lines[4])) < SPACE / 4
                    and abs(n.y - y1) <= 1.3 * SPACE
                    and -SPACE <= n.x - x1 <= 3 * SPACE
                    for m, n in targets
                )


def _reached(row: list[tuple[float, RawBar, RawEvent]], x: float) -> tuple[float, RawBar, RawEvent]:
    """The note or rest at which a slur's end stands: the last one that begins before x."""
    before = (place for place in row if place[0] <= x)
    return max(before, key=lambda place: place[0], default=row[0])


def _attach_voltas(measures: list[RawBar], voltas: list[tuple[int, ET.Element]]) -> None:
    """Each bracket to the bars under it; on a further system its text stands in parentheses."""
    for system, bracket in voltas:
        text = texts(bracket)
        lines = [numbers(p.get("d", "")) for p in bracket if p.tag == PATH]
        spans = [(n[0], n[2]) for n in lines if abs(n[1] - n[3]) < 1]
        begins = not (text.startswith("(") and text.endswith(")"))
        for measure in measures:
            middle = (measure.left + measure.right) / 2
            if measure.system == system and any(a < middle < b for a, b in spans):
                measure.volta, measure.volta_start = text.strip("()"), begins
                begins = False


# ------------------------------------------------------------------ one bar, read


# Staff position (C4 is 28) of the line that a clef names.
_CLEF_POSITION = {"G": 32, "F": 24, "C": 28}


@dataclass
class _Clef:
    """The staff position of the lowest line under the clef in force."""

    lowest: int = 30

    def change(self, shape: str, line: int, octave: int) -> None:
        self.lowest = _CLEF_POSITION[shape] - 2 * (line - 1) + 7 * octave

    def position(self, y: float, measure: RawBar) -> int:
        steps = (measure.lines[4] - y) / (SPACE / 2)
        if abs(steps - round(steps)) > 0.2:
            raise MismatchError(
                f"bar {measure.number + 1}: a head neither on a line nor in a space"
            )
        return self.lowest + round(steps)


def _finish(measure: RawBar, clef: _Clef, lines: tuple[bool, str]) -> DrawnBar:
    """Raw places into notation, in reading order."""
    last = max((event.x for event in measure.events), default=measure.left)
    edge = min((x for x, _ in measure.strokes if x > last), default=measure.right)
    items: list[Sign | DrawnEvent] = []
    courtesies: list[Sign] = []
    groups: dict[int, int] = {}
    tuplets: dict[int, int] = {}
    everything = [(e.x, "event", e) for e in measure.events] + measure.signs
    for x, kind, value in sorted(everything, key=lambda item: item[0]):
        if kind == "event":
            items.append(_read_event(value, measure, clef, groups, tuplets))
            continue
        if kind == "clef":
            clef.change(*value)
        elif kind == "key":
            value = tuple((STEPS[clef.position(y, measure) % 7], alter) for alter, y in value)
        (courtesies if x > edge else items).append((kind, value))
    return DrawnBar(
        items=tuple(items), courtesies=tuple(courtesies),
        repeat_start=lines[0], barline=lines[1],
        volta=measure.volta, volta_start=measure.volta_start,
    )  # fmt: skip


_BARLINES = {
    "": "", "thin": "|", "thin thin": "||", "thin thick": "|]", "dot thin thick": ":|",
    "thick thin dot": "|:", "dot thin thick thin dot": "::",
    "dot thin thick thick thin dot": "::", "thin thin thick thin dot": "|||:",
    "thin thick thick thin dot": "|]|:",
}  # fmt: skip


def _read_barlines(measures: list[RawBar]) -> list[tuple[bool, str]]:
    """For every bar: whether a repeat starts at its left, and what closes it.

    Between two bars of a system the strokes of both sides make one sign.
    """
    sides = []
    for measure in measures:
        first = min((event.x for event in measure.events), default=measure.right)
        strokes = sorted(set(measure.strokes))  # a repeat's two dots share their x
        sides.append([[kind for x, kind in strokes if x < first],
                      [kind for x, kind in strokes if x >= first]])  # fmt: skip
    read = [[False, ""] for _ in measures]
    for i, (measure, (opening, closing)) in enumerate(zip(measures, sides, strict=True)):
        if i == 0 or measures[i - 1].system != measure.system:
            sign = meaning(_BARLINES, " ".join(opening), measure)
            if sign not in ("", "|:"):
                raise MismatchError(f"bar {i + 1}: the bar line {sign!r} at the start of a system")
            read[i][0] = sign == "|:"
        here = closing
        if i + 1 < len(measures) and measures[i + 1].system == measure.system:
            here = closing + sides[i + 1][0]
        sign = meaning(_BARLINES, " ".join(here), measure)
        if sign.endswith(":") and i + 1 < len(measures):
            read[i + 1][0] = True
            sign = {"|:": "|", "::": ":|"}.get(sign, sign[:2])
        read[i][1] = sign
    return [(start, sign) for start, sign in read]


def _read_event(
    event: RawEvent, measure: RawBar, clef: _Clef, groups: dict[int, int], tuplets: dict[int, int]
) -> DrawnEvent:
    def heads(e: RawEvent) -> tuple[Head, ...]:
        return tuple(
            Head(clef.position(note.y, measure), note.accidental, note.tie)
            for note in sorted(e.notes, key=lambda note: (-note.y, note.index))
        )

    group = None if event.group is None else groups.setdefault(event.group, len(groups))
    tuplet = None
    if event.tuplet is not None:
        number, figure = event.tuplet
        tuplet = (tuplets.setdefault(number, len(tuplets)), figure)
    return DrawnEvent(
        heads=heads(event), duration=event.duration, group=group, tuplet=tuplet,
        graces=tuple((head, grace.duration) for grace in event.graces for head in heads(grace)),
        slash=any(grace.slash for grace in event.graces),
        marks=tuple(sorted(event.marks)), slurs=tuple(sorted(event.slurs)),
    )  # fmt: skip


def _place(measure: RawBar, left: float, top: float, scale: float) -> Place:
    ys = [*measure.ys, measure.lines[0], measure.lines[4]]
    return Place(
        measure.system,
        (left + measure.left * scale, top + measure.lines[0] * scale,
         left + measure.right * scale, top + measure.lines[4] * scale),
        (top + (min(ys) - SPACE) * scale, top + (max(ys) + SPACE) * scale),
    )  # fmt: skip
