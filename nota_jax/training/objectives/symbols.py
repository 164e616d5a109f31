"""Symbols: linear heads on the vision tower's features say what lies in each patch.

What a tower that starts from random weights learns from first, and for any other a probe that tells
whether it sees notes at all (docs/results.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from nota_jax.data.feed import labels
from nota_jax.models import ink
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.flops import forward_flops
from nota_jax.models.layers import matmul
from nota_jax.params import Tree
from nota_jax.pixels import normalize
from nota_jax.training.terms import Batch, Objective, Sums

RARE = 5.0  # weight of a class that is not its field's usual one
EMPTY = 0.1  # weight of a place that holds nothing, of which there are many


def objective(config: ConfigDict) -> Objective:
    """As a run's configuration has it."""
    del config
    return Objective(
        sums=sums,
        factors=dict.fromkeys(labels.NAMES, 1.0),
        arrays=arrays,
        flops=flops,
        aids=lambda architecture, key: {"symbols": heads(architecture, key)},
        extras=("symbols",),
    )


def heads(architecture: NotaGPTConfig, key: jax.Array) -> Tree:
    """One linear map to all classes of all places of a patch."""
    shape = (architecture.vision.hidden_size, labels.SLOTS * sum(labels.FIELDS.values()))
    return {
        "kernel": nn.initializers.lecun_normal()(key, shape),
        "bias": jnp.zeros(shape[1:]),
    }


def sums(model: nn.Module, params: Tree, batch: Batch) -> Sums:
    """Cross-entropy and hits of every field.

    batch: images uint8 [B, S, S, 3]; symbols int8 [B, patches, SLOTS, fields].
    """
    pixels = normalize(batch["images"])
    features: Any = model.apply({"params": params}, pixels, method="see")
    chosen = ink.choose(pixels, model.config.vision)
    return of_features(features, chosen, batch["symbols"], params["aids"]["symbols"], model.config)


def of_features(
    features: jax.Array, chosen: jax.Array, told: jax.Array, head: Tree, config: NotaGPTConfig
) -> Sums:
    """The sums of features [B, N, D] of the patches `chosen` [B, N].

    A field's cross-entropy is over the symbols that have a label there, rare classes weighted up;
    its hits, "FIELD_right", over those of a class that is not the usual one, because the usual one
    would hide them.
    """
    told = jnp.take_along_axis(told, chosen[..., None, None], axis=1).astype(jnp.int32)
    logits = matmul(features, head["kernel"], "float32", config.operands) + head["bias"]
    logits = logits.reshape(*told.shape[:3], -1)
    found: Sums = {}
    ends = np.cumsum(list(labels.FIELDS.values()))
    for i, part in enumerate(jnp.split(logits, ends[:-1], axis=-1)):
        name, label = labels.NAMES[i], told[..., i]
        is_label = jnp.arange(part.shape[-1]) == label[..., None]
        of_label = jnp.sum(jnp.where(is_label, part, 0.0), axis=-1)
        usual = label == labels.USUAL.get(name, labels.NONE)
        weight = jnp.where(usual, 1.0, RARE if name in labels.USUAL else 1.0)
        if name == "kind":
            usual = label == 0
            weight = jnp.where(usual, EMPTY, 1.0)
        weight = jnp.where(label == labels.NONE, 0.0, weight)
        loss = jax.nn.logsumexp(part, axis=-1) - of_label
        found[name] = jnp.sum(loss * weight), jnp.sum(weight)
        asked = jnp.where(usual | (label == labels.NONE), 0.0, 1.0)
        hits = jnp.where(of_label >= jnp.max(part, axis=-1), asked, 0.0)
        found[f"{name}_right"] = jnp.sum(hits), jnp.sum(asked)
    return found


def arrays(
    architecture: NotaGPTConfig, n_rows: int, length: int
) -> Mapping[str, jax.ShapeDtypeStruct]:
    del length
    size, patches = architecture.vision.image_size, architecture.vision.num_patches
    told = (n_rows, patches, labels.SLOTS, len(labels.FIELDS))
    return {
        "images": jax.ShapeDtypeStruct((n_rows, size, size, 3), np.uint8),
        "symbols": jax.ShapeDtypeStruct(told, np.int8),
    }


def flops(
    architecture: NotaGPTConfig, arrays: Mapping[str, Any], trains: Mapping[str, bool]
) -> float:
    n_rows, passes = arrays["images"].shape[0], 3 if trains["vision_tower"] else 1
    return passes * n_rows * forward_flops(architecture, 1).vision
