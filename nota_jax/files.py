"""Writing files that are there whole or not at all, by one process at a time, on disks that have an
end.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nota_jax import jsontext
from nota_jax.errors import UserError
from nota_jax.units import human_bytes


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Writes a file through a temporary neighbour, so that no reader ever sees half of it, and
    neither does one that comes after a power cut.

    Raises:
      UserError: the disk is full or read-only; what stood at `path` before still does.
    """
    path = Path(path)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # or the new name could reach the disk before the content
            unfinished.replace(path)
        finally:
            with contextlib.suppress(OSError):
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
    _no_address(out)
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


def _no_address(path: str | Path) -> None:
    """Raises UserError for `gs://bucket/x`, which would become a folder called `gs:`."""
    if scheme := next((x for x in Path(path).parts if re.fullmatch(r"[A-Za-z][\w+.-]+:", x)), ""):
        raise UserError(
            f"{path} is an address ({scheme}//…), and what is written goes into a folder of a file "
            "system: mount the bucket with gcsfuse, and give where it is mounted"
        )


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


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turns whatever keeps something from being written at `path` into a `UserError`.

    A full disk, one that is read-only, a folder of somebody else's, a file where a folder belongs.
    """
    _no_address(path)
    try:
        with full_disk_is_an_error(path):
            yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise UserError(
            f"cannot write {path}: {error.strerror}; make it writable, or choose another folder"
        ) from error


_UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


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


# ---- one process at a time


BEAT, SILENT = 15.0, 90.0  # seconds between signs of life, and without any until it is dead


@contextlib.contextmanager
def locked(
    folder: str | Path,
    doing: str,
    *,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
    beat: float = BEAT,
    silent: float = SILENT,
) -> Iterator[None]:
    """Within, no other process may work in `folder`: `folder/lock` says who does.

    The lock of a killed process counts for nothing.  On its own machine the system takes it away
    (`flock`); from another machine, where that cannot be seen on every file system, the lock's time
    stamp is watched, which its owner renews every `beat` seconds: it is dead when it has shown
    nothing for `silent` seconds.  No two clocks are compared but the file system's own.

    Args:
      doing: "trains", "builds a dataset".
      say: hears that a lock was left behind, and of waiting.

    Raises:
      UserError: another process is at it, by host and number; or nothing can be written there.
    """
    path = Path(folder) / "lock"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _taken(path, say, silent)
        ours = json.dumps({"host": _host(), "process": os.getpid(), "does": doing,
                           "since": time.strftime("%Y-%m-%d %H:%M:%S")}) + "\n"  # fmt: skip
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, ours.encode(), 0)
        except BaseException:
            os.close(file)
            raise
    ended = threading.Event()

    def beating() -> None:
        while not ended.wait(beat):
            with contextlib.suppress(OSError):
                os.utime(file)

    thread = threading.Thread(target=beating, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        # Not one that somebody took for dead (this process was stopped, say) and made his own.
        with contextlib.suppress(OSError):
            if _same(file, path) and os.pread(file, 4096, 0) == ours.encode():
                path.unlink()
        os.close(file)


def _taken(path: Path, say: Callable[[str], None], silent: float) -> int:
    """The lock file, open and ours to write; raises UserError where a living process has it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            alone = _flock(file)
            owner = _owner(file)
            if alone and not _same(file, path):  # it was released under our hands
                os.close(file)
                continue
            name = f"process {owner.get('process', 'unknown')} on {owner.get('host', 'this host')}"
            if alone is False:
                raise UserError(_in_use(path, name, owner))
            if not owner:
                return file
            here = owner.get("host") == _host()
            if here and alone is None and _runs(owner.get("process")):
                raise UserError(_in_use(path, name, owner))
            if not here and _beats(path, name, say, silent):
                raise UserError(_in_use(path, name, owner))
            say(f"{path} was left behind by {name}, which is gone: taken over")
            return file
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(file)
            raise


def _in_use(path: Path, name: str, owner: Mapping[str, Any]) -> str:
    since = f" since {owner['since']}" if "since" in owner else ""
    return (
        f"another process is at work in {path.parent}: {name} {owner.get('does', 'works')} there"
        f"{since}. Wait for it to end, or choose another folder"
    )


def _flock(file: int) -> bool | None:
    """Whether this process alone has it; None where the file system knows no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        return None
    return True


def _owner(file: int) -> dict[str, Any]:
    """What a lock says of its owner; {} where it says nothing."""
    with contextlib.suppress(ValueError):
        found = jsontext.parse(os.pread(file, 4096, 0))
        return found if isinstance(found, dict) else {}
    return {}


def _same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _host() -> str:
    return socket.gethostname()


def _runs(process: Any) -> bool:
    try:
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (OSError, TypeError, ValueError):
        return False
    return True


def _now(folder: Path) -> int:
    """The time of a file system, by which its time stamps go, in nanoseconds."""
    probe = folder / f"lock.{os.getpid()}.tmp"
    try:
        probe.touch()
        return probe.stat().st_mtime_ns
    finally:
        probe.unlink(missing_ok=True)


def _beats(path: Path, name: str, say: Callable[[str], None], silent: float) -> bool:
    """Whether the owner of a lock on another machine shows that it lives, watched for a while."""

    def sign() -> int:
        file = os.open(path, os.O_RDONLY)  # opened anew: network file systems remember old times
        try:
            return os.fstat(file).st_mtime_ns
        finally:
            os.close(file)

    before, until = sign(), time.monotonic() + silent
    if _now(path.parent) - before > 2 * silent * 1e9:
        return False
    say(f"{path} names {name}: waiting up to {silent:.0f} s for a sign that it lives")
    while time.monotonic() < until:
        time.sleep(min(1.0, silent / 10))
        if sign() != before:
            return True
    return False
