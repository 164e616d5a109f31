"""From a source tune to the pages of the three tasks: what is drawn, how, and what is asked.

Everything that chance decides (fonts, staff size, key, composer line, highlighted bars, phrasing)
is drawn from a generator seeded by (seed, tune id, variant), so that a page does not depend on the
other tunes of a build, their order, or the number of workers.
"""

from __future__ import annotations

import dataclasses
import io
import math
import random
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from nota_jax.data import titles
from nota_jax.data.build import phrasings, questions
from nota_jax.data.build.corpora import SourceTune
from nota_jax.data.build.splits import SPLITS_BY, part_of
from nota_jax.data.degrade import degrade
from nota_jax.data.records import PLAIN, Page
from nota_jax.data.store import layout
from nota_jax.errors import UserError
from nota_jax.notation import abc
from nota_jax.notation.augment import augmented
from nota_jax.notation.engraving import boxes
from nota_jax.notation.engraving.fonts import (
    LOOK_TEXT_FONTS,
    MUSIC_FONTS,
    TEST_MUSIC_FONT,
    TEST_TEXT_FONT,
    TEXT_FONTS,
)
from nota_jax.notation.engraving.layout import Picture, Style
from nota_jax.notation.theory.facts import facts
from nota_jax.notation.theory.melody import melody_hash
from nota_jax.notation.transpose import UNISON, transpose, transpositions
from nota_jax.notation.tune import Meter, Tune, with_items

MOST_HIGHLIGHTED_BARS = 4
# The wished staff spacing varies by these factors; the engraver shrinks it where a tune needs.
SPACING_FACTORS = (0.9, 1.2)
# The same bar as signs and in figures: a book has one of them on nearly all its pages.
_OF_A_WHOLE_NOTE = ("4/4", "C", "2/2", "C|")


def _option(default: float, help: str, least: float = -math.inf, most: float = math.inf) -> Any:
    return field(default=default, metadata={"help": help, "least": least, "most": most})


def _choice(help: str, *names: str) -> Any:
    return field(default=names[0], metadata={"help": help, "names": names})


@dataclass(frozen=True)
class Settings:
    """What a user chooses about pages; the command line takes its options from here.

    Raises:
      UserError: a value out of its range.
    """

    variants: int = _option(
        1,
        "drawings of each training tune: the first keeps the source's key, further ones are "
        "transposed; tunes held out are drawn once",
        least=1,
    )
    seed: int = _option(0, "of all that chance decides")
    size: int = _option(336, "pixels of the square picture's side", least=32, most=4096)
    staff_spacing: float = _option(5.0, "wished pixels between two staff lines", least=1)
    look_share: float = _option(
        0.0, "of the training drawings, how many get a look unlike Verovio's", least=0, most=1
    )
    surroundings: float = _option(
        0.0,
        "of the training drawings, how many have a page number, a footer, another tune's first "
        "line or marks by hand around them",
        least=0,
        most=1,
    )
    composer_share: float = _option(
        0.6, "of the tunes that name no composer, how many get an invented one", least=0, most=1
    )
    title_share: float = _option(
        0.0,
        "of the further drawings of a training tune, how many get an invented title, and an "
        "invented composer an invented name, which can only be read letter by letter",
        least=0,
        most=1,
    )
    meter_share: float = _option(
        0.0,
        "of the further drawings of a training tune, how many are written in another meter: C as "
        "4/4, 2/2 or C|, and every second one in notes twice as long, 2/4 as 2/2, 6/8 as 6/4",
        least=0,
        most=1,
    )

    split_by: str = _choice(
        "what keeps together in training or held out: clusters of near-duplicates, or melodies by "
        "their hash alone (the same tune in two books may be in both)",
        *SPLITS_BY,
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            if names := option.metadata.get("names"):
                if getattr(self, option.name) not in names:
                    chosen = f"{option.name} is {getattr(self, option.name)!r}"
                    raise UserError(f"{chosen}: {' or '.join(names)} is needed")
                continue
            least, most = option.metadata["least"], option.metadata["most"]
            value = getattr(self, option.name)
            if not least <= value <= most:  # so that NaN is refused too
                wanted = f"at least {least}" if most == math.inf else f"{least} to {most}"
                raise UserError(f"{option.name} is {value}: {wanted} is needed")


@dataclass(frozen=True)
class Drawing:
    """One way to draw a tune.  It takes two pictures: a plain one, and one with bars highlighted.

    part: "train", "validation", "test", or "test_style" (a test tune in the fonts held out).
    highlight: indices of the first and last highlighted bar.
    composer_source: "source", "synthetic" or "none".
    transposition: in semitones.
    surroundings: number of what stands around the music (`surroundings`); None for nothing.
    """

    source: SourceTune
    part: str
    variant: int
    tune: Tune
    style: Style
    highlight: tuple[int, int]
    composer_source: str
    transposition: int
    melody_hash: str
    surroundings: int | None = None

    @property
    def id(self) -> str:
        return f"{self.source.id}/{self.variant}" + "-style" * (self.part == "test_style")


def drawings(
    source: SourceTune,
    tune: Tune,
    settings: Settings,
    homes: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Drawing, ...]:
    """All drawings of a parsed tune; `homes` as from `splits.representatives`."""
    melody = melody_hash(tune)
    part = part_of(homes.get(melody, melody))
    if part == "train":
        return tuple(
            _drawing(source, tune, melody, part, v, settings) for v in range(settings.variants)
        )
    drawing = _drawing(source, tune, melody, part, 0, settings)
    if part != "test":
        return (drawing,)
    # Only the fonts differ from the test page, so that the two can be compared tune by tune.
    style = dataclasses.replace(drawing.style, music_font=TEST_MUSIC_FONT, text_font=TEST_TEXT_FONT)
    return drawing, dataclasses.replace(drawing, part="test_style", style=style)


def _drawing(
    source: SourceTune, tune: Tune, melody: str, part: str, variant: int, settings: Settings
) -> Drawing:
    rng = _generator(settings.seed, source.id, variant)
    spacing = settings.staff_spacing * rng.uniform(*SPACING_FACTORS)
    style = Style(
        music_font=rng.choice(MUSIC_FONTS),
        text_font=rng.choice(TEXT_FONTS),
        staff_spacing=round(spacing, 2),
        size=settings.size,
    )
    looks = _generator(settings.seed, source.id, variant, "look")
    if part == "train" and looks.random() < settings.look_share:
        style = dataclasses.replace(
            style, look=looks.randrange(2**31), text_font=looks.choice(LOOK_TEXT_FONTS)
        )
    around = _generator(settings.seed, source.id, variant, "surroundings")
    has_around = part == "train" and around.random() < settings.surroundings
    invented = rng.random() < settings.composer_share, rng.choice(phrasings.COMPOSERS)
    composer_source = "source" if tune.composer else "synthetic" if invented[0] else "none"
    if composer_source == "synthetic":
        tune = dataclasses.replace(tune, composer=invented[1])
    called = _generator(settings.seed, source.id, variant, "title")
    if variant and part == "train" and called.random() < settings.title_share:
        tune = _called_anew(tune, composer_source == "synthetic", called)
    counted = _generator(settings.seed, source.id, variant, "meter")
    if variant and part == "train" and counted.random() < settings.meter_share:
        tune = _metered_anew(tune, counted)
    interval = UNISON
    if variant and len(intervals := transpositions(tune)) > 1:
        interval = rng.choice(intervals[1:])
        tune = transpose(tune, interval)
    length = rng.randint(1, min(MOST_HIGHLIGHTED_BARS, len(tune.bars)))
    first = rng.randint(0, len(tune.bars) - length)
    return Drawing(
        source, part, variant, tune, style, _whole_bars(tune, first, first + length - 1),
        composer_source, interval.semitones, melody,
        around.randrange(2**31) if has_around else None,
    )  # fmt: skip


def _called_anew(tune: Tune, composer_too: bool, rng: random.Random) -> Tune:
    """The tune under an invented title, if it has one; of several the first is another."""
    if tune.titles:
        tune = dataclasses.replace(tune, titles=(titles.invented(rng), *tune.titles[1:]))
    return dataclasses.replace(tune, composer=titles.name(rng)) if composer_too else tune


def _metered_anew(tune: Tune, rng: random.Random) -> Tune:
    """The tune in another meter that its bars fill, half the time in notes twice as long.

    So the meter has to be read: from the notes alone it does not follow.
    """
    if rng.random() < 0.5:
        tune = augmented(tune) or tune
    others = {
        own: rng.choice([w for w in _OF_A_WHOLE_NOTE if w != own]) for own in _OF_A_WHOLE_NOTE
    }

    def other(meter: Meter) -> Meter:
        return Meter(others.get(meter.text, meter.text))

    changed = with_items(tune, lambda item: other(item) if isinstance(item, Meter) else item)
    return dataclasses.replace(changed, meter=other(tune.meter))


def _whole_bars(tune: Tune, first: int, last: int) -> tuple[int, int]:
    """The bars from `first` to `last`, and what an ending that begins inside one cuts off."""
    while first and not tune.bars[first - 1].barline:
        first -= 1
    while not tune.bars[last].barline:
        last += 1
    return first, last


def pages(drawing: Drawing, plain: Picture, tinted: Picture, settings: Settings) -> Iterator[Page]:
    """The pages of a drawing: the tinted picture for alignment, the plain one for the other tasks.

    Answers come from the pictures' own tunes, whose line breaks are those that were drawn.
    """
    rng = _generator(settings.seed, drawing.source.id, drawing.variant, "questions")
    tune, dance = plain.tune, drawing.source.dance_type
    text = abc.write(tune)
    about_bars = questions.alignment_turns(tinted.tune, drawing.highlight, rng)
    about_tune = questions.extraction_turns(tune, rng)
    about_tune += questions.analysis_turns(facts(tune), dance, rng)
    for name, task, picture, turns in (
        (f"{drawing.id}/alignment", "alignment", tinted, about_bars),
        (drawing.id, PLAIN, plain, about_tune),
    ):
        metadata = _metadata(drawing, picture, text)
        yield Page(name, task, picture.png, turns, metadata, picture.symbols)


def scanned(page: Page) -> Page:
    """A page as a scanner or camera gives it, with what is asked of such pages.

    The faults follow from the id under which its first question is asked.
    """
    with Image.open(io.BytesIO(page.png)) as image:
        pixels = np.asarray(image.convert("RGB"))
    symbols = boxes.unpack(page.symbols)
    task = page.turns[0].task
    drawing = page.id.removesuffix(f"/{task}")
    seed = zlib.crc32(f"{drawing}/{task}".encode())
    asked = set(layout.views(f"{page.task}_test_scan").values())
    pixels, symbols["box"] = degrade(pixels, symbols["box"], seed)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return dataclasses.replace(
        page,
        id=page.id.replace(drawing, f"{drawing}-scan", 1),
        png=out.getvalue(),
        turns=tuple(turn for turn in page.turns if turn.task in asked),
        metadata=page.metadata | {"split": "test_scan"},
        symbols=boxes.pack(symbols),
    )


def _metadata(drawing: Drawing, picture: Picture, text: str) -> dict[str, object]:
    source, style = drawing.source, drawing.style
    highlight = picture.highlight
    return {
        "region": source.region,
        "corpus": source.corpus,
        "split": drawing.part,
        "music_font": style.music_font,
        "text_font": style.text_font,
        "credits": source.credits,
        "licence": source.licence,
        "source_id": source.id,
        "composer_source": drawing.composer_source,
        "melody_hash": drawing.melody_hash,
        "highlight": "" if highlight is None else f"{highlight[0]}-{highlight[1]}",
        "abc": text,
        "source_unit": abc.unit_text(picture.tune.unit),
        "staff_spacing": picture.staff_spacing,
        "transposition": drawing.transposition,
    }


def _generator(*key: object) -> random.Random:
    return random.Random("/".join(map(str, key)).encode())
