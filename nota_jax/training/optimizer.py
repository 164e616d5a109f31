"""AdamW with warm-up and cosine decay, over trainable parameters only.

The defaults are LLaVA's published recipe (warm-up 3 %, cosine to zero, no weight decay, gradient
norm clipped at 1, AdamW's usual betas): the NOTA paper states its learning rates and nothing else,
so the rest is a substitution, not the paper's figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from nota_jax.errors import UserError
from nota_jax.params import Rules, Tree, flatten, unflatten


@dataclass(frozen=True)
class OptimizerConfig:
    """learning_rate: at its peak.  warmup: share of all steps.  final: learning rate at the end,
    as a share of the peak.  weight_decay: decoupled, applied where `decay_rules` say True.
    clip_norm: largest global norm of the gradient; None for no clipping.  multiplier_rules:
    factor on the learning rate per parameter.  center_rules: kernels whose gradient and update
    have their mean over the inputs taken away (gradient centralization, arXiv 2004.01461)."""

    learning_rate: float
    warmup: float = 0.03
    final: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    decay_rules: Rules = ((r".*/(bias|scale|embedding|class_embedding)", False), (".*", True))
    multiplier_rules: Rules = ((".*", 1.0),)
    center_rules: Rules = ((".*", False),)

    def __post_init__(self):
        for name in ("learning_rate", "weight_decay", "final"):
            if getattr(self, name) < 0:
                raise UserError(f"optim.{name} is {getattr(self, name)}; it cannot be negative")
        if not 0 <= self.warmup < 1:
            raise UserError(
                f"optim.warmup is {self.warmup}; it is a share of all steps (3 % is 0.03), below 1"
            )
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise UserError(f"optim.clip_norm is {self.clip_norm}; write None for no clipping")


def schedule(config: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """Learning rate of each step, counted from 0.

    Linear warm-up reaches the peak with the last warm-up step, then a half cosine reaches
    `final × peak` where step `total_steps` would be.  Unlike transformers' schedule, step 0 is
    not lost to a learning rate of 0.
    """
    warmup = round(config.warmup * total_steps)
    falling = max(total_steps - warmup, 1)
    # In shares of the peak and of the way down, which keeps the last digits of earlier runs.
    cosine = optax.cosine_decay_schedule(1.0, 1, alpha=config.final)
    share = optax.join_schedules(
        [lambda step: (step + 1) / max(warmup, 1), lambda step: cosine(step / falling)], [warmup]
    )
    return lambda step: config.learning_rate * share(step)


def make_optimizer(
    config: OptimizerConfig,
    total_steps: int,
    *,
    decay: Mapping[str, bool] | None = None,
    multipliers: Mapping[str, float] | None = None,
    centered: Mapping[str, bool] | None = None,
) -> optax.GradientTransformation:
    """The optimizer for any subtree of the parameters that the tables know.

    Args:
      config: the recipe.
      total_steps: optimizer steps of the whole run, resumed parts included.
      decay: weight decay or not, by path (`params.resolve` of `config.decay_rules`); None decays
        everything alike.
      multipliers: learning-rate factor by path; None for 1 everywhere.
      centered: gradient centralization or not, by path; None centres nothing.
    """
    # The gradient, because its mean would swamp Adam's second moment; the update too, because
    # Adam divides element by element: a kernel that sums to zero goes on doing so.
    center = optax.identity()
    if centered is not None and any(centered.values()):
        center = _by_path(_center, centered)
    steps = [center]
    if config.clip_norm is not None:
        steps.append(optax.clip_by_global_norm(config.clip_norm))
    steps += [optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps), center]
    if config.weight_decay:
        mask = None if decay is None else lambda tree: _select(decay, tree)
        steps.append(optax.add_decayed_weights(config.weight_decay, mask=mask))
    if multipliers is not None and set(multipliers.values()) != {1.0}:
        steps.append(_by_path(jnp.multiply, multipliers))
    steps.append(optax.scale_by_learning_rate(schedule(config, total_steps)))
    return optax.chain(*steps)


def _by_path(
    change: Callable[[jax.Array, Any], jax.Array], table: Mapping[str, Any]
) -> optax.GradientTransformation:
    """Every update changed by what the table says of its parameter."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(change, updates, _select(table, updates))
    )


def _center(update: jax.Array, on: bool) -> jax.Array:
    """Without its mean over all axes but the last, which is the outputs'."""
    inputs = tuple(range(update.ndim - 1))
    return update - update.mean(inputs, keepdims=True) if on else update


def _select(table: Mapping[str, Any], tree: Tree) -> Tree:
    """The table's values, as a tree with the structure of `tree`."""
    return unflatten({path: table[path] for path in flatten(tree)})
