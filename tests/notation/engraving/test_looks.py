"""Pages with a look of their own show the same tune, and their labels stay true."""

import io
import itertools

import numpy as np
import pytest
from fontTools.pens.boundsPen import BoundsPen
from fontTools.pens.recordingPen import RecordingPen
from fontTools.svgLib.path import parse_path
from PIL import Image

from nota_jax.notation import abc
from nota_jax.notation.engraving import boxes
from nota_jax.notation.engraving.fonts import (
    FIGURE_FONTS,
    LOOK_TEXT_FONTS,
    MUSIC_FONTS,
    TEST_TEXT_FONT,
)
from nota_jax.notation.engraving.glyphs import UNITS_PER_EM
from nota_jax.notation.engraving.layout import Style, engrave
from nota_jax.notation.engraving.looks import _BEND, _bent, _figure, look_of

TEXT = """X:1
T:Byrne's Hornpipe
C:R. Lindqvist
M:6/8
L:1/8
Q:3/8=60
K:Eb
B|E2G (B2G)|^F=Be _d2z|[EGB]3-[EGB]2B|1 e/d/c/B/ A2G:|2 (3EFG E2z|]
"""
TUNE = abc.parse(TEXT)


def grey(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L")).astype(int)


def test_a_look_is_told_by_its_number():
    assert engrave(TUNE, Style(look=3)) == engrave(TUNE, Style(look=3))
    pictures = {engrave(TUNE, Style(look=look)).png for look in (None, 3, 4, 5)}
    assert len(pictures) == 4


def test_what_a_look_changes_is_gone_on_the_next_page():
    first = engrave(TUNE)
    engrave(TUNE, Style(look=7))
    assert engrave(TUNE) == first


@pytest.mark.parametrize("music_font", MUSIC_FONTS)
@pytest.mark.parametrize("look", range(4))
def test_symbols_stay_in_their_boxes(look, music_font):
    style = Style(music_font=music_font, look=look, text_font=LOOK_TEXT_FONTS[-1 - look % 2])
    picture = engrave(TUNE, style)
    image, symbols = grey(picture.png), boxes.unpack(picture.symbols)
    for symbol in symbols:
        left, top = np.floor(symbol["box"][:2]).astype(int)
        right, bottom = np.ceil(symbol["box"][2:]).astype(int)
        # Computer Modern is a thin font.
        assert image[top:bottom, left:right].min() < 200, (symbol["label"], symbol["box"])


def test_text_fonts_write_the_meter_of_most_looks_upright_bold_and_slanted():
    figures = [figures for seed in range(1000) if (figures := look_of(seed).figures)]
    assert 550 < len(figures) < 650
    assert set(figures) == set(itertools.product(FIGURE_FONTS, range(3)))
    assert TEST_TEXT_FONT not in FIGURE_FONTS


@pytest.mark.parametrize("figure", ["2", "8", "C", "C|"])
@pytest.mark.parametrize("face", range(3))
@pytest.mark.parametrize("family", FIGURE_FONTS)
def test_a_text_fonts_figures_stand_where_the_music_fonts_do(family, face, figure):
    path, width = _figure(family, face, figure, 1.1)
    pen = BoundsPen(None)
    parse_path(path, pen)
    left, bottom, right, top = pen.bounds
    spaces = UNITS_PER_EM / 4
    assert (left, right) == pytest.approx((0, width), abs=1)
    half = 1.54 if figure == "C|" else 1.1  # the line through it is longer
    assert (bottom, top) == pytest.approx((-half * spaces, half * spaces), abs=1)
    if figure == "C|":
        assert _figure(family, face, "C", 1.1)[1] == width


def points(path: str) -> np.ndarray:
    pen = RecordingPen()
    parse_path(path, pen)
    return np.array([point for _, drawn in pen.value for point in drawn])


@pytest.mark.parametrize("figure", ["4", "8", "C|"])
def test_a_hand_bends_figures_as_far_as_it_may(figure):
    path, _ = _figure("cmr10", 0, figure, 1.0)
    most = _BEND * UNITS_PER_EM
    off = [points(_bent(path, look_of(seed).hand)) - points(path) for seed in range(50)]
    assert 0.9 * most < np.abs(off).max() < 1.01 * most
    assert np.array_equal(points(_bent(path, (0, 0, 1, 2))), points(path))


def test_a_look_with_air_takes_more_of_the_page():
    def height(look: int) -> int:
        ink = np.flatnonzero(grey(engrave(TUNE, Style(look=look)).png).min(axis=1) < 128)
        return ink[-1] - ink[0]

    airy = next(seed for seed in range(50) if look_of(seed).air)
    close = next(seed for seed in range(50) if not look_of(seed).air)
    assert height(airy) > height(close)
