"""A page that is too small at once is laid out anew, and every place on it is still known."""

import numpy as np
import pytest
from PIL import Image

from nota_jax.read import views
from nota_jax.read.staves import Layout, Staff


def page(width=2400, height=1600, spacing=16, n_staves=5, bars=8):
    """A page of staves whose every pixel column of a bar has a grey of its own."""
    pixels = np.full((height, width), 255, np.uint8)
    found = []
    for number in range(n_staves):
        top = 200 + number * 260
        left, right = 80, width - 80
        for line in range(5):
            pixels[top + spacing * line : top + spacing * line + 2, left:right] = 40
        at = np.linspace(left, right - 2, bars + 1).astype(int)[1:]
        for x in at:
            pixels[top : top + 4 * spacing, x : x + 2] = 0
        found.append(Staff(top, top + 4 * spacing, left, right, tuple(int(x) for x in at)))
    ink = (80, 200, width - 80, 200 + (n_staves - 1) * 260 + 4 * spacing)
    return Image.fromarray(pixels), Layout(tuple(found), float(spacing), 0.0, ink)


def test_a_page_of_the_models_own_size_is_shown_as_it_is():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (336, 336)).astype(np.uint8))
    layout = Layout((Staff(50, 70, 10, 320),), 5.0, 0.0, (10, 40, 320, 90))
    view = views.whole(image, layout, 336)
    assert (view.pixels[..., 0] == np.asarray(image)).all()
    assert view.spacing == 5.0
    assert view.to_page(100.0, 60.0) == (100.0, 60.0, -1)


def test_a_tune_in_a_corner_of_a_large_sheet_is_shown_large():
    image, layout = page(width=800, n_staves=2)
    sheet = Image.new("L", (2480, 3508), 255)
    sheet.paste(image, (300, 200))
    moved = tuple(
        Staff(s.top + 200, s.bottom + 200, s.left + 300, s.right + 300) for s in layout.staves
    )
    ink = (380, 400, 1020, 724)
    view = views.whole(sheet, Layout(moved, 16.0, 0.0, ink), 336)
    assert view.spacing >= views.LEAST_SPACING > 16 * 336 / 3508
    (part,) = view.parts
    x, y, _ = view.to_page(part.x + 50, part.y + 50)
    assert 300 < x < 1100 and 350 < y < 800


def test_what_is_laid_out_anew_has_staves_of_the_wished_size():
    image, layout = page()
    found = views.systems(image, layout, 336)
    assert all(abs(view.spacing - views.WISHED_SPACING) < 0.1 for view in found)
    assert all(view.pixels.shape == (336, 336, 3) for view in found)


def test_every_bar_is_shown_once_and_in_order():
    image, layout = page()
    found = views.systems(image, layout, 336)
    numbers = [number for view in found for number in view.lines]
    assert numbers == sorted(numbers) and set(numbers) == set(range(5))
    for number, staff in enumerate(layout.staves):
        pieces = sorted(
            (part.box[0], part.box[2])
            for view in found
            for part in view.parts
            if part.staff == number and part.box[2] - part.box[0] > 5 * layout.spacing
        )
        assert pieces[0][0] <= staff.left and pieces[-1][1] >= staff.right
        assert all(a[1] == b[0] for a, b in zip(pieces, pieces[1:], strict=False))
        ends = [end for _, end in pieces[:-1]]
        assert all(min(abs(end - x) for x in staff.bar_lines) <= 2 for end in ends)


@pytest.mark.parametrize("seed", range(3))
def test_places_of_a_square_are_found_again_in_the_page(seed):
    """The ink under a place of the square is the ink under its place in the page."""
    image, layout = page()
    pixels = np.asarray(image)
    rng = np.random.default_rng(seed)
    for view in views.systems(image, layout, 336):
        inked = np.argwhere(view.pixels[..., 0] < 120)
        for y, x in inked[rng.permutation(len(inked))[:40]]:
            there = view.to_page(float(x), float(y))
            assert there is not None
            column, row = round(there[0]), round(there[1])
            around = pixels[max(0, row - 7) : row + 8, max(0, column - 7) : column + 8]
            assert around.size and around.min() < 100
