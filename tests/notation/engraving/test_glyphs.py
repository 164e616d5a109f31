"""The table of glyphs and marks fits the decorations that are read, and the fonts that draw."""

import pytest

from nota_jax.notation.abc.decorations import DECORATIONS
from nota_jax.notation.engraving import glyphs
from nota_jax.notation.engraving.fonts import MUSIC_FONTS, TEST_MUSIC_FONT


def test_every_decoration_that_is_read_is_drawn_and_no_other():
    assert set(glyphs.MARKS) == set(DECORATIONS.values())


def test_what_is_drawn_for_a_decoration_means_it():
    for name, mark in glyphs.MARKS.items():
        assert {glyphs.mark_of_glyph(mark.tag, glyph) for glyph in mark.glyphs} <= {name}
        if mark.text:
            assert glyphs.mark_of_text(mark.text) == name
        assert mark.glyphs or mark.text
    assert glyphs.mark_of_glyph("artic", "E566") == "E566"  # a trill is no articulation


@pytest.mark.parametrize("font", [*MUSIC_FONTS, TEST_MUSIC_FONT])
def test_every_font_has_the_measures_of_every_glyph_or_leipzigs(font):
    tables = (glyphs.HEADS, glyphs.ACCIDENTALS, glyphs.CLEFS, glyphs.TEMPO_BEATS)
    for code in (code for table in tables for code in table):
        left, bottom, right, top = glyphs.shape(font, code).box
        assert left < right and bottom < top
        assert glyphs.outline(font, code).startswith("<path")
    with pytest.raises(KeyError, match="U\\+ABCD"):
        glyphs.shape(font, "ABCD")
