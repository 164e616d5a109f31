"""Reading: answers, and aids that show the decoder where on the page to look.

    gaze      two heads of the last layer are rewarded for attention on the patches that hold the
              symbols being written, a head on the first, a head on the last
    address   linear heads on that layer's queries name the symbol's system, bar and event
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
    text = architecture.text
    shape = (text.num_attention_heads * text.head_dim, sum(_ADDRESS.values()))
    address = nn.initializers.lecun_normal()(jax.random.fold_in(key, 1), shape)
    heads = {"address": {"kernel": address, "bias": jnp.zeros(shape[1:])}}
    return heads | ({"symbols": symbols.heads(architecture, key)} if dense else {})


def sums(model: nn.Module, params: Tree, batch: Batch, *, chunk: int, dense: bool = True) -> Sums:
    """Those of `of_features` and, with `dense`, of symbols too.

    batch: as of `answers`, `symbols` and `of_features`.
    """
    pixels = normalize(batch["images"])
    seen: Any = model.apply({"params": params}, pixels, method="see")
    features: Any = model.apply({"params": params}, seen, method="project")
    chosen = ink.choose(pixels, model.config.vision)
    of_patches, head = {}, params["aids"]
    if dense:
        of_patches = symbols.of_features(
            seen, chosen, batch["symbols"], head["symbols"], model.config
        )
    return {**of_features(model, params, batch, features, chosen, chunk), **of_patches}


def of_features(
    model: nn.Module,
    params: Tree,
    batch: Batch,
    features: jax.Array,
    chosen: jax.Array,
    chunk: int,
) -> Sums:
    """The sums of answers, gaze and addresses, given features [B, N, D] for the image tokens.

    batch: look int16 [B, T, 2], the patches of the symbols that each predicted token writes;
      address int8 [B, T, 3], of the first of them; −1 where there is none.
    chosen: the patches that the features tell of, ascending, [B, N].
    """
    outcome: Any = model.apply(
        {"params": params}, batch["tokens"], batch["turn_ids"], batch["positions"], features,
        keep="qk", method="hidden",
    )  # fmt: skip
    hidden, (queries, keys) = outcome
    asking = queries[-1].reshape(*hidden.shape[:2], -1)
    return {
        **answers.of_hidden(model, params, hidden, batch, chunk),
        **gaze(queries[-1], keys[-1], chosen, batch, model.config),
        **addresses(asking, batch["address"], params["aids"]["address"], model.config),
    }


def gaze(
    queries: jax.Array, keys: jax.Array, chosen: jax.Array, batch: Batch, config: NotaGPTConfig
) -> Sums:
    """−log of the attention that the first heads of a layer pay to their patch to look at.

    Of the last layer: where to look follows from how much is written, and counting takes layers
    (docs/results.md).

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
    look = batch["look"].astype(jnp.int32).swapaxes(1, 2)  # [B, head, T]
    number = jax.vmap(jnp.searchsorted)(chosen, look)
    number = jnp.minimum(number, chosen.shape[1] - 1)
    there = (jnp.take_along_axis(chosen[:, None], number, axis=2) == look) & (look >= 0)
    place = (first[:, None, None] + number)[..., None]
    wanted = jnp.take_along_axis(scores, place, axis=-1)[..., 0]
    log_mass = wanted - jax.nn.logsumexp(scores, axis=-1)
    n = jnp.sum(there.astype(jnp.float32))
    return {
        "gaze": (-jnp.sum(jnp.where(there, log_mass, 0.0)), n),
        "gaze_right": (jnp.sum(jnp.where(there, jnp.exp(log_mass), 0.0)), n),
    }


def addresses(asking: jax.Array, told: jax.Array, head: Tree, config: NotaGPTConfig) -> Sums:
    """Cross-entropy of system, bar and event, of queries [B, T, H · D]."""
    logits = matmul(asking, head["kernel"], "float32", config.operands) + head["bias"]
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
        "look": jax.ShapeDtypeStruct((n_rows, length, GAZING_HEADS), np.int16),
        "address": jax.ShapeDtypeStruct((n_rows, length, len(labels.ADDRESS)), np.int8),
    }
