"""Engraving in worker processes: a crash of the engraver costs one tune, never the run.

Verovio and resvg are native code, and native code can end its process (SIGSEGV, SIGABRT), hang, or
fill the memory.  Each worker has one job at a time and its own pipe, so that it is always known
which tune it died of.  A tune gets a second worker before it is given up: what killed the first may
have been a machine short of memory, and the same tunes are to make the same dataset.

Workers are plain new interpreters and not `multiprocessing` processes: they inherit no threads,
and do not import the caller's main module, which may well import JAX.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

import psutil

from nota_jax.errors import UserError
from nota_jax.notation.engraving.errors import EngraveError, MismatchError
from nota_jax.notation.engraving.layout import Picture, engrave_each

Job = tuple[Any, ...]
Result = tuple[Picture, ...] | str  # of `engrave_each`; of other work whatever that returns, or str
Work = Callable[..., Any]

CRASHED = "worker crashed"
TIMED_OUT = "worker timed out"
NOT_STARTED = "worker did not start"
_READY = "ready"  # a worker's first message: it has imported what it needs
_START_SECONDS = 60.0  # until it says so
_MOST_STARTS = 3  # in a row that come to nothing
_TRIES = 2  # workers that a job may cost
_AHEAD = 8  # jobs a worker may be ahead of the oldest unfinished one
_STARVED = 10  # times a job's limit, that it gets where other work has the processors
_WAITING = (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)  # for a processor, for a disk
_MESSAGE_SECONDS = 5  # in which a message that has begun to arrive is there
_WORKER_BYTES = 4 * 2**30  # of memory; a tune takes some hundred megabytes


class EngravePool:
    """Engraves jobs in `workers` processes; use it as a context manager.

        with EngravePool(2) as pool:
            for key, result in pool.map(jobs):  # in the order of the jobs
                ...                             # result: the Pictures, or the reason as text

    A job is a key and what `work` is given: of `engrave_each` a tune, its style and the highlights
    (None: plain) of which it wants a picture.

    A job's result depends on the job alone, so it is the same whatever the number of workers.

    Args:
      workers: number of processes.
      timeout: seconds for one job, after which its worker is ended and replaced; of the processor
        where it is waiting for one.
      work: what a worker does with a job, a module's function.

    Attributes:
      deaths: how many workers ended as `CRASHED`, `TIMED_OUT` or `NOT_STARTED`, and were replaced.
    """

    def __init__(self, workers: int = 1, *, timeout: float = 30.0, work: Work = engrave_each):
        if workers < 1:
            raise ValueError(f"an EngravePool needs at least one worker, not {workers}")
        self._n_workers, self._timeout, self._work = workers, timeout, work
        self._workers: list[_Worker] = []
        self.deaths: Counter[str] = Counter()

    def __enter__(self) -> EngravePool:
        self._workers = [_Worker(self._work, self._timeout) for _ in range(self._n_workers)]
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        self._workers = []

    def map(self, jobs: Iterable[Job]) -> Iterator[tuple[Hashable, Any]]:
        """(key, Pictures) of every job that succeeds, (key, reason) of the others, in order.

        Jobs are drawn from the iterable as workers get free, at most a few ahead of the results.

        Raises:
          UserError: no worker starts, whatever it is to draw.
        """
        if not self._workers:
            raise ValueError("EngravePool.map outside its `with` block")
        for worker in self._workers:
            if worker.job is not None:  # of a map that nobody has followed to its end
                worker.job = None
                worker.restart()
        source = enumerate(jobs)
        done: dict[int, tuple[Hashable, Any]] = {}
        turn, exhausted = 0, False
        while True:
            while turn in done:
                yield done.pop(turn)
                turn += 1
            for worker in self._workers:
                if worker.job is None and not exhausted:
                    if len(done) >= _AHEAD * self._n_workers:
                        break
                    number, job = next(source, (-1, None))
                    exhausted = job is None
                    if job is not None:
                        worker.number, worker.tries = number, 0
                        self._start(worker, job)
            busy = [worker for worker in self._workers if worker.job is not None]
            if not busy and not done:
                return
            for worker in self._with_news(busy):
                assert worker.job is not None  # or it were not busy
                key, result = worker.job[0], self._result(worker)
                if result is not None:
                    worker.job = None
                    done[worker.number] = (key, result)

    def _start(self, worker: _Worker, job: Job) -> None:
        """Hands a job over, the first or the second time."""
        _, *arguments = worker.job = job
        patience = self._timeout if worker.warm else _START_SECONDS
        worker.deadline = time.monotonic() + patience
        worker.given, worker.began = time.monotonic(), worker.used()
        # Where it died while it had nothing to do, the end of its pipe says so in its turn.
        with contextlib.suppress(OSError):
            worker.pipe.send(arguments)

    def _with_news(self, busy: list[_Worker]) -> list[_Worker]:
        """Workers that have said something, died, or are past their deadline; waits for one."""
        patience = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
        ready = wait([worker.pipe for worker in busy], timeout=patience) if busy else []
        now = time.monotonic()
        return [worker for worker in busy if worker.pipe in ready or worker.deadline <= now]

    def _result(self, worker: _Worker) -> Any:
        """What has become of a worker's job; None where that is not known yet."""
        death = TIMED_OUT
        try:
            if worker.pipe.poll():
                message = worker.pipe.recv()
                if worker.warm:
                    return message
                worker.warm, worker.starts = True, 0  # that was its first: it is ready
                worker.deadline = time.monotonic() + self._timeout
                worker.given, worker.began = time.monotonic(), worker.used()
                return None
        except Exception:  # the pipe's end; or what native code has left of a message
            death = CRASHED
        limit = self._timeout if worker.warm else _START_SECONDS
        if death == TIMED_OUT and worker.starved(limit):
            return None
        assert worker.job is not None
        if worker.warm:
            worker.tries += 1
        else:  # no fault of the tune's
            death = NOT_STARTED
            worker.starts += 1
        self.deaths[death] += 1
        if worker.starts >= _MOST_STARTS:
            raise UserError(
                f"no engraving worker starts ({worker.starts} tries): what it said stands above; "
                "is there memory left, and does `python -c 'import verovio, resvg_py'` work?"
            )
        job = worker.job
        worker.restart()
        if worker.tries >= _TRIES:
            return death
        self._start(worker, job)
        return None


class _Worker:
    """An interpreter that engraves, the pipe to it, and the job it has.

    number: of the job; tries: workers that it has cost; starts: that came to nothing, in a row.
    given: when it got the job; began: seconds of the processor that it had used then.
    warm: it has said that it is ready.
    """

    def __init__(self, work: Work, timeout: float):
        self.work, self.timeout = work, timeout
        self.job: Job | None = None
        self.number = self.tries = self.starts = 0
        self.deadline = self.given = self.began = 0.0
        self._open()

    def _open(self) -> None:
        self.pipe, theirs = Pipe()
        _never_wait_long(self.pipe)
        self.warm = False
        command = f"import sys; from {__name__} import serve; serve(*map(int, sys.argv[1:]))"
        own_limit = int(_STARVED * self.timeout) + 2 * _MESSAGE_SECONDS
        self.process = subprocess.Popen(
            [sys.executable, "-c", command, str(theirs.fileno()), str(own_limit)],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            process_group=0,  # Ctrl-C is the parent's to handle
        )
        self.pipe.send(self.work)
        theirs.close()  # or its death would not be seen as the end of the pipe

    def starved(self, limit: float) -> bool:
        """Whether a worker past its deadline only waited for a processor; then it gets more time.

        The same tunes are to make the same dataset on a machine that is busy with other things.
        """
        with contextlib.suppress(psutil.Error):
            seen = psutil.Process(self.process.pid)
            left = self.began + limit - self.used()
            late = time.monotonic() > self.given + _STARVED * limit
            if left > 0 and not late and seen.status() in _WAITING:
                self.deadline = time.monotonic() + left
                return True
        return False

    def used(self) -> float:
        """Seconds of the processor since it began."""
        with contextlib.suppress(psutil.Error):
            return sum(psutil.Process(self.process.pid).cpu_times()[:2])
        return 0.0

    def restart(self) -> None:
        self.end()
        self._open()

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.wait()


def _never_wait_long(pipe: Connection) -> None:
    """A worker that stops in the middle of a message does not stop us."""
    limit = struct.pack("ll", _MESSAGE_SECONDS, 0)
    with socket.socket(fileno=os.dup(pipe.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def serve(descriptor: int, limit: int) -> None:
    """A worker's life: what to do, then a job in, a picture or a reason out, to the pipe's end.

    limit: seconds after which a job ends it, where the parent, which does so earlier, is gone.
    """
    _bounded()
    pipe = Connection(descriptor)
    draw: Work = pipe.recv()
    pipe.send(_READY)
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        signal.alarm(limit)
        try:
            result = draw(*job)
        except Exception as error:
            result = reason_of(error)
        signal.alarm(0)
        try:
            pipe.send(result)
        except OSError:  # nobody is there to hear it
            return


def reason_of(error: Exception) -> str:
    """Why there is no picture; a bug costs one tune too, and shows in the report."""
    expected = isinstance(error, EngraveError | MismatchError)
    return f"{'' if expected else 'unexpected '}{type(error).__name__}: {error}"


def _bounded() -> None:
    """A tune that fills the memory ends its worker and not the machine; no core is left of it."""
    for what, most in ((resource.RLIMIT_DATA, _WORKER_BYTES), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(what)
        if hard == resource.RLIM_INFINITY or most <= hard:
            with contextlib.suppress(ValueError, OSError):  # not every system has both
                resource.setrlimit(what, (most, most))
