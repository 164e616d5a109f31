"""The fixtures of those who run the loop."""

from __future__ import annotations

import jax
import pytest

from nota_jax.models.notagpt import NotaGPT
from nota_jax.parallel.mesh import make_mesh
from nota_jax.training.loop import TrainConfig, train
from nota_jax.training.optimizer import OptimizerConfig
from tests.training.small_runs import PHASE_2, Batches, bits


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Filled by the first test that needs it: `undisturbed(run)` → bits of the state behind 6."""
    kept = []

    def get(run):
        if not kept:
            kept.append(bits(run(tmp_path_factory.mktemp("whole"))[0].state))
        return kept[0]

    return get


@pytest.fixture
def run(nano_config, nano_params, nano_batch):
    """`run(folder, on_batch, **config)` → (outcome, lines said).

    hear: called with every line as it is said.  ask: evaluates on the way.
    """

    def start(
        folder, on_batch=lambda i, batch: None, params=nano_params, limit=100, hear=None, ask=None,
        **options,
    ):  # fmt: skip
        config = dict(total_steps=6, trainable=PHASE_2, log_every=2, save_every=100)
        config["optimizer"] = OptimizerConfig(learning_rate=1e-2)
        said = []
        outcome = train(
            TrainConfig(**(config | options)),
            NotaGPT(nano_config),
            nano_params,
            lambda shardings: params,
            Batches(nano_batch, on_batch, limit),
            make_mesh(devices=jax.devices()[:1]),
            folder,
            ask=ask,
            say=lambda line: (said.append(line), hear and hear(line)),
        )
        return outcome, said

    return start
