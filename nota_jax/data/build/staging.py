"""An unfinished build: finished chunks are kept, and nothing stands under the final name before
everything is done.

`DIR.partial/` beside the final `DIR/` holds `arguments.json` (what is being built), `chunks/`
(each written whole, then renamed) and, at the very end, `dataset/`, which is renamed to `DIR`.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nota_jax import jsontext
from nota_jax.data.build import found_in
from nota_jax.data.build.contact_sheet import contact_sheet
from nota_jax.data.build.report import Tally
from nota_jax.data.store import writer
from nota_jax.data.store.layout import SPLITS, shard_path
from nota_jax.data.store.reader import missing_shards
from nota_jax.errors import UserError
from nota_jax.files import locked, write_atomic, write_json, writing

REPORT = "build_report.json"
# What a shard holds at most: a reader is as quick as a shard has few records.
SHARD_BYTES, SHARD_RECORDS = 64 * 2**20, 8192
# Of datasets older than an argument: what was built before there was a choice.
_BEFORE = {
    "look_share": 0.0, "surroundings": 0.0, "title_share": 0.0, "meter_share": 0.0,
    "split_by": "hash",
}  # fmt: skip


@dataclass(frozen=True)
class Chunk:
    """A finished chunk on disk: where each record lies, and what was counted.

    places: (split, offset in the file, bytes) of every record, in order.
    """

    places: tuple[tuple[str, int, int], ...]
    tally: Tally


def finished(out: Path, arguments: Mapping[str, object]) -> dict | None:
    """The report of the dataset in `out` if it is this very build, None if nothing is there.

    Raises `UserError` where something else is there.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    report = read_json(out / REPORT)
    if report is None or not isinstance(report.get("arguments"), dict):
        raise UserError(
            f"{out} exists and is no dataset of ours: choose another --out; {found_in.advice(out)}"
        )
    before = {name: value for name, value in _BEFORE.items() if name in arguments}
    _refuse_differences(out, before | report["arguments"], arguments, "holds a dataset built with")
    if missing := missing_shards(out):
        raise UserError(f"{missing[0]} is missing: delete {out} and start the same command again")
    shutil.rmtree(partial_folder(out), ignore_errors=True)  # a kill between renaming and clearing
    return report


@contextmanager
def opened(out: Path, arguments: Mapping[str, object]) -> Iterator[Path]:
    """The folder of the unfinished build; see `opened_at`."""
    with opened_at(partial_folder(out), arguments) as work:
        yield work


@contextmanager
def opened_at(work: Path, arguments: Mapping[str, object]) -> Iterator[Path]:
    """A folder to put chunks into, locked against a second process.

    Raises `UserError` where it belongs to a build with other arguments, or is being written.
    """
    with writing(work):
        (work / "chunks").mkdir(parents=True, exist_ok=True)
    with locked(work, "builds a dataset"):
        begun = read_json(work / "arguments.json")
        if begun is None:
            write_json(work / "arguments.json", arguments)
        else:
            _refuse_differences(work, begun, arguments, "holds an unfinished build with")
        yield work


def partial_folder(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def chunk_path(work: Path, index: int) -> Path:
    return work / "chunks" / f"{index:06d}"


def write_chunk(path: Path, records: list[tuple[str, bytes]], tally: Mapping) -> None:
    """Writes (split, record) pairs and what was counted on the way; whole or not at all."""
    index = [(split, len(record)) for split, record in records]
    header = json.dumps({"records": index, "tally": tally}).encode() + b"\n"
    write_atomic(path, header + b"".join(record for _, record in records))


def read_chunk(path: Path) -> Chunk | None:
    """A chunk's index; None where there is none, or a machine that lost power spoiled it."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        line = file.readline()
    places, offset = [], len(line)
    try:
        header = jsontext.parse(line)
        for split, length in header["records"]:
            if split not in SPLITS or type(length) is not int or length < 0:
                return None
            places.append((split, offset, length))
            offset += length
        tally = Tally.from_json(header["tally"])
    except jsontext.WRONG_SHAPE:
        return None
    if path.stat().st_size != offset:
        return None
    return Chunk(tuple(places), tally)


def write_shards(
    paths: Sequence[Path], dataset: Path, description: str
) -> tuple[Tally, dict[str, int]]:
    """Turns chunks, which are there, into a dataset's shards and metadata.

    One chunk at a time is looked at, once for each split.  Returns what was counted, and the bytes
    of each split's records.
    """
    shutil.rmtree(dataset, ignore_errors=True)
    dataset.mkdir()
    tally, n_records, n_bytes = Tally(), Counter[str](), Counter[str]()
    for path in paths:
        chunk = _there(path)
        tally.add(chunk.tally)
        for split, _, length in chunk.places:
            n_records[split] += 1
            n_bytes[split] += length
    written = {}
    for split in filter(n_records.__contains__, SPLITS):
        n_shards = max(-(-n_bytes[split] // SHARD_BYTES), -(-n_records[split] // SHARD_RECORDS))
        bounds = [n_records[split] * i // n_shards for i in range(n_shards + 1)]
        lengths = [last - first for first, last in itertools.pairwise(bounds)]
        records = _records(paths, split)
        for i, length in enumerate(lengths):
            path = shard_path(dataset, split, i, n_shards)
            writer.write_shard(path, itertools.islice(records, length))
        written[split] = lengths, n_bytes[split]
    if written:
        writer.write_metadata(dataset, written, description)
    return tally, {split: n_bytes[split] for split in written}


def _records(paths: Sequence[Path], split: str) -> Iterator[bytes]:
    """All records of a split, in the order of the chunks."""
    for path in paths:
        places = [(offset, n) for name, offset, n in _there(path).places if name == split]
        if not places:
            continue
        with open(path, "rb") as file:
            for offset, length in places:
                file.seek(offset)
                yield file.read(length)


def _there(path: Path) -> Chunk:
    chunk = read_chunk(path)
    assert chunk is not None, "it was written a moment ago"
    return chunk


def describe(dataset: Path, report: Mapping, markdown: str) -> None:
    """Writes beside the shards what a build says of them, and a picture of some pages."""
    write_atomic(dataset / REPORT, json.dumps(report, indent=1, ensure_ascii=False))
    write_atomic(dataset / "build_report.md", markdown)
    write_atomic(dataset / "contact_sheet.png", contact_sheet(dataset))


def publish(work: Path, out: Path) -> None:
    """Gives the finished `dataset/` its final name and clears the rest away."""
    os.replace(work / "dataset", out)  # an empty folder of that name gives way
    shutil.rmtree(work)


def read_json(path: Path) -> dict | None:
    try:
        found = jsontext.parse(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _refuse_differences(
    folder: Path, before: Mapping[str, object], now: Mapping[str, object], what: str
) -> None:
    names = dict.fromkeys([*before, *now])
    differing = [
        f"{name} {before.get(name)!r} (now {now.get(name)!r})"
        for name in names
        if before.get(name) != now.get(name)
    ]
    if differing:
        raise UserError(
            f"{folder} {what} other arguments: {', '.join(differing)}; choose another --out, or "
            f"delete {folder}"
        )
