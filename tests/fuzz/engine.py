"""Runs targets on many inputs, and keeps those that one does not answer as it promises.

A target takes bytes and returns, or raises one of its documented errors.  A find is any other
exception, more than a second of the processor, a jump or a steady growth of memory, or the end of
the process.  Targets run in processes of their own (`watched`), so that native code that crashes
costs one input: it lies in a file that both processes have mapped.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from nota_jax.errors import UserError

ROOT = Path(__file__).parents[2]
SECONDS = 1.0  # of the processor, that one input may take, where its target says nothing else
JUMP_BYTES = 256 * 2**20  # of memory, that one input may take
GROWTH_BYTES = 48 * 2**20  # that all inputs of a run may leave behind, from its first quarter on
STUCK = 600.0  # of the clock, at one input
LONGEST_INPUT = 2**20
LONGEST_SENTENCE = 3000  # letters of an error: what was typed is shown in part
DONE = 100  # a status that no interpreter ends with by itself


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    make: an input, from a generator alone.
    run: takes it; True where it was read, False where there was nothing to read.
    refuses: its documented errors.
    seconds: of the processor, that one input may take.
    """

    name: str
    make: Callable[[random.Random], bytes]
    run: Callable[[bytes], bool]
    refuses: tuple[type[Exception], ...] = (UserError,)
    seconds: float = SECONDS


class TooSlow(BaseException):
    """The input took too long; a BaseException, so that no handler takes it for its own."""


@dataclass
class Find:
    """kind: one line that is the same for inputs that fail alike; detail: the traceback."""

    kind: str
    detail: str
    data: bytes

    @property
    def name(self) -> str:
        words = re.sub(r"[^A-Za-z0-9]+", "-", self.kind).strip("-")[:80]
        return f"{words}-{hashlib.sha256(self.data).hexdigest()[:8]}"


@dataclass
class Outcome:
    """Of one target: inputs, those read, seconds, the slowest's seconds, memory, finds."""

    inputs: int = 0
    read: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    begun_bytes: int = 0
    ended_bytes: int = 0
    finds: dict[str, Find] = field(default_factory=dict)


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raises TooSlow behind so much time of the processor: other work on the machine is no find."""

    def late(*_: object) -> None:
        raise TooSlow(f"more than {seconds:g} s of the processor")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def attempt(target: Target, data: bytes) -> tuple[bool, Find | None]:
    """(whether it was read, what is wrong with how the target took it).

    Only what is slow twice is a find: tables are made once, when something asks for them first.
    """
    read, find = _attempt(target, data)
    return _attempt(target, data) if find and find.kind.startswith("TooSlow") else (read, find)


def _attempt(target: Target, data: bytes) -> tuple[bool, Find | None]:
    peak = _peak()
    try:
        with _limited(target.seconds):
            read = target.run(data)
    except target.refuses as error:
        words = str(error)
        if not words.strip() or len(words) > LONGEST_SENTENCE:
            return False, Find(f"{type(error).__name__} of {len(words)} letters", words[:500], data)
        read = False
    except (Exception, TooSlow) as error:
        return False, Find(_kind(error), traceback.format_exc(limit=-12), data)
    if (grown := _peak() - peak) > JUMP_BYTES:
        return read, Find("memory jumps", f"{grown:,} bytes more at once", data)
    return read, None


def _kind(error: BaseException) -> str:
    """The exception and where it came from: the innermost line of ours."""
    ours = [
        f"{Path(frame.filename).name}:{frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "nota_jax" in frame.filename or "conversion" in frame.filename
    ]
    where = ours[-1] if ours else "target"
    return f"{type(error).__name__} in {where}"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fuzz(
    target: Target,
    seed: int,
    *,
    seconds: float = float("inf"),
    inputs: float = float("inf"),
    current: mmap.mmap | None = None,
    first: int = 0,
) -> Outcome:
    """Inputs number `first` and on, until the time is over or so many are tried.

    current: hears of each input before it is tried.
    """
    outcome, start, number = Outcome(), time.monotonic(), first
    own = psutil.Process()
    quarter = time.monotonic() + seconds / 4
    while number - first < inputs and time.monotonic() - start < seconds:
        data = target.make(random.Random(f"{target.name}/{seed}/{number}"))[:LONGEST_INPUT]
        if current is not None:
            current[:16] = len(data).to_bytes(8, "little") + number.to_bytes(8, "little")
            current[16 : 16 + len(data)] = data
        begun = time.process_time()
        read, find = attempt(target, data)
        outcome.slowest = max(outcome.slowest, time.process_time() - begun)
        outcome.inputs, outcome.read = outcome.inputs + 1, outcome.read + read
        if find is not None and find.kind not in outcome.finds:
            outcome.finds[find.kind] = smaller(target, find)
        number += 1
        if not outcome.begun_bytes and (number - first > inputs / 4 or time.monotonic() > quarter):
            outcome.begun_bytes = own.memory_info().rss
    outcome.ended_bytes = own.memory_info().rss
    outcome.seconds = time.monotonic() - start
    grown = outcome.ended_bytes - (outcome.begun_bytes or outcome.ended_bytes)
    if grown > GROWTH_BYTES:
        words = f"{grown:,} bytes more behind {outcome.inputs} inputs than behind a quarter of them"
        outcome.finds["memory grows"] = Find("memory grows", words, b"")
    return outcome


def smaller(target: Target, find: Find, patience: float = 10.0) -> Find:
    """The same find with less of its input, as far as cutting pieces out goes."""
    until, size = time.monotonic() + patience, max(1, len(find.data) // 2)
    while size and time.monotonic() < until:
        at = 0
        while at < len(find.data) and time.monotonic() < until:
            tried = find.data[:at] + find.data[at + size :]
            _, found = attempt(target, tried)
            if found is not None and found.kind == find.kind:
                find = found
            else:
                at += size
        size //= 2
    return find


# ---- in a process of its own


def watched(name: str, seed: int, seconds: float, out: Path, say: Callable[[str], None]) -> int:
    """Fuzzes a target in other processes, one after the other where they die; number of finds."""
    finds, first, until = 0, 0, time.monotonic() + seconds
    with tempfile.NamedTemporaryFile() as shared:
        shared.truncate(16 + LONGEST_INPUT)
        while (left := until - time.monotonic()) > 0.5:
            arguments = [name, str(seed), str(left), str(first), shared.name, str(out)]
            command = [sys.executable, "-m", "tests.fuzz.engine", *arguments]
            ended = _end(subprocess.Popen(command, cwd=ROOT), shared)
            if ended is not None and ended >= DONE:
                return finds + ended - DONE
            finds += 1
            head = shared.seek(0) or shared.read(16)
            data = shared.read(int.from_bytes(head[:8], "little"))
            first = int.from_bytes(head[8:], "little") + 1
            how = "hangs in native code" if ended is None else f"the process ended with {ended}"
            keep(out / name, Find(how, how, data), say)
    return finds


def _end(process: subprocess.Popen[bytes], shared: IO[bytes]) -> int | None:
    """The status of a process, or None: it was at one input for so long that it hangs, in code that
    hears no signals.  By its progress, not by its time, for a busy machine may let it wait."""
    last, since = b"", time.monotonic()
    while True:
        try:
            return process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            shared.seek(0)
            if (here := shared.read(16)) != last:
                last, since = here, time.monotonic()
            elif time.monotonic() - since > STUCK:
                process.kill()
                process.wait()
                return None


def keep(folder: Path, find: Find, say: Callable[[str], None]) -> None:
    """The input as a file, and what it did beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / find.name).write_bytes(find.data)
    (folder / f"{find.name}.txt").write_text(find.detail, errors="backslashreplace")
    say(f"    FOUND {find.kind}: {folder / find.name} ({len(find.data)} bytes)")


def line(name: str, outcome: Outcome) -> str:
    """One target's result, for people."""
    n, mib = outcome.inputs, 2**20
    return (
        f"{name:12} {n:9,} inputs, {n / max(outcome.seconds, 1e-9):8,.0f} a second, "
        f"{100 * outcome.read / max(n, 1):3.0f} % read, slowest {outcome.slowest:.2f} s, memory "
        f"{outcome.begun_bytes // mib} → {outcome.ended_bytes // mib} MiB, "
        f"{len(outcome.finds)} finds"
    )


def _serve(argv: Sequence[str]) -> int:
    """The inner process; its status is `DONE` and the number of finds."""
    from tests.fuzz.targets import TARGETS

    name, seed, seconds, first, shared, out = argv
    os.nice(0)
    with open(shared, "r+b") as file, mmap.mmap(file.fileno(), 0) as current:
        found = fuzz(
            TARGETS[name](), int(seed), seconds=float(seconds), first=int(first), current=current
        )
    print(line(name, found), flush=True)
    for find in found.finds.values():
        keep(Path(out, name), find, lambda text: print(text, flush=True))
    return DONE + min(len(found.finds), 99)


if __name__ == "__main__":
    sys.exit(_serve(sys.argv[1:]))
