"""`run_dir/metrics.jsonl` and TensorBoard files in `run_dir/tensorboard`: written, or waited with.

Metrics never stop a run, and never keep it waiting: what cannot be written (a full disk, a folder
that is gone) is warned of and kept, and written when there is room again.  There is no thread and
no queue; tensorboardX has both, and a loop that fills the queue of a dead thread stands still.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from nota_jax import jsontext
from nota_jax.environment import without_torch
from nota_jax.errors import first_line
from nota_jax.files import write_atomic

with without_torch():
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.summary import scalar

Say = Callable[[str], None]
Point = tuple[int, float, Mapping[str, float]]  # step, when, report

MOST_WAITING = 10_000  # reports; the oldest go first
EVALUATION = "eval/"  # what the names of an evaluation's figures begin with


class _Writer(Protocol):
    def write(self, points: list[Point]) -> None: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...


class Journal:
    """Where a run's reports go.

    A resumed run forgets what was written behind the step it resumes from, so that no step occurs
    twice; an evaluation has a line of its own.  Only one process should write; the others pass
    `active=False`.

    owed: the step that is resumed from is evaluated again, and what its evaluation wrote forgotten.
    """

    def __init__(
        self, run_dir: Path, *, resumed_at: int = 0, owed: bool = False, active: bool = True,
        say: Say = print,
    ):  # fmt: skip
        self.streams: list[_Stream] = []
        if active:
            lines = _Lines(run_dir / "metrics.jsonl", resumed_at, say, owed)
            board = _Board(run_dir / "tensorboard", resumed_at)
            self.streams = [
                _Stream("metrics.jsonl", lines, say),
                _Stream("tensorboard/", board, say),
            ]

    def write(self, step: int, report: Mapping[str, float]) -> None:
        """One line of JSON, one point per curve."""
        for stream in self.streams:
            stream.add((step, time.time(), dict(report)))

    def save(self) -> None:
        """Everything on the disk, also behind a power cut: a checkpoint is about to count on it."""
        for stream in self.streams:
            stream.sync()

    def close(self) -> None:
        for stream in self.streams:
            stream.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class _Stream:
    """A writer that may fail, and what waits for it."""

    def __init__(self, name: str, writer: _Writer, say: Say):
        self.name, self.writer, self.say = name, writer, say
        self.waiting: deque[Point] = deque(maxlen=MOST_WAITING)
        self.failures = 0
        self._try(lambda: writer.write([]))

    def add(self, point: Point) -> None:
        self.waiting.append(point)
        self._try(self._write)

    def sync(self) -> None:
        def write() -> None:
            self._write()
            self.writer.sync()

        self._try(write)

    def close(self) -> None:
        if self.waiting:
            self._try(self._write)
        if self.waiting:
            self.say(f"WARNING: {len(self.waiting)} reports never reached {self.name}")
        with contextlib.suppress(Exception):
            self.writer.close()

    def _write(self) -> None:
        self.writer.write(list(self.waiting))
        self.waiting.clear()

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except Exception as error:  # whatever a library may think of: no metric is worth a run
            self.failures += 1
            # Once, and again later: at the 10th, 100th, 1000th time.
            if math.log10(self.failures).is_integer():
                reason = first_line(error)[:200]
                self.say(
                    f"WARNING: {self.name} cannot be written: {reason}. Training goes on; "
                    f"{len(self.waiting)} reports wait until it can"
                )
            return
        if self.failures:
            self.say(f"{self.name} is written again, with what waited for it")
            self.failures = 0


class _Lines:
    """JSON lines.  What is kept of an earlier file is written anew whole, or left as it is."""

    def __init__(self, path: Path, resumed_at: int, say: Say, owed: bool = False):
        self.path, self.resumed_at, self.say, self.owed = path, resumed_at, say, owed
        self.file: BinaryIO | None = None
        self.end = 0  # of what is whole in the file

    def _begin(self) -> BinaryIO:
        before = self.path.read_bytes() if self.resumed_at and self.path.exists() else None
        kept = _kept(before or b"", self.resumed_at, self.path, self.say, self.owed)
        if kept != before:
            write_atomic(self.path, kept)
        self.end = len(kept)
        return self.path.open("r+b", buffering=0)

    def write(self, points: list[Point]) -> None:
        if self.file is None:
            self.file = self._begin()
        text = "".join(json.dumps({"step": step, **report}) + "\n" for step, _, report in points)
        data = memoryview(text.encode())
        try:
            self.file.seek(self.end)
            while data:
                data = data[self.file.write(data) :]
        except OSError:
            with contextlib.suppress(OSError):
                self.file.truncate(self.end)  # no half of a line stays
            raise
        self.end = self.file.tell()

    def sync(self) -> None:
        if self.file is not None:
            os.fsync(self.file.fileno())

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def _kept(content: bytes, resumed_at: int, path: Path, say: Say, owed: bool = False) -> bytes:
    """The lines up to a step; those that cannot be read are left out, and that is said.

    owed: the evaluation of that step is left out too.
    """
    kept, broken = [], []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            report = jsontext.parse(line)
            step = report["step"]
            again = owed and any(name.startswith(EVALUATION) for name in report)
            if step <= resumed_at - again:
                kept.append(line + b"\n")
        except (ValueError, KeyError, TypeError):
            broken.append(str(number))
    if broken:
        which = ", ".join(broken[:5]) + (", …" if len(broken) > 5 else "")
        say(f"{path}: {len(broken)} lines that are no report are left out (line {which})")
    return b"".join(kept)


class _Board:
    """Events for TensorBoard.  Where a write breaks off, a file of its own begins behind it."""

    def __init__(self, folder: Path, resumed_at: int):
        self.folder, self.resumed_at = folder, resumed_at
        self.events: EventsWriter | None = None
        self.files = 0

    def write(self, points: list[Point]) -> None:
        began = self.events is None
        try:
            events = self.events or self._begin()
            for step, when, report in points:
                for name, value in report.items():
                    events.write_event(
                        Event(wall_time=when, step=step, summary=scalar(name, value))
                    )
            events._py_recordio_writer._writer.flush()  # its own flush also waits for the disk
        except OSError:
            # Readers stop at a record that was cut off; what comes then stands in another file.
            if broken := self.events:
                self.events = None
                with contextlib.suppress(OSError):
                    broken.close()
                if began:  # nothing is lost with it, and every try would leave one
                    with contextlib.suppress(OSError):
                        os.unlink(broken._file_name)
            raise

    def _begin(self) -> EventsWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Its names hold the second alone, and two files of one second would be one.
        self.events = EventsWriter(str(self.folder / "events"), f".{time.time_ns()}")
        self.files += 1
        if self.resumed_at and self.files == 1:
            # Tells readers that what earlier files have from this step on is not to be shown.
            start = SessionLog(status=SessionLog.START)
            self.events.write_event(
                Event(wall_time=time.time(), step=self.resumed_at + 1, session_log=start)
            )
        return self.events

    def sync(self) -> None:
        if self.events is not None:
            self.events.flush()

    def close(self) -> None:
        if self.events is not None:
            self.events.close()
