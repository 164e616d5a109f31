"""Builds a dataset.

python -m nota_jax.data.build --out DIR [--corpora NAME …] [--limit N] [--variants K]
    [--seed S] [--workers W] [--size 336] [--staff-spacing 5.0] [--composer-share 0.6]
    [--split-by clusters]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nota_jax.data.build.corpora import CORPORA
from nota_jax.data.build.dataset import build
from nota_jax.data.build.pages import Settings
from nota_jax.data.build.report import split_text
from nota_jax.errors import exit_status
from nota_jax.units import human_bytes


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m nota_jax.data.build",
        description="Builds a dataset of engraved tunes and questions about them.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where it goes")
    parser.add_argument(
        "--corpora",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(CORPORA)}, or path:DIR for .abc files of your own "
        "(default: all that music21 brings)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="at most N tunes, from all regions")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one a CPU)")
    for option in dataclasses.fields(Settings):
        parser.add_argument(
            f"--{option.name.replace('_', '-')}",
            type=type(option.default),
            default=option.default,
            metavar="|".join(option.metadata.get("names", "N")),
            help=f"{option.metadata['help']} (default %(default)s)",
        )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    return exit_status(
        lambda: _build(_arguments(argv)), interrupted="start the same command again to continue"
    )


def _build(given: argparse.Namespace) -> None:
    start = time.monotonic()
    names = [option.name for option in dataclasses.fields(Settings)]
    settings = Settings(**{name: vars(given)[name] for name in names})
    report = build(given.out, given.corpora, given.limit, settings, given.workers)
    tunes, n_pages = report["tunes"], sum(report["pages"].values())
    print(
        f"{given.out}: {tunes['drawn']} of {tunes['in']} tunes, {n_pages} pages in "
        f"{len(report['pages'])} splits, {human_bytes(sum(report['bytes'].values()))} "
        f"({time.monotonic() - start:.0f} s); see build_report.md and contact_sheet.png there"
    )
    print(split_text(report.get("split") or {"by": "hash"}))


if __name__ == "__main__":
    sys.exit(main())
