"""Corpora → dataset on disk.

    python -m nota_jax.data.build --out DIR [--corpora NAME …] [--limit N] [--variants K]
        [--seed S] [--workers W] [--size 336] [--staff-spacing 5.0]

Same arguments, same bytes, whatever the number of workers.  An interrupted build continues when
the same command is given again; nothing stands under DIR before all of it is done.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib.metadata
import itertools
import json
import os
import shutil
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

import nota_jax
from nota_jax.data.build import corpora, staging
from nota_jax.data.build import report as reports
from nota_jax.data.build.contact_sheet import contact_sheet
from nota_jax.data.build.corpora import SourceTune
from nota_jax.data.build.pages import Drawing, Settings, drawings, pages
from nota_jax.data.build.report import Tally
from nota_jax.data.store import writer
from nota_jax.errors import UserError, exit_status
from nota_jax.notation import abc
from nota_jax.notation.engraving.pool import EngravePool, Result

# What an interruption costs at most, and what a shard holds.
CHUNK_TUNES = 32
SHARD_BYTES = 64 * 2**20

# The files of nota_jax/data that decide what a page is.
_PAGE_CODE = (
    "records.py", "store/writer.py",
    *(f"build/{name}.py" for name in ("corpora", "pages", "phrasings", "prose", "questions")),
)  # fmt: skip

_DESCRIPTION = (
    "Folk tunes engraved as square pages, with the questions of the NOTA dataset's three tasks "
    "(arXiv 2502.14893). Built by nota_jax from the tunes inside the music21 package; see "
    "build_report.md for sources, licences and drops."
)


@dataclass(frozen=True)
class Plan:
    """A source tune and how it will be drawn: not at all where it cannot be read."""

    source: SourceTune
    drawings: tuple[Drawing, ...]
    tally: Tally


def build(
    out: Path | str,
    corpus_names: Sequence[str] | None = None,
    limit: int | None = None,
    settings: Settings | None = None,
    workers: int | None = None,
) -> dict:
    """Builds a dataset in the folder `out`; one that is there already is left alone.

    corpus_names, limit: as in `corpora.read`.  workers: engraving processes, None for one a CPU.
    Returns the report (build_report.json).  Raises `UserError` for a bad argument, where `out`
    holds something else, when the disk is full, and where nothing could be drawn.
    """
    out, settings = Path(out).resolve(), settings or Settings()
    _check(settings)
    tunes = sorted(
        corpora.read(corpus_names, limit), key=lambda tune: _digest(settings.seed, tune.id)
    )
    arguments = {
        "corpora": sorted({tune.corpus for tune in tunes}),
        "limit": limit,
        **dataclasses.asdict(settings),
        "tunes_sha256": _digest(*(part for tune in tunes for part in (tune.id, tune.text)))[:16],
    }
    report = staging.finished(out, arguments)
    if report is not None:
        return report
    chunks = [tunes[i : i + CHUNK_TUNES] for i in range(0, len(tunes), CHUNK_TUNES)]
    with staging.opened(out, arguments | _tools()) as work:
        _draw_missing(work, chunks, settings, workers or len(os.sched_getaffinity(0)))
        report = _assemble(work, len(chunks), arguments)
        staging.publish(work, out)
    return report


def _check(settings: Settings) -> None:
    for name, least in (("variants", 1), ("size", 32), ("staff_spacing", 1)):
        if getattr(settings, name) < least:
            raise UserError(f"{name} is {getattr(settings, name)}: at least {least} is needed")


def _digest(*parts: object) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\0".encode())
    return digest.hexdigest()


def _tools() -> dict[str, str]:
    """What else pages depend on: an unfinished build must not be continued by other tools."""
    packages = ("verovio", "resvg_py", "pillow", "array_record")
    root = Path(nota_jax.__file__).parent
    code = [*sorted(root.glob("notation/**/*.py")), *(root / "data" / name for name in _PAGE_CODE)]
    return {
        **{package: importlib.metadata.version(package) for package in packages},
        "nota_jax_code": _digest(*(path.read_text() for path in code))[:16],
    }


def _plan(source: SourceTune, settings: Settings) -> Plan:
    """Reads and checks a tune and settles how it is drawn."""
    tally = Tally()
    place = source.region, source.corpus
    tally.count("tunes", *place)
    try:
        tune = abc.parse(source.text, source=source.file, line=source.line)
    except abc.AbcError as error:
        tally.drop("parse", error.message, str(error))
        return Plan(source, (), tally)
    tally.count("parsed", *place)
    for kind, problem in {problem.kind: problem for problem in abc.check(tune)}.items():
        tally.count("problem", kind, example=f"{source.id}: {problem}")
    if not any(event.notes for event in tune.events):
        tally.drop("parse", "the tune has no notes", source.id)
        return Plan(source, (), tally)
    planned = drawings(source, tune, settings)
    tally.melodies.add(planned[0].melody_hash)
    return Plan(source, planned, tally)


def _drawn(plans: Iterable[Plan], pool: EngravePool) -> Iterator[tuple[Plan, list[Result]]]:
    """Each plan with, for every drawing, a plain and a tinted picture, or the reason for none.

    The pool draws ahead of what is consumed; plans come back in their order.
    """
    waiting: deque[Plan] = deque()

    def jobs() -> Iterator[tuple]:
        for plan in plans:
            waiting.append(plan)
            for drawing in plan.drawings:
                yield drawing.id, drawing.tune, drawing.style, (None, drawing.highlight)

    results: list[Result] = []
    for _, result in pool.map(jobs()):
        while not waiting[0].drawings:
            yield waiting.popleft(), []
        results.append(result)
        if len(results) == len(waiting[0].drawings):
            yield waiting.popleft(), results
            results = []
    while waiting:
        yield waiting.popleft(), []


def _records(
    plan: Plan, results: list[Result], settings: Settings, tally: Tally
) -> Iterator[tuple[str, bytes]]:
    """(split, record) of every page of a tune; counts them, and what was dropped."""
    tally.add(plan.tally)
    region, drawn = plan.source.region, False
    for drawing, result in zip(plan.drawings, results, strict=True):
        if isinstance(result, str):
            tally.drop("engrave", result, f"{drawing.id}: {result}")
            continue
        plain, tinted = result
        drawn = True
        tally.count("composer", drawing.composer_source)
        tally.count("staff_spacing", f"{int(plain.staff_spacing * 2) / 2}")
        for page in pages(drawing, plain, tinted, settings):
            split = f"{page.task}_{drawing.part}"
            tally.count("page", split, region)
            tally.count("licence", f"{plan.source.corpus}: {plan.source.licence}")
            for turn in page.turns:
                tally.count("question", split, turn.subtask, region)
            yield split, writer.encode(page)
    if drawn:
        tally.count("drawn", region, plan.source.corpus)


def _draw_missing(
    work: Path, chunks: list[list[SourceTune]], settings: Settings, workers: int
) -> None:
    """Draws the chunks that are not on disk yet, one after the other."""
    missing = [
        index
        for index in range(len(chunks))
        if staging.read_chunk(staging.chunk_path(work, index)) is None
    ]
    if not missing:
        return
    n_tunes, n_missing = sum(map(len, chunks)), sum(len(chunks[index]) for index in missing)
    plans = (_plan(source, settings) for index in missing for source in chunks[index])
    n_pages, start = 0, time.monotonic()
    with (
        tqdm(total=n_tunes, initial=n_tunes - n_missing, desc="build", unit="tune") as bar,
        EngravePool(workers) as pool,
    ):
        drawn = _drawn(plans, pool)
        for index in missing:
            tally, records = Tally(), []
            for plan, results in itertools.islice(drawn, len(chunks[index])):
                records += _records(plan, results, settings, tally)
                bar.update()
            staging.write_chunk(staging.chunk_path(work, index), records, tally.to_json())
            n_pages += len(records)
            bar.set_postfix_str(f"{n_pages / (time.monotonic() - start):.1f} pages/s")


def _assemble(work: Path, n_chunks: int, arguments: dict) -> dict:
    """Turns the chunks into the finished dataset in `work/dataset`; returns its report."""
    dataset = work / "dataset"
    shutil.rmtree(dataset, ignore_errors=True)
    dataset.mkdir()
    chunks, tally = [], Tally()
    sizes: dict[str, list[int]] = defaultdict(list)
    for index in range(n_chunks):
        chunk = staging.read_chunk(staging.chunk_path(work, index))
        chunks.append(chunk)
        tally.add(Tally.from_json(chunk.tally))
        for split, _, length in chunk.places:
            sizes[split].append(length)
    if not sizes:
        raise UserError(_nothing_drawn(tally))
    splits = {}
    for split in filter(sizes.__contains__, writer.SPLITS):
        n_shards = -(-sum(sizes[split]) // SHARD_BYTES)
        bounds = [len(sizes[split]) * i // n_shards for i in range(n_shards + 1)]
        lengths = [last - first for first, last in itertools.pairwise(bounds)]
        records = staging.read_records(chunks, split)
        for i, length in enumerate(lengths):
            path = writer.shard_path(dataset, split, i, n_shards)
            writer.write_shard(path, itertools.islice(records, length))
        splits[split] = lengths, sum(sizes[split])
    writer.write_tfds_metadata(dataset, splits, _DESCRIPTION)
    n_bytes = {split: n for split, (_, n) in splits.items()}
    report = reports.report(tally, arguments, _tools(), n_bytes)
    for name, content in (
        (staging.REPORT, json.dumps(report, indent=1, ensure_ascii=False).encode()),
        ("build_report.md", reports.markdown(report).encode()),
        ("contact_sheet.png", contact_sheet(dataset)),
    ):
        staging.write_whole(dataset / name, content)
    return report


def _nothing_drawn(tally: Tally) -> str:
    reasons = [text for texts in tally.examples.values() for text in texts]
    return "no tune could be drawn, so there is no dataset to write: " + "; ".join(reasons[:3])


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m nota_jax.data.build",
        description="Builds a dataset of engraved tunes and questions about them.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where it goes")
    parser.add_argument(
        "--corpora", nargs="+", metavar="NAME",
        help=f"of {', '.join(corpora.CORPORA)}, or path:DIR for .abc files of your own "
        "(default: all that music21 brings)",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", help="at most N tunes, from all regions")
    parser.add_argument(
        "--variants", type=int, default=default.variants, metavar="K",
        help="drawings of each training tune (default %(default)s); further ones are transposed",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=default.seed, metavar="S")
    parser.add_argument("--workers", type=int, metavar="W", help="processes (default: one a CPU)")
    parser.add_argument(
        "--size", type=int, default=default.size, metavar="PX", help="(default %(default)s)"
    )
    parser.add_argument(
        "--staff-spacing", type=float, default=default.staff_spacing, metavar="PX",
        help="wished distance between staff lines (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--composer-share", type=float, default=default.composer_share, metavar="P",
        help="of the pages that name no composer, how many get an invented one "
        "(default %(default)s)",
    )  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    return exit_status(
        lambda: _build(_arguments(argv)), interrupted="start the same command again to continue"
    )


def _build(given: argparse.Namespace) -> None:
    start = time.monotonic()
    names = (field.name for field in dataclasses.fields(Settings))
    settings = Settings(**{name: getattr(given, name) for name in names})
    report = build(given.out, given.corpora, given.limit, settings, given.workers)
    tunes, n_pages = report["tunes"], sum(report["pages"].values())
    print(
        f"{given.out}: {tunes['drawn']} of {tunes['in']} tunes, {n_pages} pages in "
        f"{len(report['pages'])} splits, {sum(report['bytes'].values()) / 2**20:.1f} MiB "
        f"({time.monotonic() - start:.0f} s); see build_report.md and contact_sheet.png there"
    )
