"""Pages of text: letters as they stand above the music, each in its box."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nota_jax.data import lettering
from nota_jax.notation.engraving import boxes, fonts


@pytest.mark.parametrize("size", [336, 448])
@pytest.mark.parametrize("seed", range(8))
def test_every_letter_has_its_ink_and_all_ink_is_of_a_letter(seed, size):
    image, symbols = lettering.page(size, seed)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    assert (symbols["kind"] == boxes.KINDS.index("letter")).all() and len(symbols) > 200
    ink, free = image.min(axis=-1), np.ones((size, size), bool)
    for left, top, right, bottom in symbols["box"]:
        here = slice(int(top), int(bottom) + 1), slice(int(left), int(right) + 1)
        assert ink[here].min() < 230
        free[int(top) - 1 : int(bottom) + 2, int(left) - 1 : int(right) + 2] = False
    assert ink[free].min() > 230
    assert min(ink[:4].min(), ink[-4:].min(), ink[:, :4].min(), ink[:, -4:].min()) == 255


def test_threads_may_write_pages_from_the_first_on():
    """Fonts are read when a letter is asked for first, and training's threads ask at once."""
    for cached in (lettering.page, fonts._ink, fonts._characters, fonts.opened):
        cached.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(lambda seed: lettering.page(336, seed), range(24)))
    lettering.page.cache_clear()  # written again, not remembered
    for seed, (image, symbols) in enumerate(pages):
        again, too = lettering.page(336, seed)
        assert (image == again).all() and (symbols == too).all()


def test_a_seed_says_what_is_written():
    image, symbols = lettering.page(336, 5)
    lettering.page.cache_clear()  # written again, not remembered
    again, too = lettering.page(336, 5)
    assert (image == again).all() and (symbols == too).all()
    other, _ = lettering.page(336, 6)
    assert (image != other).any()


def test_a_page_as_small_as_a_stamp_is_blank():
    image, symbols = lettering.page(24, 0)
    assert not len(symbols) and (image == 255).all()
