"""The vision tower: CLIP's ViT up to the layer whose features the connector reads.

Source: Radford et al. 2021, section 2.4; `CLIPVisionModel` of transformers, whose names the
parameters carry (the misspelt `pre_layrnorm` is the checkpoint's own).
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from nota_jax.models import ink
from nota_jax.models.attention import attention
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.layers import keep_rows, linear, matmul, scan_layers


def quick_gelu(x: jax.Array) -> jax.Array:
    """OpenAI CLIP's approximation of GELU."""
    return x * jax.nn.sigmoid(1.702 * x)


def activation(name: str):
    """`hidden_act` of a Hugging Face configuration as a function; "gelu" is the exact one."""
    return {"quick_gelu": quick_gelu, "gelu": lambda x: jax.nn.gelu(x, approximate=False)}[name]


class VisionTower(nn.Module):
    """Pixels [B, S, S, 3], normalised → patch features [B, N, D], CLS left out.

    N is (S / patch)², or `most_patches` of them (`models.ink`).

    Layers behind the feature layer and `post_layernorm` hold parameters, so that a checkpoint
    goes in and out whole, and are never computed.
    """

    config: NotaGPTConfig

    def setup(self):
        vision, dtypes = self.config.vision, self.config.dtypes
        self.embeddings = Embeddings(self.config)
        self.pre_layrnorm = nn.LayerNorm(vision.layer_norm_eps, use_fast_variance=False, **dtypes)
        self.encoder = Encoder(self.config)
        self.post_layernorm = nn.LayerNorm(vision.layer_norm_eps, **dtypes)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        x = self.pre_layrnorm(keep_rows(self.embeddings(pixels)))
        x = self.encoder(x)
        if self.is_initializing():
            self.post_layernorm(x)
        return x[:, 1:]


class Embeddings(nn.Module):
    """Patches through a linear map, CLS before them, learned positions added."""

    config: NotaGPTConfig

    @nn.compact
    def __call__(self, pixels: jax.Array) -> jax.Array:
        vision, dtypes = self.config.vision, self.config.dtypes
        width = vision.hidden_size
        class_embedding = self.param(
            "class_embedding", nn.initializers.normal(width**-0.5), (width,), dtypes["param_dtype"]
        )
        chosen = None if vision.patches == "all" else ink.choose(pixels, vision)
        patches = PatchEmbedding(self.config, name="patch_embedding")(pixels, chosen)
        # Parameters are cast behind the broadcast, so that gradients are summed in float32.
        cls = jnp.broadcast_to(class_embedding, (len(pixels), 1, width)).astype(patches.dtype)
        x = jnp.concatenate([cls, patches], axis=1)
        positions = nn.Embed(
            vision.num_patches + 1, width, embedding_init=_plane_waves, name="position_embedding",
            param_dtype=dtypes["param_dtype"],
        )  # fmt: skip
        place = jnp.arange(vision.num_patches + 1)
        if chosen is not None:
            place = jnp.pad(chosen + 1, ((0, 0), (1, 0)))
        return (x + positions(place)).astype(x.dtype)


class PatchEmbedding(nn.Module):
    """Pixels [B, S, S, C] → [B, N, D]: CLIP's convolution whose stride is its kernel.

    chosen: int [B, N], the patches that are wanted, to which paper is zero; None for all, as is.

    The kernel [p, p, C, D] is that of the convolution; since patches do not overlap, it is one
    matrix product over cut-out patches.
    """

    config: NotaGPTConfig

    @nn.compact
    def __call__(self, pixels: jax.Array, chosen: jax.Array | None = None) -> jax.Array:
        vision, dtypes = self.config.vision, self.config.dtypes
        patch, (batch, side, _, channels) = vision.patch_size, pixels.shape
        kernel = self.param(
            "kernel", _contrast_init, (patch, patch, channels, vision.hidden_size),
            dtypes["param_dtype"],
        )  # fmt: skip
        n = side // patch
        if chosen is not None:
            pixels = pixels - ink.paper(pixels.dtype)
        # Runs of whole lines of a patch, so that cutting moves as few and as long pieces as it can.
        cut = pixels.reshape(batch * n, patch, n, patch * channels).swapaxes(1, 2)
        kernel, cut = kernel.reshape(-1, vision.hidden_size), cut.reshape(batch, n * n, -1)
        if chosen is not None:
            cut = jnp.take_along_axis(cut, chosen[..., None], axis=1)
        if self.config.operands or kernel.dtype != cut.dtype:
            return matmul(cut, kernel, None, self.config.operands)
        return cut @ kernel  # on a CPU JAX's own gradient is faster for a kernel of so many rows


def _contrast_init(rng: jax.Array, shape: tuple[int, ...], dtype) -> jax.Array:
    """Patch kernels [p, p, 3, D] that do not see a patch's mean colour.

    A score is white paper.  With plain random kernels all patches begin as one and the same large
    vector, in which the ink is lost.
    """
    kernel = nn.initializers.lecun_normal()(rng, shape, dtype)
    return kernel - kernel.mean((0, 1, 2), keepdims=True)


def _plane_waves(rng: jax.Array, shape: tuple[int, ...], dtype) -> jax.Array:
    """Position embeddings [1 + n², D] that begin as sines and cosines of row and column.

    After Beyer et al. 2022 (arXiv 2205.01580): a ViT that starts from random weights finds its
    way on the page much sooner.  CLS, the first, begins at zero.
    """
    n, width = math.isqrt(shape[0] - 1), shape[1]
    frequency = 100.0 ** (-jnp.arange(width // 4) / max(width // 4 - 1, 1))
    angle = jnp.arange(n)[:, None] * frequency
    wave = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=1)
    rows, columns = jnp.repeat(wave, n, axis=0), jnp.tile(wave, (n, 1))
    table = jnp.concatenate([rows, columns], axis=1)
    return jnp.pad(table, ((1, 0), (0, width - table.shape[1]))).astype(dtype)


class Encoder(nn.Module):
    """The stack of layers, run as far as the features need it."""

    config: NotaGPTConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        vision = self.config.vision
        run = None if self.is_initializing() else vision.num_feature_layers
        layers = scan_layers(Layer, self.config, vision.num_hidden_layers, run=run)
        return layers(self.config, name="layers")(x)[0]


class Layer(nn.Module):
    """Pre-norm transformer layer: x [B, N, D] → ([B, N, D], None), as `nn.scan` wants it."""

    config: NotaGPTConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, None]:
        vision, dtypes = self.config.vision, self.config.dtypes

        def norm(name):
            return nn.LayerNorm(vision.layer_norm_eps, use_fast_variance=False, name=name, **dtypes)

        x = keep_rows(x)
        x = x + SelfAttention(self.config, name="self_attn")(norm("layer_norm1")(x))
        x = x + MLP(self.config, name="mlp")(norm("layer_norm2")(x))
        return x, None


class SelfAttention(nn.Module):
    config: NotaGPTConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        vision = self.config.vision
        heads = (vision.num_attention_heads, vision.hidden_size // vision.num_attention_heads)

        def dense(name):
            return linear(self.config, vision.hidden_size, name)

        q, k, v = (
            dense(name)(x).reshape(*x.shape[:2], *heads) for name in ("q_proj", "k_proj", "v_proj")
        )
        out = attention(q, k, v, impl=self.config.attention, platform=self.config.platform,
            operands=self.config.operands,
        )  # fmt: skip
        return dense("out_proj")(out.reshape(x.shape))


class MLP(nn.Module):
    config: NotaGPTConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        vision = self.config.vision
        x = linear(self.config, vision.intermediate_size, "fc1")(x)
        return linear(self.config, vision.hidden_size, "fc2")(activation(vision.hidden_act)(x))
