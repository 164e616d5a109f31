"""Meters of further drawings are written the other way: C as 4/4."""

import dataclasses

import pytest

from nota_jax.data.build import pages
from nota_jax.data.build.corpora import SourceTune
from nota_jax.data.build.pages import Settings
from nota_jax.data.build.splits import part_of
from nota_jax.notation import abc
from nota_jax.notation.theory.melody import melody_hash
from nota_jax.notation.tune import Meter, Tune

OWN, ALL = Settings(variants=3), Settings(variants=3, meter_share=1.0)
OTHER_WAY = [("C", "4/4"), ("C|", "2/2"), ("4/4", "C"), ("2/2", "C|"), ("6/8", "6/8")]


def drawn(text: str, settings: Settings) -> tuple[pages.Drawing, ...]:
    source = SourceTune("mine/a.abc#1", "mine", "a.abc", 1, 1, "Europe", "", "", text, "reel")
    return pages.drawings(source, abc.parse(text), settings)


def tune_of(part: str, meter: str) -> str:
    """A tune whose melody puts it into this part; its meter goes and comes again."""
    for number in range(1000):
        steps = [str(number // 7**i % 7) for i in range(6)]
        notes = "".join("CDEFGAB"[int(step)] for step in steps)
        text = f"X:1\nT:A\nM:{meter}\nL:1/8\nK:C\n{notes}|[M:3/8]CDE|[M:{meter}]{notes}|]\n"
        if part_of(melody_hash(abc.parse(text))) == part:
            return text
    raise AssertionError(part)


def meters(tune: Tune) -> list[str]:
    changes = [item for bar in tune.bars for item in bar.items if isinstance(item, Meter)]
    return [meter.text for meter in (tune.meter, *changes)]


@pytest.mark.parametrize(("own", "other"), OTHER_WAY)
def test_further_drawings_for_training_have_it_the_other_way_and_nothing_else(own, other):
    text = tune_of("train", own)
    first, *further = drawn(text, ALL)
    assert meters(first.tune) == [own, "3/8", own] and len(further) == 2
    for drawing, before in zip(further, drawn(text, OWN)[1:], strict=True):
        assert meters(drawing.tune) == [other, "3/8", other]
        again = pages._metered_anew(drawing.tune)
        assert dataclasses.replace(drawing, tune=again) == before


@pytest.mark.parametrize("part", ["validation", "test"])
def test_what_is_held_out_is_drawn_as_its_source_has_it(part):
    text = tune_of(part, "C|")
    assert [meters(drawing.tune) for drawing in drawn(text, ALL)] == [
        meters(drawing.tune) for drawing in drawn(text, OWN)
    ]
