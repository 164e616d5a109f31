"""Where every symbol of a page is, and what it is: the labels of a picture's patches.

The places are those that `readback.py` read and `proof.py` proved; a glyph's box is its font's,
a letter's follows from the text font's own measures.  Symbols are rows of a numpy array of type
`SYMBOL`, header first, then bar by bar from left to right:

    symbols = boxes.unpack(picture.symbols)
    heads = symbols[symbols["kind"] == boxes.KINDS.index("head")]
"""

from __future__ import annotations

import functools
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from nota_jax.errors import UserError, cut
from nota_jax.notation.engraving.errors import EngraveError
from nota_jax.notation.engraving.fonts import Box, TextFont
from nota_jax.notation.engraving.glyphs import TEMPO_BEATS, TEMPO_DOT, shape
from nota_jax.notation.engraving.mei import CLEFS, split_duration
from nota_jax.notation.engraving.readback import Clef, LaidOut, height, in_pitch_order
from nota_jax.notation.engraving.svg import Glyph, RawBar, RawEvent, RawMark, RawSign, Stroke, Text

KINDS = (
    "head", "rest", "accidental", "clef", "key", "meter", "bar line", "tuplet", "decoration",
    "tempo note", "letter",
)  # fmt: skip
# What a letter is part of.
TEXTS = (
    "", "title", "composer", "tempo", "chord symbol", "annotation", "lyric", "decoration", "ending",
)  # fmt: skip
# Where an event stands under its beam or tuplet.
SPANS = ("", "first", "inside", "last")

NOTHING = -128  # in the columns of signed bytes: there is no such thing here

_COLUMNS = [
    ("kind", "u1"),  # index into KINDS
    ("box", "f4", (4,)),  # left, top, right, bottom of the ink, pixels, in sixteenths
    ("system", "i2"),  # −1 in the header
    ("bar", "i2"),  # of the tune, −1 in the header
    ("event", "i2"),  # of the bar: for signs and bar lines the one that follows; title's number
    ("number", "i2"),  # letter of its text (spaces count), head from below, sign of the key …
    # A letter; a meter as in M:, a bar line as in ABC, a clef's, decoration's or figure's name.
    ("label", "U24"),
    ("text", "u1"),  # index into TEXTS
    ("verse", "u1"),  # of a lyric, from 1
    ("position", "i1"),  # diatonic: C4 is 28, one a step
    ("height", "i1"),  # staff positions above the lowest line
    ("accidental", "i1"),  # semitones: drawn before the head, or itself
    ("halvings", "i1"),  # of a whole note: 2 is a quarter; NOTHING for a whole-bar rest
    ("dots", "u1"),
    ("beam", "u1"),  # index into SPANS
    ("tuplet", "u1"),  # index into SPANS
    ("slurs_open", "u1"),
    ("slurs_close", "u1"),
    ("tie_opens", "?"),
    ("tie_closes", "?"),
    ("grace", "?"),
]
SYMBOL = np.dtype(_COLUMNS)
_NAMES = tuple(str(column[0]) for column in _COLUMNS)
_MOST_BYTES = 2**26  # of a picture's labels, unpacked: a page has some tens of kilobytes
_SIXTEENTHS = 16  # of a pixel: exact in float32, and small whole numbers when packed

_DEFAULTS = {name: np.zeros((), SYMBOL[name].base)[()] for name in _NAMES} | {
    "system": -1, "bar": -1, "label": "", "position": NOTHING, "height": NOTHING,
    "accidental": NOTHING, "halvings": NOTHING,
}  # fmt: skip
_CLEF_NAMES = {place: name for name, place in CLEFS.items()}
_WEIGHTS = {"composer": 2, "annotation": 2, "ending": 1}  # of TextFont; regular otherwise


def symbols(laid_out: LaidOut, font: TextFont, music_font: str) -> np.ndarray:
    """Every symbol of a page, as the module says.

    Raises `EngraveError` where the name of one is too long for its column.
    """
    page = _Page(laid_out, font, music_font)
    rows = list(page.header())
    clef = Clef()
    closing = _slurs_closing(laid_out.raw)
    for bar, line in zip(laid_out.raw, laid_out.bar_lines, strict=True):
        found = [
            *page.bar_line(bar, 0, *line.opening),
            *page.bar_line(bar, len(bar.events), *line.sign),
            *page.letters("ending", bar.volta_texts, system=bar.system, bar=bar.number),
        ]
        for part in bar.parts:
            if isinstance(part, RawSign):
                found += page.sign(part, bar, clef)
            else:
                found += page.event(part, bar, clef, closing.get((bar.number, part.number), 0))
        rows += sorted(found, key=lambda row: (row["box"][0], -row["box"][1]))
    return _table(rows)


def letters(placed: Sequence[tuple[str, Box]]) -> np.ndarray:
    """Letters that are part of no text of a tune, and their boxes, as symbols."""
    return _table(
        [_row("letter", box, label=letter, number=i) for i, (letter, box) in enumerate(placed)]
    )


def _table(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    array = np.zeros(len(rows), SYMBOL)
    for name in _NAMES if rows else ():
        array[name] = [row[name] for row in rows]
    array["box"] = np.round(array["box"] * _SIXTEENTHS) / _SIXTEENTHS
    return array


def _row(kind: str, box: Box, **values: Any) -> dict[str, Any]:
    label = values.get("label", "")
    if len(label) > SYMBOL["label"].itemsize // 4:
        raise EngraveError(f"the {kind} {label!r} is too long for a label")
    return _DEFAULTS | {"kind": KINDS.index(kind), "box": box} | values


def _slurs_closing(bars: Sequence[RawBar]) -> dict[tuple[int, int], int]:
    counts: dict[tuple[int, int], int] = {}
    for end in (end for bar in bars for event in bar.events for end in event.slurs):
        counts[end] = counts.get(end, 0) + 1
    return counts


class _Page:
    """Rows of symbols from what was read of one page."""

    def __init__(self, laid_out: LaidOut, font: TextFont, music_font: str):
        self._header, self._frame = laid_out.header, laid_out.frame
        self._font, self._music_font = font, music_font

    def header(self) -> Iterator[dict[str, Any]]:
        beats: list[dict[str, Any]] = []
        starts: dict[tuple[str, int], int] = {}  # letters are counted through the lines of a text
        for part in self._header:
            if isinstance(part.drawn, Text):
                start = starts.get((part.name, part.number), 0)
                yield from self._line(part.name, part.drawn, start, event=part.number)
                starts[part.name, part.number] = start + len(part.drawn.text) + 1
            elif part.drawn.code == TEMPO_DOT:
                beats[-1]["dots"] += 1
                beats[-1]["box"] = _around([beats[-1]["box"], self._ink(part.drawn)])
            else:
                halvings = _halvings(TEMPO_BEATS[part.drawn.code])
                beats.append(_row("tempo note", self._ink(part.drawn), halvings=halvings))
        yield from beats

    def event(
        self, event: RawEvent, bar: RawBar, clef: Clef, slurs_close: int
    ) -> Iterator[dict[str, Any]]:
        """Heads, rest, accidentals, and what belongs to them."""
        here = {"system": bar.system, "bar": bar.number, "event": event.number}
        for number, grace in enumerate(event.graces):
            yield from self._heads(grace, bar, clef, here, {"grace": True}, number)
        said = {
            "beam": _span(event, bar.events, lambda e: e.group),
            "tuplet": _span(event, bar.events, lambda e: e.tuplet and e.tuplet.key),
            "slurs_open": len(event.slurs),
            "slurs_close": slurs_close,
        }
        if event.rest is not None:
            yield _row("rest", self._box(event.rest), **here, **said, **_value(event.duration))
        yield from self._heads(event, bar, clef, here, said)
        if event.tuplet is not None and said["tuplet"] == SPANS.index("first"):
            if event.tuplet.glyphs:
                box = _around(map(self._box, event.tuplet.glyphs))
                yield _row("tuplet", box, **here, label=event.tuplet.figure)
        for mark in event.marks:
            yield from self._mark(mark, **here)

    def _heads(
        self, event: RawEvent, bar: RawBar, clef: Clef, here: dict, said: dict, first: int = 0
    ) -> Iterator[dict[str, Any]]:
        """The heads from below and their accidentals; `first` is the number of the lowest."""
        for number, head in enumerate(in_pitch_order(event.notes), first):
            place = {
                "position": clef.position(head.y, bar),
                "height": height(head.y, bar),
                "accidental": NOTHING if head.accidental is None else head.accidental,
                "number": number,
            }
            if head.accidental_glyph is not None:
                yield _row("accidental", self._box(head.accidental_glyph), **here, **place)
            ties = {"tie_opens": head.tie, "tie_closes": head.tie_ends}
            value = _value(event.duration)
            yield _row("head", self._box(head.glyph), **here, **place, **said, **value, **ties)

    def _mark(self, mark: RawMark, **here: int) -> Iterator[dict[str, Any]]:
        kind, _, verse = mark.kind.partition(" ") if "lyric" in mark.kind else (mark.kind, "", "0")
        if mark.glyphs:
            yield _row("decoration", _around(map(self._box, mark.glyphs)), **here, label=mark.text)
        yield from self.letters(kind, mark.texts, **here, verse=int(verse))

    def sign(self, sign: RawSign, bar: RawBar, clef: Clef) -> Iterator[dict[str, Any]]:
        here = {
            "system": bar.system,
            "bar": bar.number,
            "event": sum(event.x < sign.x for event in bar.events),
        }
        if sign.kind == "clef":
            shape_, line, octave = sign.value
            clef.change(*sign.value)
            name = _CLEF_NAMES.get((shape_, line), f"{shape_}{line}")
            name += {1: "+8", -1: "-8"}.get(octave, "")
            yield _row("clef", _around(map(self._box, sign.glyphs)), **here, label=name)
        elif sign.kind == "meter":
            yield _row("meter", _around(map(self._box, sign.glyphs)), **here, label=sign.value)
        else:
            for number, (glyph, (alter, y)) in enumerate(zip(sign.glyphs, sign.value, strict=True)):
                yield _row(
                    "key", self._box(glyph), **here, number=number, accidental=alter,
                    position=clef.position(y, bar), height=height(y, bar),
                )  # fmt: skip

    def bar_line(
        self, bar: RawBar, event: int, label: str, strokes: Sequence[Stroke]
    ) -> Iterator[dict[str, Any]]:
        if strokes:
            box = _around(map(self._stroke, strokes))
            here = {"system": bar.system, "bar": bar.number, "event": event}
            yield _row("bar line", box, **here, label=label)

    def letters(self, text: str, lines: Sequence[Text], **values: int) -> Iterator[dict[str, Any]]:
        """The letters of texts in the music."""
        start = 0
        for line in lines:
            placed = Text(
                line.text, self._frame.x(line.x), self._frame.y(line.y),
                line.size * self._frame.scale, line.anchor,
            )  # fmt: skip
            yield from self._line(text, placed, start, **values)
            start += len(line.text) + 1

    def _line(
        self, text: str, line: Text, start: int = 0, **values: int
    ) -> Iterator[dict[str, Any]]:
        weight = _WEIGHTS.get(text, 0)
        if text == "decoration" and line.text.isdigit():
            weight = 1  # a fingering
        letters, width = self._font.letters(line.text, line.size, weight)
        x = line.x - {"start": 0.0, "middle": width / 2, "end": width}[line.anchor]
        place = 0
        for letter, (left, top, right, bottom) in letters:
            place = line.text.index(letter, place)
            box = (x + left, line.y + top, x + right, line.y + bottom)
            number = start + place
            yield _row("letter", box, text=TEXTS.index(text), label=letter, number=number, **values)
            place += 1

    def _box(self, glyph: Glyph) -> Box:
        """A glyph's box in pixels, from its place in Verovio's units."""
        frame = self._frame
        return self._ink(
            Glyph(glyph.code, frame.x(glyph.x), frame.y(glyph.y), glyph.scale * frame.scale)
        )

    def _ink(self, glyph: Glyph) -> Box:
        """A glyph's box in the units of its place."""
        left, bottom, right, top = shape(self._music_font, glyph.code).box
        return (
            glyph.x + left * glyph.scale, glyph.y - top * glyph.scale,
            glyph.x + right * glyph.scale, glyph.y - bottom * glyph.scale,
        )  # fmt: skip

    def _stroke(self, stroke: Stroke) -> Box:
        if stroke.glyph is not None:
            return self._box(stroke.glyph)
        frame, half = self._frame, stroke.width / 2
        return (frame.x(stroke.x - half), frame.y(stroke.top),
                frame.x(stroke.x + half), frame.y(stroke.bottom))  # fmt: skip


def _around(boxes: Iterable[Box]) -> Box:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _halvings(base: Fraction) -> int:
    return round(-math.log2(base))


@functools.cache
def _value(duration: Fraction) -> dict[str, int]:
    """A note value; a whole-bar rest has none."""
    if not duration:
        return {}
    base, dots = split_duration(duration)
    return {"halvings": _halvings(base), "dots": dots}


def _span(event: RawEvent, events: Sequence[RawEvent], group) -> int:
    """Where an event stands among its neighbours of the same group, as an index into SPANS."""
    mine = group(event)
    if mine is None:
        return 0
    before = event.number > 0 and group(events[event.number - 1]) == mine
    after = event.number + 1 < len(events) and group(events[event.number + 1]) == mine
    return SPANS.index(
        {(False, True): "first", (True, True): "inside"}.get((before, after), "last")
    )


# ------------------------------------------------------------------ kept and moved


# Columns that are packed otherwise than they are.
_KEPT: dict[str, np.dtype] = {"label": np.dtype("<u2"), "box": np.dtype("<i4")}


def moved(symbols: np.ndarray, scale: float, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """The symbols of a picture that was resized by `scale`, then moved right and down."""
    symbols = symbols.copy()
    symbols["box"] = symbols["box"] * scale + np.array([x, y, x, y], np.float32)
    return symbols


def pack(symbols: np.ndarray) -> bytes:
    """A few bytes a symbol: by columns, boxes in sixteenths of a pixel, labels in a list."""
    labels = sorted(set(symbols["label"].tolist()))
    head = json.dumps([len(symbols), labels], ensure_ascii=False).encode()
    parts = [len(head).to_bytes(4, "little"), head]
    for name in _NAMES:
        column = symbols[name]
        if name == "label":
            column = np.searchsorted(labels, column).astype(_KEPT[name])
        elif name == "box":
            column = np.round(column.T * _SIXTEENTHS).astype(_KEPT[name])
        parts.append(column.astype(column.dtype.newbyteorder("<")).tobytes())
    return zlib.compress(b"".join(parts))


def unpack(packed: bytes) -> np.ndarray:
    """The symbols that `pack` was given.

    Raises:
      UserError: it was given none that are like these.
    """
    try:
        symbols = _unpacked(packed)
    except (zlib.error, ValueError, IndexError, TypeError, RecursionError) as error:
        raise UserError(f"a picture's labels are damaged: {cut(str(error))}") from None
    for name, names in (("kind", KINDS), ("text", TEXTS), ("beam", SPANS), ("tuplet", SPANS)):
        if (symbols[name] >= len(names)).any():
            raise UserError(f"a picture's labels are damaged: there is no such {name}")
    return symbols


def _unpacked(packed: bytes) -> np.ndarray:
    stream = zlib.decompressobj()
    data = stream.decompress(packed, _MOST_BYTES)
    if not stream.eof:
        raise ValueError("they do not end, or are too many")
    start = 4 + int.from_bytes(data[:4], "little")
    n, labels = json.loads(data[4:start])
    if not (type(n) is int and all(type(label) is str for label in labels)):
        raise ValueError("no number of symbols, or labels that are no text")
    if not 0 <= n <= len(data):
        raise ValueError(f"{n} symbols in {len(data)} bytes")
    symbols = np.zeros(n, SYMBOL)
    for name in _NAMES:
        kept = _KEPT[name] if name in _KEPT else SYMBOL[name].base
        size = n * (4 if name == "box" else 1)
        column = np.frombuffer(data, kept.newbyteorder("<"), size, start)
        start += column.nbytes
        if name == "label":
            column = np.array(labels)[column] if n else column.astype("U1")
        elif name == "box":
            column = column.reshape(4, n).T / np.float32(_SIXTEENTHS)
        symbols[name] = column
    return symbols
