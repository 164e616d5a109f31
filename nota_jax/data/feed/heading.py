"""The heading of a page, enlarged: what its title and composer are read from.

A letter of a heading is six pixels wide and a patch fourteen: two and a half letters share one, cut
anywhere, and a title is right only where twenty of them are.  A model whose `vision.heading` is
"enlarged" is asked for `SUBTASKS` about a second picture of the same page: the strip that begins at
the topmost ink, twice as large, as three pieces one below the other.  They overlap by half, so that
a title in the middle and a name at the right each stand whole in one of them.  Nothing is on it
that is not on the page.  (LLaVA-NeXT's AnyRes shows tiles of a page for the same reason.)
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from nota_jax.notation.engraving import boxes

SUBTASKS = ("title", "composer")
_ZOOM = 2
_DARK = 0.7  # of the page's median: what is darker is ink
_ABOVE = 1 / 84  # of the page's side, that stays above the topmost ink
_NONE = np.zeros(0, boxes.SYMBOL)


def subtasks(shown: str) -> tuple[str, ...]:
    """What is asked about the enlarged heading, by a model's `vision.heading`."""
    return SUBTASKS if shown == "enlarged" else ()


def enlarged(image: np.ndarray, symbols: np.ndarray = _NONE) -> tuple[np.ndarray, np.ndarray]:
    """A page's heading, both uint8 [S, S, 3], and its symbols (`boxes.SYMBOL`) as they lie there.

    What two pieces show comes twice, and the middle one's last: there a text is looked for first.
    """
    size, height, row = len(image), _height(len(image)), _top(image)
    strip = Image.fromarray(image[row : row + height])
    wide = strip.resize((_ZOOM * size, _ZOOM * height), Image.Resampling.BICUBIC)
    out = np.full_like(image, 255)
    for number, left in enumerate(_lefts(size)):
        piece = wide.crop((_ZOOM * left, 0, _ZOOM * left + size, _ZOOM * height))
        out[_ZOOM * height * number :][: _ZOOM * height] = np.asarray(piece)
    return out, _moved(symbols, size, row)


def _moved(symbols: np.ndarray, size: int, row: int) -> np.ndarray:
    """The symbols of a page of which the strip begins at `row`."""
    height = _height(size)
    lefts, box, found = _lefts(size), symbols["box"], []
    middle = (box[:, 1] + box[:, 3]) / 2 - row
    for number in (0, 2, 1):
        left = lefts[number]
        whole = (box[:, 0] >= left) & (box[:, 2] <= left + size // _ZOOM)
        here = symbols[whole & (middle >= 0) & (middle < height)]
        found.append(boxes.moved(here, _ZOOM, -_ZOOM * left, _ZOOM * (height * number - row)))
    return np.concatenate(found)


def _top(image: np.ndarray) -> int:
    """The row at which the strip begins."""
    size, light = len(image), image.sum(axis=2, dtype=np.uint16)
    paper = np.partition(light.ravel(), light.size // 2)[light.size // 2]
    inked = np.flatnonzero((light < _DARK * paper).sum(axis=1) > 1)
    first = int(inked[0]) - round(_ABOVE * size) if len(inked) else 0
    return min(max(first, 0), size - _height(size))


def _height(size: int) -> int:
    """Of the strip: three pieces fill the picture."""
    return size // (3 * _ZOOM)


def _lefts(size: int) -> tuple[int, ...]:
    return 0, size // 4, size // 2
