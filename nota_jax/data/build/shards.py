"""A build on many machines: each draws its share of the chunks, then one makes a dataset of all.

Shard 2 of 4 lies in `DIR.shard-2-of-4/` beside the final `DIR/`: `shard.json` (of which build it
is), `arguments.json` and `chunks/` as of an unfinished build, and `done.json` in the end.  Machines
share a file system, or the folders are copied together before they are merged.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nota_jax.data.build import staging
from nota_jax.errors import UserError
from nota_jax.files import locked, write_json

_ABOUT, _DONE = "shard.json", "done.json"
_MOST = 100_000


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `count` parts, from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Raises `UserError` for anything but "2/4" and its like."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        shard = cls(*map(int, found.groups())) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.count <= _MOST:
            raise UserError(f"--shard is {text!r}: 1/4 to 4/4, for the parts of four, are needed")
        return shard

    def chunks(self, total: int) -> range:
        """Every n-th, so that all parts have about as much to do."""
        return range(self.number - 1, total, self.count)

    def folder(self, out: Path) -> Path:
        return out.with_name(f"{out.name}.shard-{self.number}-of-{self.count}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


@dataclass(frozen=True)
class Complete:
    """All shards of a build: its chunks in order, and what they say of it."""

    chunks: list[Path]
    arguments: dict
    tools: dict
    split: dict
    passed: dict


@contextmanager
def opened(
    out: Path, shard: Shard, arguments: Mapping, tools: Mapping, n_chunks: int
) -> Iterator[Path]:
    """The folder of a shard, as `staging.opened` gives an unfinished build's."""
    folder = shard.folder(out)
    with staging.opened_at(folder, {**arguments, **tools}):
        about = {"arguments": arguments, "tools": tools, "chunks": n_chunks}
        write_json(folder / _ABOUT, about)
        yield folder


def done(folder: Path, split: Mapping, passed: Mapping[str, str]) -> dict:
    """Marks a shard as finished; returns what is said of it."""
    write_json(folder / _DONE, {"split": split, "passed": passed})
    return {"shard": str(folder), "chunks": len(list((folder / "chunks").iterdir()))}


@contextmanager
def complete(out: Path) -> Iterator[Complete]:
    """All shards beside `out`, held against other processes; they are removed when the block ends
    without an error.

    Raises:
      UserError: one is missing, there twice, not finished, damaged, or of another build than the
        others.
    """
    folders = _folders(out)
    if not folders:
        raise UserError(f"there are no shards {out}.shard-1-of-N: build them with --shard 1/N")
    with ExitStack() as stack:
        for folder in folders.values():
            stack.enter_context(locked(folder, "merges shards"))
        yield _checked(out, folders)
    for folder in folders.values():
        shutil.rmtree(folder)


def _folders(out: Path) -> dict[Shard, Path]:
    """The shards' folders, one of each."""
    name, found = re.escape(out.name), {}
    for folder in sorted(out.parent.glob(f"{out.name}.shard-*-of-*")):
        if match := re.fullmatch(rf"{name}\.shard-(\d+)-of-(\d+)", folder.name):
            found[Shard(*map(int, match.groups()))] = folder
    counts = {shard.count for shard in found}
    if len(counts) > 1:
        raise UserError(
            f"beside {out} lie shards of builds in {' and in '.join(map(str, sorted(counts)))} "
            "parts, so that tunes would be there twice: remove those of one build"
        )
    for count in counts:
        missing = [Shard(i, count) for i in range(1, count + 1) if Shard(i, count) not in found]
        if missing:
            raise UserError(
                f"{', '.join(map(str, missing[:5]))} of the shards of {out} "
                f"{'is' if len(missing) == 1 else 'are'} missing ({len(missing)} of {count}): "
                f"build it with --shard {missing[0]}, or copy {missing[0].folder(out).name} here"
            )
    return dict(sorted(found.items(), key=lambda item: item[0].number))


def _checked(out: Path, folders: Mapping[Shard, Path]) -> Complete:
    first: dict | None = None
    of_chunk: dict[int, Path] = {}
    for shard, folder in folders.items():
        again = f"start its build with --shard {shard} again"
        about, end = (staging.read_json(folder / name) for name in (_ABOUT, _DONE))
        if about is None or end is None:
            raise UserError(f"the shard in {folder} is not finished: {again}")
        first = first or about | end
        if differing := [name for name, value in (about | end).items() if first[name] != value]:
            where = "of another build" if "arguments" in differing else "made by other tools"
            raise UserError(
                f"{folder} and {next(iter(folders.values()))} are not parts of one build: it is "
                f"{where} ({', '.join(differing)}); remove the one that does not belong here"
            )
        wanted = {staging.chunk_path(folder, index) for index in shard.chunks(about["chunks"])}
        there = set((folder / "chunks").iterdir())
        if lost := sorted(wanted - there):
            raise UserError(f"{lost[0]} is missing ({len(lost)} of {len(wanted)}): {again}")
        if odd := sorted(there - wanted):
            raise UserError(f"{odd[0]} belongs to another shard, or to none: remove it")
        for index in shard.chunks(about["chunks"]):
            path = of_chunk[index] = staging.chunk_path(folder, index)
            if staging.read_chunk(path) is None:
                raise UserError(f"{path} is damaged: {again}")
    assert first is not None, "there are shards"
    chunks = [of_chunk[index] for index in sorted(of_chunk)]
    return Complete(chunks, *(first[name] for name in ("arguments", "tools", "split", "passed")))
