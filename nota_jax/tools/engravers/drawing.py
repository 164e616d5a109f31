"""What every engraver is asked for and gives back, and how that becomes a page like ours.

An engraver draws SVG or PDF at whatever scale it likes; rasterising, cropping and shrinking are the
same for all, so that pages of two engravers differ by nothing but the engraving.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pypdfium2
from PIL import Image, ImageChops

from nota_jax.notation import abc
from nota_jax.notation.engraving.fonts import TextFont
from nota_jax.notation.engraving.layout import MIN_STAFF_SPACING
from nota_jax.notation.engraving.page import MARGIN
from nota_jax.notation.engraving.page import drawn as drawn_svg
from nota_jax.notation.tune import Tune
from nota_jax.read import staves

OVERSAMPLE = 3  # rasterised so many times as large, then averaged down
TITLE, SUBTITLE, SIDE = 14.0, 10.0, 10.0  # pixels: titles, composer and tempo, as on our pages
_LEAST_TITLE = 8.0
_OVER = 3.0  # pixels that a bar line or a flag may stand in the margin
_STEP = 0.96  # by which staves shrink at least from try to try
_REDUCED = 2  # staves are measured in a picture so many times smaller: it takes half as long
_WRONG_SPACING = 0.05  # share by which a page's staves may differ from what was wished
_FIELDS = "XTCMLQKw"  # of an ABC header: what is drawn on our pages, and what the music needs


class Undrawn(Exception):
    """A tune that an engraver does not draw: why, in a few words that are the same for many."""


@dataclass(frozen=True)
class Wish:
    """A tune, and how it should look.

    spacing: pixels between staff lines; size: of the page's side; tight: systems stand as close as
    the engraver can.
    """

    tune: Tune
    spacing: float
    size: int
    font: TextFont
    tight: bool = False

    @property
    def width(self) -> float:
        """Between the margins, in staff spaces."""
        return (self.size - 2 * MARGIN) / self.spacing

    def spaces(self, pixels: float) -> float:
        return pixels / self.spacing

    def title_size(self, number: int, weight: int = 0) -> float:
        """Pixels: as on our pages, or as much smaller as the line's width needs.

        Raises:
          Undrawn: the title could not be read so small; ours breaks such titles, the others do not.
        """
        size = SUBTITLE if number else TITLE
        room = self.size - 2 * MARGIN
        size = min(
            size, size * room / max(self.font.width(self.tune.titles[number], size, weight), 1)
        )
        if size < _LEAST_TITLE:
            raise Undrawn("its title is too long for one line")
        return size

    @property
    def abc(self) -> str:
        """The tune's canonical ABC, without the fields that other programs would print."""
        header, key, body = re.split(r"^(K:.*\n)", abc.write(self.tune), maxsplit=1, flags=re.M)
        kept = [line for line in header.splitlines() if line[:1] in _FIELDS]
        return "\n".join([*kept, key + body.strip()]) + "\n"


@dataclass(frozen=True)
class Drawn:
    """data: SVG as text, with `width` and `height` in its root, or a PDF's bytes.

    space: its units (of a PDF points) between two staff lines.
    """

    data: str | bytes
    space: float


class Engraver(Protocol):
    """One of the programs."""

    name: str

    def version(self) -> str:
        """Raises `UserError`, saying what to install, where the program is not there."""

    def draw(self, wishes: Sequence[Wish]) -> list[Drawn | str]:
        """A drawing of each, or the reason for none; in their order."""


def pages(engraver: Engraver, wishes: Mapping[str, Wish]) -> dict[str, tuple[bytes, float] | str]:
    """By name: PNG and staff spacing in pixels, or why there is none.

    What does not fit is tried again, first with systems closer together, then with smaller staves,
    all tunes of a round together: some engravers take longer to start than to draw.
    """
    done: dict[str, tuple[bytes, float] | str] = {}
    waiting = dict(wishes)
    while waiting:
        again = {}
        results = engraver.draw(list(waiting.values()))
        for (name, wish), drawn in zip(waiting.items(), results, strict=True):
            try:
                if isinstance(drawn, str):
                    raise Undrawn(drawn)
                image = rasterised(drawn, wish)
                share, high = _share_on_page(image, wish)
                if share < 1:
                    again[name] = _smaller(wish, share, high)
                else:
                    done[name] = page(image, wish), wish.spacing
            except Undrawn as reason:
                done[name] = str(reason)
        waiting = again
    return done


def _share_on_page(image: Image.Image, wish: Wish) -> tuple[float, bool]:
    """How much of a drawing's ink the page holds, and whether it is its height that does not fit.

    A line that the engraver broke once more does not fit either.

    Raises:
      Undrawn: its staves are not those of the tune.
    """
    room = OVERSAMPLE * (wish.size - 2 * MARGIN + _OVER)
    found = staves.find(np.asarray(_on_white(image, 40).reduce(_REDUCED)))
    spacing = found.spacing * _REDUCED / OVERSAMPLE
    more = len(found.staves) - len(wish.tune.line_breaks) - 1
    if more < 0:
        raise Undrawn("its systems are fewer than ours")
    if abs(spacing / wish.spacing - 1) > _WRONG_SPACING:
        raise Undrawn("its staves are not of the size that was asked for")
    share = min(room / image.width, room / image.height)
    return (min(share, _STEP) if more else share), image.height > room and not more


def _smaller(wish: Wish, share: float, high: bool) -> Wish:
    """What to try where only a share of the drawing is on the page."""
    if high and not wish.tight:
        return dataclasses.replace(wish, tight=True)
    if wish.spacing <= MIN_STAFF_SPACING:
        raise Undrawn("our systems do not fit the page, even with the smallest staves")
    # Not all that shares the page shrinks (the header does not), so at least by a step.
    spacing = min(_STEP, share) * wish.spacing
    return dataclasses.replace(wish, tight=True, spacing=max(MIN_STAFF_SPACING, spacing))


# ------------------------------------------------------------------ drawing → PNG

_ROOT = re.compile(r"<svg\b[^>]*>")
_LENGTH = re.compile(r'\s(width|height)="([0-9.]+)[a-z]*"')
_VIEW = re.compile(r'\sviewBox="([^"]+)"')


def rasterised(drawn: Drawn, wish: Wish) -> Image.Image:
    """The ink of a drawing, grey, `OVERSAMPLE` times as large as on the page.

    Raises:
      Undrawn: there is no ink, or the drawing cannot be read.
    """
    zoom = OVERSAMPLE * wish.spacing / drawn.space
    if isinstance(drawn.data, bytes):
        image = pypdfium2.PdfDocument(drawn.data)[0].render(scale=zoom, grayscale=True).to_pil()
    else:
        image = _rasterised_svg(drawn.data, zoom, 4 * drawn.space, wish.font)
    image = image.convert("L")
    ink = ImageChops.invert(image).point([0] * 64 + [255] * 192).getbbox()
    if ink is None:
        raise Undrawn("its drawing is empty")
    return image.crop(ink)


def _rasterised_svg(svg: str, zoom: float, edge: float, font: TextFont) -> Image.Image:
    """With white around, so that nothing is cut that an engraver lets stand over its own edge."""
    root = _ROOT.search(svg)
    if root is None:
        raise Undrawn("its drawing is no SVG")
    size = {name: float(value) for name, value in _LENGTH.findall(root[0])}
    view = _VIEW.search(root[0])
    box = map(float, view[1].split()) if view else (0.0, 0.0, size["width"], size["height"])
    x, y, w, h = box
    x, y, w, h = x - edge, y - edge, w + 2 * edge, h + 2 * edge
    bare = _VIEW.sub("", _LENGTH.sub("", root[0]))[:-1]
    head = f'{bare} width="{w * zoom:.3f}" height="{h * zoom:.3f}" viewBox="{x} {y} {w} {h}">'
    try:
        return drawn_svg(head + svg[root.end() :], font)
    except ValueError:
        raise Undrawn("its drawing is no SVG") from None


def page(image: Image.Image, wish: Wish) -> bytes:
    """The square page of a drawing's ink, as PNG."""
    side = OVERSAMPLE * wish.size
    large = Image.new("L", (side, side), 255)
    large.paste(image, (round(OVERSAMPLE * MARGIN),) * 2)
    out = io.BytesIO()
    large.reduce(OVERSAMPLE).save(out, "PNG", compress_level=4)
    return out.getvalue()


def _on_white(image: Image.Image, margin: int) -> Image.Image:
    framed = Image.new("L", (image.width + 2 * margin, image.height + 2 * margin), 255)
    framed.paste(image, (margin, margin))
    return framed
