"""Reading a dataset: what it holds, and random access to its pages.

A shard that is missing, truncated or damaged becomes a `UserError` that names the file.
"""

from __future__ import annotations

import bisect
import collections
import contextlib
import hashlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader

from nota_jax.data.records import Page
from nota_jax.data.store import layout
from nota_jax.errors import UserError

# A shard that is open holds its index in memory, some 10 bytes a record and 10 kB more; a split of
# a million pages has some 200 shards, and one is opened again in less than a millisecond.
_MOST_OPEN = 128
_READ_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # for reading here and there

_REBUILD = "the file is damaged; delete the folder and run `python -m nota_jax.data.build` again"


def holds_dataset(directory: str | Path) -> bool:
    """Whether a finished dataset is there."""
    return (Path(directory) / layout.INFO).is_file()


class Split(NamedTuple):
    """Where a split lies: what TFDS knows of it or of the plain pages that it is one task of."""

    info: tfds.core.SplitInfo
    task: str


def splits_of(directory: str | Path) -> dict[str, Split]:
    """The splits of a finished dataset, by name; raises as `stored` does."""
    return {
        name: Split(info, task)
        for split, info in stored(directory).items()
        for name, task in layout.views(split).items()
    }


def stored(directory: str | Path) -> dict[str, tfds.core.SplitInfo]:
    """What TFDS knows of each split of a finished dataset, as it lies on disk.

    Raises:
      UserError: no dataset is there, or its metadata cannot be read.
    """
    if not holds_dataset(directory):
        raise UserError(
            f"{directory} holds no finished dataset (no {layout.INFO}): build one with "
            f"`python -m nota_jax.data.build --out {directory}`"
        )
    try:
        return dict(tfds.builder_from_directory(directory).info.splits)
    except Exception as error:  # whatever a damaged JSON file makes of TFDS
        raise UserError(
            f"cannot read {layout.INFO} and features.json in {directory} "
            f"({_reason(error)}): build the dataset again with `python -m nota_jax.data.build`"
        ) from None


def split_sizes(directory: str | Path) -> dict[str, int]:
    """Pages per split of a finished dataset; raises as `stored` does."""
    return {name: split.info.num_examples for name, split in splits_of(directory).items()}


def missing_shards(directory: str | Path) -> list[Path]:
    """Shards that the metadata of a finished dataset names and that are not there."""
    infos = stored(directory).values()
    return [path for info in infos for path in _shards(info) if not _is_file(path)]


class PageReader:
    """The pages of the given splits, concatenated; pictures stay encoded.

    Reading is thread-safe, and every page is read by itself: neither pages nor, beyond the last
    few shards read, where in a shard they lie are held in memory.
    """

    def __init__(self, directory: str | Path, splits: Sequence[str]):
        """Opens the shards.

        Raises:
          UserError: no dataset there, an unknown split, a shard that is missing, or one that
            does not hold the number of records that dataset_info.json promises.
        """
        self.directory, self.splits = Path(directory), tuple(splits)
        known = splits_of(self.directory)
        unknown = [split for split in self.splits if split not in known]
        if unknown or not self.splits:
            there = ", ".join(f"{name} ({s.info.num_examples})" for name, s in known.items())
            raise UserError(
                f"{directory} has no pages in split {', '.join(unknown) or '(none named)'}: "
                f"it has {there or 'none at all'}"
            )
        self._shards: list[tuple[Path, str]] = []  # with the task that is read of it
        lengths: list[int] = []
        for info, task in map(known.__getitem__, self.splits):
            self._shards += [(path, task) for path in _shards(info)]
            lengths += info.shard_lengths
        self._ends = list(itertools.accumulate(lengths))
        self._open: collections.OrderedDict[Path, ArrayRecordReader] = collections.OrderedDict()
        self._lock = threading.Lock()
        for (path, _), length in zip(self._shards, lengths, strict=True):
            _check_shard(path, length)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Page]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> Page:
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = bisect.bisect_right(self._ends, index)
        record = index - (self._ends[shard - 1] if shard else 0)
        path, task = self._shards[shard]
        try:
            return layout.view(layout.decode(self._shard(path).read([record])[0]), task)
        except Exception as error:  # array_record, protobuf and the decoding each have their own
            raise UserError(
                f"cannot read record {record} of {path} ({_reason(error)}): {_REBUILD}"
            ) from None

    def _shard(self, path: Path) -> ArrayRecordReader:
        """An open shard; what was not read for longest is closed for it."""
        with self._lock:
            if path not in self._open:
                self._open[path] = _reader(path)
            self._open.move_to_end(path)
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)  # whoever reads from it still has it
            return self._open[path]

    def fingerprint(self) -> str:
        """Changes when a file does: names, sizes and times of the shards, and the metadata."""
        digest = hashlib.sha256((self.directory / layout.INFO).read_bytes())
        for path, task in self._shards:
            stat, name = path.stat(), path.name
            if f"-{task}_" not in name:  # one task of plain pages
                name += f" {task}"
            digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def texts(directory: str | Path, splits: Sequence[str]) -> Iterator[str]:
    """Every question and answer of the splits: what a tokenizer is trained on."""
    for page in PageReader(directory, splits):
        for turn in page.turns:
            yield turn.question
            yield turn.answer


def _shards(info: tfds.core.SplitInfo) -> list[Path]:
    """The files of a split, as the metadata (TFDS's) name them."""
    try:
        return list(map(Path, info.filepaths))
    except Exception as error:  # of a name that is no pattern
        raise UserError(f"{layout.INFO} names no shards ({_reason(error)}): {_REBUILD}") from None


def _is_file(path: Path) -> bool:
    with contextlib.suppress(OSError):  # a name that no file can have
        return path.is_file()
    return False


def _check_shard(path: Path, length: int) -> None:
    """Opens a shard to see that it is whole."""
    if not _is_file(path):
        raise UserError(
            f"the dataset shard {path} is missing: copy it there or build the dataset again with "
            "`python -m nota_jax.data.build`"
        )
    try:
        found = _reader(path).num_records()
    except Exception as error:
        raise UserError(f"cannot open {path} ({_reason(error)}): {_REBUILD}") from None
    if found != length:
        raise UserError(f"{path} holds {found} records instead of {length}: {_REBUILD}")


def _reader(path: Path) -> ArrayRecordReader:
    return ArrayRecordReader(str(path), options=_READ_OPTIONS, file_reader_buffer_size=2**15)


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
