"""Pictures: square, legible, predictable, with the bars marked that were asked for."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from nota_jax.notation.abc import parse
from nota_jax.notation.engraving.errors import EngraveError
from nota_jax.notation.engraving.fonts import (
    MUSIC_FONTS,
    TEST_MUSIC_FONT,
    TEST_TEXT_FONT,
    TEXT_FONTS,
    text_font,
)
from nota_jax.notation.engraving.layout import MIN_STAFF_SPACING, Style, engrave, pages
from nota_jax.notation.engraving.page import MARGIN, TINT, rasterise


def tune_of(n_bars: int, title: str = "A Tune", composer: str = "A. Composer"):
    bars = " | ".join(["GABc dedB", "e2dc B2A2"][i % 2] for i in range(n_bars))
    return parse(f"X:1\nT:{title}\nC:{composer}\nM:4/4\nL:1/8\nK:G\n{bars} |]\n")


def pixels(picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)


def ink(image: np.ndarray, box: tuple[float, float, float, float]) -> float:
    """Share of dark pixels in (left, top, right, bottom)."""
    left, top, right, bottom = (round(edge) for edge in box)
    return float((image[top:bottom, left:right].sum(axis=2) < 384).mean())


@pytest.mark.parametrize("size", [224, 336, 448])
def test_a_picture_is_square_and_white_at_its_edges(size):
    image = pixels(engrave(tune_of(6), Style(size=size)))
    assert image.shape == (size, size, 3)
    for edge in (image[:2], image[-2:], image[:, :2], image[:, -2:]):
        assert (edge == 255).all()


def test_the_staff_spacing_that_is_reported_is_the_one_in_the_pixels():
    picture = engrave(tune_of(2), Style(staff_spacing=6.0))
    left, top, right, bottom = picture.bar_boxes[0]
    image = pixels(picture)
    # A column of pixels between two notes crosses nothing but the five staff lines.
    rows = min((image[round(top) - 3 : round(bottom) + 4, x].sum(axis=1) for x in
                range(round(left) + 30, round(right))), key=lambda r: (r < 700).sum())  # fmt: skip
    lines = np.flatnonzero((rows < 700) & (np.roll(rows, 1) >= 700))
    assert picture.staff_spacing == pytest.approx(6.0, abs=1e-3)
    assert len(lines) == 5
    assert np.diff(lines).mean() == pytest.approx(6.0, abs=0.3)


def test_staves_shrink_until_the_tune_fits_and_no_further_than_legible():
    spacings = [engrave(tune_of(n)).staff_spacing for n in (4, 12, 20, 28)]
    assert spacings[0] == 5.0
    assert spacings == sorted(spacings, reverse=True)
    assert MIN_STAFF_SPACING <= spacings[-1] < 5.0


def test_a_tune_too_long_for_one_page_is_refused():
    with pytest.raises(EngraveError, match="too long for one legible page"):
        engrave(tune_of(60))


def test_what_one_layout_draws_over_the_edge_another_one_may_not():
    bars = "GABc dedB | " * 3 + 'G2 A2 B2 "to the second strain at pleasure"c2'
    tune = parse(f"X:1\nT:t\nM:4/4\nL:1/8\nK:G\n{bars} |]\n")
    best = next(pages(tune))
    with pytest.raises(EngraveError, match="over the edge"):
        rasterise(best, text_font(Style().text_font), Style().size, colour=False)
    engrave(tune)


def test_line_breaks_of_the_layout_are_returned():
    picture = engrave(tune_of(12))
    tops = [box[1] for box in picture.bar_boxes]
    expected = tuple(i for i in range(11) if tops[i] != tops[i + 1])
    assert len(expected) >= 2
    assert picture.tune.line_breaks == expected
    assert replace(picture.tune, bars=()) == replace(tune_of(12), bars=())


def test_music_begins_at_the_top_whatever_the_length():
    tops = {engrave(tune_of(n)).bar_boxes[0][1] for n in (1, 4, 8)}
    assert len(tops) == 1 and tops.pop() < 70


def test_title_and_composer_are_ink_above_the_music():
    both, none = engrave(tune_of(2)), engrave(tune_of(2, title="", composer=""))
    top = both.bar_boxes[0][1]
    assert none.bar_boxes[0][1] < top - 20
    image = pixels(both)
    assert ink(image, (130, MARGIN, 206, MARGIN + 18)) > 0.05  # centred title
    assert ink(image, (270, MARGIN + 17, 328, MARGIN + 30)) > 0.05  # composer at the right


@pytest.mark.parametrize(
    "title",
    ["W" * 18, "A very long title that goes on and on, as titles of broadside ballads often do, "
     "to the end of the second line", "Ťhé Čítÿ of Ščavnica"],
)  # fmt: skip
def test_long_and_accented_titles_stay_on_the_page(title):
    engrave(tune_of(2, title=title))


def test_a_title_that_cannot_fit_or_be_drawn_is_refused():
    with pytest.raises(EngraveError, match="too long"):
        engrave(tune_of(2, title="W" * 90))
    with pytest.raises(EngraveError, match="has no '漢'"):
        engrave(tune_of(2, title="漢"))
    for code in ('"^te껭t"A', '"껭"A', '["껭"A', "A\nw:껭\n"):  # nothing would be drawn
        with pytest.raises(EngraveError, match="has no '껭'"):
            engrave(parse(f"K:C\n{code}|\n"))


def test_highlighted_bars_are_tinted_and_no_others():
    plain, marked = engrave(tune_of(12)), engrave(tune_of(12), highlight=(3, 7))
    tint = np.array([int(TINT[i : i + 2], 16) for i in (1, 3, 5)])
    image, share = pixels(marked), []
    for left, t, right, b in marked.bar_boxes:
        inside = image[round(t) : round(b), round(left) + 2 : round(right) - 2]
        share.append((np.abs(inside - tint).sum(axis=2) < 30).mean())
    assert marked.bar_boxes == plain.bar_boxes
    assert all((s > 0.2) == (3 <= i <= 7) for i, s in enumerate(share)), share


def test_notes_stay_dark_under_the_tint():
    plain, marked = engrave(tune_of(4)), engrave(tune_of(4), highlight=(0, 3))
    dark = pixels(plain).sum(axis=2) < 60
    assert dark.sum() > 500
    assert (pixels(marked).sum(axis=2)[dark] < 200).all()


def test_a_plain_picture_is_grey_and_a_highlighted_one_coloured():
    modes = [Image.open(io.BytesIO(engrave(tune_of(2), highlight=h).png)).mode
             for h in (None, (0, 0))]  # fmt: skip
    assert modes == ["L", "RGB"]


def test_test_fonts_are_not_training_fonts_and_every_font_draws():
    assert TEST_MUSIC_FONT not in MUSIC_FONTS and TEST_TEXT_FONT not in TEXT_FONTS
    pictures = {engrave(tune_of(2), Style(music_font=font)).png
                for font in (*MUSIC_FONTS, TEST_MUSIC_FONT)}  # fmt: skip
    pictures |= {engrave(tune_of(2), Style(text_font=font)).png
                 for font in (*TEXT_FONTS, TEST_TEXT_FONT)}  # fmt: skip
    assert len(pictures) == 5 + 6 - 1  # the default style is in both


def test_a_picture_does_not_depend_on_what_was_engraved_before():
    first = engrave(tune_of(5)).png
    engrave(tune_of(30), Style(music_font="Petaluma", text_font="Lato"))
    with pytest.raises(EngraveError):
        engrave(tune_of(60))
    assert engrave(tune_of(5)).png == first


@pytest.mark.parametrize("highlight", [(0, 12), (-1, 2), (3, 2)])
def test_a_highlight_outside_the_tune_is_refused(highlight):
    with pytest.raises(ValueError, match="highlight"):
        engrave(tune_of(12), highlight=highlight)


def test_an_unknown_font_is_refused_with_the_known_ones():
    with pytest.raises(EngraveError, match="Leipzig"):
        engrave(tune_of(2), Style(music_font="Sonata"))
    with pytest.raises(EngraveError, match="Caladea"):
        engrave(tune_of(2), Style(text_font="Times"))
