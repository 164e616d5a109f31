"""Text: the decoder learns questions and answers with no picture before them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.flops import forward_flops
from nota_jax.params import Tree
from nota_jax.training.objectives import answers
from nota_jax.training.terms import Batch, Objective, Sums


def objective(config: ConfigDict) -> Objective:
    """As a run's configuration has it."""
    return Objective(
        sums=partial(sums, chunk=config.loss_chunk),
        factors={"answers": 1.0},
        arrays=arrays,
        flops=flops,
    )


def sums(model: nn.Module, params: Tree, batch: Batch, *, chunk: int) -> Sums:
    """As of `answers.sums`, of rows without image tokens."""
    nothing = jnp.zeros((len(batch["tokens"]), 1, model.config.text.hidden_size))
    hidden: Any = model.apply(
        {"params": params}, batch["tokens"], batch["turn_ids"], batch["positions"], nothing,
        method="hidden",
    )  # fmt: skip
    return answers.of_hidden(model, params, hidden, batch, chunk)


def arrays(
    architecture: NotaGPTConfig, n_rows: int, length: int
) -> Mapping[str, jax.ShapeDtypeStruct]:
    of_answers = answers.arrays(architecture, n_rows, length)
    return {name: x for name, x in of_answers.items() if name != "images"}


def flops(
    architecture: NotaGPTConfig, arrays: Mapping[str, Any], trains: Mapping[str, bool]
) -> float:
    n_rows, length = arrays["tokens"].shape
    passes = 3 if trains["language_model"] else 1
    return passes * n_rows * forward_flops(architecture, length).text
