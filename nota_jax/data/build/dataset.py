"""Corpora → dataset on disk.

Same arguments, same bytes, whatever the number of workers.  An interrupted build continues when
the same command is given again; nothing stands under the final name before all of it is done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nota_jax
from nota_jax import progress
from nota_jax.data.build import corpora, shards, splits, staging
from nota_jax.data.build import report as reports
from nota_jax.data.build.corpora import SourceTune
from nota_jax.data.build.drawn import Drawer, Records
from nota_jax.data.build.pages import Settings
from nota_jax.data.build.report import Tally
from nota_jax.data.build.shards import Shard
from nota_jax.errors import UserError
from nota_jax.files import write_json
from nota_jax.notation.engraving.pool import EngravePool
from nota_jax.workers import of_builds

# What an interruption costs at most; of many variants fewer tunes, for a chunk is held in memory.
CHUNK_TUNES = 32
_VARIANTS = 8

# The code of nota_jax that decides what a page is.
_PAGE_CODE = (
    "notation/**/*.py", "data/records.py", "data/degrade.py", "data/titles.py",
    "data/store/layout.py", "data/build/*.py",
)  # fmt: skip

# In an unfinished build: what `_parts` found, for it takes a minute.
_PARTS = "parts.json"

_DESCRIPTION = (
    "Folk tunes engraved as square pages, with the questions of the NOTA dataset's three tasks "
    "(arXiv 2502.14893). Built by nota_jax from the tunes inside the music21 package; see "
    "build_report.md for sources, licences and drops."
)


def build(
    out: Path | str,
    corpus_names: Sequence[str] | None = None,
    limit: int | None = None,
    settings: Settings | None = None,
    workers: int | None = None,
    shard: Shard | None = None,
) -> dict:
    """Builds a dataset in the folder `out`; one that is there already is left alone.

    corpus_names, limit: as in `corpora.read`.  workers: engraving processes, None for one a CPU.
    shard: the part to draw, beside `out`, for `merge`; None for all of it.
    Returns the report (build_report.json; of a shard what `shards.report` says).  Raises
    `UserError` for a bad argument, where `out` holds something else, when the disk is full, and
    where nothing could be drawn.
    """
    out, settings = Path(out).resolve(), settings or Settings()
    n_workers = of_builds(workers)
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
    at_once = max(1, CHUNK_TUNES * _VARIANTS // max(_VARIANTS, settings.variants))
    chunks = [tunes[i : i + at_once] for i in range(0, len(tunes), at_once)]
    if shard is not None:
        work = shards.opened(out, shard, arguments, _tools(), len(chunks))
    else:
        work = staging.opened(out, arguments | _tools())
    with work as folder:
        found = staging.read_json(folder / _PARTS)
        if found is None:
            found = _parts(corpus_names, tunes, settings)
            write_json(folder / _PARTS, found)
        counted = _Counted(settings, found["homes"], found["melodies"])
        mine = range(len(chunks)) if shard is None else shard.chunks(len(chunks))
        _draw_missing(folder, {index: chunks[index] for index in mine}, counted, n_workers)
        passed = {each.file: each.reason for each in passed_over}
        if shard is not None:
            return shards.done(folder, found["split"], passed)
        paths = [staging.chunk_path(folder, index) for index in mine]
        report = _assemble(folder, paths, arguments, _tools(), found["split"], passed)
        staging.publish(folder, out)
    return report


def merge(out: Path | str) -> dict:
    """Makes one dataset of the shards beside `out`, the same that one build would have made.

    Returns the report.  Raises `UserError` where one is missing, there twice, not finished, or of
    another build.
    """
    out = Path(out).resolve()
    with shards.complete(out) as found:
        report = staging.finished(out, found.arguments)
        if report is not None:
            return report
        with staging.opened(out, found.arguments | found.tools) as work:
            report = _assemble(
                work, found.chunks, found.arguments, found.tools, found.split, found.passed
            )
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


def _parts(
    corpus_names: Sequence[str] | None, tunes: Sequence[SourceTune], settings: Settings
) -> dict[str, Any]:
    """Each tune's melody (None: not looked for), whose part each melody with twins takes, and what
    the report says of it."""
    if settings.split_by == "hash":
        return {"melodies": None, "homes": {}, "split": {"by": "hash"}}
    of_tune, found = splits.melodies(splits.compared_with(corpus_names))
    homes = splits.representatives(found)
    built = [of_tune[tune.id] for tune in tunes if tune.id in of_tune]
    return {"melodies": of_tune, "homes": homes, "split": splits.summary(built, found, homes)}


@dataclass(frozen=True)
class _Counted:
    """How tunes are drawn, and how many drawings each has.

    melodies: of the tunes that can be read; None where that is not known.
    """

    settings: Settings
    homes: Mapping[str, str]
    melodies: Mapping[str, str] | None

    def drawings(self, source: SourceTune) -> range:
        """The numbers of a tune's drawings, or of as many as it may have."""
        train = self.settings.variants
        if self.melodies is None:
            return range(max(train, splits.TEST_DRAWINGS))
        melody = self.melodies.get(source.id)
        part = None if melody is None else splits.part_of(self.homes.get(melody, melody))
        return range({"train": train, "test": splits.TEST_DRAWINGS}.get(part or "", 1))


def _draw_missing(
    work: Path, chunks: Mapping[int, list[SourceTune]], counted: _Counted, workers: int
) -> None:
    """Draws the chunks that are not on disk yet, one after the other."""
    paths = {index: staging.chunk_path(work, index) for index in chunks}
    missing = [index for index, path in paths.items() if staging.read_chunk(path) is None]
    if not missing:
        return
    n_tunes = sum(map(len, chunks.values()))
    n_missing = sum(len(chunks[index]) for index in missing)
    drawer = Drawer(counted.settings, counted.homes)
    n_pages, start = 0, time.monotonic()
    with (
        progress.bar(total=n_tunes, initial=n_tunes - n_missing, desc="build", unit="tune") as bar,
        EngravePool(workers, work=drawer) as pool,
    ):
        results = pool.map(
            (None, source, number)
            for index in missing
            for source in chunks[index]
            for number in counted.drawings(source)
        )
        for index in missing:
            tally, records = Tally(), Records()
            for source in chunks[index]:
                n = len(counted.drawings(source))
                drawn = (result for _, result in itertools.islice(results, n))
                records += _collected(source, drawn, drawer, tally)
                bar.update()
            staging.write_chunk(paths[index], records, tally.to_json())
            n_pages += len(records)
            rate = n_pages / (time.monotonic() - start)
            bar.set_postfix_str(f"{rate:.1f} pages/s", refresh=False)
        if pool.deaths:
            how = ", ".join(f"{reason}: {n}" for reason, n in sorted(pool.deaths.items()))
            bar.write(
                f"{pool.deaths.total()} engraving workers were replaced ({how}); which tunes were "
                "dropped for it stands in build_report.md",
                file=sys.stderr,
            )


def _collected(
    source: SourceTune,
    drawn: Iterable[tuple[Records, Tally] | str],
    drawer: Drawer,
    tally: Tally,
) -> Iterator[tuple[str, bytes]]:
    """The records of a tune's drawings; counts it."""
    place, some = (source.region, source.corpus), False
    tally.count("tunes", *place)
    tally.count("file", source.file)
    for number, result in enumerate(drawn):
        if isinstance(result, str):
            result = drawer.lost(source, number, result)
        records, counts = result
        tally.add(counts)
        some = some or bool(records)
        yield from records
    if some:
        tally.count("drawn", *place)
        tally.count("drawn file", source.file)


def _assemble(
    work: Path,
    paths: Sequence[Path],
    arguments: dict,
    tools: dict,
    split: dict,
    passed: Mapping[str, str],
) -> dict:
    """Turns the chunks into the finished dataset in `work/dataset`; returns its report."""
    dataset = work / "dataset"
    tally, n_bytes = staging.write_shards(paths, dataset, _DESCRIPTION)
    if not n_bytes:
        raise UserError(_nothing_drawn(tally))
    report = reports.report(tally, arguments, tools, n_bytes, split, passed)
    staging.describe(dataset, report, reports.markdown(report))
    return report


def _nothing_drawn(tally: Tally) -> str:
    reasons = [text for texts in tally.examples.values() for text in texts]
    return "no tune could be drawn, so there is no dataset to write: " + "; ".join(reasons[:3])
