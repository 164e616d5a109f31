"""What of a build one process has to do alone, and what its workers do for it.

python -m nota_jax.tools.build_speed --limit 300 [--variants 1] [--workers 2]

Processor time of the parent process while tunes are drawn and while the shards are written, and of
its workers: how many workers can help at most.
"""

from __future__ import annotations

import argparse
import functools
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nota_jax.data.build import dataset
from nota_jax.data.build.pages import Settings
from nota_jax.errors import exit_status

_STAGES = ("_draw_missing", "_assemble")


def measure(limit: int, variants: int, workers: int) -> dict[str, float]:
    """Milliseconds of a processor per tune."""
    spent, before = dict.fromkeys(_STAGES, 0.0), _children()

    def timed(name: str) -> Callable[..., Any]:
        work = getattr(dataset, name)

        @functools.wraps(work)
        def measured(*arguments: Any) -> Any:
            start = time.process_time()
            try:
                return work(*arguments)
            finally:
                spent[name] += time.process_time() - start

        return measured

    originals = {name: getattr(dataset, name) for name in _STAGES}
    start = time.monotonic()
    try:
        for name in _STAGES:
            setattr(dataset, name, timed(name))
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(variants=variants, split_by="hash")
            report = dataset.build(Path(folder) / "set", None, limit, settings, workers)
    finally:
        for name, work in originals.items():
            setattr(dataset, name, work)
    ms = 1e3 / report["tunes"]["in"]
    return {
        "tunes": report["tunes"]["in"],
        "pages": sum(report["pages"].values()),
        "seconds": time.monotonic() - start,
        "parent_drawing_ms": spent["_draw_missing"] * ms,
        "parent_writing_ms": spent["_assemble"] * ms,
        "workers_ms": (_children() - before) * ms,
    }


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _print(given: argparse.Namespace) -> None:
    for name, value in measure(given.limit, given.variants, given.workers).items():
        print(f"{name:18} {value:.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures a build's parent and its workers.")
    parser.add_argument("--limit", type=int, default=300, help="tunes")
    parser.add_argument("--variants", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    return exit_status(lambda: _print(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
