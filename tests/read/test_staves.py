"""Staves are found where they were drawn: at any size, turned, badly lit."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from nota_jax.notation import abc
from nota_jax.notation.engraving import boxes
from nota_jax.notation.engraving.layout import Style, engrave
from nota_jax.read import staves

TUNE = """X:1
T:A Tune of Several Lines
M:6/8
L:1/8
K:G
GAB cde|gfg edc|BAB GAB|c3 B3|GAB cde|gfg edc|
BAG FGA|G3 G3:|d2d efg|agf efd|d2d efg|a3 g3|
"""


@pytest.fixture(scope="module")
def drawn():
    """A page at three times training's size, and what was drawn on it."""
    style = Style(staff_spacing=15.0, size=1008)
    picture = engrave(abc.parse(TUNE), style)
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("L")), picture


def systems(picture) -> dict[int, np.ndarray]:
    """Boxes of the bar lines of each system."""
    found = boxes.unpack(picture.symbols)
    lines = found[found["kind"] == boxes.KINDS.index("bar line")]
    return {int(system): lines["box"][lines["system"] == system] for system in set(lines["system"])}


def require_found(layout, picture, factor=1.0, tolerance=2.0):
    drawn = systems(picture)
    assert len(layout.staves) == len(drawn) >= 2
    assert abs(layout.spacing - factor * picture.staff_spacing) < 0.06 * factor * 15
    for staff, lines in zip(layout.staves, drawn.values(), strict=True):
        assert abs(staff.top - factor * lines[:, 1].min()) < tolerance * factor + 1
        assert abs(staff.bottom - factor * lines[:, 3].max()) < tolerance * factor + 1


@pytest.mark.parametrize("factor", [1 / 3, 0.6, 1.0, 2.0])
def test_staves_lie_where_they_were_drawn_at_any_size(drawn, factor):
    grey, picture = drawn
    size = round(1008 * factor)
    resized = cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA)
    require_found(staves.find(resized), picture, factor)


def test_bar_lines_are_told_from_stems(drawn):
    grey, picture = drawn
    for staff, lines in zip(staves.find(grey).staves, systems(picture).values(), strict=True):
        middles = (lines[:, 0] + lines[:, 2]) / 2
        assert len(staff.bar_lines) == len(middles)
        np.testing.assert_allclose(staff.bar_lines, middles, atol=15)  # a repeat is read at its end


@pytest.mark.parametrize("degrees", [-5.0, -1.3, 2.2, 6.5])
def test_a_turned_page_is_found_straight(drawn, degrees):
    grey, picture = drawn
    layout = staves.find(staves.rotated(grey, degrees))
    assert abs(layout.skew + degrees) < 0.15
    assert len(layout.staves) == len(systems(picture))


def test_uneven_light_hides_no_staff_and_is_taken_away(drawn):
    grey, picture = drawn
    light = np.linspace(0.35, 1.0, grey.shape[1])[None] * np.linspace(0.7, 1.0, len(grey))[:, None]
    dim = (grey * light).astype(np.uint8)
    require_found(staves.find(dim), picture)
    white = staves.whitened(dim)
    blank = grey == 255
    assert (white[blank] > 235).mean() > 0.97
    assert white[~staves.dark(grey)].mean() > 240


def test_staves_that_are_joined_are_told_from_systems(drawn):
    page = np.full((400, 600), 255, np.uint8)
    for top in (60, 160, 280):
        for line in range(5):
            page[top + 10 * line : top + 10 * line + 2, 50:550] = 0
    assert [staff.joined for staff in staves.find(page).staves] == [False] * 3
    page[60:202, 50:53] = 0  # the first two
    assert [staff.joined for staff in staves.find(page).staves] == [True, False, False]


@pytest.mark.parametrize("seed", [0, 1])
def test_where_there_is_no_staff_none_is_found(seed):
    rng = np.random.default_rng(seed)
    assert staves.find(np.full((300, 300), 255, np.uint8)).staves == ()
    assert staves.find(rng.integers(0, 256, (300, 300)).astype(np.uint8)).staves == ()
    text = np.full((300, 300), 255, np.uint8)
    text[40:260:12, 30:270] = rng.integers(0, 2, (19, 240)) * 255  # lines of something else
    assert staves.find(text).staves == ()


@pytest.mark.parametrize("meter", ["C", "C|", "2/4", "6/8", "none"])
@pytest.mark.parametrize("key", ["C", "G", "D", "F", "Bb", "E", "Ab", "D clef=bass"])
def test_a_key_signature_ends_before_a_meter_and_the_first_note(key, meter):
    text = f"X:1\nM:{meter}\nL:1/8\nK:{key}\nG2 A2|B4|c4|d4|]"
    picture = engrave(abc.parse(text), Style(staff_spacing=12.0, size=1344))
    grey = np.asarray(Image.open(io.BytesIO(picture.png)).convert("L"))
    (staff,) = staves.find(grey).staves
    found = boxes.unpack(picture.symbols)
    kinds = np.array(boxes.KINDS)[found["kind"]]
    signs = found["box"][np.isin(kinds, ["clef", "key"])]
    others = found["box"][np.isin(kinds, ["meter", "head"])]
    assert signs[:, 2].max() - 1 <= staves.signs_end(staves.dark(grey), staff) < others[:, 0].min()
