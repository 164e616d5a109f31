"""Run by test_any_mesh.py: one process of a run that moves from mesh to mesh.

    python on_any_mesh.py FOLDER NAME:DEVICES:STOP …

Each word trains the run FOLDER/NAME on so many devices until it leaves off behind step STOP; the
dataset is FOLDER/dataset.  Everything is as `nota_jax.main` does it, but for the devices that a
mesh is made of.  The batches drawn are noted as in tests/faults/victim.py.
"""

import dataclasses
import sys
from pathlib import Path

import jax

from nota_jax import run
from nota_jax.data.feed import pipeline
from nota_jax.errors import exit_status
from nota_jax.parallel import processes
from nota_jax.parallel.mesh import make_mesh
from nota_jax.training.program import train_config
from tests.faults import victim

STEPS = 8


def train(folder, name, devices, stop):
    config = victim.configuration(folder, name, STEPS)
    config.data.batch_size = 30  # five rows
    config.optim.learning_rate = 1e-2
    # In bfloat16, which "auto" chooses where the CPU has it, two programs of one sum may round
    # otherwise, by more than the losses may differ.
    config.model.operands = ""
    config.eval.update(dict(every=2, sample=3))
    victim.Noting.path = folder / f"{name}.order"
    run.make_mesh = lambda **sizes: make_mesh(devices=jax.devices()[:devices], **sizes)
    run.train_config = lambda *rest: dataclasses.replace(train_config(*rest), stop_after=stop)
    say = print if processes.is_main() else lambda _: None
    run.train(run.prepare(config, say), say)


def main():
    folder, *words = sys.argv[1:]
    pipeline.Pipeline = victim.Noting  # of this process alone: the tests import STEPS from here
    with processes.together():
        for word in words:
            name, devices, stop = word.split(":")
            train(Path(folder), name, int(devices), int(stop))


if __name__ == "__main__":
    sys.exit(exit_status(main))
