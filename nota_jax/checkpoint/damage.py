"""What a disk did to a checkpoint: how it is noticed, how it is said, where the checkpoint goes.

Every array has a checksum (`fingerprints`), everything else a seal, and both are compared when they
are read.  What a run wrote before there were any is read as it is.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from nota_jax.checkpoint.fingerprints import Fingerprint
from nota_jax.errors import UserError, first_line, neighbour_gone

SEAL = "seal"
ASIDE = ".damaged"  # what a checkpoint's name ends with that was set aside

# Of TensorStore's errors, those that say nothing about what lies on the disk.
_NOT_THE_DISKS = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED",
                  "CANCELLED", "ABORTED", "UNIMPLEMENTED", "Too many open files")  # fmt: skip
# What libraries raise over what they did not expect in a file; not a device's RuntimeError.
_OVER_FILES = (
    OSError, ValueError, LookupError, TypeError, EOFError, AttributeError, AssertionError,
    ArithmeticError, RecursionError,
)  # fmt: skip
_UNREADABLE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ENOMEM)


class Damaged(UserError):
    """Files that are missing, cut short, or do not hold what was written."""


@contextlib.contextmanager
def reading(where: Path | str) -> Iterator[None]:
    """Turns what libraries raise over damaged files into a `Damaged` that names them.

    What is not the files' fault (memory that does not suffice, devices, permissions) is not called
    damage: nobody is to lose a sound checkpoint over it.
    """
    try:
        yield
    except Exception as raised:
        error = _beneath(raised)
        if not isinstance(error, _OVER_FILES) or broken_off(error):
            raise
        reason = first_line(error)[:300]
        number = getattr(error, "errno", None)
        if number in _UNREADABLE or any(word in reason for word in _NOT_THE_DISKS):
            raise UserError(f"cannot read {where}: {reason}") from error
        raise Damaged(f"{where} is damaged: {reason}") from error


def _beneath(error: BaseException) -> BaseException:
    """What went wrong: Orbax wraps what it meets within an array in an `Exception` of no kind."""
    while type(error) is Exception and error.__cause__ is not None:
        error = error.__cause__
    return error


def broken_off(error: Exception) -> bool:
    """Whether reading or writing together ended because another process is gone.

    Then the files have no fault and the disk neither, and waiting for the others has no end.
    """
    return jax.process_count() > 1 and neighbour_gone(error)


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value in plain JSON, with a checksum of all of it beside."""
    plain = json.loads(json.dumps(value))
    return {**plain, SEAL: _seal(plain)}


def opened(value: Any, where: Path | str) -> dict[str, Any]:
    """What was given to `sealed`; what has no seal, as it is.

    Raises:
      Damaged: it is not what was sealed.
    """
    if not isinstance(value, dict):
        raise Damaged(f"{where} is damaged: it holds no JSON object")
    plain = {key: x for key, x in value.items() if key != SEAL}
    if SEAL in value and value[SEAL] != _seal(plain):
        raise Damaged(f"{where} is damaged: its seal is {_seal(plain)}, {value[SEAL]} was written")
    return plain


def _seal(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def has_sums(marks: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether they are marks with checksums; older runs wrote shapes alone."""
    return all("checksum" in mark for mark in marks.values())


def require_sums(found: Fingerprint, written: Fingerprint, where: Path | str) -> None:
    """Raises `Damaged` at the first array that is not the one that was written."""
    for path, mark in written.items():
        if (here := found.get(path)) != mark:
            what = f"has checksum {here['checksum']}" if here else "is missing"
            raise Damaged(f"{where} is damaged: {path} {what}, {mark['checksum']} was written")


def set_aside(folder: Path) -> Path | None:
    """Renames a damaged checkpoint, so that nothing takes it for one; None if it is gone already.

    It is kept: what is sound in it may be all that is left of a long run.
    """
    aside, number = folder.with_name(folder.name + ASIDE), 1
    while aside.exists():
        number += 1
        aside = folder.with_name(f"{folder.name}{ASIDE}-{number}")
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(
            f"{folder} is damaged and cannot be renamed to {aside.name}: {error.strerror}; move it "
            "away to continue with the checkpoint before it"
        ) from error
    return aside


def those_aside(directory: Path) -> list[Path]:
    """Checkpoints that were set aside."""
    return sorted(directory.glob(f"*{ASIDE}*")) if directory.is_dir() else []


def aloud(text: str) -> None:
    """A warning to people, where nobody said who tells them."""
    print(f"WARNING: {text}", file=sys.stderr, flush=True)


# When one of Orbax's reads fails, the event loop of all is closed, and every other read that ends
# afterwards complains of that with a traceback.  The failure itself is raised; this is no news.
def _without_echoes(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def quiet(found: Any) -> None:
        if str(found.exc_value) != "Event loop is closed":
            hook(found)

    return quiet


sys.unraisablehook = _without_echoes(sys.unraisablehook)
logging.getLogger("asyncio").addFilter(lambda record: "orbax" not in str(record.msg))
