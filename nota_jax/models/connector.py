"""From image features to the decoder's embedding width; three kinds for the connector experiment.

"mlp2" is LLaVA-1.5's (Liu et al. 2023, `LlavaMultiModalProjector`), "mlp1" is LLaVA-1.0's linear
map, "resampler" reads the features with learned queries as in Flamingo's Perceiver resampler
(Alayrac et al. 2022, appendix A.1.1).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from nota_jax.models.attention import attention
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.layers import keep_rows, linear, scan_layers


class Connector(nn.Module):
    """Features [B, N, Dv] → [B, N, D], or [B, num_queries, D] from the resampler."""

    config: NotaGPTConfig

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        kind, width = self.config.connector.kind, self.config.text.hidden_size
        x = linear(self.config, width, "linear_1")(keep_rows(features))
        if kind == "mlp1":
            return x
        if kind == "resampler":
            x = Resampler(self.config, name="resampler")(x)
        else:
            x = jax.nn.gelu(x, approximate=False)
        return linear(self.config, width, "linear_2")(x)


class Resampler(nn.Module):
    """Learned queries that read the features through a few cross-attention layers."""

    config: NotaGPTConfig

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        connector, dtypes = self.config.connector, self.config.dtypes
        width = self.config.text.hidden_size
        queries = self.param(
            "queries", nn.initializers.normal(1.0), (connector.num_queries, width),
            dtypes["param_dtype"],
        )  # fmt: skip
        features = nn.LayerNorm(name="feature_norm", **dtypes)(features)
        # Cast behind the broadcast, so that the gradient is summed in float32.
        x = jnp.broadcast_to(queries, (len(features), *queries.shape)).astype(features.dtype)
        layers = scan_layers(ResamplerLayer, self.config, connector.num_hidden_layers)
        x = layers(self.config, name="layers")(x, features)[0]
        return nn.LayerNorm(name="norm", **dtypes)(x)


class ResamplerLayer(nn.Module):
    """Queries [B, M, D] read the features [B, N, D] and themselves; then an MLP."""

    config: NotaGPTConfig

    @nn.compact
    def __call__(self, x: jax.Array, features: jax.Array) -> tuple[jax.Array, None]:
        dtypes, width = self.config.dtypes, self.config.text.hidden_size
        heads = self.config.connector.num_attention_heads

        def dense(name, size=width):
            return linear(self.config, size, name)

        def split(x):
            return x.reshape(*x.shape[:2], heads, width // heads)

        y = nn.LayerNorm(name="layer_norm1", **dtypes)(x)
        seen = jnp.concatenate([features, y], axis=1)
        out = attention(
            split(dense("q_proj")(y)), split(dense("k_proj")(seen)), split(dense("v_proj")(seen)),
            impl=self.config.attention, platform=self.config.platform,
            operands=self.config.operands,
        )  # fmt: skip
        x = x + dense("out_proj")(out.reshape(x.shape))
        y = nn.LayerNorm(name="layer_norm2", **dtypes)(x)
        y = jax.nn.gelu(dense("fc1", 4 * width)(y), approximate=False)
        return x + dense("fc2")(y), None
