"""Answers: cross-entropy of the supervised tokens, and how many of them are predicted right."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from nota_jax.data.feed import rows
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.flops import step_flops
from nota_jax.params import Tree
from nota_jax.pixels import normalize
from nota_jax.training.loss import chunked_cross_entropy
from nota_jax.training.terms import Batch, Objective, Sums

KEYS = ("images", "tokens", "turn_ids", "positions", "targets", "weights")


def objective(config: ConfigDict) -> Objective:
    """As a run's configuration has it."""
    return of_chunks(config.loss_chunk)


def of_chunks(chunk: int) -> Objective:
    """chunk: tokens of a row whose logits exist at a time."""
    return Objective(
        sums=partial(sums, chunk=chunk), factors={"answers": 1.0}, arrays=arrays, flops=flops
    )


def sums(model: nn.Module, params: Tree, batch: Batch, *, chunk: int) -> Sums:
    """Summed cross-entropy and correct tokens, both weighted by the supervised tokens.

    model: `models.notagpt.NotaGPT` or anything with its `encode_images`, `hidden`, `head_kernel`.
    batch: as `data.feed.pipeline` makes it: images uint8 [B, S, S, 3]; tokens, turn_ids,
      positions, targets int32 [B, T]; weights float32 [B, T].
    """
    variables = {"params": params}
    features = model.apply(variables, normalize(batch["images"]), method="encode_images")
    hidden: Any = model.apply(
        variables, batch["tokens"], batch["turn_ids"], batch["positions"], features, method="hidden"
    )
    return of_hidden(model, params, hidden, batch, chunk)


def of_hidden(model: nn.Module, params: Tree, hidden: jax.Array, batch: Batch, chunk: int) -> Sums:
    """The sums of the decoder's last hidden states [B, T, D]."""
    total, weight, correct = chunked_cross_entropy(
        hidden, model.head_kernel(params), batch["targets"], batch["weights"], chunk=chunk,
        operands=model.config.operands,
    )  # fmt: skip
    return {"answers": (total, weight), "accuracy": (correct, weight)}


def arrays(
    architecture: NotaGPTConfig, n_rows: int, length: int
) -> Mapping[str, jax.ShapeDtypeStruct]:
    size = architecture.vision.image_size
    one = rows.empty_batch(1, length, 0) | {"images": np.empty((1, size, size, 3), np.uint8)}
    return {k: jax.ShapeDtypeStruct((n_rows, *one[k].shape[1:]), one[k].dtype) for k in KEYS}


def flops(
    architecture: NotaGPTConfig, arrays: Mapping[str, Any], trains: Mapping[str, bool]
) -> float:
    n_rows, length = arrays["tokens"].shape
    return step_flops(architecture, n_rows, length, trains)
