"""What surrounds the music is on white paper alone: tune, labels and tint stay as they were."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from nota_jax.data.build import corpora, drawn
from nota_jax.data.build.drawn import Drawer
from nota_jax.data.build.pages import Settings
from nota_jax.data.build.surroundings import surrounded
from nota_jax.data.store import layout
from nota_jax.notation import abc
from nota_jax.notation.engraving import boxes
from nota_jax.notation.engraving.layout import Picture, Style, engrave_each
from tests.data.build.test_build import tune_text
from tests.notation.engraving.test_looks import TEXT as SHORT

UNTITLED = "X:2\nM:4/4\nL:1/8\nK:D\n" + "|".join(["DEFG ABcd", "d4 A,4"] * 4) + "|]\n"
FULL = "X:3\nT:Full\nM:2/4\nL:1/16\nK:G\n" + "|".join(["GABcdefg", "gfedcBAG"] * 13) + "|]\n"
STYLES = {
    SHORT: Style(look=3),
    UNTITLED: Style(music_font="Bravura", text_font="Caladea", size=448),
    FULL: Style(text_font="Source Sans Pro"),
}
SEEDS = range(8)


@pytest.fixture(scope="module")
def drawn_pages() -> dict[str, tuple[Picture, ...]]:
    """Each tune plain and with its second and third bar highlighted."""
    return {
        text: engrave_each(abc.parse(text), style, (None, (1, 2))) for text, style in STYLES.items()
    }


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"))


def added(before: Picture, after: Picture) -> np.ndarray:
    """bool [size, size]: where the two differ."""
    return (pixels(before) != pixels(after)).any(axis=-1)


@pytest.mark.parametrize("text", STYLES, ids=("short", "untitled", "full"))
def test_nothing_is_drawn_over_ink_tint_symbols_staves_or_the_edge(drawn_pages, text):
    pictures = drawn_pages[text]
    ink = [(pixels(picture) < 250).any(axis=-1) for picture in pictures]
    n_changed = 0
    for seed in SEEDS:
        after = surrounded(pictures, STYLES[text], seed)
        changed = added(pictures[0], after[0])
        n_changed += changed.any()
        assert np.array_equal(changed, added(pictures[1], after[1]))
        assert not (changed & np.logical_or(*ink)).any()
        for left, top, right, bottom in (
            *boxes.unpack(pictures[0].symbols)["box"], *pictures[0].bar_boxes,
        ):  # fmt: skip
            area = changed[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))]
            assert not area.any(), (seed, (left, top, right, bottom))
        changed[3:-3, 3:-3] = False
        assert not changed.any()
        for old, new in zip(pictures, after, strict=True):
            assert dataclasses.replace(new, png=old.png) == old
    assert n_changed > len(SEEDS) / 2


def test_a_number_tells_what_surrounds_a_page(drawn_pages):
    pictures, style = drawn_pages[SHORT], STYLES[SHORT]
    assert surrounded(pictures, style, 5) == surrounded(pictures, style, 5)
    assert len({surrounded(pictures, style, seed)[0].png for seed in SEEDS}) > len(SEEDS) / 2


def staff_rows(image: np.ndarray) -> np.ndarray:
    """Rows of pixels that are dark nearly all along."""
    return np.flatnonzero((image.min(axis=-1) < 200).mean(axis=1) > 0.8)


def test_the_next_tune_is_a_staff_under_a_heading_well_below_the_music(drawn_pages):
    pictures, style = drawn_pages[UNTITLED], STYLES[UNTITLED]
    own = staff_rows(pixels(pictures[0]))
    bottom = np.flatnonzero((pixels(pictures[0]) < 250).any(axis=(1, 2)))[-1]
    found = 0
    for seed in SEEDS:
        after = pixels(surrounded(pictures, style, seed)[0])
        rows = staff_rows(after)
        below = rows[rows > bottom]
        assert np.array_equal(rows[rows <= bottom], own)
        if not len(below):
            continue
        found += 1
        starts = below[np.flatnonzero(np.diff(below, prepend=0) > 1)]
        assert len(starts) == 5  # one staff
        between = after[bottom + 1 : below[0]].min(axis=(1, 2)) < 200
        gap = int(between.argmax())
        assert between.any() and gap >= 2 * pictures[0].staff_spacing
    assert found


def test_of_a_share_of_training_drawings_alone_and_only_the_pictures_change(tmp_path, monkeypatch):
    # The first two are of the training split, 10 of validation, 31 of test.
    (tmp_path / "tunes.abc").write_text("".join(tune_text(number) for number in (1, 2, 10, 31)))
    sources = list(corpora.read([f"path:{tmp_path}"]))
    kept = {"surroundings": 1.0, "split_by": "hash"}
    with_some, without = Drawer(Settings(**kept), {}), Drawer(Settings(split_by="hash"), {})

    parts = []
    for source in sources:
        pairs = zip(with_some.plan(source).drawings, without.plan(source).drawings, strict=True)
        for around, bare in pairs:
            parts.append(around.part)
            assert bare.surroundings is None
            assert (around.surroundings is not None) == (around.part == "train")
            assert dataclasses.replace(around, surroundings=None) == bare
    assert parts == ["train", "train", "validation", "test", "test_style"]

    (with_records, _), (bare_records, _) = with_some(sources[0], 0), without(sources[0], 0)
    for (split, more), (bare_split, bare) in zip(with_records, bare_records, strict=True):
        page, bare_page = layout.decode(more), layout.decode(bare)
        assert split == bare_split and page.png != bare_page.png
        assert dataclasses.replace(page, png=bare_page.png) == bare_page

    # Without them nothing of this is asked, so that the bytes are those of the engraver.
    monkeypatch.setattr(drawn, "surrounded", None)
    assert without(sources[0], 0)[0] == bare_records
