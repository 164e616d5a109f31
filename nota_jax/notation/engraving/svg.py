"""One bar of Verovio's drawing: which glyphs stand where, before any clef gives them meaning.

A duration is the kind of head, the flags on or the beams across its stem, and its dots; the ids
that `mei.py` gave say to which event a drawn text, tie or ornament belongs.  Lengths are SVG
units, `SPACE` between two staff lines.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from nota_jax.errors import UserError
from nota_jax.notation.engraving.mei import ORNAMENTS

SPACE = 180.0

# SMuFL code points → what they mean.
_HEADS = {"E0A0": Fraction(2), "E0A1": Fraction(2), "E0A2": Fraction(1), "E0A3": Fraction(1, 2),
          "E0A4": Fraction(1, 4)}  # fmt: skip
_FLAGS = {f"E{0x240 + i:03X}": i // 2 + 1 for i in range(12)}  # up and down alternate
_RESTS = {f"E{0x4E2 + i:03X}": Fraction(2) / 2**i for i in range(9)}
_ACCIDENTALS = {"E260": -1, "E261": 0, "E262": 1, "E263": 2, "E264": -2}
_CLEFS = {"E050": ("G", 0), "E052": ("G", -1), "E053": ("G", 1), "E062": ("F", 0),
          "E064": ("F", -1), "E065": ("F", 1), "E05C": ("C", 0), "E05D": ("C", -1)}  # fmt: skip
_METER_SYMBOLS = {"E08A": "C", "E08B": "C|"}
_MARKS = {
    "artic": {
        "E4A2": ".", "E4A3": ".", "E4A4": "tenuto", "E4A5": "tenuto", "E4A0": "accent",
        "E4A1": "accent", "E4A6": "wedge", "E4A7": "wedge", "E4A8": "wedge", "E4A9": "wedge",
        "E4AC": "marcato", "E4AD": "marcato", "E612": "u", "E613": "u", "E610": "v", "E611": "v",
        "E5E7": "open", "E614": "open", "E631": "snap", "E630": "snap",
    },
    "trill": {"E566": "T"},
    "mordent": {"E56D": "M", "E56C": "P"},
    "turn": {"E567": "turn"},
    "fermata": {"E4C0": "H", "E4C1": "H"},
    "arpeg": {"EAA9": "arpeggio"},
    "breath": {"E4CE": "breath"},
    "repeatMark": {"E047": "segno", "E048": "coda"},
    "dynam": {
        "E529": "pppp", "E52A": "ppp", "E52B": "pp", "E520": "p", "E52C": "mp", "E52D": "mf",
        "E522": "f", "E52F": "ff", "E530": "fff", "E531": "ffff", "E536": "sf", "E539": "sfz",
        "E535": "fz",
    },
    "ornam": {}, "fing": {},
}  # fmt: skip
_WRITTEN = {text: name for name, (tag, _, text) in ORNAMENTS.items() if text and tag != "dynam"}

G = "{http://www.w3.org/2000/svg}g"
PATH = "{http://www.w3.org/2000/svg}path"
_USE = "{http://www.w3.org/2000/svg}use"
TEXT = "{http://www.w3.org/2000/svg}text"
_POLYGON = "{http://www.w3.org/2000/svg}polygon"
_ELLIPSE = "{http://www.w3.org/2000/svg}ellipse"
_HREF = "{http://www.w3.org/1999/xlink}href"
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


class MismatchError(UserError):
    """The picture does not show the tune; the text says what differs, and in which bar."""


@dataclass
class RawHead:
    """A head before the clef is known: its place and what hangs on it."""

    x: float
    y: float
    code: str
    index: int
    accidental: int | None = None
    tie: bool = False


@dataclass
class RawEvent:
    x: float
    notes: list[RawHead]
    duration: Fraction
    number: int = -1
    group: int | None = None
    tuplet: tuple[int, str] | None = None
    grace: bool = False
    slash: bool = False
    graces: list[RawEvent] = field(default_factory=list)
    marks: list[tuple[str, str]] = field(default_factory=list)
    slurs: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class RawBar:
    number: int
    system: int
    lines: list[float]
    left: float
    right: float
    events: list[RawEvent] = field(default_factory=list)
    signs: list[tuple[float, str, object]] = field(default_factory=list)
    strokes: list[tuple[float, str]] = field(default_factory=list)  # of bar lines
    ledgers: list[tuple[float, float, float]] = field(default_factory=list)  # left, right, y
    ys: list[float] = field(default_factory=list)
    volta: str | None = None
    volta_start: bool = False


@dataclass(frozen=True)
class _Context:
    """What an element of a layer lies in."""

    group: int | None = None
    beams: tuple[tuple[tuple[float, float], ...], ...] = ()
    tuplet: tuple[int, str] | None = None
    grace: bool = False


EVENT_ID = re.compile(r"b([0-9]+)e([0-9]+)(?:([a-z])([0-9]*))?x?")


def read_bar(element: ET.Element, system: int) -> RawBar:
    number = int(element.get("id", "b-1")[1:])
    staff = next(child for child in element if child.get("class") == "staff")
    rows = [numbers(path.get("d", "")) for path in staff if path.tag == PATH]
    if len(rows) != 5:
        raise MismatchError(f"bar {number + 1}: {len(rows)} staff lines")
    measure = RawBar(number, system, [row[1] for row in rows], rows[0][0], rows[0][2])
    for child in staff:
        if child.get("class") == "layer":
            _walk(child, _Context(), measure)
        elif child.get("class", "").startswith("ledgerLines"):
            lines = [numbers(path.get("d", "")) for path in child if path.tag == PATH]
            measure.ledgers += [(line[0], line[2], line[1]) for line in lines]
        else:
            _sign(child, measure)
    _check_ledgers(measure)
    order = sorted((e for e in measure.events if not e.grace), key=lambda e: e.x)
    if [event.number for event in order] != list(range(len(order))):
        raise MismatchError(f"bar {number + 1}: notes are missing or out of order")
    for grace in (e for e in measure.events if e.grace):
        owner = next((e for e in order if e.x > grace.x), None)
        if owner is None:
            raise MismatchError(f"bar {number + 1}: a grace note with no note behind it")
        owner.graces.append(grace)
    measure.events = order
    for child in element:
        kind = child.get("class", "").split(" ")[0]
        if kind == "barLine":
            measure.strokes += _strokes(child)
        elif kind in ("harm", "dir") or kind in _MARKS:
            _mark(child, kind, measure)
    return measure


def _check_ledgers(measure: RawBar) -> None:
    """Every line between a head and its staff is there, or its height could not be read."""
    top, bottom = measure.lines[0], measure.lines[4]
    for note in (note for event in measure.events for note in event.notes):
        outside = top - note.y if note.y < top else max(note.y - bottom, 0.0)
        for n in range(1, int((outside + 20) // SPACE) + 1):
            y = top - n * SPACE if note.y < top else bottom + n * SPACE
            if not any(a < note.x + SPACE / 2 < b and abs(y - c) < 20
                       for a, b, c in measure.ledgers):  # fmt: skip
                raise MismatchError(f"bar {measure.number + 1}: a ledger line is missing")


def _walk(element: ET.Element, context: _Context, measure: RawBar) -> None:
    for child in element:
        kind = child.get("class", "")
        if kind in ("note", "chord"):
            measure.events.append(_notes(child, context, measure))
        elif kind in ("rest", "mRest"):
            measure.events.append(_rest(child, kind, context, measure))
        elif kind == "beam":
            beams = tuple(_points(p.get("points", "")) for p in child if p.tag == _POLYGON)
            inner = _Context(id(child), beams, context.tuplet, context.grace)
            _walk(child, inner, measure)
        elif kind == "tuplet":
            figure = "".join(
                chr(ord("0") + int(_code(use), 16) - 0xE880)
                for number in child
                if number.get("class") == "tupletNum"
                for use in number.iter(_USE)
            )
            inner = _Context(context.group, context.beams, (id(child), figure), context.grace)
            _walk(child, inner, measure)
        elif kind == "graceGrp":
            _walk(child, _Context(grace=True), measure)
        elif kind == "barLine":
            measure.strokes += _strokes(child)
        else:
            _sign(child, measure)


def _notes(element: ET.Element, context: _Context, measure: RawBar) -> RawEvent:
    """A note or a chord: heads, stem, flags, dots, articulations and syllables."""
    single = element.get("class") == "note"
    notes, marks, dots = [], [], set()
    n_flags = n_strokes = 0
    stem: tuple[float, ...] | None = None
    for note in [element] if single else [n for n in element if n.get("class") == "note"]:
        index = 0 if single else int(note.get("id", "").rsplit("n", 1)[1])
        use = next((u for g in note if g.get("class") == "notehead" for u in g.iter(_USE)), None)
        if use is None:
            raise MismatchError(f"bar {measure.number + 1}: a note without a head")
        head = RawHead(*numbers(use.get("transform", ""))[:2], _code(use), index)
        for accid in (u for g in note if g.get("class") == "accid" for u in g.iter(_USE)):
            x, y = numbers(accid.get("transform", ""))[:2]
            if abs(y - head.y) < SPACE / 4 and x < head.x:
                head.accidental = meaning(_ACCIDENTALS, _code(accid), measure)
        notes.append(head)
    for child in element.iter(G):
        kind = child.get("class", "")
        if kind == "stem":
            for path in (p for p in child if p.tag == PATH):
                line = numbers(path.get("d", ""))
                if abs(line[0] - line[2]) < 1:
                    stem = tuple(line)
                else:
                    n_strokes += 1
        elif kind == "flag":
            n_flags = sum(meaning(_FLAGS, _code(use), measure) for use in child.iter(_USE))
        elif kind == "dots":
            dots |= {dot.get("cx") for dot in child.iter(_ELLIPSE)}
        elif kind == "artic":
            marks += [("decoration", _MARKS["artic"].get(_code(u), _code(u)))
                      for u in child.iter(_USE)]  # fmt: skip
        elif kind == "syl":
            verse = int(child.get("id", "y0").rsplit("y", 1)[1]) + 1
            marks.append((f"lyric {verse}", texts(child)))
    heads = {meaning(_HEADS, note.code, measure) for note in notes}
    if len(heads) != 1:
        raise MismatchError(f"bar {measure.number + 1}: different heads in one chord")
    n_beams = _beams_across(stem, context.beams) if stem else 0
    base = heads.pop()
    if base == Fraction(1, 4):
        base /= 2 ** (n_beams + n_flags)
    measure.ys += [note.y for note in notes] + ([stem[1], stem[3]] if stem else [])
    return RawEvent(
        x=min(note.x for note in notes), notes=notes, duration=_dotted(base, len(dots)),
        number=_number(element, context), group=context.group if n_beams else None,
        tuplet=context.tuplet, grace=context.grace, slash=n_strokes > 0, marks=marks,
    )  # fmt: skip


def _rest(element: ET.Element, kind: str, context: _Context, measure: RawBar) -> RawEvent:
    use = next(element.iter(_USE), None)
    if use is None:
        raise MismatchError(f"bar {measure.number + 1}: a rest that is not drawn")
    x, _ = numbers(use.get("transform", ""))[:2]
    base = meaning(_RESTS, _code(use), measure)
    n_dots = len({dot.get("cx") for dot in element.iter(_ELLIPSE)})
    duration = Fraction(0) if kind == "mRest" else _dotted(base, n_dots)
    covered = any(min(p[0] for p in b) < x < max(p[0] for p in b) for b in context.beams)
    return RawEvent(
        x=x, notes=[], duration=duration, number=_number(element, context),
        group=context.group if covered else None, tuplet=context.tuplet,
    )  # fmt: skip


def _beams_across(stem: tuple[float, ...], beams: tuple) -> int:
    """Beams at different heights that reach the stem's x."""
    x, levels = stem[0], []
    for points in beams:
        xs = [p[0] for p in points]
        left, right = min(xs), max(xs)
        if left - 20 <= x <= right + 20:
            # A parallelogram: its middle line runs through the means of its left and right edges.
            y0 = sum(p[1] for p in points if p[0] - left < 1) / 2
            y1 = sum(p[1] for p in points if right - p[0] < 1) / 2
            y = y0 + (y1 - y0) * (x - left) / max(right - left, 1)
            if all(abs(y - level) > 40 for level in levels):
                levels.append(y)
    return len(levels)


def _sign(element: ET.Element, measure: RawBar) -> None:
    """A clef, key or meter signature."""
    kind = element.get("class", "")
    uses = [(_code(u), *numbers(u.get("transform", ""))[:2]) for u in element.iter(_USE)]
    if not uses or kind not in ("clef", "keySig", "meterSig"):
        return
    x = min(use[1] for use in uses)
    if kind == "clef":
        shape, octave = meaning(_CLEFS, uses[0][0], measure)
        line = round((measure.lines[4] - uses[0][2]) / SPACE) + 1
        measure.signs.append((x, "clef", (shape, line, octave)))
    elif kind == "keySig":
        signs = [(meaning(_ACCIDENTALS, code, measure), y) for code, _, y in uses]
        measure.signs.append((x, "key", signs))
    elif uses[0][0] in _METER_SYMBOLS:
        measure.signs.append((x, "meter", _METER_SYMBOLS[uses[0][0]]))
    else:
        middle = measure.lines[2]
        rows = ["".join(_digit(code, measure) for code, ux, y in sorted(uses, key=lambda u: u[1])
                        if (y < middle) == above) for above in (True, False)]  # fmt: skip
        measure.signs.append((x, "meter", "/".join(rows)))


def _digit(code: str, measure: RawBar) -> str:
    value = int(code, 16)
    if 0xE080 <= value <= 0xE089:
        return str(value - 0xE080)
    if code in ("E08C", "E08D"):
        return "+"
    raise MismatchError(f"bar {measure.number + 1}: unknown figure U+{code} in a meter")


def _strokes(element: ET.Element) -> Iterator[tuple[float, str]]:
    for child in element:
        if child.tag == PATH:
            thick = float(child.get("stroke-width", "0")) > SPACE / 3
            yield numbers(child.get("d", ""))[0], "thick" if thick else "thin"
        elif child.tag == _USE:
            yield numbers(child.get("transform", ""))[0], "dot"


def _mark(element: ET.Element, kind: str, measure: RawBar) -> None:
    match = EVENT_ID.fullmatch(element.get("id", ""))
    if match is None or int(match[1]) != measure.number:
        raise MismatchError(f"bar {measure.number + 1}: a {kind} that belongs to nothing")
    if int(match[2]) >= len(measure.events):
        raise MismatchError(f"bar {measure.number + 1}: a {kind} whose note is missing")
    codes, text = [_code(use) for use in element.iter(_USE)], texts(element)
    if kind == "harm":
        mark = ("chord symbol", text)
    elif kind == "dir":
        y = min((float(t.get("y", "0")) for t in element.iter(TEXT)), default=0.0)
        mark = ("annotation", ("^" if y < measure.lines[2] else "_") + text)
    elif codes:
        mark = ("decoration", _MARKS[kind].get(codes[0], codes[0]))
    else:
        mark = ("decoration", _WRITTEN.get(text, text))
    measure.events[int(match[2])].marks.append(mark)


# ------------------------------------------------------------------ small readers


def texts(element: ET.Element) -> str:
    """All text below an element, its lines joined by spaces."""
    return " ".join("".join(text.itertext()) for text in element.iter(TEXT))


def numbers(text: str) -> list[float]:
    return [float(number) for number in _NUMBER.findall(text)]


def _points(text: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in (p.split(",") for p in text.split()))


def _code(use: ET.Element) -> str:
    """`#E0A4-x1y2` → "E0A4"."""
    return use.get(_HREF, "")[1:5]


def _number(element: ET.Element, context: _Context) -> int:
    match = EVENT_ID.fullmatch(element.get("id", ""))
    return -1 if context.grace or match is None else int(match[2])


def meaning(table: dict, code: str, measure: RawBar):
    if code not in table:
        raise MismatchError(f"bar {measure.number + 1}: the drawing {code!r} has no meaning here")
    return table[code]


def _dotted(base: Fraction, n_dots: int) -> Fraction:
    return base * (2 - Fraction(1, 2**n_dots))
