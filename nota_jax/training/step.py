"""The training step: a pure function (state, batch) → (state, metrics), jitted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from nota_jax.data.feed.images import normalize
from nota_jax.errors import UserError
from nota_jax.params import Tree, join_trees
from nota_jax.training.loss import chunked_cross_entropy
from nota_jax.training.state import TrainState

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]

# What of a batch goes to the devices; the record ids stay behind.
DEVICE_KEYS = ("images", "tokens", "turn_ids", "positions", "targets", "weights")


def sum_loss(
    model: nn.Module, params: Tree, batch: Batch, *, chunk: int
) -> tuple[jax.Array, jax.Array]:
    """(summed cross-entropy, number of correct tokens) over the supervised tokens of a batch.

    batch: as `data.pipeline` makes it: images uint8 [B, S, S, 3]; tokens, turn_ids, positions,
      targets int32 [B, T]; weights float32 [B, T].
    chunk: sequence positions whose logits exist at a time.
    """
    variables = {"params": params}
    pixels = normalize(batch["images"])
    features = model.apply(variables, pixels, method="encode_images")
    hidden = model.apply(
        variables, batch["tokens"], batch["turn_ids"], batch["positions"], features, method="hidden"
    )
    total, _, correct = chunked_cross_entropy(
        hidden, model.head_kernel(params), batch["targets"], batch["weights"], chunk=chunk
    )
    return total, correct


def loss_and_grads(
    model: nn.Module,
    trainable: Tree,
    frozen: Tree,
    batch: Batch,
    *,
    accumulation: int = 1,
    chunk: int = 256,
) -> tuple[Metrics, Tree]:
    """Mean loss over the supervised tokens of the whole batch, and its gradient.

    The divisor is counted over the *whole* batch before any gradient is taken, so that the result
    does not depend on how many microbatches it is computed in: averaging the microbatches' own
    means, as is often done, would weigh a token by how few neighbours it has.

    Returns:
      metrics (fp32 scalars "loss", "accuracy", "supervised_tokens") and the gradient with respect
      to `trainable`, in its structure and dtype.
    """
    n_tokens = jnp.sum(batch["weights"])
    divisor = jnp.maximum(n_tokens, 1.0)

    def loss(trainable: Tree, part: Batch) -> tuple[jax.Array, jax.Array]:
        total, correct = sum_loss(model, join_trees(trainable, frozen), part, chunk=chunk)
        return total / divisor, correct / divisor

    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    if accumulation == 1:
        (mean, accuracy), grads = value_and_grad(trainable, batch)
    else:

        def accumulate(sums, part):
            return jax.tree.map(jnp.add, sums, value_and_grad(trainable, part)), None

        zero = jnp.zeros((), jnp.float32)
        zeros = ((zero, zero), jax.tree.map(jnp.zeros_like, trainable))
        parts = _microbatches(batch, accumulation)
        ((mean, accuracy), grads), _ = jax.lax.scan(accumulate, zeros, parts)
    return {"loss": mean, "accuracy": accuracy, "supervised_tokens": n_tokens}, grads


def _microbatches(batch: Batch, n: int) -> Batch:
    """[B, …] → [n, B / n, …]; microbatch i has the rows i, i + n, i + 2n, …

    Strided, because rows are sharded in contiguous blocks: every device finds its share of each
    microbatch among its own rows, and nothing travels.
    """
    rows = batch["tokens"].shape[0]
    if rows % n:
        raise UserError(f"a batch of {rows} rows cannot be cut into {n} equal microbatches")
    return {k: x.reshape(rows // n, n, *x.shape[1:]).swapaxes(0, 1) for k, x in batch.items()}


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    learning_rate: Callable[[jax.Array], jax.Array],
    *,
    accumulation: int = 1,
    chunk: int = 256,
    shardings: TrainState | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The jitted step.  It consumes (donates) the state it is given.

    Args:
      model: `models.notagpt.NotaGPT` or anything with its `encode_images`, `hidden`
        and `head_kernel`.
      optimizer: over the trainable subtree.
      learning_rate: of a step number; for the metrics, the optimizer has its own copy.
      accumulation: microbatches per step; the batch's rows must be a multiple.
      chunk: sequence positions whose logits exist at a time.
      shardings: where everything of the state lies, before a step and behind it.  Under fsdp it
        also makes the gradient's sum over devices a reduce-scatter.

    Returns:
      step(state, batch) → (state, metrics); metrics are fp32 scalars loss, accuracy (share of
      supervised tokens predicted right), supervised_tokens, grad_norm (before clipping),
      learning_rate, and the bool "finite".  Where that is false the new state is worthless.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        with _ambient(shardings):
            metrics, grads = loss_and_grads(
                model, state.trainable, state.frozen, batch, accumulation=accumulation, chunk=chunk
            )
        if shardings is not None:
            grads = jax.lax.with_sharding_constraint(grads, shardings.trainable)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.trainable)
        norm = optax.global_norm(grads)
        metrics |= {
            "grad_norm": norm,
            "learning_rate": learning_rate(state.step),
            "finite": jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm),
        }
        new = state.replace(
            step=state.step + 1,
            trainable=optax.apply_updates(state.trainable, updates),
            opt_state=opt_state,
        )
        return new, metrics

    # Written out, because XLA's own choice would differ from the first state's and cost a second
    # compilation at the second step.
    out = None if shardings is None else (shardings, None)
    return jax.jit(step, donate_argnums=0, out_shardings=out)


def _ambient(shardings: TrainState | None) -> contextlib.AbstractContextManager:
    """The mesh of the state, for `models.layers.keep_rows`."""
    if shardings is None:
        return contextlib.nullcontext()
    return jax.sharding.use_abstract_mesh(shardings.step.mesh.abstract_mesh)
