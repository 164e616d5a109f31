"""The error that is meant for the user's eyes, and what a command makes of it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator

# What no second try mends: the launchers end at status 2 and start again at 1.
LASTING = (
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR,
    errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP,
    errno.EFBIG, errno.ENOTEMPTY,
)  # fmt: skip


# Of a collective that broke, or of the service that all processes are connected to.
_NEIGHBOUR = re.compile(
    r"Gloo|NCCL|[Cc]oordination ?[Ss]ervice|heartbeat|[Bb]arrier|"
    r"[Cc]onnection (reset|closed|refused)|UNAVAILABLE"
)


LONGEST = 3000  # letters of an error


class UserError(Exception):
    """Something the user can mend: its text says what is wrong, where, and what to do.

    The command-line entry points run through `exit_status`; it never reaches the user as a
    traceback.  Whatever a file put into it, it is no longer than a page.
    """

    def __init__(self, text: object = ""):
        super().__init__(cut(str(text), LONGEST))


class TryAgain(UserError):
    """What the same command mends by itself when it is started again, as launchers do."""


def first_line(error: BaseException) -> str:
    """What an error says first; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def cut(text: str, most: int = 300) -> str:
    """A text as a sentence can hold it: of a long one the beginning and the end."""
    return text if len(text) <= most else f"{text[: most * 2 // 3]} … {text[-most // 4 :]}"


def exit_status(command: Callable[[], int | None], *, interrupted: str = "nothing was kept") -> int:
    """Runs a command: its own status (None is 0), 2 for a mistake, 130 for an interruption.

    A file that cannot be read or written is a sentence too: 2 where it will stay so (no such
    folder, no permission, a full disk), 1 where a second try may go well (a network's file system).
    So is memory that does not suffice, 2.

    interrupted: what an interruption means for the user's work.
    """
    lines_at_once()
    try:
        return command() or 0
    except KeyboardInterrupt:
        return _end(130, f"interrupted: {interrupted}")
    except BrokenPipeError:  # whoever read our lines has gone, as `head` does
        with contextlib.suppress(OSError):  # nor will the interpreter's last flush find anyone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        told = sentence(error)
        if told is None:
            raise
        return _end(*told)


def sentence(error: BaseException) -> tuple[int, str] | None:
    """The status and the sentence with which an error ends a command; None: a bug's traceback."""
    if isinstance(error, UserError):
        return 1 if isinstance(error, TryAgain) else 2, f"error: {error}"
    # One without a number is not of the system, but some library's own.
    if isinstance(error, OSError) and error.errno is not None:
        return 2 if error.errno in LASTING else 1, f"error: {of_system(error)}"
    if memory_is_full(error):
        return 2, f"error: {_no_room(error)}"
    return None


def memory_is_full(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice, the host's or a device's.

    Told by its text too, for jax has no kind of its own for it.
    """
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


@contextlib.contextmanager
def fitting(otherwise: str) -> Iterator[None]:
    """What is done inside needs memory; a `UserError` says what to do where there is too little."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not memory_is_full(error):
            raise
        raise UserError(f"{_no_room(error)}: {otherwise}") from error


def _no_room(error: BaseException) -> str:
    said = first_line(error).rstrip(".")
    return f"memory does not suffice ({cut(said)})"


def neighbour_gone(error: BaseException) -> bool:
    """Of several processes: whether an error says that another one is gone, and nothing else.

    Told by its text, for jax says it with errors of several kinds, even ValueError.
    """
    return _NEIGHBOUR.search(str(error)) is not None


def of_system(error: OSError) -> str:
    """What the system says, and of which files."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = " → ".join(names) or "a file of the run"
    return f"{where}: {error.strerror or type(error).__name__} (said by the operating system)"


def lines_at_once() -> None:
    """Every line reaches its reader when it is printed, in a file too."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)


def _end(status: int, text: str) -> int:
    """The last line, behind all others and on a line of its own."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    # A bar that is still drawn ends without a line's end; closing it writes one.
    bars = getattr(sys.modules.get("tqdm.std"), "tqdm", None)
    for bar in list(getattr(bars, "_instances", ())):
        bar.close()
    print(text, file=sys.stderr, flush=True)
    return status
