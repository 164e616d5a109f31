"""A picture → what is written on it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nota_jax.data.feed import heading, pictures
from nota_jax.errors import UserError
from nota_jax.evaluation.headed import headed
from nota_jax.notation import abc
from nota_jax.notation.abc.spans import bar_spans
from nota_jax.read import asking, joining, staves, views
from nota_jax.read.asking import Answer, Asked
from nota_jax.read.views import View

CUTS = ("auto", "page", "systems")
LEAST_SKEW = 0.3  # degrees that are worth turning a picture
WHITE = 235  # grey of paper that is left as it is
UNSURE = 0.5  # a bar whose tokens are all right with less probability is marked


@dataclass(frozen=True)
class Bar:
    """One bar of a reading.

    start, end: its characters in the text; sure: the probability that the model gives to all of
    them together; box: left, top, right, bottom in the picture, as shares of its sides, None where
    it is not known; problem: why it cannot be right, "" if it can.
    """

    number: int
    start: int
    end: int
    sure: float
    box: tuple[float, float, float, float] | None
    problem: str = ""


@dataclass(frozen=True)
class Reading:
    """What was read of one page.

    abc: the whole tune; answers: title, composer, key, meter, unit note length, as asked one by
    one; notes: what a reader of the text should know; picture: as the model saw it, straight and
    white; parts: in how many pieces; seconds: by what took them.
    """

    name: str
    abc: str
    answers: dict[str, str]
    bars: tuple[Bar, ...]
    notes: tuple[str, ...]
    picture: Image.Image
    parts: int
    seconds: dict[str, float]
    model: str

    @property
    def sure(self) -> float:
        """The mean over the bars."""
        return sum(bar.sure for bar in self.bars) / len(self.bars) if self.bars else 0.0


def read(
    image: Image.Image | np.ndarray | str | Path,
    asked: Asked | None = None,
    *,
    name: str = "",
    cut: str = "auto",
) -> Reading:
    """Reads a page of music.

    Args:
      image: a picture, an array uint8 [H, W] or [H, W, 3], or the path of a file with one page.
      asked: from `asking.load`; None loads the shipped checkpoint.
      name: to call the reading by.
      cut: "page" shows the model the whole page at once, "systems" lays the systems out anew,
        "auto" does so where the page would be too small at once.

    Raises:
      UserError: no picture, or one of an absurd size.
    """
    if cut not in CUTS:
        raise UserError(f"cut is {cut!r}: choose one of {', '.join(CUTS)}")
    started = time.monotonic()
    name, picture = _picture(image, name)
    asked = asking.load() if asked is None else asked
    loaded = time.monotonic()
    picture, layout, notes = prepared(picture)
    shown, more = seen(asked, picture, layout, cut)
    notes += more
    looked = time.monotonic()
    answers = asking.header(asked, shown[0].pixels)
    found = asking.transcribe(asked, [view.pixels for view in shown])
    cut_off = sum(not answer.whole for answer in found)
    found = [answer if answer.whole else trimmed(answer) for answer in found]
    text, problems = found[0].text, list[str]()
    if len(found) > 1:
        lines = [view.lines for view in shown]
        text, problems = joining.join([answer.text for answer in found], lines)
    notes += problems
    if cut_off:
        where = "the page" if len(found) == 1 else f"{cut_off} of {len(found)} parts"
        notes.append(f"{where} holds more than the {asking.LONG} tokens that are written at most")
    if heading.subtasks(asked.model.config.vision.heading):
        text = headed(text, answers)
    bars = _bars(text, found, shown, asked, picture)
    notes += faults(text)
    seconds = {"picture": looked - loaded, "model": time.monotonic() - looked,
               "loading": loaded - started}  # fmt: skip
    return Reading(
        name, text, answers, tuple(bars), tuple(notes), picture, len(shown), seconds, asked.name
    )


def _picture(image: Image.Image | np.ndarray | str | Path, name: str) -> tuple[str, Image.Image]:
    if isinstance(image, str | Path):
        found = pictures.read(image)
        if len(found) > 1:
            raise UserError(f"{image} has {len(found)} pages: read them one by one")
        return name or found[0].name, found[0].image
    shown = _of_array(image) if isinstance(image, np.ndarray) else image
    return name or "page", pictures.paper(shown, name or "the picture")


def _of_array(pixels: np.ndarray) -> Image.Image:
    try:
        return Image.fromarray(pixels)
    except (TypeError, ValueError):
        raise UserError(
            f"an array of {pixels.dtype} {pixels.shape} is no picture: uint8 [height, width] or "
            "[height, width, 3] is one"
        ) from None


def prepared(picture: Image.Image) -> tuple[Image.Image, staves.Layout, list[str]]:
    """The picture black on white and straight, its layout, and what was done to it."""
    notes = []
    grey = np.asarray(picture.convert("L"))
    if np.median(grey) < 100:
        picture = Image.fromarray(255 - np.asarray(picture))
        notes.append("the picture is light on dark: read as its negative")
        grey = np.asarray(picture.convert("L"))
    layout = staves.find(grey)
    dim = np.percentile(staves.background(grey), 5) < WHITE
    turned = abs(layout.skew) >= LEAST_SKEW
    if dim:
        picture = Image.fromarray(staves.whitened(np.asarray(picture)))
    if turned:
        picture = Image.fromarray(staves.rotated(np.asarray(picture), layout.skew))
        notes.append(f"the picture is turned by {layout.skew:.1f}°: straightened")
    if dim or turned:
        layout = staves.find(np.asarray(picture.convert("L")))
    return picture, layout, notes


def seen(
    asked: Asked, picture: Image.Image, layout: staves.Layout, cut: str
) -> tuple[list[View], list[str]]:
    """What the model is shown, and what it will not see well."""
    notes = []
    at_once = views.whole(picture, layout, asked.size)
    if not layout.staves:
        notes.append("no staff of five lines was found: the text may have nothing to do with it")
        return [at_once], notes
    if any(staff.joined for staff in layout.staves):
        notes.append(
            "staves are joined to sound together (piano, score): the model knows single staves"
        )
    small = at_once.spacing < views.LEAST_SPACING
    if cut == "systems" or (cut == "auto" and small):
        return views.systems(picture, layout, asked.size), notes
    if small:
        notes.append(
            f"staff lines are {at_once.spacing:.1f} pixels apart in the {asked.size} that the "
            f"model sees: below {views.LEAST_SPACING:.0f} heads run together"
        )
    return [at_once], notes


def trimmed(answer: Answer) -> Answer:
    """An answer that was cut off, up to the last bar behind which it is valid ABC."""
    for _, end in reversed(bar_spans(answer.text)):
        if not faults(answer.text[:end]):
            return dataclasses.replace(answer, text=answer.text[:end])
    return answer


def faults(text: str) -> list[str]:
    """Why a text is no valid ABC; nothing where it is."""
    try:
        abc.parse(text)
    except abc.AbcError as error:
        return [f"the text is no valid ABC: {error.message}"]
    return []


def _bars(
    text: str, found: Sequence[Answer], shown: Sequence[View], asked: Asked, picture: Image.Image
) -> list[Bar]:
    """Every bar of the text with what is known of it."""
    known = [
        of_bar
        for answer, view in zip(found, shown, strict=True)
        for of_bar in _known(answer, view, asked, picture)
    ]
    problems = _problems(text)
    bars = []
    for number, (start, end) in enumerate(bar_spans(text)):
        sure, box = known[number] if number < len(known) else (0.0, None)
        bars.append(Bar(number + 1, start, end, sure, box, problems.get(number, "")))
    return bars


def _problems(text: str) -> dict[int, str]:
    try:
        return {problem.bar: problem.message for problem in abc.check(abc.parse(text))}
    except abc.AbcError:
        return {}


def _known(
    answer: Answer, view: View, asked: Asked, picture: Image.Image
) -> list[tuple[float, tuple[float, float, float, float] | None]]:
    """Of every bar of one view's text: how sure, and where in the page."""
    known = []
    for start, end in bar_spans(answer.text):
        tokens = np.flatnonzero((answer.starts >= start) & (answer.starts < end))
        sure = float(np.exp(np.log(np.maximum(answer.sure[tokens], 1e-9)).sum()))
        places = [
            place
            for t in tokens
            if answer.attention[t] > 0.3
            and (place := view.to_page(*asking.center(asked, int(answer.looks[t]))))
        ]
        known.append((round(sure, 4), _box(places, view, picture)))
    return known


def _box(
    places: Sequence[tuple[float, float, int]], view: View, picture: Image.Image
) -> tuple[float, float, float, float] | None:
    """Around the places of a bar's symbols: those of the staff where most of them lie."""
    if not places:
        return None
    half = 7 / view.parts[0].scale
    middle = sorted(y for _, y, _ in places)[len(places) // 2]  # one of them
    near = [(x, y) for x, y, _ in places if abs(y - middle) < 6 * half]
    xs, ys = [x for x, _ in near], [y for _, y in near]
    box = (min(xs) - half, min(ys) - half, max(xs) + half, max(ys) + half)
    sides = (picture.width, picture.height) * 2
    return tuple(
        round(min(1.0, max(0.0, value / side)), 4) for value, side in zip(box, sides, strict=True)
    )  # type: ignore[return-value]


def as_dict(reading: Reading) -> dict:
    """Plain JSON values."""
    return {
        "name": reading.name,
        "abc": reading.abc,
        "answers": reading.answers,
        "sure": round(reading.sure, 4),
        "bars": [dataclasses.asdict(bar) for bar in reading.bars],
        "notes": list(reading.notes),
        "parts": reading.parts,
        "seconds": {name: round(value, 3) for name, value in reading.seconds.items()},
        "model": reading.model,
    }
