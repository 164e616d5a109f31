"""One bar of Verovio's drawing: which glyphs, strokes and texts stand where.

This is what a page shows before any clef gives it meaning.  A duration is the kind of head, the
flags on or the beams across its stem, and its dots; the ids that `mei.py` gave say to which event
a drawn text, tie or ornament belongs.  Lengths are SVG units, `SPACE` between two staff lines,
x to the right and y downwards.
"""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from nota_jax.notation.engraving.errors import MismatchError
from nota_jax.notation.engraving.glyphs import (
    ACCIDENTALS,
    CLEFS,
    FLAGS,
    HEADS,
    MARK_TAGS,
    METER_FIGURES,
    METER_SYMBOLS,
    RESTS,
    SPACE,
    TUPLET_FIGURES,
    mark_of_glyph,
    mark_of_text,
)
from nota_jax.notation.engraving.svg import (
    ELLIPSE,
    PATH,
    POLYGON,
    USE,
    G,
    RawBar,
    RawEvent,
    RawHead,
    RawMark,
    RawSign,
    RawTuplet,
    Stroke,
    corners,
    glyphs,
    joined,
    numbers,
    texts,
)

# Drawn places are whole numbers, and lines have thickness: what is nearer than these is the same.
_TOUCHES = 20.0  # a line, stem or beam edge against another one
_LEVELS_APART = 40.0  # two beams across one stem (they are 135 apart, 90 thick)

# Ids as `mei.py` gives them: bar, event, and what of the event.
EVENT_ID = re.compile(r"b([0-9]+)e([0-9]+)(?:([a-z])([0-9]*))?x?")

_Meaning = TypeVar("_Meaning")


# ------------------------------------------------------------------ a bar


def read_bar(element: ET.Element, system: int) -> RawBar:
    """What a group of class "measure" shows, events from left to right.

    Raises `MismatchError` where a part of a note or of the staff is missing or unknown.
    """
    number = int(element.get("id", "b-1")[1:])
    staff = next(child for child in element if child.get("class") == "staff")
    rows = [numbers(path.get("d", "")) for path in staff if path.tag == PATH]
    if len(rows) != 5:
        raise MismatchError(f"bar {number + 1}: {len(rows)} staff lines")
    bar = RawBar(number, system, [row[1] for row in rows], rows[0][0], rows[0][2])
    for child in staff:
        if child.get("class") == "layer":
            _read_layer(child, _Around(), bar)
        elif child.get("class", "").startswith("ledgerLines"):
            lines = [numbers(path.get("d", "")) for path in child if path.tag == PATH]
            bar.ledgers += [(left, right, y) for left, y, right, *_ in lines]
        else:
            _read_sign(child, bar)
    _check_ledgers(bar)
    _give_graces_to_their_notes(bar)
    for child in element:
        kind = child.get("class", "").split(" ")[0]
        if kind == "barLine":
            bar.strokes += _strokes(child)
        elif kind in ("harm", "dir") or kind in MARK_TAGS:
            _read_mark(child, kind, bar)
    return bar


def _check_ledgers(bar: RawBar) -> None:
    """Every line between a head and its staff is there, or its height could not be read."""
    top, bottom = bar.lines[0], bar.lines[4]
    for note in (note for event in bar.events for note in event.notes):
        above = note.y < top
        outside = top - note.y if above else max(note.y - bottom, 0.0)
        middle = note.x + SPACE / 2
        for n in range(1, int((outside + _TOUCHES) // SPACE) + 1):
            y = top - n * SPACE if above else bottom + n * SPACE
            if not any(
                left < middle < right and abs(y - line) < _TOUCHES
                for left, right, line in bar.ledgers
            ):
                raise MismatchError(f"bar {bar.number + 1}: a ledger line is missing")


def _give_graces_to_their_notes(bar: RawBar) -> None:
    """Leaves the bar's own events in their order, each with the grace notes before it."""
    events = sorted((event for event in bar.events if not event.grace), key=lambda e: e.x)
    if [event.number for event in events] != list(range(len(events))):
        raise MismatchError(f"bar {bar.number + 1}: notes are missing or out of order")
    for grace in (event for event in bar.events if event.grace):
        owner = next((event for event in events if event.x > grace.x), None)
        if owner is None:
            raise MismatchError(f"bar {bar.number + 1}: a grace note with no note behind it")
        owner.graces.append(grace)
    bar.events = events


# ------------------------------------------------------------------ notes and rests


@dataclass(frozen=True)
class _Around:
    """What an element of a layer lies in; beams are the corners of each bar of a beam."""

    group: int | None = None
    beams: tuple[tuple[tuple[float, float], ...], ...] = ()
    tuplet: RawTuplet | None = None
    grace: bool = False


def _read_layer(element: ET.Element, around: _Around, bar: RawBar) -> None:
    """Notes, rests and signs below an element, into `bar`."""
    for child in element:
        kind = child.get("class", "")
        if kind in ("note", "chord"):
            bar.events.append(_read_notes(child, around, bar))
        elif kind in ("rest", "mRest"):
            bar.events.append(_read_rest(child, kind, around, bar))
        elif kind == "beam":
            beams = tuple(corners(p.get("points", "")) for p in child if p.tag == POLYGON)
            _read_layer(child, dataclasses.replace(around, group=id(child), beams=beams), bar)
        elif kind == "tuplet":
            inner = dataclasses.replace(around, tuplet=_read_tuplet(child, bar))
            _read_layer(child, inner, bar)
        elif kind == "graceGrp":
            _read_layer(child, _Around(grace=True), bar)
        elif kind == "barLine":
            bar.strokes += _strokes(child)
        else:
            _read_sign(child, bar)


def _read_tuplet(element: ET.Element, bar: RawBar) -> RawTuplet:
    drawn = [glyph for child in element if child.get("class") == "tupletNum"
             for glyph in glyphs(child)]  # fmt: skip
    figure = "".join(meaning(TUPLET_FIGURES, glyph.code, bar) for glyph in drawn)
    return RawTuplet(id(element), figure, tuple(drawn))


def _read_notes(element: ET.Element, around: _Around, bar: RawBar) -> RawEvent:
    """A note or a chord: heads, stem, flags, dots, articulations and syllables."""
    single = element.get("class") == "note"
    members = [element] if single else [n for n in element if n.get("class") == "note"]
    notes = [
        _read_head(note, 0 if single else int(note.get("id", "").rsplit("n", 1)[1]), bar)
        for note in members
    ]
    marks: list[RawMark] = []
    dots: set[str | None] = set()  # the dots of a chord stand in columns
    n_flags = n_slashes = 0
    stem: list[float] | None = None
    for child in element.iter(G):
        kind = child.get("class", "")
        if kind == "stem":
            for path in (path for path in child if path.tag == PATH):
                line = numbers(path.get("d", ""))
                if abs(line[0] - line[2]) < 1:
                    stem = line
                else:
                    n_slashes += 1
        elif kind == "flag":
            n_flags = sum(meaning(FLAGS, glyph.code, bar) for glyph in glyphs(child))
        elif kind == "dots":
            dots |= {dot.get("cx") for dot in child.iter(ELLIPSE)}
        elif kind == "artic":
            marks += [RawMark("decoration", mark_of_glyph("artic", glyph.code), (glyph,))
                      for glyph in glyphs(child)]  # fmt: skip
        elif kind == "syl":
            verse = int(child.get("id", "y0").rsplit("y", 1)[1]) + 1
            lines = texts(child)
            marks.append(RawMark(f"lyric {verse}", joined(lines), texts=lines))
    heads = {meaning(HEADS, note.glyph.code, bar) for note in notes}
    if len(heads) != 1:
        raise MismatchError(f"bar {bar.number + 1}: different heads in one chord")
    base = heads.pop()
    n_beams = _beams_across(stem, around.beams) if stem else 0
    if base == Fraction(1, 4):
        base /= 2 ** (n_beams + n_flags)
    bar.ys += [note.y for note in notes] + ([stem[1], stem[3]] if stem else [])
    return RawEvent(
        x=min(note.x for note in notes),
        notes=notes,
        duration=_dotted(base, len(dots)),
        number=_event_number(element, around),
        group=around.group if n_beams else None,
        tuplet=around.tuplet,
        grace=around.grace,
        slash=n_slashes > 0,
        marks=marks,
    )


def _read_head(note: ET.Element, index: int, bar: RawBar) -> RawHead:
    drawn = [glyph for g in note if g.get("class") == "notehead" for glyph in glyphs(g)]
    if not drawn:
        raise MismatchError(f"bar {bar.number + 1}: a note without a head")
    head = RawHead(drawn[0], index)
    for accidental in (glyph for g in note if g.get("class") == "accid" for glyph in glyphs(g)):
        if abs(accidental.y - head.y) < SPACE / 4 and accidental.x < head.x:
            head.accidental = meaning(ACCIDENTALS, accidental.code, bar)
            head.accidental_glyph = accidental
    return head


def _read_rest(element: ET.Element, kind: str, around: _Around, bar: RawBar) -> RawEvent:
    glyph = next(glyphs(element), None)
    if glyph is None:
        raise MismatchError(f"bar {bar.number + 1}: a rest that is not drawn")
    base = meaning(RESTS, glyph.code, bar)
    n_dots = len({dot.get("cx") for dot in element.iter(ELLIPSE)})
    covered = any(
        min(x for x, _ in beam) < glyph.x < max(x for x, _ in beam) for beam in around.beams
    )
    return RawEvent(
        x=glyph.x,
        notes=[],
        duration=Fraction(0) if kind == "mRest" else _dotted(base, n_dots),
        number=_event_number(element, around),
        group=around.group if covered else None,
        tuplet=around.tuplet,
        rest=glyph,
    )


def _beams_across(stem: list[float], beams: tuple[tuple[tuple[float, float], ...], ...]) -> int:
    """Beams at different heights that reach the stem's x.

    A beam is a parallelogram: its middle line runs through the means of its left and its right
    edge.  Secondary beams are drawn in pieces from stem to stem, two of which may meet at one stem
    at the same height: together they count once.
    """
    x = stem[0]
    levels: list[float] = []
    for beam in beams:
        left, right = min(x for x, _ in beam), max(x for x, _ in beam)
        if not left - _TOUCHES <= x <= right + _TOUCHES:
            continue
        at_left = sum(y for px, y in beam if px - left < 1) / 2
        at_right = sum(y for px, y in beam if right - px < 1) / 2
        y = at_left + (at_right - at_left) * (x - left) / max(right - left, 1)
        if all(abs(y - level) > _LEVELS_APART for level in levels):
            levels.append(y)
    return len(levels)


def _dotted(base: Fraction, n_dots: int) -> Fraction:
    return base * (2 - Fraction(1, 2**n_dots))


def _event_number(element: ET.Element, around: _Around) -> int:
    match = EVENT_ID.fullmatch(element.get("id", ""))
    return -1 if around.grace or match is None else int(match[2])


# ------------------------------------------------------------------ signs, bar lines, marks


def _read_sign(element: ET.Element, bar: RawBar) -> None:
    """A clef, key or meter signature; an element of another class is none."""
    kind, drawn = element.get("class", ""), tuple(glyphs(element))
    if not drawn or kind not in ("clef", "keySig", "meterSig"):
        return
    if kind == "clef":
        shape, octave = meaning(CLEFS, drawn[0].code, bar)
        line = round((bar.lines[4] - drawn[0].y) / SPACE) + 1
        bar.signs.append(RawSign("clef", (shape, line, octave), drawn))
    elif kind == "keySig":
        alters = [(meaning(ACCIDENTALS, glyph.code, bar), glyph.y) for glyph in drawn]
        bar.signs.append(RawSign("key", alters, drawn))
    elif drawn[0].code in METER_SYMBOLS:
        bar.signs.append(RawSign("meter", METER_SYMBOLS[drawn[0].code], drawn))
    else:
        rows = {True: "", False: ""}  # above the middle line, and below
        for glyph in sorted(drawn, key=lambda glyph: glyph.x):
            rows[glyph.y < bar.lines[2]] += meaning(METER_FIGURES, glyph.code, bar)
        bar.signs.append(RawSign("meter", f"{rows[True]}/{rows[False]}", drawn))


def _strokes(element: ET.Element) -> Iterator[Stroke]:
    for child in element:
        if child.tag == PATH:
            width = float(child.get("stroke-width", "0"))
            x, top, _, bottom = numbers(child.get("d", ""))
            yield Stroke(x, "thick" if width > SPACE / 3 else "thin", width, top, bottom)
        elif child.tag == USE:
            glyph = next(glyphs(child))
            yield Stroke(glyph.x, "dot", glyph=glyph)


def _read_mark(element: ET.Element, kind: str, bar: RawBar) -> None:
    """A chord symbol, an annotation or a decoration, to the event that its id names."""
    match = EVENT_ID.fullmatch(element.get("id", ""))
    if match is None or int(match[1]) != bar.number:
        raise MismatchError(f"bar {bar.number + 1}: a {kind} that belongs to nothing")
    if int(match[2]) >= len(bar.events):
        raise MismatchError(f"bar {bar.number + 1}: a {kind} whose note is missing")
    drawn, lines = tuple(glyphs(element)), texts(element)
    text = joined(lines)
    if kind == "harm":
        mark = RawMark("chord symbol", text, texts=lines)
    elif kind == "dir":
        above = min((line.y for line in lines), default=0.0) < bar.lines[2]
        mark = RawMark("annotation", ("^" if above else "_") + text, texts=lines)
    elif drawn:
        mark = RawMark("decoration", mark_of_glyph(kind, drawn[0].code), drawn)
    else:
        mark = RawMark("decoration", mark_of_text(text), texts=lines)
    bar.events[int(match[2])].marks.append(mark)


def meaning(table: Mapping[str, _Meaning], code: str, bar: RawBar) -> _Meaning:
    if code not in table:
        raise MismatchError(f"bar {bar.number + 1}: the drawing {code!r} has no meaning here")
    return table[code]
