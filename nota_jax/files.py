"""Writing files that are there whole or not at all, on disks that have an end."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nota_jax.errors import UserError
from nota_jax.units import human_bytes


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Writes a file through a temporary neighbour, so that no reader ever sees half of it, and
    neither does one that comes after a power cut.

    Raises:
      UserError: the disk is full; what stood at `path` before still does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        with full_disk_is_an_error(path):
            with unfinished.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # or the new name could reach the disk before the content
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any, *, indent: int | None = 2) -> None:
    """Plain JSON values in UTF-8, ending with a newline; see `write_atomic`."""
    write_atomic(path, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def new_folder(out: str | Path, needed: int) -> Iterator[Path]:
    """A folder to write into, which gets the name `out` when the block ends without an error.

    Until then it is called `.NAME.incomplete`, so that a killed process leaves nothing that looks
    whole; what an earlier one left is cleared away.

    Args:
      needed: bytes of the arrays that will be written; a margin for what lies beside them is added.

    Raises:
      UserError: there is something called `out` already, or no room, or the disk gives an error.
    """
    out = Path(out).absolute()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} is there already: choose another --out, or remove it first")
    half = out.with_name(f".{out.name}.incomplete")
    try:
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        require_room(half.parent, needed + needed // 50 + 2**20, str(out))
        yield half
        half.rename(out)
    except BaseException as error:
        shutil.rmtree(half, ignore_errors=True)
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise UserError(f"cannot write {out}: {reason}. Nothing was left there") from error
        raise


@contextlib.contextmanager
def full_disk_is_an_error(path: str | Path) -> Iterator[None]:
    """Turns "no space left" of any library that writes at `path` into a `UserError`.

    A quota that is used up counts as a full disk.
    """
    try:
        yield
    except Exception as error:  # array_record and TensorStore have their own exceptions
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        if not (full or "No space left" in str(error) or "quota exceeded" in str(error)):
            raise
        raise UserError(
            f"the disk is full: {free_text(path)} free for {path}; make room and start again"
        ) from error


def require_room(
    path: str | Path,
    needed: int,
    what: str,
    advice: str = "make room or choose another folder",
) -> None:
    """Before anything is written.

    Raises:
      UserError: naming what needs the room, how much it needs and how much there is.
    """
    if free_bytes(path) < needed:
        raise UserError(
            f"{what} needs {human_bytes(needed)} at {path}, {free_text(path)} are free: {advice}"
        )


def free_bytes(path: str | Path) -> int:
    """Room on the disk that holds `path`, or would hold it."""
    folder = Path(path).absolute()
    while not folder.is_dir():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def free_text(path: str | Path) -> str:
    return human_bytes(free_bytes(path))
