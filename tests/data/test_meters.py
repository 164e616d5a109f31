"""Further drawings are written in other meters: C as 4/4, 6/8 as 6/4 in longer notes."""

import dataclasses

import pytest

from nota_jax.data.build import pages
from nota_jax.data.build.corpora import SourceTune
from nota_jax.data.build.pages import Settings
from nota_jax.data.build.splits import part_of
from nota_jax.notation import abc
from nota_jax.notation.augment import augmented
from nota_jax.notation.theory.melody import melody_hash
from nota_jax.notation.tune import Meter, Tune

OWN, ALL = Settings(variants=30), Settings(variants=30, meter_share=1.0)
# A meter; what stands for it before the same notes; before notes twice as long.
OTHERS = [
    ("C", {"4/4", "C|", "2/2"}, {"4/2"}),
    ("4/4", {"C", "C|", "2/2"}, {"4/2"}),
    ("6/8", {"6/8"}, {"6/4"}),
    ("2/4", {"2/4"}, {"4/4", "C", "C|"}),
]


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


def music(tune: Tune) -> Tune:
    """The tune with no meter."""
    bars = (
        dataclasses.replace(bar, items=tuple(i for i in bar.items if not isinstance(i, Meter)))
        for bar in tune.bars
    )
    return dataclasses.replace(tune, meter=Meter("none"), bars=tuple(bars))


@pytest.mark.parametrize(("own", "same_notes", "longer_notes"), OTHERS)
def test_further_drawings_for_training_have_another_meter_that_their_bars_fill(
    own, same_notes, longer_notes
):
    text = tune_of("train", own)
    first, *further = drawn(text, ALL)
    assert meters(first.tune) == [own, "3/8", own]
    seen: dict[str, set[str]] = {"3/8": set(), "3/4": set()}
    for drawing, before in zip(further, drawn(text, OWN)[1:], strict=True):
        meter, changed, again = meters(drawing.tune)
        longer = changed == "3/4"
        expected = augmented(before.tune) if longer else before.tune
        assert music(drawing.tune) == music(expected) and again == meter
        assert dataclasses.replace(drawing, tune=before.tune) == before
        seen[changed].add(meter)
    assert seen == {"3/8": same_notes, "3/4": longer_notes}


@pytest.mark.parametrize("part", ["validation", "test"])
def test_what_is_held_out_is_drawn_as_its_source_has_it(part):
    text = tune_of(part, "C|")
    assert [meters(drawing.tune) for drawing in drawn(text, ALL)] == [
        meters(drawing.tune) for drawing in drawn(text, OWN)
    ]
