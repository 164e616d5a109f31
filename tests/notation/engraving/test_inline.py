"""Drawings for a page of HTML: all that Verovio draws, in a third of its size, marked."""

import dataclasses
import re
import xml.etree.ElementTree as ET

import pytest

from nota_jax.notation.abc import parse
from nota_jax.notation.engraving import inline
from nota_jax.notation.engraving.errors import EngraveError
from nota_jax.notation.engraving.layout import engrave
from nota_jax.notation.engraving.pool import EngravePool

BLACK, WHITE = "E0A4", "E0A3"
TUNE = parse(
    'X:1\nM:4/4\nL:1/4\nK:G\n"Am<b>"GA[Bd]d-|d{g}c/B/ (A2|\nG4)|"^Fine & <i>"z2 G2|]\nw:la la\n'
)
_PLAIN = parse("X:1\nK:C\nC|]\n")
UNDRAWN = dataclasses.replace(_PLAIN, bars=(dataclasses.replace(_PLAIN.bars[0], barline="~"),))


@pytest.fixture(scope="module")
def drawing():
    return inline.draw(TUNE)


def parsed(svg):
    return ET.fromstring(svg)  # well formed, as HTML need not be


def test_every_head_is_drawn_once(drawing):
    svg = inline.inline(drawing, {}, "a tune")
    # G, A, the chord's two, d, the tied d, c, B, and a grace note; A2 and the last G2 are half
    # notes, G4 a whole one.
    assert svg.count(f'href="#g{BLACK}"') == 9 and svg.count(f'href="#g{WHITE}"') == 2
    assert svg.count('href="#gE0A2"') == 1
    assert len(svg) < len(drawing.svg) / 2.2


def test_every_glyph_that_is_used_has_its_outline(drawing):
    svg = inline.inline(drawing, {}, "a tune")
    glyphs = inline.glyphs([drawing, drawing])
    assert set(re.findall(r'href="#(\w+)"', svg)) <= set(re.findall(r'path id="(\w+)"', glyphs))
    assert glyphs.count(f'id="g{BLACK}"') == 1
    parsed(glyphs)


def test_lines_end_where_the_texts_do(drawing):
    assert inline.inline(drawing, {}, "").count('href="#gE050"') == 2  # a clef begins each


def test_a_mark_is_a_class_a_shape_and_a_word(drawing):
    marks = {
        inline.note_id(0, 0, 0, False): ("pitch", 'G4 read as "A4" & <more>'),
        inline.note_id(0, 2, 1, True): ("rhythm", "too long"),
    }
    svg = parsed(inline.inline(drawing, marks, 'a "tune" <here>'))
    assert svg.get("aria-label") == 'a "tune" <here>' and svg.get("role") == "img"
    marked = {group.get("class"): group for group in svg.iter("g") if group.get("class")}
    assert set(marked) == {"m pitch", "m rhythm"}
    pitch, rhythm = marked["m pitch"], marked["m rhythm"]
    assert pitch.findtext("title") == 'G4 read as "A4" & <more>'
    assert [pitch.find(tag) is not None for tag in ("circle", "rect")] == [True, False]
    assert [rhythm.find(tag) is not None for tag in ("circle", "rect")] == [False, True]
    heads = [use for use in rhythm.iter("use") if use.get("href") == f"#g{BLACK}"]
    assert len(heads) == 1  # the other note of the chord is not marked


def test_text_of_the_tune_stays_text(drawing):
    svg = inline.inline(drawing, {}, "")
    assert "<i>" not in svg and "<b>" not in svg
    words = ["".join(text.itertext()) for text in parsed(svg).iter("text")]
    assert "Am<b>" in words and "Fine & <i>" in words and "la" in words


def test_colours_are_the_pages_own(drawing):
    svg = inline.inline(drawing, {}, "")
    assert "fill=" not in svg and "stroke=" not in svg and "color" not in svg


def test_what_is_not_drawn_is_said():
    with pytest.raises(EngraveError, match="bar 1: the bar line '~' is not drawn"):
        inline.draw(UNDRAWN)


def test_it_draws_in_a_pool_and_leaves_pages_as_they_were():
    before = engrave(TUNE).png
    with EngravePool(1, work=inline.draw) as pool:
        drawn = dict(pool.map([("a", TUNE), ("b", UNDRAWN)]))
    assert drawn["a"] == inline.draw(TUNE)
    assert drawn["b"] == "EngraveError: bar 1: the bar line '~' is not drawn"
    assert engrave(TUNE).png == before
