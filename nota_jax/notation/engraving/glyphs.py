"""Glyphs and marks: what is drawn for which meaning, for the writer of MEI and the page's reader.

Glyphs are named by their SMuFL code points, four hex digits as Verovio writes them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import verovio

from nota_jax.notation.abc.decorations import DYNAMICS, FINGERINGS

SPACE = 180.0  # Verovio's SVG units between two staff lines: all lengths on its pages are in these

HEADS = {"E0A0": Fraction(2), "E0A1": Fraction(2), "E0A2": Fraction(1), "E0A3": Fraction(1, 2),
         "E0A4": Fraction(1, 4)}  # fmt: skip
FLAGS = {f"E{0x240 + i:03X}": i // 2 + 1 for i in range(12)}  # up and down alternate
RESTS = {f"E{0x4E2 + i:03X}": Fraction(2) / 2**i for i in range(9)}
ACCIDENTALS = {"E260": -1, "E261": 0, "E262": 1, "E263": 2, "E264": -2}
# Shape and octave displacement; the line is where the glyph stands.  The last three are small ones,
# within a bar.
CLEFS = {"E050": ("G", 0), "E052": ("G", -1), "E053": ("G", 1), "E062": ("F", 0),
         "E064": ("F", -1), "E065": ("F", 1), "E05C": ("C", 0), "E05D": ("C", -1),
         "E07A": ("G", 0), "E07B": ("C", 0), "E07C": ("F", 0)}  # fmt: skip
METER_SYMBOLS = {"E08A": "C", "E08B": "C|"}
METER_FIGURES = {f"E{0x080 + i:03X}": str(i) for i in range(10)} | {"E08C": "+", "E08D": "+"}
TUPLET_FIGURES = {f"E{0x880 + i:03X}": str(i) for i in range(10)}
REPEAT_DOT = "E044"
# Small notes with stems, for the beat of a tempo.
TEMPO_BEATS = {"E1D2": Fraction(1), "E1D3": Fraction(1, 2), "E1D5": Fraction(1, 4),
               "E1D7": Fraction(1, 8), "E1D9": Fraction(1, 16)}  # fmt: skip
TEMPO_DOT = "E1E7"


@dataclass(frozen=True)
class Mark:
    """How a decoration is drawn.

    tag, attributes, text: its MEI element; "artic" is a part of the note, the others stand beside.
    glyphs: what may be drawn for it (above and below the staff); without them its text is.
    """

    tag: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    glyphs: tuple[str, ...] = ()


def _articulation(name: str, *glyphs: str) -> Mark:
    return Mark("artic", {"artic": name}, glyphs=glyphs)


def _above(tag: str, *glyphs: str, text: str = "", **attributes: str) -> Mark:
    return Mark(tag, attributes | {"place": "above"}, text, glyphs)


def _dynamic(name: str, glyph: str) -> Mark:
    return Mark("dynam", {"place": "below"}, name, (glyph,))


_DYNAMIC_GLYPHS = {
    "pppp": "E529", "ppp": "E52A", "pp": "E52B", "p": "E520", "mp": "E52C", "mf": "E52D",
    "f": "E522", "ff": "E52F", "fff": "E530", "ffff": "E531", "sf": "E536", "sfz": "E539",
    "fz": "E535",
}  # fmt: skip

# Canonical name (`abc.decorations`) → how it is drawn.
MARKS: dict[str, Mark] = {
    ".": _articulation("stacc", "E4A2", "E4A3"),
    "~": _above("ornam", text="~"),
    "T": _above("trill", "E566"),
    "u": _articulation("upbow", "E612", "E613"),
    "v": _articulation("dnbow", "E610", "E611"),
    "H": _above("fermata", "E4C0", "E4C1"),
    "M": _above("mordent", "E56D", form="lower"),
    "P": _above("mordent", "E56C", form="upper"),
    "accent": _articulation("acc", "E4A0", "E4A1"),
    "tenuto": _articulation("ten", "E4A4", "E4A5"),
    "wedge": _articulation("stacciss", "E4A6", "E4A7", "E4A8", "E4A9"),
    "marcato": _articulation("marc", "E4AC", "E4AD"),
    "turn": _above("turn", "E567", form="upper"),
    "arpeggio": Mark("arpeg", glyphs=("EAA9",)),
    "breath": _above("breath", "E4CE"),
    "open": _articulation("open", "E5E7", "E614"),
    "snap": _articulation("snap", "E631", "E630"),
    "segno": _above("repeatMark", "E047", func="segno"),
    "coda": _above("repeatMark", "E048", func="coda"),
    "D.C.": _above("repeatMark", text="D.C.", func="daCapo"),
    "D.S.": _above("repeatMark", text="D.S.", func="dalSegno"),
    "fine": _above("repeatMark", text="Fine", func="fine"),
    **{name: _dynamic(name, _DYNAMIC_GLYPHS[name]) for name in DYNAMICS},
    **{name: _above("fing", text=name) for name in FINGERINGS},
}

MARK_TAGS = frozenset(mark.tag for mark in MARKS.values())
_NAME_OF_GLYPH = {
    (mark.tag, glyph): name for name, mark in MARKS.items() for glyph in mark.glyphs
}  # fmt: skip
_NAME_OF_TEXT = {mark.text: name for name, mark in MARKS.items() if mark.text}


def mark_of_glyph(tag: str, code: str) -> str:
    """The decoration that a glyph in an element of this tag is; an unknown one is its own code."""
    return _NAME_OF_GLYPH.get((tag, code), code)


def mark_of_text(text: str) -> str:
    """The decoration that is written as this text; an unknown one is its own text."""
    return _NAME_OF_TEXT.get(text, text)


# ------------------------------------------------------------------ their shapes

_DATA = Path(verovio.__file__).parent / "data"
_FALLBACK = "Leipzig"  # the only one of Verovio's fonts that is complete
UNITS_PER_EM = 1000.0


@dataclass(frozen=True)
class Shape:
    """A glyph of a font, in units of which an em has 1000, y upwards from the baseline.

    advance: how far the next glyph stands; box: (left, bottom, right, top) of its ink.
    """

    advance: float
    box: tuple[float, float, float, float]


@functools.cache
def shape(music_font: str, code: str) -> Shape:
    """A glyph's measures; those of Leipzig's where the font does not have it, as Verovio does.

    Raises `KeyError` for a glyph that neither has.
    """
    found = _table(music_font).get(code) or _table(_FALLBACK).get(code)
    if found is None:
        raise KeyError(f"no glyph U+{code} in the music fonts {music_font} and {_FALLBACK}")
    return found


@functools.cache
def outline(music_font: str, code: str) -> str:
    """A glyph's SVG path, in the units of `Shape`."""
    font = music_font if code in _table(music_font) else _FALLBACK
    (path,) = re.findall(r"<path.*/>", (_DATA / font / f"{code}.xml").read_text())
    return path


@functools.cache
def _table(music_font: str) -> dict[str, Shape]:
    shapes = {}
    for entry in re.findall(r"<g ([^>]*)>", (_DATA / f"{music_font}.xml").read_text()):
        values = dict(re.findall(r'([\w-]+)="([^"]*)"', entry))
        left, bottom = float(values["x"]), float(values["y"])
        box = (left, bottom, left + float(values["w"]), bottom + float(values["h"]))
        shapes[values["c"]] = Shape(float(values.get("h-a-x", 0)), box)
    return shapes
