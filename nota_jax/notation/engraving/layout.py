"""Tune → picture: our MEI through Verovio to one square page, rasterised by resvg, and proved.

The page is `size` pixels square.  Staff spacing is what `Style` asks for where the tune fits at
that size, and shrinks down to `MIN_STAFF_SPACING` where it does not: a layout is so many staff
spaces wide that it fills the square.  Shorter tunes leave white below; music begins at the top.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import verovio

from nota_jax.errors import UserError
from nota_jax.notation.engraving import boxes, page
from nota_jax.notation.engraving.errors import EngraveError, MismatchError
from nota_jax.notation.engraving.fonts import (
    LOOK_TEXT_FONTS,
    MUSIC_FONTS,
    TEST_MUSIC_FONT,
    TEST_TEXT_FONT,
    text_font,
)  # fmt: skip
from nota_jax.notation.engraving.looks import DEFAULTS, dressed, look_of
from nota_jax.notation.engraving.mei import to_mei
from nota_jax.notation.engraving.proof import proof
from nota_jax.notation.engraving.readback import Box, LaidOut, read_page
from nota_jax.notation.tune import Tune, with_line_breaks

MIN_STAFF_SPACING = 4.0  # pixels; nothing can be read below it (CLIP sees 336 px)

_UNITS_PER_SPACE = 18  # of Verovio's page width and height: staff lines are two `unit`s apart
_OPTIONS = {
    "header": "none", "footer": "none", "smuflTextFont": "none",
    "pageMarginLeft": 0, "pageMarginRight": 0, "pageMarginTop": 0, "pageMarginBottom": 0,
    "lyricWordSpace": 2.0, "adjustPageHeight": True, "breaks": "auto",
    "svgViewBox": True, "svgFormatRaw": True, "xmlIdSeed": 1,
}  # fmt: skip


def _density(
    linear: float, nonlinear: float, bar: int, staff: int, system: int
) -> dict[str, float]:
    """Verovio's options for how close symbols and systems stand (defaults: 0.25 0.6 15 12 4)."""
    return {"spacingLinear": linear, "spacingNonLinear": nonlinear, "measureMinWidth": bar,
            "spacingStaff": staff, "spacingSystem": system}  # fmt: skip


# Layouts in order of preference, as (share of the way from the style's staff spacing down to the
# least legible one, how densely symbols stand); every next one holds more music.
_LADDER = (
    (0.0, _density(0.25, 0.6, 15, 12, 4)),
    (0.0, _density(0.22, 0.57, 11, 8, 4)),
    (0.0, _density(0.2, 0.55, 10, 5, 3)),
    *((share / 4, _density(0.2, 0.55, 10, 5, 3)) for share in range(1, 5)),
    (1.0, _density(0.14, 0.49, 8, 5, 3)),
    (1.0, _density(0.1, 0.45, 8, 4, 2)),
)
# The first rung of looks that stand wider.
_AIRY = (0.0, _density(0.32, 0.64, 18, 14, 7))
# Up to so many events on a page of 67 by 67 staff spaces (336 px at 5 px) the rung of that index
# is worth a try: above, fewer than one corpus tune in twenty fits it.
_WORTH_A_TRY = (110, 130, 150)
# Heads of neighbouring events closer than this (in staff spaces, left edge to left edge) overlap.
_MIN_DISTANCE = 1.2


@dataclass(frozen=True)
class Style:
    """How a page looks.

    staff_spacing: pixels between staff lines at the final size; the most that is used.
    size: width and height of the picture in pixels.
    look: number of what is done otherwise than Verovio does it (`looks`); None for nothing.
    """

    music_font: str = "Leipzig"
    text_font: str = "DejaVu Serif"
    staff_spacing: float = 5.0
    size: int = 336
    look: int | None = None


@dataclass(frozen=True)
class Picture:
    """A page that was proved to show its tune.

    png: [size, size], grey, or RGB where bars are highlighted; white background.
    tune: the tune with the line breaks of this layout.
    staff_spacing: pixels between staff lines as drawn.
    highlight: (first, last) bar under the tinted box, counted from 0, or None.
    bar_boxes: (left, top, right, bottom) of every bar's staff, in pixels.
    symbols: what is drawn where (`boxes.unpack` reads it).
    """

    png: bytes
    tune: Tune
    staff_spacing: float
    highlight: tuple[int, int] | None
    bar_boxes: tuple[Box, ...]
    symbols: bytes


def engrave(
    tune: Tune, style: Style = Style(), *, highlight: tuple[int, int] | None = None
) -> Picture:
    """One page, in this process (a crash of Verovio ends it: see `pool.py`).

    Raises:
      EngraveError: the tune has something that is not drawn, or does not fit legibly.
      MismatchError: what was laid out is not the tune; the text says what differs.
    """
    return engrave_each(tune, style, (highlight,))[0]


def engrave_each(
    tune: Tune, style: Style, highlights: tuple[tuple[int, int] | None, ...]
) -> tuple[Picture, ...]:
    """The same page once for each of `highlights`: laid out and proved once, drawn many times.

    Raises as `engrave` does.
    """
    for highlight in highlights:
        if highlight is not None and not 0 <= highlight[0] <= highlight[1] < len(tune.bars):
            raise ValueError(f"highlight {highlight} is no range of the {len(tune.bars)} bars")
    failure: UserError | None = None
    for svg in pages(tune, style):
        try:
            return _pictures(tune, svg, style, highlights)
        except (EngraveError, MismatchError) as error:  # the next layout stands otherwise
            failure = failure or error
    raise failure or EngraveError(
        f"too long for one legible page: {sum(1 for _ in tune.events)} notes and rests do not fit "
        f"{style.size} pixels with {MIN_STAFF_SPACING:g} pixels between staff lines"
    )


def _pictures(
    tune: Tune, svg: str, style: Style, highlights: tuple[tuple[int, int] | None, ...]
) -> tuple[Picture, ...]:
    """The pictures of one layout, if it shows the tune, legibly and within the page."""
    laid_out = read_page(svg)
    breaks = proof(tune, laid_out)
    if laid_out.least_distance < _MIN_DISTANCE:
        raise EngraveError("too many notes for one legible page: heads overlap")
    plain = Picture(
        png=b"",
        tune=with_line_breaks(tune, breaks),
        staff_spacing=round(laid_out.staff_spacing, 3),
        highlight=None,
        bar_boxes=tuple(place.box for place in laid_out.places),
        symbols=boxes.pack(boxes.symbols(laid_out, text_font(style.text_font), style.music_font)),
    )
    return tuple(
        dataclasses.replace(plain, png=_png(svg, laid_out, style, highlight), highlight=highlight)
        for highlight in highlights
    )


def _png(svg: str, laid_out: LaidOut, style: Style, highlight: tuple[int, int] | None) -> bytes:
    if highlight is not None:
        svg = page.tint(svg, _highlight_boxes(laid_out, *highlight))
    if style.look is not None:
        svg = dressed(svg, look_of(style.look), style.music_font)
    font = text_font(style.text_font)
    return page.rasterise(svg, font, style.size, colour=highlight is not None)


def pages(tune: Tune, style: Style = Style()) -> Iterator[str]:
    """Pages (SVG, not proved yet) on which the tune fits, the best one first.

    Raises `EngraveError` for what is not drawn.
    """
    if style.music_font not in (*MUSIC_FONTS, TEST_MUSIC_FONT):
        known = ", ".join((*MUSIC_FONTS, TEST_MUSIC_FONT))
        raise EngraveError(f"there is no music font {style.music_font!r}: choose from {known}")
    if style.text_font not in (*LOOK_TEXT_FONTS, TEST_TEXT_FONT):
        known = ", ".join((*LOOK_TEXT_FONTS, TEST_TEXT_FONT))
        raise EngraveError(f"there is no text font {style.text_font!r}: choose from {known}")
    font = text_font(style.text_font)
    page.require_characters(tune, font)
    look = None if style.look is None else look_of(style.look)
    header = page.set_header(tune, font, style.music_font, style.size, look)
    for music, spacing in _layouts(tune, style, header.height):
        yield page.compose(music, header, spacing, font, style.size)


@functools.cache
def _toolkit() -> verovio.toolkit:
    """One toolkit a process: making one costs more than drawing a page."""
    verovio.enableLog(verovio.LOG_OFF)
    return verovio.toolkit()


def toolkit_with(options: Mapping[str, Any]) -> verovio.toolkit:
    """Verovio with nothing round the music and the first density, and further options."""
    toolkit = _toolkit()
    toolkit.setOptions({**_OPTIONS, **_LADDER[0][1], **options})
    toolkit.resetXmlIdSeed(1)
    return toolkit


def _layouts(tune: Tune, style: Style, header_height: float) -> Iterator[tuple[str, float]]:
    """Verovio's SVG and staff spacing of every layout of the ladder that fits the page.

    The first rung tried is guessed from the number of events, so that one or two layouts do.
    """
    mei, n_events = to_mei(tune), sum(1 for _ in tune.events)
    look = None if style.look is None else look_of(style.look)
    toolkit = toolkit_with({"font": style.music_font, **(look.options if look else DEFAULTS)})
    margin = page.MARGIN * page.larger(style.size)
    width = style.size - 2 * margin
    height = style.size - margin - header_height
    spaces = style.size / style.staff_spacing
    first = sum(n_events > limit * (spaces / 67.2) ** 2 for limit in _WORTH_A_TRY)
    ladder = _LADDER[first:]
    if first == 0 and look is not None and look.air:
        ladder = (_AIRY, *ladder)
    for rung, (share, density) in enumerate(ladder):
        spacing = style.staff_spacing + share * (MIN_STAFF_SPACING - style.staff_spacing)
        scale = _UNITS_PER_SPACE / spacing
        toolkit.setOptions(
            density | {"pageWidth": int(width * scale), "pageHeight": int(height * scale)}
        )
        if rung > 0:
            toolkit.redoLayout()
        elif not toolkit.loadData(mei):
            raise EngraveError(f"Verovio does not read the MEI: {toolkit.getLog().strip()}")
        if toolkit.getPageCount() == 1:
            yield toolkit.renderToSVG(1), spacing


def _highlight_boxes(laid_out: LaidOut, first: int, last: int) -> list[Box]:
    """One box for every system that bars first … last touch, high enough for all their notes."""
    drawn, marked = [], laid_out.places[first : last + 1]
    for system in sorted({place.system for place in marked}):
        row = [place for place in marked if place.system == system]
        ys = [y for place in row for y in place.extent]
        drawn.append((row[0].box[0], min(ys), row[-1].box[2], max(ys)))
    return drawn
