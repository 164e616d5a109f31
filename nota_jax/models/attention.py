"""Attention through one entry, and the rule of who sees whom.

Turns over a shared prefix: a row holds one image prefix and, behind it, turns that know nothing
of each other.  `turn_ids` says which token belongs where (0 prefix, 1 … turns, −1 padding), and a
token sees the prefix and its own turn, causally.  One turn per row is ordinary causal attention.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from nota_jax.errors import UserError
from nota_jax.models import attention_kernels as kernels
from nota_jax.models.attention_mixed import mixed

IMPLEMENTATIONS = ("auto", "reference", "blocked", "cudnn", "splash")
BLOCK = 128  # queries per block, one TPU lane width; at most MAX_BLOCKS, to bound compilation
MAX_BLOCKS = 8


def attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    turn_ids: jax.Array | None = None,
    positions: jax.Array | None = None,
    sliding_window: int | None = None,
    mask: jax.Array | None = None,
    impl: str = "auto",
    platform: str = "",
    operands: str = "",
) -> jax.Array:
    """Scaled dot-product attention with grouped queries; softmax in float32.

    Args:
      q: [B, T, H, D].
      k, v: [B, S, K, D] where K divides H; query head h reads key head h // (H / K).
      turn_ids, positions: int [B, T]; given (then S = T), tokens see by turns.  Without them
        everything sees everything.
      sliding_window: a token sees positions > own position − sliding_window; needs `positions`.
      mask: bool [B, 1, T, S], `turn_mask` of the same arguments, for callers that make it once
        for many layers.
      impl: "reference" is one product over all pairs; "blocked" leaves out the pairs above the
        diagonal, a block of queries at a time, and is exact too; "cudnn" is flash attention on
        NVIDIA; "splash" is Pallas's on TPU, elsewhere interpreted, which is slow.  "auto" takes
        the kernel where the platform, the dtype and the shapes suit it
        (`attention_kernels.best`), and "blocked" or, where everything sees everything,
        "reference" elsewhere.
      platform, operands: see `NotaGPTConfig`; kernels have their own operands.

    Returns:
      [B, T, H, D] in q's dtype.
    """
    if impl not in IMPLEMENTATIONS:
        raise UserError(f"attention is {impl!r}; choose one of {', '.join(IMPLEMENTATIONS)}")
    by_turns = turn_ids is not None
    if impl == "auto":
        impl = kernels.best(q, k, by_turns=by_turns, platform=platform) or "blocked"
    if by_turns and mask is None:
        mask = turn_mask(turn_ids, positions, sliding_window)
    if impl == "cudnn":
        if (why := kernels.why_not_cudnn(q, k, platform=platform)) is not None:
            raise UserError(f"attention 'cudnn' does not work here: {why}; take 'auto'")
        return kernels.cudnn(q, k, v, mask)
    if impl == "splash" and by_turns:
        if (why := kernels.why_not_splash(q, k)) is not None:
            raise UserError(f"attention 'splash' does not work here: {why}; take 'auto'")
        return kernels.splash(q, k, v, mask, interpret=kernels.compiled_for(platform) != "tpu")
    blocked = impl == "blocked" and by_turns
    return (_blocked if blocked else _reference)(q, k, v, mask, operands)


def _reference(q, k, v, mask, operands):
    if operands in ("", q.dtype):
        return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation="xla")
    k, v = (jnp.repeat(x, q.shape[2] // k.shape[2], axis=2) for x in (k, v))
    return mixed(q, k, v, mask, operands)


def _blocked(q, k, v, mask, operands):
    """Causal attention at 9/16 of the square's work with 8 blocks.

    On 2 CPU cores (B 8, T 576, H 4, D 64) forward took 71 ms of processor time instead of 126,
    forward and backward 165 instead of 270.
    """
    length = q.shape[1]
    block = max(BLOCK, -(-length // MAX_BLOCKS))
    parts = [
        _reference(
            q[:, start:stop], k[:, :stop], v[:, :stop], mask[:, :, start:stop, :stop], operands
        )
        for start in range(0, length, block)
        for stop in [min(start + block, length)]
    ]
    return jnp.concatenate(parts, axis=1)


def turn_mask(
    turn_ids: jax.Array, positions: jax.Array, sliding_window: int | None = None
) -> jax.Array:
    """Who sees whom, bool [B, 1, T (sees), T (is seen)].

    Padding sees itself and nothing else, so that its softmax is defined and nobody reads it.
    """
    index = jnp.arange(turn_ids.shape[1])
    seer, seen = turn_ids[:, :, None], turn_ids[:, None, :]
    visible = (index[:, None] >= index) & ((seen == seer) | (seen == 0)) & (seen >= 0)
    visible &= seer >= 0
    if sliding_window is not None:
        visible &= positions[:, :, None] - positions[:, None, :] < sliding_window
    return (visible | (index[:, None] == index))[:, None]


def cached_attention(
    q: jax.Array,
    prefix_k: jax.Array,
    prefix_v: jax.Array,
    own_k: jax.Array,
    own_v: jax.Array,
    prefix_mask: jax.Array,
    own_mask: jax.Array,
) -> jax.Array:
    """The newest token of each of Q questions reads the image's prefix and its own turn.

    The prefix is held once per image, however many questions read it: its keys meet Q · H / K
    queries in one matrix product.  The caches lie as the products read them, so that no step
    transposes them.

    Args:
      q: [B, Q, H, D].
      prefix_k: [B, K, D, P]; prefix_v: [B, K, P, D].
      own_k: [B · Q, K, D, C]; own_v: [B · Q, K, C, D]; the newest token is in them.
      prefix_mask: bool [B, Q, P]; own_mask: bool [B, Q, C].

    Returns:
      [B, Q, H, D] in q's dtype; softmax over both parts together, in float32.
    """
    batch, n_questions, heads, dim = q.shape
    own_q = q.reshape(batch * n_questions, own_k.shape[1], -1, dim)

    def by_image(x):  # [B · Q, K, H / K, …] → [B, K, Q · H / K, …]
        x = x.reshape(batch, n_questions, *x.shape[1:]).swapaxes(1, 2)
        return x.reshape(batch, x.shape[1], -1, x.shape[-1])

    def by_question(x):  # and back
        x = x.reshape(batch, x.shape[1], n_questions, -1, x.shape[-1]).swapaxes(1, 2)
        return x.reshape(batch * n_questions, *x.shape[2:])

    def product(a, b):
        return jnp.matmul(a, b, preferred_element_type=jnp.float32)

    of_prefix = by_question(product(by_image(own_q), prefix_k))
    logits = jnp.concatenate([of_prefix, product(own_q, own_k)], axis=-1) * dim**-0.5
    mask = jnp.concatenate([prefix_mask, own_mask], axis=-1).reshape(len(own_q), 1, 1, -1)
    weights = jax.nn.softmax(jnp.where(mask, logits, -jnp.inf), axis=-1).astype(q.dtype)
    prefix, own = jnp.split(weights, [prefix_mask.shape[-1]], axis=-1)
    out = by_question(product(by_image(prefix), prefix_v)) + product(own, own_v)
    return out.astype(q.dtype).reshape(q.shape)
