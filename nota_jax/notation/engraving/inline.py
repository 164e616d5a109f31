"""Tune → SVG for the middle of an HTML page: small, single notes marked, colours the page's own.

Verovio's own SVG repeats its glyphs in every picture and wraps each stroke in groups of its own.
Here glyphs are drawn once a page (`glyphs`), groups remain where something is marked, and nothing
has a colour, so that a style sheet decides: a marked note is a group of the mark's class, with a
shape behind its head, because not everybody tells colours apart.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from xml.sax.saxutils import escape, quoteattr

from nota_jax.notation.engraving.errors import EngraveError
from nota_jax.notation.engraving.layout import toolkit_with
from nota_jax.notation.engraving.mei import to_mei
from nota_jax.notation.engraving.page import LOOKS
from nota_jax.notation.engraving.svg import PATH, TEXT, USE, G, Glyph, Text, texts
from nota_jax.notation.engraving.svg import glyphs as glyphs_of
from nota_jax.notation.tune import Tune

SPACES = 62  # staff spaces in a line of music: legible on a phone
_UNITS = 18  # of Verovio, a space
_SVG = "{http://www.w3.org/2000/svg}"
_FONT = "Leipzig"
_GLYPH = re.compile(r"[^0-9A-F]*([0-9A-F]+)")
_SCALE = 0.72  # of a glyph's own size, at which Verovio draws it
_HEAD = 215  # width of a note head, in the SVG's units
_RADIUS = 200  # of what is drawn behind it
_MARGIN = 120  # round the music, for what is drawn behind a head at its edge
# Attributes that a shape keeps: its place, and whether it is filled.
_KEPT = (
    "d", "points", "x", "y", "width", "height", "cx", "cy", "rx", "ry", "stroke-width", "transform",
    "stroke-linecap", "stroke-linejoin", "stroke-dasharray", "fill-opacity",
)  # fmt: skip

Marks = Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Drawing:
    """A tune as Verovio draws it: its SVG, and the outline of each glyph in it."""

    svg: str
    outlines: Mapping[str, str]


def note_id(bar: int, event: int, note: int, in_chord: bool) -> str:
    """What a note is called in the drawing, see `mei`."""
    return f"b{bar}e{event}" + f"n{note}" * in_chord


def draw(tune: Tune) -> Drawing:
    """As wide as `SPACES`, as high as it needs.  A crash of Verovio ends the process: see `pool`.

    Raises:
      EngraveError: the tune has something that is not drawn.
    """
    page = {"font": _FONT, "pageWidth": SPACES * _UNITS, "pageHeight": 60000, "breaks": "smart"}
    toolkit = toolkit_with(page)
    if not toolkit.loadData(_with_breaks(to_mei(tune), tune)):
        raise EngraveError(f"Verovio does not read the MEI: {toolkit.getLog().strip()}")
    svg = toolkit.renderToSVG(1)
    root = ET.fromstring(svg)
    outlines = {}
    for defs in root.iter(f"{_SVG}defs"):
        for glyph in defs:
            path = glyph.find(f"{_SVG}path")
            if path is not None and (code := _GLYPH.match(glyph.get("id", ""))):
                outlines[code[1]] = path.get("d", "")
    return Drawing(svg, outlines)


def _with_breaks(mei: str, tune: Tune) -> str:
    """A new line where the text has one, so that picture, text and drawing go line by line."""
    for number, bar in enumerate(tune.bars[:-1], start=1):
        if bar.line_break:
            measure = f'<measure xml:id="b{number}"'
            mei = mei.replace(measure, f"<sb/>{measure}")
    return mei


def glyphs(drawings: Iterable[Drawing]) -> str:
    """The outlines of all drawings of a page, as an SVG that shows nothing."""
    outlines = {code: d for drawing in drawings for code, d in drawing.outlines.items()}
    # Verovio draws glyphs, whose y points upwards, at 0.72 of their size.
    paths = "".join(
        f'<path id="g{code}" transform="scale({_SCALE},-{_SCALE})" d="{d}"/>'
        for code, d in sorted(outlines.items())
    )
    return (
        '<svg width="0" height="0" style="position:absolute" aria-hidden="true">'
        f"<defs>{paths}</defs></svg>"
    )


def inline(drawing: Drawing, marks: Marks, label: str) -> str:
    """The SVG.  marks: (class, what to say of it) of notes, by `note_id`; label: for the blind."""
    root = ET.fromstring(drawing.svg)
    inner = root.find(f".//{_SVG}svg")
    margin = root.find(f".//{G}[@class='page-margin']")
    if inner is None or margin is None:
        raise EngraveError("Verovio drew no page")
    _, _, width, height = (float(x) for x in inner.get("viewBox", "0 0 0 0").split())
    box = f"{-_MARGIN} {-_MARGIN} {width + 2 * _MARGIN:.0f} {height + 2 * _MARGIN:.0f}"
    body = "".join(_pieces(list(margin), marks))
    return (
        f'<svg class="score" viewBox="{box}" role="img" aria-label={quoteattr(label)}>{body}</svg>'
    )


def _pieces(elements: Iterable[ET.Element], marks: Marks) -> Iterator[str]:
    """What is drawn; strokes of one width that follow each other are one path."""
    for width, run in groupby(_flat(elements, marks), key=_stroke_width):
        if width is None:
            yield from (item if isinstance(item, str) else _element(item, marks) for item in run)
        else:
            d = "".join(_short(path.get("d", "")) for path in run if not isinstance(path, str))
            yield f'<path d="{d}" stroke-width="{width}"/>'


def _stroke_width(item: ET.Element | str) -> str | None:
    """Of a plain straight stroke; None for all else."""
    if isinstance(item, str) or item.tag != PATH or item.get("fill") == "none":
        return None
    plain = set(item.attrib) == {"d", "stroke-width"} and "C" not in item.get("d", "")
    return item.get("stroke-width") if plain else None


def _flat(elements: Iterable[ET.Element], marks: Marks) -> Iterator[ET.Element | str]:
    """Groups dissolved, but for those that look otherwise or are marked."""
    for element in elements:
        tag = element.tag.removeprefix(_SVG)
        classes = element.get("class", "").split()
        if tag in ("desc", "title", "defs", "style") or "placeholder" in classes:
            continue
        if tag != "g":
            yield element
            continue
        look = next((LOOKS[name] for name in classes if name in LOOKS), "")
        transform = element.get("transform")
        attributes = look + (f" transform={quoteattr(transform)}" if transform else "")
        mark = marks.get(element.get("id", ""))
        if mark is not None:
            name, said = mark
            behind = "".join(_behind(element, name))
            yield f"<g class={quoteattr('m ' + name)}{attributes}><title>{escape(said)}</title>"
            yield behind + "".join(_pieces(element, marks)) + "</g>"
        elif attributes:
            yield f"<g{attributes}>{''.join(_pieces(element, marks))}</g>"
        else:
            yield from _flat(element, marks)


def _behind(note: ET.Element, name: str) -> Iterator[str]:
    """A shape behind each head: a square where the length is wrong, a ring where the note is of
    one side alone, else a disc."""
    for head in note.iterfind(f".//{G}[@class='notehead']"):
        for glyph in glyphs_of(head):
            x = glyph.x + _HEAD / 2
            if name == "rhythm":
                size = 2 * _RADIUS
                yield (
                    f'<rect class="h" x="{x - _RADIUS:.0f}" y="{glyph.y - _RADIUS:.0f}" '
                    f'width="{size}" height="{size}"/>'
                )
            else:
                yield f'<circle class="h" cx="{x:.0f}" cy="{glyph.y:.0f}" r="{_RADIUS}"/>'


def _element(element: ET.Element, marks: Marks) -> str:
    if element.tag == USE:
        return "".join(map(_glyph, glyphs_of(element)))
    if element.tag == TEXT:
        return "".join(map(_line, texts(element)))
    tag = element.tag.removeprefix(_SVG)
    attributes = "".join(
        f" {name}={quoteattr(value)}" for name, value in element.attrib.items() if name in _KEPT
    )
    inside = "".join(_pieces(element, marks))
    return f"<{tag}{attributes}>{inside}</{tag}>" if inside else f"<{tag}{attributes}/>"


def _glyph(glyph: Glyph) -> str:
    size = glyph.scale / _SCALE
    if abs(size - 1) < 0.001:
        return f'<use href="#g{glyph.code}" x="{glyph.x:.0f}" y="{glyph.y:.0f}"/>'
    place = f"translate({glyph.x:.0f},{glyph.y:.0f}) scale({size:.3f})"  # as of a grace note
    return f'<use href="#g{glyph.code}" transform="{place}"/>'


def _line(text: Text) -> str:
    return (
        f'<text x="{text.x:.0f}" y="{text.y:.0f}" font-size="{text.size:.0f}" '
        f"text-anchor={quoteattr(text.anchor)}>{escape(text.text)}</text>"
    )


def _short(path: str) -> str:
    """A straight stroke without needless blanks: "M0 540 L2615 540" → "M0 540H2615"."""
    found = re.fullmatch(r"M(\S+) (\S+) L(\S+) (\S+)", path.strip())
    if not found:
        return path
    x0, y0, x1, y1 = found.groups()
    if y0 == y1:
        return f"M{x0} {y0}H{x1}"
    return f"M{x0} {y0}V{y1}" if x0 == x1 else f"M{x0} {y0}L{x1} {y1}"
