"""Arrays on disk: appended to while they are made, mapped into memory when they are read.

What is mapped is the operating system's to hold or to let go.  The processes of a machine share it,
and none of them needs more memory because there is more of it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nota_jax import jsontext
from nota_jax.errors import UserError
from nota_jax.files import full_disk_is_an_error

_INDEX = "index.json"
_BYTES_AT_ONCE = 2**22


class Growing:
    """A flat array on disk, while it is made."""

    def __init__(self, file: BinaryIO, dtype: np.dtype):
        self._file, self.dtype = file, dtype
        self.length = self.checksum = 0

    def append(self, values: Any) -> None:
        data = np.asarray(values, self.dtype).tobytes()
        self._file.write(data)
        self.checksum = zlib.crc32(data, self.checksum)
        self.length += len(data) // self.dtype.itemsize


@contextlib.contextmanager
def growing(folder: Path, dtypes: Mapping[str, Any]) -> Iterator[dict[str, Growing]]:
    """Arrays of these types, to be appended to; they count once `finish` has been called."""
    with contextlib.ExitStack() as stack:
        yield {
            name: Growing(stack.enter_context(open(folder / name, "wb")), np.dtype(dtype))
            for name, dtype in dtypes.items()
        }


def finish(folder: Path, arrays: Mapping[str, Growing], said: Mapping[str, Any]) -> None:
    """Writes the index, without which nothing is there; `said`: what else stands in it (JSON)."""
    index = {name: [a.dtype.str, a.length, a.checksum] for name, a in arrays.items()}
    with open(folder / _INDEX, "w") as file:
        json.dump({"arrays": index, "said": said, "checksum": _checksum(index, said)}, file)
        file.flush()
        os.fsync(file.fileno())


def kept(
    path: Path | None, make: Callable[[Path], None]
) -> tuple[dict[str, np.ndarray], dict[str, Any], Path | None]:
    """What `make` writes into a folder, made only where it is not at `path` yet; and where it is.

    Where nothing can be written there (or `path` is None), this process has its own among the
    temporary files, without a name.

    Raises:
      UserError: nor can anything be written there.
    """
    if path is not None and (found := read(path)) is not None:
        return *found, path
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as beside:
                work = Path(beside) / "made"
                work.mkdir()
                make(work)
                if read(path) is None:  # no other process was faster
                    shutil.rmtree(path, ignore_errors=True)  # a damaged one
                    work.rename(path)
            if (found := read(path)) is not None:
                return *found, path
        except OSError as error:
            logging.warning("%s is not kept for the next start: %s", path, error)
    with full_disk_is_an_error(tempfile.gettempdir()), tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        found = read(Path(folder))  # what is mapped stays when its name is gone
    if found is None:
        raise UserError(f"what was written into {tempfile.gettempdir()} is not there: set TMPDIR")
    return *found, None


def read(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """The arrays and what stands with them; None where they are not there, or damaged.

    Every byte is read once, a few at a time, and compared with its checksum.
    """
    try:
        found = jsontext.parse((folder / _INDEX).read_bytes())
        if found["checksum"] != _checksum(found["arrays"], found["said"]):
            return None
        arrays = {}
        for name, (dtype, length, checksum) in found["arrays"].items():
            array = mapping(folder / name, np.dtype(dtype), length)
            seen = 0
            for part in parts(array):
                seen = zlib.crc32(part.data, seen)
            if seen != checksum:
                return None
            arrays[name] = array
        return arrays, found["said"]
    except (OSError, *jsontext.WRONG_SHAPE):
        return None


def _checksum(index: Any, said: Any) -> int:
    return zlib.crc32(json.dumps([index, said], sort_keys=True).encode())


def mapping(path: Path, dtype: np.dtype, length: int) -> np.ndarray:
    """The array in a file; ValueError where the file is not of its size."""
    if dtype.hasobject or path.stat().st_size != length * dtype.itemsize:
        raise ValueError(f"{path} is not what was written")
    if not length:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, "r", shape=(length,)).view(np.ndarray)


def parts(array: np.ndarray) -> Iterator[np.ndarray]:
    """A flat array, a few megabytes at a time."""
    step = _BYTES_AT_ONCE // array.itemsize
    return (array[first : first + step] for first in range(0, len(array), step))
