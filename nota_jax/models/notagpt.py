"""NotaGPT: score image → CLIP ViT → connector → Mistral → text (the LLaVA architecture).

The parameter tree carries transformers' names, `vision_tower`, `multi_modal_projector` and
`language_model`, with the layers of a stack on axis 0.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nota_jax.models.clip import VisionTower
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.connector import Connector
from nota_jax.models.layers import keep_rows
from nota_jax.models.mistral import CausalLM

Params = dict[str, Any]


class NotaGPT(nn.Module):
    """The whole model; `apply` with `method=` reaches its stages one by one."""

    config: NotaGPTConfig

    def setup(self):
        self.vision_tower = VisionTower(self.config)
        self.multi_modal_projector = Connector(self.config)
        self.language_model = CausalLM(self.config)

    def __call__(
        self, pixels: jax.Array, tokens: jax.Array, turn_ids: jax.Array, positions: jax.Array
    ) -> jax.Array:
        """Logits float32 [B, T, V] of the token behind each position."""
        features = self.encode_images(pixels)
        return self.logits(self.hidden(tokens, turn_ids, positions, features))

    def encode_images(self, pixels: jax.Array) -> jax.Array:
        """Normalised pixels [B, S, S, 3] → image features [B, N, D] in the decoder's width."""
        return self.project(self.see(pixels))

    def see(self, pixels: jax.Array) -> jax.Array:
        """Normalised pixels [B, S, S, 3] → the tower's features [B, N, Dv]."""
        return self.vision_tower(pixels.astype(self.config.dtype))

    def project(self, features: jax.Array) -> jax.Array:
        """The tower's features → image features [B, N, D] in the decoder's width."""
        return self.multi_modal_projector(features)

    def hidden(
        self,
        tokens: jax.Array,
        turn_ids: jax.Array,
        positions: jax.Array,
        image_features: jax.Array,
        keep: str = "",
    ):
        """The decoder's last hidden state [B, T, D], behind the final norm.

        Args:
          tokens, turn_ids, positions: int [B, T]; see `attention` for the turns.  A row holds
            either all N image tokens of its image, in one run or several, or none.
          image_features: [B, N, D] from `encode_images`.
          keep: "kv" returns also the rotated keys and the values, each [L, B, T, K, head_dim];
            "qk" the rotated queries, [L, B, T, H, head_dim], and keys.
        """
        x = keep_rows(self.language_model.embed(tokens))
        x = place_images(x, keep_rows(image_features), tokens == self.config.image_token_id)
        return self.language_model(x, turn_ids, positions, keep)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Hidden states […, D] → float32 […, V]."""
        return self.language_model.logits(hidden)

    @staticmethod
    def head_kernel(params: Params) -> jax.Array:
        """The output matrix [D, V] (tied or not), for a loss that never holds all logits."""
        language = params["language_model"]
        if "lm_head" in language:
            return language["lm_head"]["kernel"]
        return language["model"]["embed_tokens"]["embedding"].T


def place_images(x: jax.Array, features: jax.Array, is_image: jax.Array) -> jax.Array:
    """Puts features [B, N, D], in order, where `is_image` [B, T] in x [B, T, D]."""
    index = jnp.clip(jnp.cumsum(is_image, axis=1) - 1, 0, features.shape[1] - 1)
    placed = jnp.take_along_axis(features, index[..., None], axis=1)
    return jnp.where(is_image[..., None], placed.astype(x.dtype), x)


@partial(jax.jit, static_argnums=0)
def init_params(config: NotaGPTConfig, rng: jax.Array) -> Params:
    """Fresh parameters."""
    size, length = config.vision.image_size, config.num_image_tokens + 1
    pixels = jnp.zeros((1, size, size, 3))
    tokens = jnp.full((1, length), config.image_token_id)
    positions = jnp.arange(length)[None]
    return NotaGPT(config).init(rng, pixels, tokens, jnp.zeros_like(tokens), positions)["params"]


def param_shapes(config: NotaGPTConfig) -> Params:
    """Shapes and dtypes of the parameters, at any size; nothing is allocated."""
    return jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
