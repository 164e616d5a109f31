"""What goes wrong on the pages of an evaluation, by kind, and pictures to look at.

    python -m nota_jax.tools.mistakes RUN/evaluation_test --limit 50 --sheets DIR

Every answer to "transcribe this page" is compared with the page's tune, not letter by letter but as
music: bars are aligned with bars, events with events, and each difference is named.  With
`--sheets`, pictures of four pages each: the page, what is on it, what was read.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nota_jax import tables
from nota_jax.data.store.reader import PageReader
from nota_jax.environment import quiet
from nota_jax.errors import UserError, exit_status
from nota_jax.evaluation.alignment import cheapest
from nota_jax.notation import abc
from nota_jax.notation.engraving.fonts import text_font
from nota_jax.notation.tune import Bar, Event, Key, Meter, Tune
from nota_jax.units import percent

T = TypeVar("T")
_UNITS = 1000  # of a cost: whole numbers have no rounding
KINDS = (
    "no valid ABC", "title", "composer", "tempo", "meter", "unit note length", "key signature",
    "key's mode, the signature right", "bar left out", "bar invented", "note or rest left out",
    "note or rest invented", "rest for a note, or a note for a rest", "pitch, by a step",
    "pitch, by more", "accidental", "duration", "heads of a chord", "tuplet", "grace notes", "slur",
    "tie", "decoration", "text above or below", "change of key or meter", "repeat or ending",
    "bar line", "line end",
)  # fmt: skip
PER_SHEET = 4


def main(argv: Sequence[str] | None = None) -> int:
    quiet()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("evaluation", type=Path, help="folder with predictions.jsonl")
    parser.add_argument("--limit", type=int, default=0, help="pages (default: all)")
    parser.add_argument("--sheets", type=Path, metavar="DIR", help="draw them there")
    return exit_status(lambda: run(parser.parse_args(argv)))


def run(given: argparse.Namespace) -> None:
    settings, answers = transcriptions(given.evaluation)
    answers = answers[: given.limit or None]
    found = [mistakes(answer["answer"], answer["prediction"]) for answer in answers]
    pages, times = Counter(k for f in found for k in f), sum(found, Counter())
    rows = [(k, f"{pages[k]}", percent(pages[k] / len(found)), f"{times[k]}") for k in KINDS]
    print(tables.text(("what is wrong", "pages", "of all", "times"), rows))
    print(f"{len(found)} pages, {sum(not f for f in found)} without a mistake")
    if given.sheets:
        sheets(answers, found, settings, given.sheets)


def transcriptions(folder: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The evaluation's settings, and its answers that are whole tunes."""
    file = folder / "predictions.jsonl"
    if not file.is_file():
        raise UserError(f"{file} is not there: name the evaluation's folder of a run")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return lines[0]["settings"], [line for line in lines[1:] if line["subtask"] == "abc"]


def mistakes(expected: str, read: str) -> Counter[str]:
    """How often each of `KINDS` occurs."""
    there = abc.parse(expected)
    try:
        tune = abc.parse(read)
    except abc.AbcError:
        return Counter({KINDS[0]: 1})
    return Counter(itertools.chain(_header(there, tune), _music(there, tune)))


def _header(there: Tune, read: Tune) -> Iterator[str]:
    signature = "key signature", "key's mode, the signature right"
    for name, a, b in (
        ("title", there.titles, read.titles), ("composer", there.composer, read.composer),
        ("tempo", there.tempo, read.tempo), ("meter", there.meter, read.meter),
        ("unit note length", there.unit, read.unit),
    ):  # fmt: skip
        if a != b:
            yield name
    if there.key != read.key:
        yield signature[there.key.fifths == read.key.fifths]


def _music(there: Tune, read: Tune) -> Iterator[str]:
    for a, b in aligned(there.bars, read.bars, _bar_cost, 0.7):
        if a is None or b is None:
            yield "bar invented" if a is None else "bar left out"
            continue
        for x, y in aligned(a.events, b.events, _event_cost, 0.8):
            yield from _events(x, y)
        if _changes(a) != _changes(b):
            yield "change of key or meter"
        repeats = [(c.repeat_start, c.ending, ":" in c.barline) for c in (a, b)]
        if repeats[0] != repeats[1]:
            yield "repeat or ending"
        elif a.barline != b.barline:
            yield "bar line"
        if a.line_break != b.line_break:
            yield "line end"


def _changes(bar: Bar) -> list[Key | Meter]:
    return [item for item in bar.items if not isinstance(item, Event)]


def _events(a: Event | None, b: Event | None) -> Iterator[str]:
    if a is None or b is None:
        yield "note or rest invented" if a is None else "note or rest left out"
        return
    if bool(a.notes) != bool(b.notes):
        yield "rest for a note, or a note for a rest"
        return
    if len(a.notes) != len(b.notes):
        yield "heads of a chord"
    for x, y in zip(a.notes, b.notes, strict=False):
        if x.diatonic != y.diatonic:
            yield "pitch, by a step" if abs(x.diatonic - y.diatonic) == 1 else "pitch, by more"
        elif x.accidental != y.accidental:
            yield "accidental"
        if x.tie != y.tie:
            yield "tie"
    differing: tuple[tuple[str, Any, Any], ...] = (
        ("duration", a.duration, b.duration),
        ("tuplet", a.tuplet and a.tuplet.actual, b.tuplet and b.tuplet.actual),
        ("grace notes", a.grace, b.grace),
        ("slur", (a.slurs_open, a.slurs_close), (b.slurs_open, b.slurs_close)),
        ("decoration", a.decorations, b.decorations),
        ("text above or below", (a.chord_symbol, a.annotations, a.lyrics),
         (b.chord_symbol, b.annotations, b.lyrics)),
    )  # fmt: skip
    yield from (name for name, of_a, of_b in differing if of_a != of_b)


# ------------------------------------------------------------------ alignment


def aligned(
    a: Sequence[T], b: Sequence[T], cost: Callable[[T, T], float], gap: float
) -> list[tuple[T | None, T | None]]:
    """The cheapest way to put two sequences side by side; None where one has nothing."""
    costs = np.array([round(cost(x, y) * _UNITS) for x in a for y in b], int)
    pairs = cheapest(costs.reshape(len(a), len(b)), round(gap * _UNITS))
    return [(None if i is None else a[i], None if j is None else b[j]) for i, j in reversed(pairs)]


def _bar_cost(a: Bar, b: Bar) -> float:
    """0 … 1: the share of the events that differ."""
    pairs = aligned(a.events, b.events, _event_cost, 0.8)
    wrong = sum(0.8 if x is None or y is None else _event_cost(x, y) for x, y in pairs)
    return wrong / max(len(pairs), 1)


def _event_cost(a: Event, b: Event) -> float:
    heads = [[note.diatonic for note in event.notes] for event in (a, b)]
    if bool(a.notes) != bool(b.notes):
        return 1.0
    return 0.5 * (heads[0] != heads[1]) + 0.4 * (a.sounding != b.sounding)


# ------------------------------------------------------------------ pictures


def sheets(
    answers: Sequence[dict[str, str]],
    found: Sequence[Counter[str]],
    settings: dict[str, Any],
    folder: Path,
) -> None:
    """Four pages to a picture: the page, its text and what was read of it."""
    reader = PageReader(settings["dataset"], [s for s in settings["splits"] if "extraction" in s])
    pictures = {page.id: page.png for page in reader}
    font = ImageFont.truetype(text_font("DejaVu Sans").files[0].replace("Sans", "SansMono"), 12)
    folder.mkdir(parents=True, exist_ok=True)
    size = 560
    for first in range(0, len(answers), PER_SHEET):
        sheet = Image.new("RGB", (3 * size, size * PER_SHEET), "white")
        draw = ImageDraw.Draw(sheet)
        rows = list(zip(answers, found, strict=True))[first : first + PER_SHEET]
        for row, (answer, kinds) in enumerate(rows):
            name, y = answer["id"].rpartition(":")[0], row * size
            with Image.open(io.BytesIO(pictures[name])) as page:
                sheet.paste(page.convert("RGB").resize((size, size)), (0, y))
            said = ", ".join(f"{kind} {n}" for kind, n in kinds.items()) or "right"
            for column, text in enumerate((answer["answer"], answer["prediction"])):
                _write(draw, text, said if column else name, (column + 1) * size, y, font)
        sheet.save(folder / f"{first // PER_SHEET:03d}.png")


def _write(draw: ImageDraw.ImageDraw, text: str, head: str, x: int, y: int, font: Any) -> None:
    lines = [line[i : i + 74] for line in (head, "", *text.split("\n"))
             for i in range(0, max(len(line), 1), 74)]  # fmt: skip
    draw.multiline_text((x + 6, y + 4), "\n".join(lines[:36]), fill="black", font=font)


if __name__ == "__main__":
    sys.exit(main())
