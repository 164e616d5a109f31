"""Fonts of a page: the music fonts inside Verovio, text fonts from PyPI packages, text widths.

The rasteriser (resvg) draws no text unless it is given font files, so a text font is always a set
of files here, never a name that the system resolves.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from fontTools.pens.boundsPen import BoundsPen
from fontTools.ttLib import TTFont
from PIL import ImageFont

MUSIC_FONTS = ("Leipzig", "Bravura", "Gootville", "Leland")
TEST_MUSIC_FONT = "Petaluma"  # never drawn for training: the style-shift test
TEXT_FONTS = ("DejaVu Serif", "DejaVu Sans", "Source Serif Pro", "Source Sans Pro", "Caladea")
TEST_TEXT_FONT = "Lato"  # as above
LOOK_TEXT_FONTS = (*TEXT_FONTS, "STIXGeneral", "cmr10")  # of pages with a look of their own
# That write a look's meter: ten figures and a C are less than a text, and their shapes matter more.
FIGURE_FONTS = (*LOOK_TEXT_FONTS, "DejaVu Sans Mono", "cmb10", "cmss10", "cmtt10", "cmti10")

REGULAR, BOLD, ITALIC = range(3)  # a family's files, and the `weight` of a text

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
    "STIXGeneral": ("matplotlib", "mpl-data/fonts/ttf",
             ("STIXGeneral.ttf", "STIXGeneralBol.ttf", "STIXGeneralItalic.ttf")),
    "cmr10": ("matplotlib", "mpl-data/fonts/ttf", ("cmr10.ttf", "cmr10.ttf", "cmr10.ttf")),
    "DejaVu Sans Mono": ("matplotlib", "mpl-data/fonts/ttf",
                         ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf",
                          "DejaVuSansMono-Oblique.ttf")),
    **{name: ("matplotlib", "mpl-data/fonts/ttf", (f"{name}.ttf",) * 3)
       for name in ("cmb10", "cmss10", "cmtt10", "cmti10")},
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
        """Advance of `text`, in the unit of `size`; weight: REGULAR, BOLD or ITALIC."""
        return _face(self.files[weight]).getlength(text) * size / _MEASURE_SIZE

    def letters(
        self, text: str, size: float, weight: int = 0
    ) -> tuple[list[tuple[str, Box]], float]:
        """Every letter but spaces and its ink's box, from where the text begins on its baseline.

        The advance, which is returned with them, is that of what is drawn and not always `width`:
        where the family lacks a character, resvg sets the whole text in the fallback, or, where
        that lacks another one, each in the font that has it.
        """
        own, fallback = self.files[weight], text_font(FALLBACK_FONT).files[0]
        wanted = {ord(c) for c in text if not c.isspace()}
        if wanted <= _characters(own):
            files = [own] * len(text)
        elif wanted <= _characters(fallback):
            files = [fallback] * len(text)
        else:
            files = [own if c.isspace() or ord(c) in _characters(own) else fallback for c in text]
        found, start = [], 0.0
        for file, run in itertools.groupby(zip(files, text, strict=True), key=lambda pair: pair[0]):
            part, face = "".join(letter for _, letter in run), _face(file)
            for i, letter in enumerate(part):
                if not letter.isspace():
                    # Less its own advance, and not up to the letter before: the kerning between
                    # the two stands before this one.
                    x = start + face.getlength(part[: i + 1]) - _advance(file, letter)
                    x *= size / _MEASURE_SIZE
                    left, top, right, bottom = _ink(file, letter)
                    found.append(
                        (letter, (x + left * size, top * size, x + right * size, bottom * size))
                    )
            start += face.getlength(part)
        return found, start * size / _MEASURE_SIZE

    def missing(self, text: str) -> str:
        """Characters of `text` that neither this family nor the fallback (DejaVu Sans) draws."""
        own, fallback = self.files[0], text_font(FALLBACK_FONT).files[0]
        wanted = {c for c in text if not c.isspace() and ord(c) not in _characters(own)}
        return "".join(sorted(c for c in wanted if ord(c) not in _characters(fallback)))


FALLBACK_FONT = "DejaVu Sans"
_MEASURE_SIZE = 200
_READING = threading.Lock()  # fontTools reads a file's tables when they are asked for


@functools.cache
def _face(path: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, _MEASURE_SIZE)


@functools.cache
def _advance(path: str, letter: str) -> float:
    return _face(path).getlength(letter)


@functools.cache
def opened(path: str) -> TTFont:
    """A font file; what fontTools finds odd about its dates is nobody's concern here."""
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    return TTFont(path, lazy=True)


@functools.cache
def _characters(path: str) -> frozenset[int]:
    with _READING:
        return frozenset(opened(path).getBestCmap())


@functools.cache
def _ink(path: str, letter: str) -> Box:
    """The ink of a letter of size 1, from its origin on the baseline, y downwards."""
    with _READING:
        font = opened(path)
        pen = BoundsPen(font.getGlyphSet())
        font.getGlyphSet()[font.getBestCmap()[ord(letter)]].draw(pen)
        em = font["head"].unitsPerEm
    left, bottom, right, top = pen.bounds or (0, 0, 0, 0)
    return left / em, -top / em, right / em, -bottom / em


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
