"""Looks: what other engravers and printers do otherwise than Verovio.

A page is laid out, read back and proved as it is; what a look changes of its shapes (weights of
lines, forms of glyphs, the figures of a meter) is changed afterwards, by so little that every
symbol stays where it was.  What it changes of the layout (air, slopes, curves, titles) is proved
with the page.
"""

from __future__ import annotations

import functools
import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fontTools.pens.boundsPen import BoundsPen
from fontTools.pens.filterPen import FilterPen
from fontTools.pens.svgPathPen import SVGPathPen
from fontTools.pens.transformPen import TransformPen
from fontTools.svgLib.path import parse_path

from nota_jax.notation.engraving.fonts import (
    BOLD,
    FIGURE_FONTS,
    ITALIC,
    REGULAR,
    opened,
    text_font,
)
from nota_jax.notation.engraving.glyphs import (
    ACCIDENTALS,
    CLEFS,
    FLAGS,
    HEADS,
    METER_FIGURES,
    METER_SYMBOLS,
    RESTS,
    UNITS_PER_EM,
    shape,
)

# Verovio's own values of what a look changes: one toolkit draws pages of all looks.
DEFAULTS = {
    "beamMaxSlope": 10, "slurCurveFactor": 1.0, "slurMidpointThickness": 0.6,
    "tieMidpointThickness": 0.5, "ledgerLineExtension": 0.54,
}  # fmt: skip

_FIGURE_HEIGHT = UNITS_PER_EM / 2  # of a meter's figure: two staff spaces
# What a text font can write of a meter.
_FIGURES = {code: figure for code, figure in METER_FIGURES.items() if figure != "+"} | METER_SYMBOLS
_KINDS = {
    **dict.fromkeys(HEADS, "head"), **dict.fromkeys(FLAGS, "flag"), **dict.fromkeys(RESTS, "rest"),
    **dict.fromkeys(ACCIDENTALS, "accidental"), **dict.fromkeys(CLEFS, "clef"),
    **dict.fromkeys((*METER_FIGURES, *METER_SYMBOLS), "meter"),
}  # fmt: skip
# Most by which a kind of glyph is stretched either way; heads and flags must still meet stems.
_STRETCH = {"head": 0.07, "flag": 0.12, "rest": 0.12, "accidental": 0.15, "clef": 0.1,
            "meter": 0.15}  # fmt: skip
_FACES = (REGULAR, BOLD, BOLD, ITALIC)  # of a meter's figures: mostly bold in print
_BEND = 0.03  # of an em, which is four spaces
_CUT = 0.35 * UNITS_PER_EM  # half of the height of the line through a cut C
_GLYPH = re.compile(r'<g id="([0-9A-F]{4})-([^"]*)"><path transform="scale\(1,-1\)" d="([^"]*)"/>')
_LINE = re.compile(
    r'<path d="M(-?[0-9.]+) (-?[0-9.]+) L(-?[0-9.]+) (-?[0-9.]+)" stroke="#000" '
    r'stroke-width="([0-9]+)"'
)


@dataclass(frozen=True)
class Look:
    """How a page differs.

    options: Verovio's.
    air: whether a tune that has room stands wider than Verovio sets it.
    title_size: factor; title_anchor: "start" or "middle".
    level, upright: factors of the widths of staff lines and of stems and bar lines.
    ink: stroke around glyphs, in thousandths of an em.
    shapes: kind of glyph → (stretch in x, stretch in y, slant).
    figures: text font that writes the meter, and which of its files; None for the music font.
    figure_height: factor of two staff spaces, that these figures are high.
    figure_ink: as `ink`, beyond it, around a meter's figures.
    hand: how far a meter's figures bend in x and in y, in ems, and where their waves begin: no
      two hands write a 4 alike, and no two music fonts draw it alike.
    """

    options: Mapping[str, float]
    air: bool
    title_size: float
    title_anchor: str
    level: float
    upright: float
    ink: float
    shapes: Mapping[str, tuple[float, float, float]]
    figures: tuple[str, int] | None
    figure_height: float
    figure_ink: float
    hand: tuple[float, float, float, float]


@functools.lru_cache(maxsize=64)
def look_of(seed: int) -> Look:
    """The look of a number; the same number, the same look."""
    rng = random.Random(seed)
    return Look(
        options={
            "beamMaxSlope": rng.choice((0, 4, 8, 10, 10)),
            "slurCurveFactor": rng.uniform(0.8, 1.5),
            "slurMidpointThickness": rng.uniform(0.35, 0.8),
            "tieMidpointThickness": rng.uniform(0.3, 0.7),
            "ledgerLineExtension": rng.uniform(0.3, 0.7),
        },
        air=rng.random() < 0.4,
        title_size=rng.uniform(0.9, 1.35),
        title_anchor="start" if rng.random() < 0.2 else "middle",
        level=rng.uniform(0.6, 1.3),
        upright=rng.uniform(0.7, 1.5),
        ink=rng.choice((0, 0, 8, 16)),
        shapes={
            kind: (
                rng.uniform(1 - most, 1 + most),
                rng.uniform(1 - most, 1 + most),
                rng.uniform(-most, most),
            )
            for kind, most in _STRETCH.items()
        },
        figures=(rng.choice(FIGURE_FONTS), rng.choice(_FACES)) if rng.random() < 0.6 else None,
        figure_height=rng.uniform(0.85, 1.15),
        figure_ink=rng.choice((0, 0, 10, 20)),
        hand=(
            rng.uniform(0, _BEND),
            rng.uniform(0, _BEND),
            rng.uniform(0, math.tau),
            rng.uniform(0, math.tau),
        ),
    )


def dressed(page: str, look: Look, music_font: str) -> str:
    """A composed page (`page.compose`) with the look's lines and glyphs; places stay."""
    start = page.index('<g class="music"')
    defs, music = page[:start], page[start:]
    defs = _GLYPH.sub(functools.partial(_glyph, look, music_font), defs)
    return defs + _LINE.sub(functools.partial(_line, look), music)


def _line(look: Look, match: re.Match[str]) -> str:
    x0, y0, x1, y1, width = (float(number) for number in match.groups())
    factor = look.level if y0 == y1 else look.upright
    return (
        f'<path d="M{x0:g} {y0:g} L{x1:g} {y1:g}" stroke="#000" stroke-width="{width * factor:.0f}"'
    )


def _glyph(look: Look, music_font: str, match: re.Match[str]) -> str:
    code, rest, path = match.groups()
    kind = _KINDS.get(code)
    if kind is None:
        return match[0]
    left, bottom, right, top = shape(music_font, code).box
    transform = "scale(1,-1)"
    if kind == "meter" and look.figures and (figure := _FIGURES.get(code)):
        path, width = _figure(*look.figures, figure, look.figure_height)
        transform += f" translate({(left + right - width) / 2:.1f},0)"
    if kind == "meter":
        path = _bent(path, look.hand)
    # Stretched around what holds the glyph in its place: a flag's stem, the middle of all others;
    # upwards around the baseline, which is a clef's and an accidental's own line.
    x = left if kind == "flag" else (left + right) / 2
    sx, sy, slant = look.shapes[kind]
    stretch = (
        f"translate({x:.1f},0) matrix({sx:.3f},0,{-slant:.3f},{sy:.3f},0,0) translate({-x:.1f},0)"
    )
    ink = look.ink + (look.figure_ink if kind == "meter" else 0)
    stroke = f' stroke="#000" stroke-width="{ink:g}"' if ink else ""
    return f'<g id="{code}-{rest}"><path transform="{stretch} {transform}"{stroke} d="{path}"/>'


def _bent(path: str, hand: tuple[float, float, float, float]) -> str:
    """The path along two waves, of two spaces each, around its own place."""
    in_x, in_y, begin_x, begin_y = hand

    def moved(x: float, y: float) -> tuple[float, float]:
        wave = math.tau / _FIGURE_HEIGHT
        return (
            x + in_x * UNITS_PER_EM * math.sin(wave * y + begin_x),
            y + in_y * UNITS_PER_EM * math.sin(wave * x + begin_y),
        )

    pen = SVGPathPen(None, ntos=lambda value: f"{value:.1f}")
    parse_path(path, _Moving(pen, moved))
    return pen.getCommands()


class _Moving(FilterPen):
    """Draws with every point where `moved` says; lines and curves go between them as before."""

    def __init__(self, pen: SVGPathPen, moved: Callable[[float, float], tuple[float, float]]):
        super().__init__(pen)
        self._moved = moved

    def moveTo(self, pt):
        super().moveTo(self._moved(*pt))

    def lineTo(self, pt):
        super().lineTo(self._moved(*pt))

    def curveTo(self, *points):
        super().curveTo(*(self._moved(*p) for p in points))

    def qCurveTo(self, *points):
        super().qCurveTo(*(p and self._moved(*p) for p in points))


@functools.cache
def _figure(family: str, face: int, figure: str, height: float) -> tuple[str, float]:
    """A figure, C or C|, `height` times two spaces high, as a path, and its width.

    Its left edge is at 0, its middle on the line on which meters stand.
    """
    font = opened(text_font(family).files[face])
    glyphs, name = font.getGlyphSet(), font.getBestCmap()[ord(figure[0])]
    bounds = BoundsPen(glyphs)
    glyphs[name].draw(bounds)
    left, bottom, right, top = bounds.bounds or (0, 0, 1, 1)
    scale = height * _FIGURE_HEIGHT / (top - bottom)
    pen = SVGPathPen(glyphs, ntos=lambda value: f"{value:.1f}")
    middle = (bottom + top) / 2
    glyphs[name].draw(TransformPen(pen, (scale, 0, 0, scale, -left * scale, -middle * scale)))
    path, width = pen.getCommands(), (right - left) * scale
    if figure.endswith("|"):
        x, half = width / 2, _CUT * height
        path += f"M{x - 10:.1f} {-half:.1f}h20v{2 * half:.1f}h-20z"
    return path, width
