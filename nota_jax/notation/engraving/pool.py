"""Engraving in worker processes: a crash of the engraver costs one tune, never the run.

Verovio and resvg are native code, and native code can end its process (SIGSEGV, SIGABRT).  Each
worker has one job at a time and its own pipe, so that it is always known which tune it died of.
Workers are plain new interpreters and not `multiprocessing` processes: they inherit no threads,
and do not import the caller's main module, which may well import JAX.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from multiprocessing.connection import Connection, Pipe, wait

from nota_jax.notation.engraving.errors import EngraveError, MismatchError
from nota_jax.notation.engraving.layout import Picture, Style, engrave_each
from nota_jax.notation.tune import Tune

Job = tuple[Hashable, Tune, Style, tuple[tuple[int, int] | None, ...]]
Result = tuple[Picture, ...] | str
Work = Callable[[Tune, Style, tuple[tuple[int, int] | None, ...]], tuple[Picture, ...]]

CRASHED = "worker crashed"
TIMED_OUT = "worker timed out"
_START_SECONDS = 60.0  # until a new worker has imported what it needs
_AHEAD = 8  # jobs a worker may be ahead of the oldest unfinished one


class EngravePool:
    """Engraves jobs in `workers` processes; use it as a context manager.

        with EngravePool(2) as pool:
            for key, result in pool.map(jobs):  # in the order of the jobs
                ...                             # result: the Pictures, or the reason as text

    A job names a tune, its style and the highlights (None: plain) of which it wants a picture.

    A job's result depends on the job alone, so it is the same whatever the number of workers.

    Args:
      workers: number of processes.
      timeout: seconds for one job, after which its worker is ended and replaced.
      work: what a worker does with a job, a module's function; another one only in tests.
    """

    def __init__(self, workers: int = 1, *, timeout: float = 30.0, work: Work = engrave_each):
        if workers < 1:
            raise ValueError(f"an EngravePool needs at least one worker, not {workers}")
        self._n_workers, self._timeout, self._work = workers, timeout, work
        self._workers: list[_Worker] = []

    def __enter__(self) -> EngravePool:
        self._workers = [_Worker(self._work) for _ in range(self._n_workers)]
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        self._workers = []

    def map(self, jobs: Iterable[Job]) -> Iterator[tuple[Hashable, Result]]:
        """(key, Pictures) of every job that succeeds, (key, reason) of the others, in order.

        Jobs are drawn from the iterable as workers get free, at most a few ahead of the results.
        """
        if not self._workers:
            raise ValueError("EngravePool.map outside its `with` block")
        source = enumerate(jobs)
        done: dict[int, tuple[Hashable, Result]] = {}
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
                        self._start(worker, number, job)
            busy = [worker for worker in self._workers if worker.job is not None]
            if not busy and not done:
                return
            for worker in self._finished(busy):
                assert worker.job is not None  # or it were not busy
                number, key = worker.job
                done[number] = (key, self._result(worker))

    def _start(self, worker: _Worker, number: int, job: Job) -> None:
        key, *arguments = job
        worker.job = (number, key)
        allowance = 0.0 if worker.warm else _START_SECONDS
        worker.deadline = time.monotonic() + self._timeout + allowance
        try:
            worker.pipe.send(arguments)
        except ConnectionError:  # it died while it had nothing to do
            worker.restart()
            worker.pipe.send(arguments)

    def _finished(self, busy: list[_Worker]) -> list[_Worker]:
        """Workers that have answered, died, or are past their deadline; waits for one."""
        patience = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
        ready = wait([worker.pipe for worker in busy], timeout=patience) if busy else []
        now = time.monotonic()
        return [worker for worker in busy if worker.pipe in ready or worker.deadline <= now]

    def _result(self, worker: _Worker) -> Result:
        worker.job = None
        try:
            if worker.pipe.poll():
                worker.warm = True
                return worker.pipe.recv()
            reason = TIMED_OUT
        except (EOFError, ConnectionError):
            reason = CRASHED
        worker.restart()
        return reason


class _Worker:
    """An interpreter that engraves, the pipe to it, and the job it has."""

    def __init__(self, work: Work):
        self.work = work
        self.job: tuple[int, Hashable] | None = None
        self.deadline = 0.0
        self._open()

    def _open(self) -> None:
        self.pipe, theirs = Pipe()
        self.warm = False  # has answered once: its imports are done
        command = f"import sys; from {__name__} import serve; serve(int(sys.argv[1]))"
        self.process = subprocess.Popen(
            [sys.executable, "-c", command, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            process_group=0,  # Ctrl-C is the parent's to handle
        )
        self.pipe.send(self.work)
        theirs.close()  # or its death would not be seen as the end of the pipe

    def restart(self) -> None:
        self.end()
        self._open()

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.wait()


def serve(descriptor: int) -> None:
    """A worker's life: what to do, then a job in, a picture or a reason out, to the pipe's end."""
    pipe = Connection(descriptor)
    draw: Work = pipe.recv()
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            result: Result = draw(*job)
        except (EngraveError, MismatchError) as error:
            result = f"{type(error).__name__}: {error}"
        except Exception as error:  # a bug costs one tune too, and shows in the report
            result = f"unexpected {type(error).__name__}: {error}"
        pipe.send(result)
