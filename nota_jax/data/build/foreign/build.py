"""Somebody else's records → dataset on disk, in the store that our own pages have.

    records → index on disk (index.py) → look at every picture → parts → chunks → shards

An interrupted build continues when the same command is given again, as a build of tunes does.
Bad records are skipped and listed; where they are too many, it stops with the list, and goes on
from there when more are allowed.  Memory does not grow with the dataset.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from nota_jax import progress
from nota_jax.data.build import staging
from nota_jax.data.build.foreign import index as indices
from nota_jax.data.build.foreign import pictures, summary
from nota_jax.data.build.foreign.index import Asked
from nota_jax.data.build.foreign.records import Bad
from nota_jax.data.build.foreign.sources import Source
from nota_jax.data.build.report import Tally
from nota_jax.data.records import TASKS, Page
from nota_jax.data.store import layout
from nota_jax.errors import UserError
from nota_jax.workers import of_builds

CHUNK_PICTURES = 64
BAD_RECORDS = "bad_records.jsonl"
MAX_BAD = 1.0  # per cent

_DESCRIPTION = (
    "Pictures with questions and answers from files of records, put into the store of nota_jax; "
    "see build_report.md for the files, and for what was skipped."
)


@dataclasses.dataclass(frozen=True)
class Options:
    """together, repeated_ids: see `index.read_all`.  max_bad: per cent of the records."""

    together: str = ""
    repeated_ids: bool = False
    max_bad: float = MAX_BAD


def build(
    out: Path,
    sources: Sequence[Source],
    images: Path,
    options: Options | None = None,
    workers: int | None = None,
) -> dict:
    """Builds a dataset of records in the folder `out`; one that is there already is left alone.

    workers: threads that read pictures, None for one a CPU.  Returns the report.

    Raises:
      UserError: as `dataset.build`, and where too many records are bad.
    """
    out, options = Path(out).resolve(), options or Options()
    n_workers = of_builds(workers)
    if not 0 <= options.max_bad <= 100:
        raise UserError(f"max_bad is {options.max_bad}: 0 to 100 per cent are possible")
    arguments = _arguments(sources, options)
    report = staging.finished(out, arguments)
    if report is not None:
        return report
    with staging.opened(out, arguments | _tools()) as work:
        path = work / "index.sqlite"
        if not path.is_file():
            indices.read_all(path, sources, options.together, options.repeated_ids)
        with closing(indices.opened(path)) as index:
            indices.look_at_pictures(index, partial(pictures.look, images), n_workers)
            indices.choose_parts(index)
            enough = partial(_require_few_bad, index, work, options.max_bad)
            enough()
            chunks = _fill_chunks(index, work, images, n_workers, enough)
            report = _assemble(index, chunks, work / "dataset", arguments)
        staging.publish(work, out)
    return report


def _arguments(sources: Sequence[Source], options: Options) -> dict[str, Any]:
    """What the dataset depends on, but for the pictures."""
    readings = [[source.path.name, dataclasses.asdict(source.reading)] for source in sources]
    digests = hashlib.sha256()
    for source in sources:
        with source.path.open("rb") as file:
            digests.update(hashlib.file_digest(file, "sha256").digest())
    return {
        "from": [source.path.name for source in sources],
        "records_sha256": digests.hexdigest()[:16],
        "read_as": json.loads(json.dumps(readings)),
        "together": options.together,
        "repeated_ids": options.repeated_ids,
    }


def _tools() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("pillow", "array_record")}


def _require_few_bad(index: sqlite3.Connection, work: Path, most: float) -> None:
    """Raises `UserError`, with the list written, where too many records are bad."""
    total, bad = indices.counts(index)
    if bad * 100 <= most * total:
        return
    first = "; ".join(
        f"{place}: {reason}" for place, reason in islice(indices.bad_records(index), 3)
    )
    path = work / BAD_RECORDS
    _write_bad(index, path)
    raise UserError(
        f"{bad} of {total} records are bad ({100 * bad / total:.1f} %, --max-bad is {most:g} %): "
        f"{first}{' …' if bad > 3 else ''}. All stand in {path}. Mend them, or allow more by "
        "--max-bad: the same command then goes on from here"
    )


def _write_bad(index: sqlite3.Connection, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for place, reason in indices.bad_records(index):
            line = {"place": place, "reason": reason}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _fill_chunks(
    index: sqlite3.Connection,
    work: Path,
    images: Path,
    workers: int,
    enough: Callable[[], None],
) -> list[Path]:
    """Reads the pictures of the chunks that are not on disk yet; returns all chunks' paths."""
    n_chunks = indices.n_chunks(index, CHUNK_PICTURES)
    paths = [staging.chunk_path(work, number) for number in range(n_chunks)]
    bar = progress.bar(total=n_chunks * CHUNK_PICTURES, desc="build", unit="picture", mininterval=1)
    with bar, ThreadPoolExecutor(workers) as pool:
        for number, path in enumerate(paths):
            if staging.read_chunk(path) is None:
                asked = indices.chunk(index, number, CHUNK_PICTURES)
                stored = pool.map(partial(_stored, images), asked)
                tally, records = Tally(), list[tuple[str, bytes]]()
                for one, png in zip(asked, stored, strict=True):
                    if isinstance(png, Bad):
                        indices.skip(index, one.records, str(png))
                    else:
                        records += _records(one, png, tally)
                index.commit()
                enough()
                staging.write_chunk(path, records, tally.to_json())
            bar.update(CHUNK_PICTURES)
    return paths


def _stored(images: Path, asked: Asked) -> bytes | Bad:
    try:
        return pictures.as_png(images, asked.name)
    except Bad as error:
        return error


def _records(asked: Asked, png: bytes, tally: Tally) -> Iterator[tuple[str, bytes]]:
    """(split, record) of the pages of a picture: one for each task that it is asked about."""
    metadata: dict[str, object] = {
        "region": asked.region,
        "corpus": asked.corpus,
        "split": asked.part,
        "source_id": asked.name,
    }
    for task in TASKS:
        turns = tuple(turn for turn in asked.turns if turn.task == task)
        if not turns:
            continue
        split = f"{task}_{asked.part}"
        tally.count("page", split, asked.region)
        for turn in turns:
            tally.count("question", split, turn.subtask, asked.region)
        page = Page(f"{asked.corpus}/{asked.name}/{task}", task, png, turns, metadata)
        yield split, layout.encode(page)


def _assemble(
    index: sqlite3.Connection, paths: Sequence[Path], dataset: Path, arguments: dict[str, Any]
) -> dict:
    """Turns the chunks into the finished dataset; returns its report."""
    tally, n_bytes = staging.write_shards(paths, dataset, _DESCRIPTION)
    if not n_bytes:
        raise UserError("no record is left, so there is no dataset to write")
    report = summary.report(index, tally, arguments, _tools(), n_bytes)
    staging.describe(dataset, report, summary.markdown(report))
    _write_bad(index, dataset / BAD_RECORDS)
    return report
