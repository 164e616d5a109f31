"""Pages of text alone, from which a tower learns letters.

A page of music has thirty letters beside a hundred notes, and letters are the finest that is to be
seen on it.  Here twelve lines of invented titles and names stand as they do above the music: the
same fonts, the same sizes, the same rasteriser.
"""

from __future__ import annotations

import functools
import random

import numpy as np

from nota_jax.data import titles
from nota_jax.notation.engraving import boxes
from nota_jax.notation.engraving.fonts import (
    ITALIC,
    LOOK_TEXT_FONTS,
    REGULAR,
    Box,
    TextFont,
    text_font,
)
from nota_jax.notation.engraving.page import MARGIN, drawn, larger, text_line

_TITLE_SIZES, _NAME_SIZES = (14.0, 14.0, 12.5, 11.0, 10.0), (10.0, 10.0, 9.0, 8.0)
_NAMES = 0.35  # of the lines are names, in italics
_LEADING = (1.6, 3.2)  # distance of the lines, of the font size


@functools.lru_cache(64)
def page(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture, uint8 [size, size, 3], and its symbols (`boxes.SYMBOL`), all of them letters.

    The newest pages are kept, and so not to be written to.
    """
    rng = random.Random(seed)
    font, unit = text_font(rng.choice(LOOK_TEXT_FONTS)), larger(size)
    margin = MARGIN * unit
    lines, placed = list[str](), list[tuple[str, Box]]()
    y = margin + rng.uniform(0, 10) * unit
    while True:
        weight = ITALIC if rng.random() < _NAMES else REGULAR
        points = unit * rng.choice(_NAME_SIZES if weight else _TITLE_SIZES)
        y += points * rng.uniform(*_LEADING)
        if y + 0.3 * points > size - margin:
            break
        x = margin + rng.uniform(0, 0.09) * size
        text = _text(font, points, weight, size - margin - x, rng)
        line = text_line(text, x, y, points)
        lines.append(f'<g font-style="italic">{line}</g>' if weight else line)
        letters, _ = font.letters(text, points, weight)
        for letter, (left, top, right, bottom) in letters:
            placed.append((letter, (x + left, y + top, x + right, y + bottom)))
    image, symbols = _picture("".join(lines), font, size), boxes.letters(placed)
    for kept in (image, symbols):
        kept.flags.writeable = False
    return image, symbols


def _text(font: TextFont, points: float, weight: int, width: float, rng: random.Random) -> str:
    """Titles or names, as many as fit."""
    words = list[str]()
    while font.width(" ".join(words), points, weight) <= width:
        words += (titles.name(rng) if weight else titles.invented(rng)).split(" ")
    while font.width(" ".join(words), points, weight) > width:
        words.pop()
    return " ".join(words)


def _picture(lines: str, font: TextFont, size: int) -> np.ndarray:
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" '
        f'viewBox="0 0 {size} {size}"><g font-family="{font.family}">{lines}</g></svg>'
    )
    return np.asarray(drawn(svg, font).convert("L").convert("RGB"))
