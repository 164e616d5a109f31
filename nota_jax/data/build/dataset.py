"""Corpora → dataset on disk.

Same arguments, same bytes, whatever the number of workers.  An interrupted build continues when
the same command is given again; nothing stands under the final name before all of it is done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import itertools
import json
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

import nota_jax
from nota_jax.data.build import corpora, splits, staging
from nota_jax.data.build import report as reports
from nota_jax.data.build.contact_sheet import contact_sheet
from nota_jax.data.build.corpora import SourceTune
from nota_jax.data.build.pages import Drawing, Settings, drawings, pages, scanned
from nota_jax.data.build.report import Tally
from nota_jax.data.records import Page
from nota_jax.data.store import layout, writer
from nota_jax.errors import UserError
from nota_jax.files import write_atomic
from nota_jax.notation import abc
from nota_jax.notation.engraving.layout import Picture
from nota_jax.notation.engraving.pool import EngravePool, Result

# What an interruption costs at most, and what a shard holds.
CHUNK_TUNES = 32
SHARD_BYTES = 64 * 2**20

# The code of nota_jax that decides what a page is.
_PAGE_CODE = (
    "notation/**/*.py", "data/records.py", "data/degrade.py", "data/store/layout.py",
    "data/build/*.py",
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
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    if workers < 1:
        raise UserError(f"workers is {workers}: at least 1 is needed")
    passed_over = list[corpora.PassedOver]()
    tunes = sorted(
        corpora.read(corpus_names, limit, passed_over),
        key=lambda tune: _digest(settings.seed, tune.id),
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
        homes, split = _homes(corpus_names, tunes, settings)
        _draw_missing(work, chunks, settings, workers, homes)
        report = _assemble(work, len(chunks), arguments, split, passed_over)
        staging.publish(work, out)
    return report


def _digest(*parts: object) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\0".encode())
    return digest.hexdigest()


def _tools() -> dict[str, str]:
    """What else pages depend on: an unfinished build must not be continued by other tools."""
    packages = ("verovio", "resvg_py", "pillow", "array_record")
    root = Path(nota_jax.__file__).parent
    code = [path for pattern in _PAGE_CODE for path in sorted(root.glob(pattern))]
    return {
        **{package: importlib.metadata.version(package) for package in packages},
        "nota_jax_code": _digest(*(path.read_text() for path in code))[:16],
    }


def _homes(
    corpus_names: Sequence[str] | None, tunes: Sequence[SourceTune], settings: Settings
) -> tuple[dict[str, str], dict]:
    """Whose part each melody with twins takes, and what the report says of it.

    Found anew where a build goes on: the same tunes give the same clusters.
    """
    if settings.split_by == "hash":
        return {}, {"by": "hash"}
    of_tune, found = splits.melodies(splits.compared_with(corpus_names))
    homes = splits.representatives(found)
    built = [of_tune[tune.id] for tune in tunes if tune.id in of_tune]
    return homes, splits.summary(built, found, homes)


def _plan(source: SourceTune, settings: Settings, homes: Mapping[str, str]) -> Plan:
    """Reads and checks a tune and settles how it is drawn."""
    tally = Tally()
    place = source.region, source.corpus
    tally.count("tunes", *place)
    tally.count("file", source.file)
    try:
        tune = abc.parse(source.text, source=source.file, line=source.line)
        problems = {problem.kind: problem for problem in abc.check(tune)}
        sounds = any(event.notes for event in tune.events)
        planned = drawings(source, tune, settings, homes) if sounds else ()
    except abc.AbcError as error:
        tally.drop("parse", error.message, str(error))
        return Plan(source, (), tally)
    except Exception as error:
        _drop_by_bug(tally, "parse", error, source.id)
        return Plan(source, (), tally)
    tally.count("parsed", *place)
    for kind, problem in problems.items():
        tally.count("problem", kind, example=f"{source.id}: {problem}")
    if not sounds:
        tally.drop("parse", "the tune has no notes", source.id)
        return Plan(source, (), tally)
    tally.melodies.add(planned[0].melody_hash)
    return Plan(source, planned, tally)


def _drop_by_bug(tally: Tally, stage: str, error: Exception, name: str) -> None:
    """One tune is lost over a bug, not the hours of a build; the report shows it."""
    reason = f"unexpected {type(error).__name__}: {error}"
    tally.drop(stage, reason, f"{name}: {reason}")


def _drawn(plans: Iterable[Plan], pool: EngravePool) -> Iterator[tuple[Plan, list[Result]]]:
    """Each plan with, for every drawing, a plain and a tinted picture, or the reason for none.

    The pool draws ahead of what is consumed; plans come back in their order.
    """
    plans, ahead = itertools.tee(plans)
    results = pool.map(
        (drawing.id, drawing.tune, drawing.style, (None, drawing.highlight))
        for plan in ahead
        for drawing in plan.drawings
    )
    for plan in plans:
        yield plan, [result for _, result in itertools.islice(results, len(plan.drawings))]


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
        try:
            versions = _versions(drawing, plain, tinted, settings)
            records = [layout.encode(version) for version in versions]
        except Exception as error:
            _drop_by_bug(tally, "ask", error, drawing.id)
            continue
        drawn = True
        tally.count("composer", drawing.composer_source)
        tally.count("staff_spacing", f"{int(plain.staff_spacing * 2) / 2}")
        for version, record in zip(versions, records, strict=True):
            split = f"{version.task}_{version.metadata['split']}"
            tally.count("page", split, region)
            tally.count("licence", f"{plan.source.corpus}: {plan.source.licence}")
            for turn in version.turns:
                tally.count("question", split, turn.subtask, region)
            yield split, record
    if drawn:
        tally.count("drawn", region, plan.source.corpus)
        tally.count("drawn file", plan.source.file)


def _versions(drawing: Drawing, plain: Picture, tinted: Picture, settings: Settings) -> list[Page]:
    """The pages of a drawing, those to be tested on as scans too."""
    versions = []
    for page in pages(drawing, plain, tinted, settings):
        versions.append(page)
        if drawing.part == "test" and page.task != "analysis":
            versions.append(scanned(page))
    return versions


def _draw_missing(
    work: Path,
    chunks: list[list[SourceTune]],
    settings: Settings,
    workers: int,
    homes: Mapping[str, str],
) -> None:
    """Draws the chunks that are not on disk yet, one after the other."""
    paths = [staging.chunk_path(work, index) for index in range(len(chunks))]
    missing = [index for index, path in enumerate(paths) if staging.read_chunk(path) is None]
    if not missing:
        return
    n_tunes, n_missing = sum(map(len, chunks)), sum(len(chunks[index]) for index in missing)
    plans = (_plan(source, settings, homes) for index in missing for source in chunks[index])
    n_pages, start = 0, time.monotonic()
    with (
        tqdm(total=n_tunes, initial=n_tunes - n_missing, desc="build", unit="tune") as bar,
        EngravePool(workers) as pool,
    ):
        drawn = _drawn(plans, pool)
        for index in missing:
            tally, records = Tally(), list[tuple[str, bytes]]()
            for plan, results in itertools.islice(drawn, len(chunks[index])):
                records += _records(plan, results, settings, tally)
                bar.update()
            staging.write_chunk(paths[index], records, tally.to_json())
            n_pages += len(records)
            bar.set_postfix_str(f"{n_pages / (time.monotonic() - start):.1f} pages/s")
        if pool.deaths:
            how = ", ".join(f"{reason}: {n}" for reason, n in sorted(pool.deaths.items()))
            bar.write(
                f"{pool.deaths.total()} engraving workers were replaced ({how}); which tunes were "
                "dropped for it stands in build_report.md",
                file=sys.stderr,
            )


def _assemble(
    work: Path,
    n_chunks: int,
    arguments: dict,
    split: dict,
    passed_over: Sequence[corpora.PassedOver],
) -> dict:
    """Turns the chunks into the finished dataset in `work/dataset`; returns its report."""
    dataset = work / "dataset"
    shutil.rmtree(dataset, ignore_errors=True)
    dataset.mkdir()
    chunks, tally = [], Tally()
    sizes: dict[str, list[int]] = defaultdict(list)
    for index in range(n_chunks):
        chunk = staging.read_chunk(staging.chunk_path(work, index))
        assert chunk is not None, "it was drawn a moment ago"
        chunks.append(chunk)
        tally.add(chunk.tally)
        for name, _, length in chunk.places:
            sizes[name].append(length)
    if not sizes:
        raise UserError(_nothing_drawn(tally))
    written = {}
    for name in filter(sizes.__contains__, layout.SPLITS):
        n_shards = -(-sum(sizes[name]) // SHARD_BYTES)
        bounds = [len(sizes[name]) * i // n_shards for i in range(n_shards + 1)]
        lengths = [last - first for first, last in itertools.pairwise(bounds)]
        records = staging.read_records(chunks, name)
        for i, length in enumerate(lengths):
            path = layout.shard_path(dataset, name, i, n_shards)
            writer.write_shard(path, itertools.islice(records, length))
        written[name] = lengths, sum(sizes[name])
    writer.write_metadata(dataset, written, _DESCRIPTION)
    n_bytes = {name: n for name, (_, n) in written.items()}
    passed = {each.file: each.reason for each in passed_over}
    report = reports.report(tally, arguments, _tools(), n_bytes, split, passed)
    write_atomic(dataset / staging.REPORT, json.dumps(report, indent=1, ensure_ascii=False))
    write_atomic(dataset / "build_report.md", reports.markdown(report))
    write_atomic(dataset / "contact_sheet.png", contact_sheet(dataset))
    return report


def _nothing_drawn(tally: Tally) -> str:
    reasons = [text for texts in tally.examples.values() for text in texts]
    return "no tune could be drawn, so there is no dataset to write: " + "; ".join(reasons[:3])
