"""The page around the music: title, composer and tempo in real fonts, one SVG, one PNG.

All lengths are pixels of the final picture.  Title and composer are set here and not by the
engraver, because they need the same size on every page, whatever the size of the staves: that which
a model sees well that sees 336 pixels, and as much more as a page is larger.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import resvg_py
from PIL import Image, ImageChops

from nota_jax.notation.engraving.errors import EngraveError
from nota_jax.notation.engraving.fonts import FALLBACK_FONT, ITALIC, TextFont, text_font
from nota_jax.notation.engraving.glyphs import (
    SPACE,
    TEMPO_BEATS,
    TEMPO_DOT,
    UNITS_PER_EM,
    outline,
    shape,
)
from nota_jax.notation.engraving.looks import Look
from nota_jax.notation.engraving.mei import split_duration
from nota_jax.notation.tempo import Tempo
from nota_jax.notation.tune import Tune

MARGIN = 8.0  # white around everything, of a page of this size:
_SIZE = 336
TINT = "#ffe27a"  # behind highlighted bars: light enough for black notes on it

_MIN_STROKE = 22  # SVG units
_TINT_PLACE = "<!--tint-->"
# How Verovio's groups look (its own style sheet ties these to a random id).
LOOKS = {
    "ending": ' font-weight="bold"', "fing": ' font-weight="bold"', "dir": ' font-style="italic"',
    "dynam": ' font-style="italic"', "placeholder": ' visibility="hidden"',
}  # fmt: skip
_GROUP = re.compile(r'<g(?: id="[^"]*")?(?: class="([^"]*)")?>')

_TITLE_SIZES = (14.0, 12.5, 11.0)  # tried in turn before the title is broken into lines
_SUBTITLE_SIZES = (10.0, 9.0)
_SIDE_SIZES = (10.0, 9.0, 8.0)  # composer (right) and tempo (left)
_LEADING = 1.22  # line distance, of the font size
_GAP = 3.0  # between header and music
_TEMPO_SIZE = 1.15  # of the text: a note a little higher than a capital letter
_TEMPO_GAP = 60  # behind a glyph of the tempo, in its font's units

_BEAT_GLYPHS = {beat: code for code, beat in TEMPO_BEATS.items()}


def larger(size: int) -> float:
    """How much larger than on the usual page everything but the staves is."""
    return max(1.0, size / _SIZE)


@dataclass(frozen=True)
class Header:
    """What stands above the music: SVG, and how much of the page it takes."""

    svg: str
    height: float


# ------------------------------------------------------------------ header


def require_characters(tune: Tune, font: TextFont) -> None:
    """Raises `EngraveError` where a text, over the music or in it, has what no font draws."""
    marks = ((e.chord_symbol, *e.annotations, *e.lyrics) for e in tune.events)
    endings = (bar.ending for bar in tune.bars)
    heading = (*tune.titles, tune.composer, str(tune.tempo or ""))
    for text in itertools.chain(heading, endings, *marks):
        if font.missing(text):
            raise EngraveError(f"the font {font.family} has no {font.missing(text)!r} ({text!r})")


def set_header(
    tune: Tune, font: TextFont, music_font: str, size: int, look: Look | None = None
) -> Header:
    """Titles centred (or as the look says), tempo left and composer right below them.

    Raises `EngraveError` where a text is too long.
    """
    unit = larger(size)
    margin = MARGIN * unit
    width = size - 2 * margin
    y, out = margin, []
    anchor, factor = (look.title_anchor, look.title_size) if look else ("middle", 1.0)
    x = margin if anchor == "start" else size / 2
    for n, title in enumerate(tune.titles):
        sizes = _SUBTITLE_SIZES if n else (round(_TITLE_SIZES[0] * factor, 1), *_TITLE_SIZES)
        fitted, lines = _fit_text(title, [unit * s for s in sizes], width, font)
        texts = []
        for line in lines:
            y += fitted * _LEADING
            texts.append(text_line(line, x, y - 0.24 * fitted, fitted, anchor))
        out.append(f'<g class="title" id="title{n}">{"".join(texts)}</g>')
    composer_width = 0.0
    top = y
    if tune.composer:
        smaller = [unit * s for s in _SIDE_SIZES]
        fitted, lines = _fit_text(tune.composer, smaller, width, font, weight=ITALIC)
        texts = []
        for line in lines:
            y += fitted * _LEADING
            texts.append(text_line(line, size - margin, y - 0.24 * fitted, fitted, "end"))
            composer_width = max(composer_width, font.width(line, fitted, ITALIC))
        out.append(f'<g class="composer" font-style="italic">{"".join(texts)}</g>')
    if tune.tempo:
        fitted = _SIDE_SIZES[0] * unit
        svg, tempo_width = _tempo(tune.tempo, font, music_font, fitted)
        if tempo_width > width:
            raise EngraveError(f"the tempo {tune.tempo} is too long for the page")
        if tempo_width + composer_width + 2 * fitted > width:
            top = y
        y = max(y, top + fitted * _LEADING)
        baseline = top + fitted * (_LEADING - 0.24)
        out.append(f'<g class="tempo" transform="translate({margin:g},{baseline:.2f})">{svg}</g>')
    return Header("".join(out), y + (_GAP * unit if y > margin else 0))


def _fit_text(
    text: str, sizes: Sequence[float], width: float, font: TextFont, weight: int = 0
) -> tuple[float, list[str]]:
    """The largest size at which the text fits one line, else the smallest, broken into lines."""
    for size in sizes:
        if font.width(text, size, weight) <= width:
            return size, [text]
    size, lines = sizes[-1], [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.width(longer, size, weight) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    lines = [line for line in lines if line]
    if len(lines) > 3 or any(font.width(line, size, weight) > width for line in lines):
        raise EngraveError(f"the text {text!r} is too long for the page")
    return size, lines


def text_line(text: str, x: float, y: float, size: float, anchor: str = "start") -> str:
    """SVG of a line of text: its baseline's place, its size in pixels."""
    return (
        f'<text x="{x:.2f}" y="{y:.2f}" font-size="{size}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def _tempo(tempo: Tempo, font: TextFont, music_font: str, size: float) -> tuple[str, float]:
    """SVG (baseline at the origin) and width."""
    x, out = 0.0, []
    if tempo.words:
        out.append(text_line(tempo.words, x, 0, size))
        x += font.width(tempo.words + " ", size)
    scale = size * _TEMPO_SIZE / UNITS_PER_EM
    for beat in tempo.beats:
        base, dots = split_duration(beat, "tempo: ")
        if base not in _BEAT_GLYPHS:
            raise EngraveError(f"the tempo's beat {beat} is not drawn")
        for glyph in (_BEAT_GLYPHS[base], *[TEMPO_DOT] * dots):
            out.append(
                f'<g class="{glyph}" transform="translate({x:.2f},0) scale({scale:.5f})" '
                f'stroke="#000" stroke-width="25">{outline(music_font, glyph)}</g>'
            )
            x += (shape(music_font, glyph).advance + _TEMPO_GAP) * scale
        x += 0.2 * size
    if tempo.rate is not None:
        x += 0.1 * size
        out.append(text_line(f"= {tempo.rate}", x, 0, size))
        x += font.width(f"= {tempo.rate}", size)
    return "".join(out), x


# ------------------------------------------------------------------ one SVG, one PNG


def compose(verovio_svg: str, header: Header, spacing: float, font: TextFont, size: int) -> str:
    """Header and Verovio's drawing on one white square.

    The drawing's own <svg> frames would clip it and tie its styles to random ids, so only its
    glyphs (<defs>) and its groups are taken over.
    """
    defs = re.search(r"<defs>.*?</defs>", verovio_svg, re.DOTALL)
    start = verovio_svg.index('<g class="page-margin"')
    music = verovio_svg[start : verovio_svg.index("</svg>", start)]
    music = re.sub(
        r'font-size="([0-9]+)px"', lambda m: f'font-size="{int(m[1]) * font.scale:.0f}px"', music
    )
    # Strokes by attribute and not by style sheet: resvg is a third faster so.  None is thinner
    # than an eighth of a space, or staff lines and stems turn pale grey at this size.
    music = re.sub(
        r' stroke-width="([0-9]+)"',
        lambda m: f' stroke="#000" stroke-width="{max(int(m[1]), _MIN_STROKE)}"', music,
    )  # fmt: skip
    scale = spacing / SPACE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{size}" height="{size}" viewBox="0 0 {size} {size}">'
        f"{defs[0] if defs else ''}{_TINT_PLACE}"
        f'<g class="header" font-family="{font.family}">{header.svg}</g>'
        f'<g class="music" color="black" font-family="{font.family}" '
        f'transform="translate({MARGIN * larger(size):g},{header.height:.3f}) scale({scale:.7f})">'
        f"{music}</g></svg>"
    )


def tint(page: str, boxes: Sequence[tuple[float, float, float, float]]) -> str:
    """The page with tinted boxes (left, top, right, bottom) behind everything drawn."""
    rects = "".join(
        f'<rect x="{x0:.2f}" y="{y0:.2f}" width="{x1 - x0:.2f}" height="{y1 - y0:.2f}" '
        f'fill="{TINT}"/>'
        for x0, y0, x1, y1 in boxes
    )
    return page.replace(_TINT_PLACE, rects)


def drawn(svg: str, font: TextFont) -> Image.Image:
    """An SVG on white, its text in `font` or the fallback."""
    files = list(dict.fromkeys((*font.files, text_font(FALLBACK_FONT).files[0])))
    raw = resvg_py.svg_to_bytes(
        svg_string=svg, background="white", skip_system_fonts=True, font_files=files,
        font_family=font.family, serif_family=font.family, sans_serif_family=font.family,
    )  # fmt: skip
    return Image.open(io.BytesIO(bytes(raw)))


def rasterise(page: str, font: TextFont, size: int, *, colour: bool) -> bytes:
    """PNG of [size, size], grey or RGB.  Raises `EngraveError` where ink touches the edge."""
    start = page.index('<g class="music"')
    page = page[:start] + _GROUP.sub(_plain_group, page[start:])
    image = drawn(page, font).convert("RGB" if colour else "L")
    grey = image.convert("L")
    edge = 2
    border = grey.copy()
    border.paste(255, (edge, edge, size - edge, size - edge))
    if ImageChops.invert(border).getbbox() is not None:
        raise EngraveError("something is drawn over the edge of the page")
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=4)
    return out.getvalue()


def _plain_group(match: re.Match[str]) -> str:
    """A group without id and class, which cost resvg a third of its time, but with their look."""
    classes = (match[1] or "").split(" ")
    return f"<g{next((LOOKS[c] for c in classes if c in LOOKS), '')}>"
