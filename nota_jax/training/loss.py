"""Cross-entropy that never holds the logits of a whole sequence (design decision 6)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from nota_jax.models.layers import copy_for_row_blocks, matmul


def chunked_cross_entropy(
    hidden: jax.Array,
    head_kernel: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    *,
    chunk: int = 256,
    operands: str = "",
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Summed cross-entropy of the next token, computed `chunk` positions at a time.

    At NotaGPT-7B's size the fp32 logits of one row of 1,024 tokens are 131 MB, and the backward
    pass wants them twice.  Here a chunk's logits are made, reduced and dropped, and made again in
    the backward pass (`jax.checkpoint`).

    Args:
      hidden: [B, T, D], the decoder's last hidden states, any float dtype.
      head_kernel: [D, V].  Multiplied in hidden's dtype, accumulated in fp32; its gradient is
        summed over the chunks in its own dtype.
      targets: int [B, T], the token to predict at each position; read only where supervised.
      weights: float [B, T], 0 where a position is not supervised.
      chunk: positions per chunk; T need not be a multiple.
      operands: as of `matmul`.

    Returns:
      fp32 scalars: the weighted sum of the cross-entropies, the sum of weights, and the summed
      weights of positions where no token is more probable than the target.
    """
    weights = weights.astype(jnp.float32)
    length = hidden.shape[1]
    if chunk >= length:  # nothing to save by making the logits twice
        sum_loss, n_correct = _one_chunk(hidden, head_kernel, targets, weights, operands)
        return sum_loss, jnp.sum(weights), n_correct
    padding, kernels = -length % chunk, copy_for_row_blocks(head_kernel)

    def to_chunks(x: jax.Array) -> jax.Array:  # [B, T, …] → [chunks, blocks, B / blocks, chunk, …]
        x = jnp.pad(x, [(0, 0), (0, padding)] + [(0, 0)] * (x.ndim - 2))
        x = x.reshape(len(kernels), len(x) // len(kernels), -1, chunk, *x.shape[2:])
        return jnp.moveaxis(x, 2, 0)

    @jax.checkpoint
    def one_chunk(hidden, targets, weights):
        sums = jax.vmap(partial(_one_chunk, operands=operands))(hidden, kernels, targets, weights)
        return jax.tree.map(jnp.sum, sums)

    def body(sums, xs):
        return jax.tree.map(jnp.add, sums, one_chunk(*xs)), None

    zeros = (jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))
    xs = (to_chunks(hidden), to_chunks(targets), to_chunks(weights))
    (sum_loss, n_correct), _ = jax.lax.scan(body, zeros, xs)
    return sum_loss, jnp.sum(weights), n_correct


def _one_chunk(hidden, head_kernel, targets, weights, operands) -> tuple[jax.Array, jax.Array]:
    """Summed loss and hits of hidden [B, t, D]."""
    logits = matmul(hidden, head_kernel, "float32", operands)
    # Comparisons instead of a gather and an argmax: they stay local where the vocabulary is
    # sharded, and the maximum is the logsumexp's own.
    is_target = jnp.arange(logits.shape[-1]) == targets[..., None]
    target_logit = jnp.sum(jnp.where(is_target, logits, 0.0), axis=-1)
    losses = jax.nn.logsumexp(logits, axis=-1) - target_logit
    hits = target_logit >= jnp.max(logits, axis=-1)
    return jnp.sum(losses * weights), jnp.sum(jnp.where(hits, weights, 0.0))
