"""Described pages: the decoder learns to read from what lies in each patch, told instead of seen.

In the image tokens' places stand sums of embeddings, one for every class of every symbol that the
labels name there, and one for the patch's place.  So the decoder learns to find its way on a page,
with the aids of `reading`, at the cost of no tower; a connector can then hand a tower's features to
it while it is frozen, as in the paper's phase 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from nota_jax.data.feed import labels
from nota_jax.models import ink
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.flops import forward_flops
from nota_jax.models.layers import matmul
from nota_jax.params import Tree
from nota_jax.pixels import normalize
from nota_jax.training.objectives import reading
from nota_jax.training.terms import Batch, Objective, Sums

_CLASSES = sum(labels.FIELDS.values())


def objective(config: ConfigDict) -> Objective:
    """As a run's configuration has it."""
    read = reading.objective(config)
    return Objective(
        sums=partial(sums, chunk=config.loss_chunk),
        factors={name: x for name, x in read.factors.items() if name not in labels.NAMES},
        arrays=partial(reading.arrays, dense=True),
        flops=flops,
        aids=aids,
        extras=reading.EXTRAS,
    )


def aids(architecture: NotaGPTConfig, key: jax.Array) -> Tree:
    """The embeddings of symbols and places, and the heads of addresses."""
    width, patches = architecture.text.hidden_size, architecture.vision.num_patches
    init = nn.initializers.normal(0.1)
    tables: Tree = {
        "symbols": init(jax.random.fold_in(key, 2), (labels.SLOTS * _CLASSES, width)),
        "places": init(jax.random.fold_in(key, 3), (patches, width)),
    }
    return {**reading.aids(architecture, key, dense=False), "described": tables}


def sums(model: nn.Module, params: Tree, batch: Batch, *, chunk: int) -> Sums:
    """Those of `reading.of_features`, of pages that are described."""
    chosen = ink.choose(normalize(batch["images"]), model.config.vision)
    told = params["aids"]["described"]
    features = describe(batch["symbols"], chosen, told, model.config)
    return reading.of_features(model, params, batch, features, chosen, chunk)


def describe(told: jax.Array, chosen: jax.Array, tables: Tree, config: NotaGPTConfig) -> jax.Array:
    """[B, N, D] of labels int8 [B, patches, SLOTS, fields], of the patches `chosen` [B, N]."""
    told = jnp.take_along_axis(told, chosen[..., None, None], axis=1)
    classes = [
        told[..., i, None] == jnp.arange(size, dtype=told.dtype)
        for i, size in enumerate(labels.FIELDS.values())
    ]
    named = jnp.concatenate(classes, axis=-1).reshape(*chosen.shape, -1).astype(jnp.float32)
    features = matmul(named, tables["symbols"], "float32", config.operands)
    return features + tables["places"][chosen]


def flops(
    architecture: NotaGPTConfig, arrays: Mapping[str, Any], trains: Mapping[str, bool]
) -> float:
    n_rows, length = arrays["tokens"].shape
    passes = 3 if trains["language_model"] else 1
    table = 6 * architecture.num_image_tokens * labels.SLOTS * _CLASSES
    text = passes * forward_flops(architecture, length).text
    return n_rows * (text + table * architecture.text.hidden_size)
