"""The training step: a pure function (state, batch) → (state, metrics), jitted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from nota_jax.errors import UserError
from nota_jax.params import Tree, join_trees
from nota_jax.training import metrics
from nota_jax.training.state import TrainState
from nota_jax.training.terms import Batch, Objective, Sums, weights_of

Metrics = dict[str, Any]


def sums_and_grads(
    model: nn.Module,
    objective: Objective,
    trainable: Tree,
    frozen: Tree,
    batch: Batch,
    *,
    accumulation: int = 1,
) -> tuple[Sums, Tree]:
    """The objective's sums over a batch, and the gradient of its loss.

    Every term is divided by its weight in the *whole* batch, so that the result does not depend on
    how many microbatches it is computed in.

    Returns:
      sums, and the gradient with respect to `trainable`, in its structure and dtype.
    """

    def of_part(trainable: Tree, part: Batch, whole: Any = None) -> tuple[jax.Array, Sums]:
        sums = objective.sums(model, join_trees(trainable, frozen), part)
        return objective.loss(sums, weights_of(sums) if whole is None else whole), sums

    if accumulation == 1:
        grads, sums = jax.grad(of_part, has_aux=True)(trainable, batch)
        return sums, grads

    # Only the weights are read, and they follow from the batch: of the model nothing is computed.
    whole = weights_of(of_part(trainable, batch)[1])

    def accumulate(totals: Any, part: Batch) -> tuple[Any, None]:
        grads, sums = jax.grad(of_part, has_aux=True)(trainable, part, whole)
        return jax.tree.map(jnp.add, totals, (sums, grads)), None

    no_sums = {name: (jnp.zeros((), jnp.float32),) * 2 for name in whole}
    zeros = (no_sums, jax.tree.map(jnp.zeros_like, trainable))
    (sums, grads), _ = jax.lax.scan(accumulate, zeros, _microbatches(batch, accumulation))
    return sums, grads


def _microbatches(batch: Batch, n: int) -> Batch:
    """[B, …] → [n, B / n, …]; microbatch i has the rows i, i + n, i + 2n, …

    Strided, because rows are sharded in contiguous blocks: every device finds its share of each
    microbatch among its own rows, and nothing travels.
    """
    rows = len(next(iter(batch.values())))
    if rows % n:
        raise UserError(f"a batch of {rows} rows cannot be split into {n} equal microbatches")
    return {k: x.reshape(rows // n, n, *x.shape[1:]).swapaxes(0, 1) for k, x in batch.items()}


def make_train_step(
    model: nn.Module,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    learning_rate: Callable[[jax.Array], jax.Array],
    *,
    accumulation: int = 1,
    shardings: TrainState | None = None,
    skip_nans: bool = False,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The jitted step.  It consumes (donates) the state it is given.

    Args:
      model: `models.notagpt.NotaGPT`, or what else the objective knows to use.
      objective: what the step makes smaller.
      optimizer: over the trainable subtree.
      learning_rate: of a step number; for the metrics, the optimizer has its own copy.
      accumulation: microbatches per step; the batch's rows must be a multiple.
      shardings: where everything of the state lies, before a step and behind it.  Under fsdp it
        also makes the gradient's sum over devices a reduce-scatter.

      skip_nans: where loss or gradient is not finite, the parameters and what the optimizer
        remembers of gradients stay, and the averages have no weight; counters go on.

    Returns:
      step(state, batch) → (state, metrics); metrics are "loss", "grad_norm" (before clipping),
      "learning_rate", "averages" (`metrics.averages`: the objective's terms and the last two) and
      the bool "finite".  Where that is false the new state is worthless, unless `skip_nans`.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        with _ambient(shardings):
            sums, grads = sums_and_grads(
                model, objective, state.trainable, state.frozen, batch, accumulation=accumulation
            )
        if shardings is not None:
            grads = jax.lax.with_sharding_constraint(grads, shardings.trainable)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.trainable)
        loss, norm = objective.loss(sums, weights_of(sums)), optax.global_norm(grads)
        trainable = optax.apply_updates(state.trainable, updates)
        finite, rate = jnp.isfinite(loss) & jnp.isfinite(norm), learning_rate(state.step)
        averages = metrics.averages(sums, norm, rate)
        if skip_nans:
            trainable, opt_state = jax.tree.map(
                lambda new, old: _unless_counter(finite, new, old),
                (trainable, opt_state),
                (state.trainable, state.opt_state),
            )
            # Zero by selection: 0 × NaN is NaN.
            averages = jax.tree.map(lambda x: jnp.where(finite, x, jnp.zeros_like(x)), averages)
        new = state.replace(step=state.step + 1, trainable=trainable, opt_state=opt_state)
        return new, {
            "loss": loss,
            "grad_norm": norm,
            "learning_rate": rate,
            "averages": averages,
            "finite": finite,
        }

    # Written out, because XLA's own choice would differ from the first state's and cost a second
    # compilation at the second step.
    out = None if shardings is None else (shardings, None)
    return jax.jit(step, donate_argnums=0, out_shardings=out)


def _unless_counter(finite: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """New where finite; counters always, or the schedule would fall behind the step's number."""
    return new if jnp.issubdtype(new.dtype, jnp.integer) else jnp.where(finite, new, old)


def _ambient(shardings: TrainState | None) -> contextlib.AbstractContextManager:
    """The mesh of the state, for `models.layers.keep_rows`."""
    if shardings is None:
        return contextlib.nullcontext()
    where: Any = shardings.step  # its sharding stands in its place
    return jax.sharding.use_abstract_mesh(where.mesh.abstract_mesh)
