"""Processes that work for this one."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from nota_jax.errors import UserError

MOST = 8


def of_builds(workers: int | None) -> int:
    """So many as are asked for; None: one for each processor that this process may use.

    Raises:
      UserError: fewer than one.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    if workers < 1:
        raise UserError(f"workers is {workers}: at least 1 is needed")
    return workers


def usual() -> int:
    """As many as there are processors, `MOST` at most."""
    return min(os.cpu_count() or 1, MOST)


def fresh() -> ProcessPoolExecutor:
    """So many processes, started afresh: a copy of one that holds a device would hold it too."""
    return ProcessPoolExecutor(usual(), get_context("spawn"))
