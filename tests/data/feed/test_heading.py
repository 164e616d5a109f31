"""The enlarged heading: the top of a page, twice as large, and where its symbols come to lie."""

import numpy as np
import pytest

from nota_jax.data.feed import heading
from nota_jax.notation.engraving import boxes

SIZE = 336


def page(*rectangles):
    """A white page with black rectangles (left, top, right, bottom), and them as its symbols."""
    image = np.full((SIZE, SIZE, 3), 255, np.uint8)
    for left, top, right, bottom in rectangles:
        image[top:bottom, left:right] = 0
    symbols = np.zeros(len(rectangles), boxes.SYMBOL)
    symbols["box"] = np.reshape(rectangles, (-1, 4))
    symbols["event"] = np.arange(len(rectangles))
    return image, symbols


def dark(image, box):
    left, top, right, bottom = (max(0, round(float(x))) for x in box)
    return (image[top:bottom, left:right] < 128).mean()


@pytest.mark.parametrize("top", [0, 20, 150, 300])
def test_symbols_lie_where_their_ink_is_twice_as_large(top):
    texts = [(100, top, 107, top + 9), (230, top + 3, 238, top + 14), (4, top + 12, 16, top + 20)]
    image, symbols = page(*texts)
    shown, found = heading.enlarged(image, symbols)
    assert shown.shape == image.shape and shown.dtype == np.uint8
    assert set(found["event"]) == {0, 1, 2}
    for symbol in found:
        left, top, right, bottom = texts[symbol["event"]]
        wide, high = symbol["box"][2:] - symbol["box"][:2]
        assert (wide, high) == (2 * (right - left), 2 * (bottom - top))
        assert dark(shown, symbol["box"]) == 1
        assert dark(shown, symbol["box"] + [-2, -2, 2, 2]) < 1
    of_all = sum((x["box"][2] - x["box"][0]) * (x["box"][3] - x["box"][1]) for x in found)
    assert (shown < 128).all(-1).sum() == pytest.approx(of_all, rel=0.1)  # nothing else is shown


def test_what_two_pieces_show_comes_last_from_the_middle_one():
    image, symbols = page((100, 10, 107, 19), (160, 10, 167, 19), (2, 10, 9, 19))
    _, found = heading.enlarged(image, symbols)
    third = SIZE / 3
    last = {symbol["event"]: symbol["box"][1] // third for symbol in found}
    assert last == {0: 1, 1: 1, 2: 0}


def test_a_symbol_below_the_strip_or_cut_by_a_pieces_edge_is_not_told_there():
    image, symbols = page((10, 10, 20, 20), (10, 200, 20, 210), (80, 12, 90, 20))
    _, found = heading.enlarged(image, symbols)
    assert 1 not in found["event"]
    # From column 84 on is the middle piece: it cuts the last, which the left one shows whole.
    assert (found["event"] == 2).sum() == 1 and found["box"][found["event"] == 2][0, 1] < SIZE / 3


def test_the_strip_begins_at_the_topmost_ink_whatever_the_paper_is_like():
    clean, symbols = page((100, 60, 140, 72), (20, 100, 300, 104))
    rng = np.random.default_rng(0)
    grey = clean * 0.6 + 70 + rng.normal(0, 6, clean.shape[:2])[..., None]
    dim = np.clip(grey, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(
        heading.enlarged(dim, symbols)[1]["box"], heading.enlarged(clean, symbols)[1]["box"]
    )


def test_a_blank_page_has_a_blank_heading():
    image, symbols = page()
    shown, found = heading.enlarged(image, symbols)
    assert (shown == 255).all() and not len(found)
