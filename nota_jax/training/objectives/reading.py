"""Reading: answers, and aids that show the decoder where on the page to look.

    gaze      two heads of a middle layer are rewarded for attention on the patch that holds the
              symbol being written
    address   linear heads on the last hidden state name the symbol's system, bar and event
    symbols   the tower goes on saying what lies in each patch (`symbols`); of no use where the
              tower is frozen

Each has its weight in `config.aids`, 0 leaves it out.  What they gave is in docs/results.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from nota_jax.data.feed import labels
from nota_jax.models import ink
from nota_jax.models.attention import turn_mask
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.layers import matmul
from nota_jax.params import Tree
from nota_jax.pixels import normalize
from nota_jax.training.objectives import answers, symbols
from nota_jax.training.terms import Batch, Objective, Sums

GAZING_HEADS = 2
EXTRAS = ("symbols", "look", "address")
_ADDRESS = {name: labels.FIELDS[name] for name in labels.ADDRESS}


def objective(config: ConfigDict) -> Objective:
    """As a run's configuration has it."""
    weights, dense = config.aids, config.aids.symbols > 0
    factors = {"answers": 1.0, "gaze": weights.gaze}
    factors |= {f"at_{name}": weights.address for name in _ADDRESS}
    factors |= dict.fromkeys(labels.NAMES, weights.symbols) if dense else {}
    return Objective(
        sums=partial(sums, chunk=config.loss_chunk, dense=dense),
        factors=factors,
        arrays=partial(arrays, dense=dense),
        flops=answers.flops,
        aids=partial(aids, dense=dense),
        extras=EXTRAS[0 if dense else 1 :],
    )


def aids(architecture: NotaGPTConfig, key: jax.Array, *, dense: bool = True) -> Tree:
    """The heads of addresses and, where wanted, of symbols."""
    shape = (architecture.text.hidden_size, sum(_ADDRESS.values()))
    address = nn.initializers.lecun_normal()(jax.random.fold_in(key, 1), shape)
    heads = {"address": {"kernel": address, "bias": jnp.zeros(shape[1:])}}
    return heads | ({"symbols": symbols.heads(architecture, key)} if dense else {})


def sums(model: nn.Module, params: Tree, batch: Batch, *, chunk: int, dense: bool = True) -> Sums:
    """Those of `answers` and of the aids, with `dense` that of symbols too.

    batch: as of `answers` and `symbols`; look int16 [B, T], the patch of the symbol that each
      predicted token writes, address int8 [B, T, 3]; −1 where there is none.
    """
    config, variables = model.config, {"params": params}
    pixels = normalize(batch["images"])
    seen: Any = model.apply(variables, pixels, method="see")
    features: Any = model.apply(variables, seen, method="project")
    outcome: Any = model.apply(
        variables, batch["tokens"], batch["turn_ids"], batch["positions"], features, keep="qk",
        method="hidden",
    )  # fmt: skip
    hidden, (queries, keys) = outcome
    chosen, layer = ink.choose(pixels, config.vision), len(queries) // 2
    told = params["aids"]
    of_patches = {}
    if dense:
        of_patches = symbols.of_features(seen, chosen, batch["symbols"], told["symbols"], config)
    return {
        **answers.of_hidden(model, params, hidden, batch, chunk),
        **gaze(queries[layer], keys[layer], chosen, batch, config),
        **addresses(hidden, batch["address"], told["address"], config),
        **of_patches,
    }


def gaze(
    queries: jax.Array, keys: jax.Array, chosen: jax.Array, batch: Batch, config: NotaGPTConfig
) -> Sums:
    """−log of the attention that the first heads of a layer pay to the patch to look at.

    queries [B, T, H, D], keys [B, T, K, D]: rotated; chosen: the patches among the image tokens,
      ascending, [B, N].
    """
    dim, group = queries.shape[-1], queries.shape[2] // keys.shape[2]
    keys = jnp.repeat(keys, group, axis=2)[:, :, :GAZING_HEADS]
    scores = jnp.einsum("bthd,bshd->bhts", queries[:, :, :GAZING_HEADS], keys) * dim**-0.5
    visible = turn_mask(batch["turn_ids"], batch["positions"], config.text.sliding_window)
    scores = jnp.where(visible, scores.astype(jnp.float32), -1e9)
    # Where in the row each patch stands: the image's tokens are one run.
    first = jnp.argmax(batch["tokens"] == config.image_token_id, axis=1)
    look = batch["look"].astype(jnp.int32)
    number = jax.vmap(jnp.searchsorted)(chosen, look)
    number = jnp.minimum(number, chosen.shape[1] - 1)
    there = (jnp.take_along_axis(chosen, number, axis=1) == look) & (look >= 0)
    place = (first[:, None] + number)[:, None, :, None]
    wanted = jnp.take_along_axis(scores, place, axis=-1)[..., 0]
    log_mass = wanted - jax.nn.logsumexp(scores, axis=-1)
    there = there[:, None]
    n = jnp.sum(there.astype(jnp.float32)) * GAZING_HEADS
    return {
        "gaze": (-jnp.sum(jnp.where(there, log_mass, 0.0)), n),
        "gaze_right": (jnp.sum(jnp.where(there, jnp.exp(log_mass), 0.0)), n),
    }


def addresses(hidden: jax.Array, told: jax.Array, head: Tree, config: NotaGPTConfig) -> Sums:
    """Cross-entropy of system, bar and event."""
    logits = matmul(hidden, head["kernel"], "float32", config.operands) + head["bias"]
    found, start = {}, 0
    for i, (name, size) in enumerate(_ADDRESS.items()):
        part, label = logits[..., start : start + size], told[..., i].astype(jnp.int32)
        weight = (label >= 0).astype(jnp.float32)
        of_label = jnp.take_along_axis(part, jnp.maximum(label, 0)[..., None], axis=-1)[..., 0]
        loss = jax.nn.logsumexp(part, axis=-1) - of_label
        found[f"at_{name}"] = jnp.sum(loss * weight), jnp.sum(weight)
        start += size
    return found


def arrays(
    architecture: NotaGPTConfig, n_rows: int, length: int, *, dense: bool = True
) -> Mapping[str, jax.ShapeDtypeStruct]:
    of_symbols = symbols.arrays(architecture, n_rows, length)
    return {
        **answers.arrays(architecture, n_rows, length),
        **({"symbols": of_symbols["symbols"]} if dense else {}),
        "look": jax.ShapeDtypeStruct((n_rows, length), np.int16),
        "address": jax.ShapeDtypeStruct((n_rows, length, len(labels.ADDRESS)), np.int8),
    }
