"""Fonts of a page: the music fonts inside Verovio, text fonts from PyPI packages, text widths.

The rasteriser (resvg) draws no text unless it is given font files, so a text font is always a set
of files here, never a name that the system resolves.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageFont

MUSIC_FONTS = ("Leipzig", "Bravura", "Gootville", "Leland")
TEST_MUSIC_FONT = "Petaluma"  # never drawn for training: the style-shift test
TEXT_FONTS = ("DejaVu Serif", "DejaVu Sans", "Source Serif Pro", "Source Sans Pro", "Caladea")
TEST_TEXT_FONT = "Lato"  # as above

# Left, top, right, bottom.
Box = tuple[float, float, float, float]

# Family → package, folder in it, files (regular, bold, italic).
_FILES = {
    "DejaVu Serif": ("matplotlib", "mpl-data/fonts/ttf",
                     ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSerif-Italic.ttf")),
    "DejaVu Sans": ("matplotlib", "mpl-data/fonts/ttf",
                    ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf")),
    "Source Serif Pro": ("font_source_serif_pro", "files",
                         ("SourceSerifPro-Regular.otf", "SourceSerifPro-Bold.otf",
                          "SourceSerifPro-It.otf")),
    "Source Sans Pro": ("font_source_sans_pro", "files",
                        ("SourceSansPro-Regular.otf", "SourceSansPro-Bold.otf",
                         "SourceSansPro-It.otf")),
    "Caladea": ("font_caladea", "files",
                ("Caladea-Regular.ttf", "Caladea-Bold.ttf", "Caladea-Italic.ttf")),
    "Lato": ("font_lato", "files", ("Lato-Regular.ttf", "Lato-Bold.ttf", "Lato-Italic.ttf")),
}  # fmt: skip

# Verovio sets text with the widths of Times; a wider font is drawn this much smaller, so that
# syllables and chord symbols keep clear of each other.
_SAMPLE = "The quick brown fox jumps over a lazy dog, Am7 Bbmaj F#dim"
_TIMES_WIDTH = 0.4414  # mean advance of the sample in Times, em


@dataclass(frozen=True)
class TextFont:
    """A family and its files (regular, bold, italic); `scale` fits it into Times' widths."""

    family: str
    files: tuple[str, ...]
    scale: float

    def width(self, text: str, size: float, weight: int = 0) -> float:
        """Advance of `text`, in the unit of `size`; weight 0 is regular, 1 bold, 2 italic."""
        return _face(self.files[weight]).getlength(text) * size / _MEASURE_SIZE

    def letters(self, text: str, size: float, weight: int = 0) -> list[tuple[str, Box]]:
        """Every letter but spaces and its ink's box, from where the text begins on its baseline.

        A character that the family lacks is the fallback's, as the rasteriser has it.
        """
        found, start = [], 0.0
        has = _characters(self.files[weight])
        for drawn, run in itertools.groupby(text, key=lambda c: c.isspace() or ord(c) in has):
            part = "".join(run)
            face = _face(self.files[weight] if drawn else text_font(FALLBACK_FONT).files[0])
            for i, letter in enumerate(part):
                if not letter.isspace():
                    # Less its own advance, and not up to the letter before: the kerning between
                    # the two stands before this one.
                    x = start + face.getlength(part[: i + 1]) - face.getlength(letter)
                    left, top, right, bottom = face.getbbox(letter, anchor="ls")
                    scale = size / _MEASURE_SIZE
                    box = ((x + left) * scale, top * scale, (x + right) * scale, bottom * scale)
                    found.append((letter, box))
            start += face.getlength(part)
        return found

    def missing(self, text: str) -> str:
        """Characters of `text` that neither this family nor the fallback (DejaVu Sans) draws."""
        drawn = _characters(self.files[0]) | _characters(text_font(FALLBACK_FONT).files[0])
        return "".join(sorted({c for c in text if not c.isspace() and ord(c) not in drawn}))


FALLBACK_FONT = "DejaVu Sans"
_MEASURE_SIZE = 200


@functools.cache
def _face(path: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, _MEASURE_SIZE)


@functools.cache
def _characters(path: str) -> frozenset[int]:
    from fontTools.ttLib import TTFont

    with TTFont(path, lazy=True) as font:
        return frozenset(font.getBestCmap())


@functools.cache
def text_font(family: str) -> TextFont:
    """The files of a family.  Raises `KeyError` (unknown) or `FileNotFoundError` (no package)."""
    package, folder, names = _FILES[family]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"text font {family!r}: install its package {package}")
    files = tuple(str(Path(spec.origin).parent / folder / name) for name in names)
    mean = _face(files[0]).getlength(_SAMPLE) / _MEASURE_SIZE / len(_SAMPLE)
    return TextFont(family, files, min(1.0, _TIMES_WIDTH / mean))
