"""The overlay draws a box where a symbol is, and says what it is."""

import subprocess
import sys

import numpy as np
from PIL import Image

from nota_jax.notation.abc import parse
from nota_jax.notation.engraving import boxes
from nota_jax.notation.engraving.layout import engrave
from nota_jax.tools.overlay import overlay, said

TUNE = "X:1\nT:t\nM:3/4\nL:1/8\nK:D\n^A3-A (B2|B2) z4 |]\n"


def test_boxes_are_drawn_around_the_symbols():
    picture = engrave(parse(TUNE))
    image = overlay(picture, scale=3)
    assert image.size == (1008, 1008)
    drawn = np.asarray(image)
    coloured = drawn.max(axis=2) - drawn.min(axis=2) > 100
    for symbol in boxes.moved(boxes.unpack(picture.symbols), 3):
        left, top, _, bottom = symbol["box"].astype(int)
        assert coloured[top + 2 : bottom - 1, left - 1 : left + 2].any(axis=1).all()


def test_what_is_said_of_a_symbol_is_what_it_is():
    symbols = boxes.unpack(engrave(parse(TUNE)).symbols)
    music = [said(symbol) for symbol in symbols if symbol["bar"] >= 0]
    heads = ["33/4.-", "-33/8", "34/4(", ")34/4"]
    assert [text for text in music if text in heads] == heads
    assert {"treble", "3/4", "+1", "|", "|]", "/2"} < set(music)


def test_the_command_writes_a_picture_for_each_tune(tmp_path):
    (tmp_path / "tunes").mkdir()
    (tmp_path / "tunes" / "a.abc").write_text(TUNE)
    arguments = ["--corpora", f"path:{tmp_path / 'tunes'}", "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "nota_jax.tools.overlay", *arguments, "--scale", "2"]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = (tmp_path / "out").iterdir()
    with Image.open(path) as image:
        assert image.size == (672, 672)
