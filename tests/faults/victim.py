"""Run by kill_run.py: one life of a small run, from wherever the one before it was killed.

    python -m tests.faults.victim FOLDER NAME STEPS

FOLDER holds the dataset and the runs; NAME is this run's.  It trains and answers as nota_jax.main
does, notes every batch that it draws in FOLDER/NAME.order, and at the end the hash of every array
of the state in FOLDER/NAME.final and the process's number: of what it holds of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from configs import phase2
from nota_jax import run
from nota_jax.data.feed import pipeline
from nota_jax.errors import exit_status
from nota_jax.files import write_json
from nota_jax.parallel import processes
from tests.data.make_dataset import SIZE
from tests.test_run import configured


def digest(*arrays: Any) -> str:
    found = hashlib.sha256()
    for x in arrays:
        x = np.asarray(x)
        found.update(f"{x.dtype}{x.shape}".encode() + x.tobytes())
    return found.hexdigest()[:16]


class Noting(pipeline.Pipeline):
    """A pipeline that notes what is drawn from it, in this process: the step and its number, the
    hash of its share of the batch, and what it is about."""

    path: Path

    def __iter__(self) -> Any:
        return NotingIterator(super().__iter__())


class NotingIterator:
    def __init__(self, inner: Any):
        self.inner = inner
        self.get_state, self.set_state = inner.get_state, inner.set_state

    def __next__(self) -> dict[str, Any]:
        batch = next(self.inner)
        ids = [str(name) for row in batch["ids"] for name in row]
        arrays = [x for name, x in sorted(batch.items()) if name != "ids"]
        process = jax.process_index()
        line = json.dumps([self.get_state()["step"], process, digest(*arrays), ids]) + "\n"
        file = os.open(Noting.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line.encode())
        os.close(file)
        return batch


def configuration(folder: Path, name: str, steps: int) -> Any:
    """Phase 2 of tests/test_run.py on the dataset of tests/data/make_dataset.py."""
    c = configured(phase2, folder)
    c.run_dir, c.data.dir, c.previous = str(folder / name), str(folder / "dataset"), ""
    c.data.tasks, c.objective, c.loss_weights = ("extraction",), "answers", dict(answers=1.0)
    c.aids.update(dict(gaze=0.0, address=0.0, symbols=0.0))
    c.model.vision.update(dict(image_size=SIZE, patch_size=12, most_patches=8, heading="page"))
    c.data.lengths, c.data.threads = (256,), 2
    c.steps, c.save_every, c.log_every = steps, 2, 1
    if processes.several():
        c.data.batch_size = 18  # three rows, so that two processes do not read the same
    return c


def live(folder: Path, name: str, steps: int) -> None:
    Noting.path = folder / f"{name}.order"
    pipeline.Pipeline = Noting
    config = configuration(folder, name, steps)

    def say(line: str) -> None:
        if processes.is_main():
            print(line, flush=True)

    with processes.together():
        prepared = run.prepare(config, say)
        outcome = run.train(prepared, say)
        run.evaluate_run(prepared, outcome.state.params, say)
        leaves = jax.tree_util.tree_leaves_with_path(outcome.state)
        hashes = {
            jax.tree_util.keystr(path): digest(*(part.data for part in leaf.addressable_shards))
            for path, leaf in leaves
        }
        write_json(folder / f"{name}.final{jax.process_index()}", hashes)


if __name__ == "__main__":
    where, who, how_many = sys.argv[1:]
    sys.exit(exit_status(lambda: live(Path(where), who, int(how_many))))
