"""Where a training step's time goes, on the device at hand.

    python -m nota_jax.bench.breakdown --config=configs/phase2.py [--rounds 15]

The step is measured as ever longer beginnings of itself: the vision tower forward, then the
decoder too, then the loss, then the gradient, then the whole step with its optimizer.  All are
run in turn, a round each, so that what else the machine does hits all alike; a part's time is the
median over rounds of the difference to the beginning before it.  Reading a batch from disk stands
beside them: it happens in other threads while the device computes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from nota_jax import tables
from nota_jax.bench.ours import set_up
from nota_jax.errors import UserError, exit_status
from nota_jax.parallel.mesh import place_batch
from nota_jax.params import split_tree
from nota_jax.pixels import normalize
from nota_jax.training import program
from nota_jax.training import state as states
from nota_jax.training.step import sums_and_grads

PARTS = ("vision tower, forward", "connector and decoder, forward", "head and loss, forward",
         "gradient", "optimizer")  # fmt: skip


def beginnings(phase: program.Program, params: Any, batch: Any) -> list[Callable[[], Any]]:
    """Functions that run the step up to the end of each of `PARTS`, and wait for it."""
    model, config = phase.model, phase.config
    state = states.create(params, phase.trainable, phase.optimizer, phase.shardings)
    params = jax.tree.map(jax.numpy.copy, state.params)  # the step will consume the state's own

    def vision(params, batch):
        variables = {"params": params}
        return model.apply(variables, normalize(batch["images"]), method="encode_images")

    def decoder(params, batch):
        rows = (batch["tokens"], batch["turn_ids"], batch["positions"])
        features = vision(params, batch)
        return model.apply({"params": params}, *rows, features, method="hidden")

    def loss(params, batch):
        return phase.objective.sums(model, params, batch)

    def gradient(trainable, frozen, batch):
        return sums_and_grads(
            model, phase.objective, trainable, frozen, batch, accumulation=config.accumulation
        )

    step, box = phase.step(state), [state]
    trainable, frozen = split_tree(params, phase.trainable)

    def whole():
        box[0], metrics = step(box[0], batch)
        return box[0].trainable, metrics

    jitted = [jax.jit(f) for f in (vision, decoder, loss)]
    parts = [lambda f=f: f(params, batch) for f in jitted]
    with_gradient = jax.jit(gradient)
    parts += [lambda: with_gradient(trainable, frozen, batch), whole]
    return [lambda part=part: jax.block_until_ready(part()) for part in parts]


def measure(config: ConfigDict, rounds: int) -> dict[str, Any]:
    """Seconds of each part, of the whole step, and of reading a batch; and the batch's shape."""
    if rounds < 3:
        raise UserError(f"--rounds is {rounds}: a median needs at least 3")
    setup = set_up(config, rounds + 2, print)
    records, phase = setup.records, setup.phase
    batch = place_batch(phase.mesh, {key: records.batches[0][key] for key in phase.keys})
    runs = beginnings(phase, setup.params, batch)
    for run in runs:
        run()  # compiles
    times = np.empty((rounds, len(runs)))
    for i in range(rounds):
        for j, run in enumerate(runs):
            start = time.perf_counter()
            run()
            times[i, j] = time.perf_counter() - start
    parts = np.median(np.diff(times, axis=1, prepend=0.0), axis=0)
    return {
        "parts": dict(zip(PARTS, parts.tolist(), strict=True)),
        "step": float(np.median(times[:, -1])),
        "rows": records.batches[0]["tokens"].shape,
        "images": len(records.batches[0]["images"]),
        "records": records.source,
        "weights": setup.weights,
    }


def table(found: dict[str, Any]) -> str:
    """The parts in milliseconds and as shares of the step."""
    rows, length = found["rows"]
    rate = found["images"] / found["step"]
    cells = [
        [name, f"{1e3 * seconds:.1f} ms", f"{seconds / found['step']:.1%}"]
        for name, seconds in found["parts"].items()
    ]
    cells.append(["step", f"{1e3 * found['step']:.1f} ms", f"{rate:.1f} images/s"])
    heading = f"{rows} rows of {length} tokens ({found['records']}; weights {found['weights']})"
    return f"{heading}\n{tables.text(('part', 'time', 'share'), cells)}"


def main() -> int:
    from nota_jax.environment import quiet
    from nota_jax.main import parse

    quiet()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=15)
    given, rest = parser.parse_known_args()
    return exit_status(lambda: print(table(measure(parse([sys.argv[0], *rest])[0], given.rounds))))


if __name__ == "__main__":
    sys.exit(main())
