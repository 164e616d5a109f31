"""A report to look at: one HTML file that opens from disk without a network.

    python -m nota_jax.evaluation.show RUN/evaluation_test
    python -m nota_jax.evaluation.show FILE.jsonl --dataset DIR [--map id=NAME,…] [--full]

Figures with baselines and intervals, charts, and a gallery: of each kind of page the best, median
and worst, and every failure mode, with picture, texts and both engraved, wrong notes marked.  It is
written beside the answers as report.html (`--out` elsewhere), and is at most 5 MB; `--full` writes
every page into the folder report/ beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nota_jax.environment import quiet
from nota_jax.errors import exit_status
from nota_jax.evaluation.answers import collect, folder_of
from nota_jax.evaluation.display import page
from nota_jax.evaluation.score import mapping, names_in, of_collection
from nota_jax.evaluation.summary import Scored
from nota_jax.workers import usual

REPORT = page.REPORT


def main(argv: Sequence[str] | None = None) -> int:
    quiet()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("predictions", type=Path, help="a file of answers, or the folder it is in")
    parser.add_argument("--dataset", metavar="DIR", help="default: the one that the file names")
    parser.add_argument("--splits", default="", help="as a,b; default: those that the file names")
    parser.add_argument("--map", default="", metavar="OURS=THEIRS,…", dest="names")
    parser.add_argument("--full", action="store_true", help="every page, in a folder beside it")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: beside the answers")
    return exit_status(lambda: run(parser.parse_args(argv)))


def run(given: argparse.Namespace, say: Callable[[str], None] = print) -> None:
    found = collect(given.predictions, given.dataset, mapping(given.names), names_in(given.splits))
    summary, scored = of_collection(found)
    out = given.out or folder_of(given.predictions)
    write(out, str(given.predictions), summary, scored, given.full, say)


def write(
    out: Path, name: str, summary: Mapping[str, Any], scored: Scored, full: bool = False,
    say: Callable[[str], None] = print,
) -> Path:  # fmt: skip
    """The report of what `score.of_collection` found, see `display.page.write`."""
    return page.write(
        out, name, summary, scored, full=full, workers=usual(), most=page.MOST_BYTES, say=say
    )


if __name__ == "__main__":
    sys.exit(main())
