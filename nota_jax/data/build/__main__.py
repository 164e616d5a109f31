"""Builds a dataset: of tunes, which are engraved, or of records that have their pictures.

python -m nota_jax.data.build --out DIR [--corpora NAME …] [--limit N] [--variants K]
    [--seed S] [--workers W] [--size 336] [--staff-spacing 5.0] [--composer-share 0.6]
    [--look-share 0] [--surroundings 0] [--title-share 0] [--split-by clusters] [--shard I/N]
python -m nota_jax.data.build --out DIR --merge
python -m nota_jax.data.build --out DIR --from llava:FILE.json --images DIR [--max-bad 1]
python -m nota_jax.data.build --out DIR --from records:FILE.jsonl --images DIR
    --map image=…,question=…,answer=…[,subtask=…,region=…,split=…,id=…]
python -m nota_jax.data.build --out DIR --from release:DIR --mapping configs/nota_release.toml
python -m nota_jax.data.build --out DIR --from music:PATH [--part NAME]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nota_jax.data.build.corpora import CORPORA
from nota_jax.data.build.dataset import build, merge
from nota_jax.data.build.foreign import build as foreign
from nota_jax.data.build.foreign import sources
from nota_jax.data.build.foreign.records import LONGEST
from nota_jax.data.build.pages import Settings
from nota_jax.data.build.report import split_text
from nota_jax.data.build.shards import Shard
from nota_jax.data.records import TASKS
from nota_jax.errors import UserError, exit_status
from nota_jax.units import human_bytes


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m nota_jax.data.build",
        description="Builds a dataset of engraved tunes and questions about them, or of records "
        "that have their pictures (--from).",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where it goes")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one a CPU)")
    parser.add_argument(
        "--from",
        dest="sources",
        nargs="+",
        metavar="KIND:PATH",
        help="llava:FILE, records:FILE or release:DIR, or music:PATH for MusicXML and ABC",
    )
    tunes = parser.add_argument_group("tunes")
    tunes.add_argument(
        "--corpora",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(CORPORA)}, or path:DIR for .abc files of your own "
        "(default: all that music21 brings)",
    )
    tunes.add_argument(
        "--part", default="", metavar="NAME|N", help="which of several parts of MusicXML"
    )
    tunes.add_argument(
        "--shard", metavar="I/N", help="draws the I-th of N parts beside DIR, on any machine"
    )
    tunes.add_argument("--merge", action="store_true", help="makes one dataset of all N parts")
    tunes.add_argument("--limit", type=int, metavar="N", help="at most N tunes, from all regions")
    for option in dataclasses.fields(Settings):
        tunes.add_argument(
            f"--{option.name.replace('_', '-')}",
            type=type(option.default),
            default=option.default,
            metavar="|".join(option.metadata.get("names", "N")),
            help=f"{option.metadata['help']} (default %(default)s)",
        )
    _of_records(parser.add_argument_group("records"))
    return parser.parse_args(argv)


def _of_records(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--images", type=Path, metavar="DIR", help="the pictures' folder")
    group.add_argument(
        "--map", default="", dest="names", metavar="OURS=THEIRS,…", help="where a record has what"
    )
    group.add_argument("--mapping", type=Path, metavar="FILE", help="of a release")
    group.add_argument(
        "--task",
        default="extraction",
        metavar="|".join(TASKS),
        help="of questions that are of no known subtask (default %(default)s)",
    )
    group.add_argument(
        "--longest", type=int, default=LONGEST, metavar="N",
        help="characters of a question or an answer (default %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--together", default="", metavar="REGEX",
        help="pictures in whose names it finds the same text are never in two parts "
        "(default: names that differ in the ending alone)",
    )  # fmt: skip
    group.add_argument("--repeated-ids", action="store_true", help="an id may come again")
    group.add_argument(
        "--max-bad", type=float, default=foreign.MAX_BAD, metavar="PERCENT",
        help="of the records that may be skipped (default %(default)s)",
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    return exit_status(
        lambda: _build(_arguments(argv)), interrupted="start the same command again to continue"
    )


def _build(given: argparse.Namespace) -> None:
    start = time.monotonic()
    of_tunes = all(text.startswith("music:") for text in given.sources or ())
    if (given.shard or given.merge) and not of_tunes:
        raise UserError("--shard and --merge are for tunes: records are read by one process")
    report = _tunes(given) if of_tunes else _records(given)
    if "shard" in report:
        took = f"({time.monotonic() - start:.0f} s)"
        print(f"{report['shard']}: chunks drawn: {report['chunks']}", took)
        return
    said = f"{sum(report['pages'].values())} pages in {len(report['pages'])} splits"
    print(
        f"{given.out}: {_used(report)}, {said}, {human_bytes(sum(report['bytes'].values()))} "
        f"({time.monotonic() - start:.0f} s); see build_report.md and contact_sheet.png there"
    )
    if "tunes" in report:
        print(split_text(report.get("split") or {"by": "hash"}))


def _used(report: dict) -> str:
    if "records" in report:
        return "{used} of {in} records".format(**report["records"])
    return "{drawn} of {in} tunes".format(**report["tunes"])


def _tunes(given: argparse.Namespace) -> dict:
    if given.merge:
        return merge(given.out)
    shard = Shard.parse(given.shard) if given.shard else None
    names = [option.name for option in dataclasses.fields(Settings)]
    settings = Settings(**{name: vars(given)[name] for name in names})
    corpora = given.corpora
    if given.sources:
        part = f"music[{given.part}]" if given.part else "music"
        corpora = [*(corpora or ()), *(part + text.removeprefix("music") for text in given.sources)]
    return build(given.out, corpora, given.limit, settings, given.workers, shard)


def _records(given: argparse.Namespace) -> dict:
    if given.corpora:
        raise UserError("--corpora are tunes and --from records: build two datasets")
    found, images = sources.sources(
        given.sources, given.images, given.names, given.mapping, given.task, given.longest
    )
    options = foreign.Options(given.together, given.repeated_ids, given.max_bad)
    return foreign.build(given.out, found, images, options, given.workers)


if __name__ == "__main__":
    sys.exit(main())
