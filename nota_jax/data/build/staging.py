"""An unfinished build: finished chunks are kept, and nothing stands under the final name before
everything is done.

`DIR.partial/` beside the final `DIR/` holds `arguments.json` (what is being built), `chunks/`
(each written whole, then renamed) and, at the very end, `dataset/`, which is renamed to `DIR`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nota_jax import jsontext
from nota_jax.data.build import found_in
from nota_jax.data.build.report import Tally
from nota_jax.data.store.layout import SPLITS
from nota_jax.data.store.reader import missing_shards
from nota_jax.errors import UserError
from nota_jax.files import locked, write_atomic, write_json, writing

REPORT = "build_report.json"
# Of datasets older than an argument: what was built before there was a choice.
_BEFORE = {"look_share": 0.0, "split_by": "hash"}


@dataclass(frozen=True)
class Chunk:
    """A finished chunk on disk: where each record lies, and what was counted.

    places: (split, offset in the file, bytes) of every record, in order.
    """

    path: Path
    places: tuple[tuple[str, int, int], ...]
    tally: Tally


def finished(out: Path, arguments: Mapping[str, object]) -> dict | None:
    """The report of the dataset in `out` if it is this very build, None if nothing is there.

    Raises `UserError` where something else is there.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    report = _read_json(out / REPORT)
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
    """The folder of the unfinished build, locked against a second process.

    Raises `UserError` where it belongs to a build with other arguments, or is being written.
    """
    work = partial_folder(out)
    with writing(work):
        (work / "chunks").mkdir(parents=True, exist_ok=True)
    with locked(work, "builds a dataset"):
        begun = _read_json(work / "arguments.json")
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
    return Chunk(path, tuple(places), tally)


def read_records(chunks: list[Chunk], split: str) -> Iterator[bytes]:
    """All records of a split, in the order of the chunks."""
    for chunk in chunks:
        places = [(offset, length) for name, offset, length in chunk.places if name == split]
        if not places:
            continue
        with open(chunk.path, "rb") as file:
            for offset, length in places:
                file.seek(offset)
                yield file.read(length)


def publish(work: Path, out: Path) -> None:
    """Gives the finished `dataset/` its final name and clears the rest away."""
    os.replace(work / "dataset", out)  # an empty folder of that name gives way
    shutil.rmtree(work)


def _read_json(path: Path) -> dict | None:
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
