"""What an objective is, and how its sums become a loss.

An objective gives a sum and a weight for each of its terms, never a mean: sums and weights are
added over microbatches and devices before they are divided, so that nothing depends on how a batch
was split.  (Averaging the microbatches' own means, as is often done, would weigh a token by how few
neighbours it has.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nota_jax.models.config import NotaGPTConfig
from nota_jax.params import Tree

Batch = Mapping[str, jax.Array]
Sums = dict[str, tuple[jax.Array, jax.Array]]  # term → (sum, weight), fp32 scalars


@dataclass(frozen=True)
class Objective:
    """What a training step makes smaller, and what it reports.

    sums: (model, parameters, batch) → every term's sum and weight over the batch.  Weights follow
      from the batch alone; parameters must not change them.
    factors: of each term that belongs to the loss, the factor of its mean there; the other terms
      are reported only.
    arrays: (architecture, rows, length) → shapes and dtypes of what a batch brings to the devices.
      Whatever else is in a batch stays behind.
    flops: (architecture, arrays, whether anything trains in each part) → FLOPs of a step.
    aids: (architecture, key) → parameters that only this objective reads, as linear heads.  They
      are `params["aids"]` beside the model's own, obey the same tables, and no export has them.
    extras: of `arrays`, those that the pipeline makes on request only (its `EXTRAS`).
    """

    sums: Callable[[nn.Module, Tree, Batch], Sums]
    factors: Mapping[str, float]
    arrays: Callable[[NotaGPTConfig, int, int], Mapping[str, jax.ShapeDtypeStruct]]
    flops: Callable[[NotaGPTConfig, Mapping[str, Any], Mapping[str, bool]], float]
    aids: Callable[[NotaGPTConfig, jax.Array], Tree] | None = None
    extras: tuple[str, ...] = ()

    def loss(self, sums: Sums, weights: Mapping[str, jax.Array]) -> jax.Array:
        """Σ factor × sum / weight, over the terms that belong to the loss.

        weights: of the whole batch, where `sums` may be those of a microbatch.
        """
        means = [
            factor * (sums[name][0] / jnp.where(weights[name] > 0, weights[name], 1.0))
            for name, factor in self.factors.items()
        ]
        return sum(means[1:], start=means[0])


def weights_of(sums: Sums) -> dict[str, jax.Array]:
    return {name: weight for name, (_, weight) in sums.items()}
