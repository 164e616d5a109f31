"""Invented titles: nobody knows them by heart, and none is given to what is held out."""

import random

from nota_jax.data import titles
from nota_jax.data.build import pages, phrasings
from nota_jax.data.build.corpora import SourceTune
from nota_jax.data.build.pages import Settings
from nota_jax.notation import abc
from tests.data.build.test_build import tune_text

ALL = Settings(variants=4, title_share=1.0, composer_share=1.0)


def drawings(number: int, settings: Settings) -> tuple[pages.Drawing, ...]:
    text = tune_text(number)
    source = SourceTune(
        f"mine/tunes.abc#{number}", "mine", "tunes.abc", number, 1, "Europe", "", "", text, "reel"
    )
    return pages.drawings(source, abc.parse(text), settings)


def test_titles_and_names_differ_and_survive_abc():
    rng = random.Random(0)
    called = [titles.invented(rng) for _ in range(5000)]
    names = [titles.name(rng) for _ in range(5000)]
    assert len(set(called)) > 4500 and len(set(names)) > 4900
    assert all(2 <= len(title) <= 40 and title.isascii() for title in called)
    for title, name in zip(called, names, strict=True):
        assert " ".join(title.split()) == title
        tune = abc.parse(f"X:1\nT:{title}\nC:{name}\nM:4/4\nL:1/8\nK:C\nCDEF|]\n")
        assert (tune.title, tune.composer) == (title, name)


def test_only_further_drawings_of_training_tunes_are_called_anew():
    parts = set()
    for number in range(1, 60):
        own = abc.parse(tune_text(number))
        for drawing in drawings(number, ALL):
            parts.add(drawing.part)
            anew = drawing.part == "train" and drawing.variant > 0
            assert (drawing.tune.title == own.title) != anew
            if drawing.composer_source == "synthetic":
                assert (drawing.tune.composer in phrasings.COMPOSERS) != anew
            else:
                assert drawing.tune.composer == own.composer
    assert parts == {"train", "validation", "test", "test_style"}


def test_nothing_else_of_a_drawing_changes_with_the_share_of_titles():
    plain = Settings(variants=4, composer_share=1.0)
    for number in (1, 2, 3):
        for before, after in zip(drawings(number, plain), drawings(number, ALL), strict=True):
            assert before.style == after.style and before.highlight == after.highlight
            assert before.transposition == after.transposition
            assert before.tune.bars == after.tune.bars
