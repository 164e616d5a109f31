"""How well `nota_jax.read` reads the tunes of a split, drawn larger than the model sees.

    python -m nota_jax.tools.read_pages --dataset data/small --split test --limit 40

Every tune is engraved as it was in the dataset, but on a page of `--size` pixels with `--spacing`
pixels between staff lines, and read at once and system by system, with the grammar and without.
"""

from __future__ import annotations

import argparse
import difflib
import io
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nota_jax import tables
from nota_jax.data.store.reader import PageReader
from nota_jax.environment import quiet
from nota_jax.errors import UserError, exit_status
from nota_jax.notation import abc
from nota_jax.notation.abc.spans import bar_spans
from nota_jax.notation.engraving.layout import Style, engrave
from nota_jax.units import percent


def main(argv: Sequence[str] | None = None) -> int:
    quiet()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--split", default="test", help="part: test, test_style, validation")
    parser.add_argument("--limit", type=int, default=40, help="tunes")
    parser.add_argument("--size", type=int, default=1344, help="pixels of the page's side")
    parser.add_argument("--spacing", type=float, default=20.0, help="pixels between staff lines")
    parser.add_argument("--views", type=int, default=4, help="as of nota_jax.read")
    parser.add_argument("--ckpt", type=Path, help="as of nota_jax.read")
    return exit_status(lambda: run(parser.parse_args(argv)))


def run(given: argparse.Namespace) -> None:
    from nota_jax.read import asking, reader

    drawn = list(pages(given))
    plain = asking.load(given.ckpt, rules=False, views=given.views)
    ruled = asking.load(given.ckpt, views=given.views)
    rows, judged = [], list[tuple[float, bool]]()
    for cut in ("page", "systems"):
        for name, asked in (("no", plain), ("yes", ruled)):
            wrong, valid, seconds, adds_up = [], 0, [], []
            for picture, expected in drawn:
                start = time.monotonic()
                reading = reader.read(picture, asked, cut=cut)
                seconds.append(time.monotonic() - start)
                wrong.append(distance(reading.abc, expected))
                valid += not reader.faults(reading.abc)
                adds_up += [not bar.problem for bar in reading.bars]
                if cut == "page" and asked is ruled:
                    judged += list(right_bars(reading, expected))
            rows.append(
                (cut, name, percent(statistics.mean(wrong)), percent(statistics.median(wrong)),
                 percent(valid / len(drawn)), percent(float(np.mean(adds_up)) if adds_up else None),
                 f"{statistics.median(seconds):.2f}")
            )  # fmt: skip
    head = ("cut", "grammar", "wrong, mean", "median", "valid", "bars add up", "s a page")
    print(tables.text(head, rows, left=2))
    print(f"{len(drawn)} tunes; wrong: of the characters of the whole ABC\n")
    print(tables.text(("bars said to be sure", "bars", "sure, mean", "right"), calibration(judged)))


def pages(given: argparse.Namespace) -> Iterator[tuple[Image.Image, str]]:
    """Pictures and the text of what is on them."""
    split = f"extraction_{given.split}"
    for page in list(PageReader(given.dataset, [split]))[: given.limit or None]:
        music, letters = (str(page.metadata[name]) for name in ("music_font", "text_font"))
        style = Style(music, letters, given.spacing, given.size)
        tune = abc.parse(str(page.metadata["abc"]))
        try:
            picture = engrave(tune, style)
        except UserError:
            continue  # it does not fit a page of this size
        yield Image.open(io.BytesIO(picture.png)), abc.write(picture.tune).strip()


def distance(read: str, expected: str) -> float:
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(read.strip(), expected) / len(expected)


def right_bars(reading, expected: str) -> Iterator[tuple[float, bool]]:
    """How sure the reader was of each bar, and whether it is, letter by letter, the page's."""
    read = [reading.abc[bar.start : bar.end].strip() for bar in reading.bars]
    there = [expected[start:end].strip() for start, end in bar_spans(expected)]
    matcher = difflib.SequenceMatcher(None, read, there, autojunk=False)
    right = {a + i for a, _, n in matcher.get_matching_blocks() for i in range(n)}
    return ((bar.sure, number in right) for number, bar in enumerate(reading.bars))


def calibration(judged: Sequence[tuple[float, bool]]) -> list[tuple[str, str, str, str]]:
    rows = []
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        here = [(sure, right) for sure, right in judged if low <= sure < high]
        if here:
            mean, right = (float(np.mean(column)) for column in zip(*here, strict=True))
            label = f"{low:.0%} to {min(high, 1):.0%}"
            rows.append((label, str(len(here)), percent(mean), percent(right)))
    return rows


if __name__ == "__main__":
    sys.exit(main())
