"""Faults of scanners and cameras: the same for the same seed, and symbols move along."""

import numpy as np
import pytest

from nota_jax.data.degrade import degrade

SIZE = 336


def marks():
    """A page of black squares on white, and their boxes."""
    page = np.full((SIZE, SIZE, 3), 255, np.uint8)
    corners = np.array([(x, y) for x in range(30, 300, 45) for y in range(30, 300, 45)])
    boxes = np.concatenate([corners, corners + 12], 1).astype(np.float32)
    for left, top, right, bottom in boxes.astype(int):
        page[top:bottom, left:right] = 0
    return page, boxes


@pytest.mark.parametrize("seed", range(20))
def test_boxes_lie_where_their_ink_went(seed):
    page, boxes = marks()
    image, moved = degrade(page, boxes, seed)
    assert image.shape == page.shape and image.dtype == np.uint8
    assert moved.shape == boxes.shape
    grey = image.mean(2)
    paper = np.median(grey)
    for left, top, right, bottom in moved:
        inside = grey[round(top) + 3 : round(bottom) - 2, round(left) + 3 : round(right) - 2]
        assert inside.mean() < 0.5 * paper, seed


def test_a_seed_says_what_happens():
    page, boxes = marks()
    first, there = degrade(page, boxes, 7)
    degrade(page, boxes, 8)
    again, there_too = degrade(page, boxes, 7)
    assert (first == again).all() and (there == there_too).all()
    other, _ = degrade(page, boxes, 9)
    assert (first != other).any()


def test_most_pages_change_and_stay_legible():
    page, boxes = marks()
    seen = [degrade(page, boxes, seed)[0] for seed in range(40)]
    assert sum((image != page).any() for image in seen) > 30
    for image in seen:
        grey = image.mean(2)
        assert np.percentile(grey, 60) - grey.min() > 90  # ink against paper


def test_a_page_without_symbols_can_be_degraded():
    page, _ = marks()
    image, moved = degrade(page, np.zeros((0, 4)), 3)
    assert image.shape == page.shape and moved.shape == (0, 4)
