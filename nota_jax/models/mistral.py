"""The decoder: Mistral (Jiang et al. 2023), `MistralForCausalLM` of transformers.

One layer serves training and decoding.  In training a row of tokens attends by turns; in a
decoding step the same axis holds the questions of one image, one new token each, which attend
to the image's cached prefix, to their own cached turn and to themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from nota_jax.models.attention import attention, cached_attention, turn_mask
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.layers import (
    ROW_AXES,
    WEIGHT_AXES,
    constrain,
    keep_rows,
    linear,
    matmul,
    scan_layers,
)


class Cache(NamedTuple):
    """One layer's rotated keys and values, laid out as a decoding step reads them.

    prefix_k [B, K, D, P], prefix_v [B, K, P, D]: shared by the Q questions about an image.
    own_k [B · Q, K, D, C], own_v [B · Q, K, C, D]: each question's turn; which of the C slots
      hold anything is the caller's mask.  (With an axis Q of length 1, XLA would copy them at
      every step.)
    """

    prefix_k: jax.Array
    prefix_v: jax.Array
    own_k: jax.Array
    own_v: jax.Array

    def append(self, k: jax.Array, v: jax.Array, slot: jax.Array) -> Cache:
        """With the newest tokens' k and v [B, Q, K, D] in one slot of their turns."""
        k, v = (x.reshape(-1, *x.shape[2:]) for x in (k, v))
        write = jax.lax.dynamic_update_slice_in_dim
        return self._replace(
            own_k=write(self.own_k, k[..., None], slot, axis=3),
            own_v=write(self.own_v, v[..., None, :], slot, axis=2),
        )


class Scope(NamedTuple):
    """What all layers share: rotary angles, and who sees whom (by turns, or in the caches)."""

    rotary: tuple[jax.Array, jax.Array]
    positions: jax.Array
    turn_ids: jax.Array | None = None
    mask: jax.Array | None = None
    prefix_mask: jax.Array | None = None
    own_mask: jax.Array | None = None
    slot: jax.Array | None = None


def rotary_angles(positions: jax.Array, head_dim: int, theta: float) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine, each float32 [B, T, head_dim / 2] (Su et al. 2021, in HF's half layout)."""
    frequencies = theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, rotary: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotates x [B, T, H, D] by its positions; pairs are (i, i + D / 2) as in HF checkpoints."""
    cos, sin = (part[:, :, None] for part in rotary)
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)


class StepWeights(NamedTuple):
    """What a decoding step reads: `language_model` but for its stack, and the layers one by one.

    Matrices are in the dtype they are multiplied in, and sharded by columns, or by rows where the
    one before them was by columns, over all devices of a `data` group: they stay there, and the few
    activations of a step travel.  Under fsdp's own sharding, made for many rows, each token would
    cost a sum over the devices for each matrix, or a gathering of all weights.
    """

    shared: dict
    layers: list[dict]


def step_weights(config: NotaGPTConfig, params: dict) -> StepWeights:
    """From the parameters of `language_model`.

    The layers come out of the stack as copies, because a scan would copy each layer's weights and
    caches out of it at every step.
    """

    def place(path: tuple, leaf: jax.Array) -> jax.Array:
        *_, owner, name = (key.key for key in path)
        if name != "kernel":
            return leaf
        by_rows = owner in ("o_proj", "down_proj")
        last = (WEIGHT_AXES, None) if by_rows else (None, WEIGHT_AXES)
        cast = leaf.astype(config.operands or config.dtype)
        return constrain(cast, *[None] * (leaf.ndim - 2), *last)

    placed = jax.tree_util.tree_map_with_path(place, params)
    stack = placed["model"]["layers"]
    model = {name: part for name, part in placed["model"].items() if name != "layers"}
    return StepWeights(
        shared=placed | {"model": model},
        layers=[
            jax.tree.map(lambda stacked: stacked[i], stack)  # noqa: B023
            for i in range(config.text.num_hidden_layers)
        ],
    )


def step(
    config: NotaGPTConfig,
    weights: StepWeights,
    tokens: jax.Array,
    positions: jax.Array,
    caches: Sequence[Cache],
    prefix_mask: jax.Array,
    own_mask: jax.Array,
    slot: jax.Array,
) -> tuple[jax.Array, list[Cache]]:
    """One decoding step: the newest token of Q questions about each of B images.

    Args:
      tokens, positions: int [B, Q].
      prefix_mask: bool [B, Q, P]; own_mask: bool [B, Q, C]: the cache slots that are seen.
      slot: where the tokens' own keys and values go, which `own_mask` shows already.

    Returns:
      Logits float32 [B, Q, V] and the caches with the new tokens in them.
    """
    text, model = config.text, CausalLM(config)
    scope = Scope(
        rotary_angles(positions, text.head_dim, text.rope_theta), positions,
        prefix_mask=prefix_mask, own_mask=own_mask, slot=slot,
    )  # fmt: skip
    x = model.apply({"params": weights.shared}, tokens, method="embed")
    appended = []
    for layer, cache in zip(weights.layers, caches, strict=True):
        x, cache = Layer(config, keep="kv").apply({"params": layer}, x, scope, cache)
        appended.append(cache)
    x = RMSNorm(config).apply({"params": weights.shared["model"]["norm"]}, x)
    return step_logits(config, weights, x), appended


def step_logits(config: NotaGPTConfig, weights: StepWeights, hidden: jax.Array) -> jax.Array:
    """Hidden states [B, Q, D] of each answer's newest token → float32 [B, Q, V]."""
    hidden = constrain(hidden, "data")
    logits = CausalLM(config).apply({"params": weights.shared}, hidden, method="logits")
    return _to_rows(logits)


# A step's activations are sharded in two ways: by rows where the caches lie, and by columns where
# the weights do.  Each way there is written out as both ends, because XLA would otherwise choose to
# send the weights, or the caches, to where it finds the activations.


def _to_rows(y: jax.Array) -> jax.Array:
    """What weights made, [B, Q, E], to where the rows of the caches are."""
    return constrain(constrain(y, "data", None, WEIGHT_AXES), ROW_AXES, None, "tensor")


def _to_columns(y: jax.Array) -> jax.Array:
    """What was read from the caches, [B, Q, E], to where the weights' rows are."""
    return constrain(constrain(y, ROW_AXES, None, "tensor"), "data", None, WEIGHT_AXES)


class CausalLM(nn.Module):
    """Embedding, decoder and head; the embedding is looked up outside, beside image features."""

    config: NotaGPTConfig

    def setup(self):
        self.model = Decoder(self.config)
        if not self.config.text.tie_word_embeddings:
            self.lm_head = Head(self.config)

    def embed(self, tokens: jax.Array) -> jax.Array:
        return self.model.embed(tokens)

    def __call__(self, x: jax.Array, turn_ids: jax.Array, positions: jax.Array, keep: str = ""):
        text = self.config.text
        scope = Scope(
            rotary_angles(positions, text.head_dim, text.rope_theta), positions, turn_ids,
            mask=turn_mask(turn_ids, positions, text.sliding_window),
        )  # fmt: skip
        return self.model(x, scope, keep)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """[…, D] → float32 […, V]."""
        tied = self.config.text.tie_word_embeddings
        kernel = self.model.embed_tokens.embedding.T if tied else self.lm_head()
        return matmul(hidden, kernel, "float32", self.config.operands)


class Head(nn.Module):
    """The output matrix [D, V], handed out so that the loss can be computed in chunks."""

    config: NotaGPTConfig

    @nn.compact
    def __call__(self) -> jax.Array:
        text = self.config.text
        return self.param(
            "kernel", nn.initializers.lecun_normal(), (text.hidden_size, text.vocab_size),
            self.config.dtypes["param_dtype"],
        )  # fmt: skip


class Decoder(nn.Module):
    """x [B, T, D] through all layers and the final norm; with `keep` also what it names."""

    config: NotaGPTConfig

    def setup(self):
        text, dtypes = self.config.text, self.config.dtypes
        # Fresh embeddings are of the size of what the connector and the layers add, so that a token
        # is not lost among them (T5's choice; 0.02, as usual, is thirty times less).
        self.embed_tokens = nn.Embed(
            text.vocab_size, text.hidden_size, embedding_init=nn.initializers.normal(1.0), **dtypes
        )

    def embed(self, tokens: jax.Array) -> jax.Array:
        """int [B, T] → [B, T, D].  Looked up before the cast: the table is not copied."""
        return jnp.take(self.embed_tokens.embedding, tokens, axis=0).astype(self.config.dtype)

    @nn.compact
    def __call__(self, x: jax.Array, scope: Scope, keep: str):
        layers = scan_layers(Layer, self.config, self.config.text.num_hidden_layers)
        x, kept = layers(self.config, keep, name="layers")(x, scope)
        x = RMSNorm(self.config, name="norm")(x)
        return (x, kept) if keep else x


class Layer(nn.Module):
    """Pre-norm layer: x [B, T, D] → ([B, T, D], what is kept).

    keep: "kv" keeps the tokens' rotated (k, v), or in a decoding step the `Cache` with them
      appended; "qk" their rotated (q, k); "" nothing.
    """

    config: NotaGPTConfig
    keep: str

    @nn.compact
    def __call__(self, x: jax.Array, scope: Scope, cache: Cache | None = None):
        in_step = cache is not None
        x = constrain(x, "data") if in_step else keep_rows(x)
        y = RMSNorm(self.config, name="input_layernorm")(x)
        y, (qk, kv) = SelfAttention(self.config, name="self_attn")(y, scope, cache)
        x = constrain(x + y, "data") if in_step else x + y
        y = RMSNorm(self.config, name="post_attention_layernorm")(x)
        x = x + MLP(self.config, name="mlp")(y)
        return x, {"": None, "qk": qk, "kv": kv}[self.keep]


class SelfAttention(nn.Module):
    config: NotaGPTConfig

    @nn.compact
    def __call__(self, x: jax.Array, scope: Scope, cache: Cache | None):
        text = self.config.text

        def heads(name, count):
            y = linear(self.config, count * text.head_dim, name, use_bias=False)(x)
            y = y if cache is None else _to_rows(y)
            return y.reshape(*x.shape[:2], count, text.head_dim)

        q = rotate(heads("q_proj", text.num_attention_heads), scope.rotary)
        k = rotate(heads("k_proj", text.num_key_value_heads), scope.rotary)
        v = heads("v_proj", text.num_key_value_heads)
        if cache is None:
            out = attention(
                q, k, v, turn_ids=scope.turn_ids, positions=scope.positions,
                sliding_window=text.sliding_window, mask=scope.mask, impl=self.config.attention,
                platform=self.config.platform, operands=self.config.operands,
            )  # fmt: skip
            kept = k, v
        else:
            # Written before it is read, so that XLA updates the cache in place: read first, each
            # step copied all caches (half of its time on a CPU).
            kept = cache.append(k, v, scope.slot)
            out = cached_attention(q, *kept, scope.prefix_mask, scope.own_mask)
        out = out.reshape(*x.shape[:2], -1)
        if cache is not None:
            out = _to_columns(out)
        out = linear(self.config, text.hidden_size, "o_proj", use_bias=False)(out)
        return out, ((q, k), kept)


class MLP(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    config: NotaGPTConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        text = self.config.text

        def dense(name, size=text.intermediate_size):
            return linear(self.config, size, name, use_bias=False)

        hidden = jax.nn.silu(dense("gate_proj")(x)) * dense("up_proj")(x)
        return dense("down_proj", text.hidden_size)(hidden)


class RMSNorm(nn.Module):
    """Zhang & Sennrich 2019, computed in float32."""

    config: NotaGPTConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param(
            "scale", nn.initializers.ones, x.shape[-1:], self.config.dtypes["param_dtype"]
        )
        y = x.astype(jnp.float32)
        y *= jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + self.config.text.rms_norm_eps)
        return (y * scale).astype(x.dtype)
