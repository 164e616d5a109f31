"""What a model's shapes are: frozen dataclasses under Hugging Face's field names.

There are no defaults where a wrong one would change the numbers in silence: transformers'
`MistralConfig` assumes a sliding window of 4096, an epsilon of 1e-6 and a rotary base of 1e4,
and no published checkpoint has all three.  `configs/common.py` writes the sizes out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from nota_jax.errors import UserError, cut

CONNECTORS = ("mlp2", "mlp1", "resampler")
REMAT_POLICIES = ("none", "full", "dots")
PLATFORMS = ("", "cpu", "gpu", "tpu")
ACTIVATIONS = ("quick_gelu", "gelu")
PATCHES = ("all", "inked")
HEADINGS = ("page", "enlarged")


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """A CLIP vision transformer; OpenAI's use `quick_gelu`, most later ones `gelu`.

    feature_layer: which of the `num_hidden_layers + 1` hidden states the connector reads, as an
      index (0 is the embedding, −1 the last layer's output).  LLaVA reads −2.
    patches: "all", as CLIP, or "inked": of every picture the `most_patches` with the most ink, and
      paper is zero to them (`models.ink`).
    heading: what titles and composers are read from: the "page", as all else, or its heading
      "enlarged" as a second picture (`data.feed.heading`).
    """

    image_size: int
    patch_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    feature_layer: int = -2
    patches: str = "all"
    most_patches: int = 0
    heading: str = "page"

    def __post_init__(self):
        _require_divisible("vision.image_size", self.image_size, "patch_size", self.patch_size)
        _require_divisible(
            "vision.hidden_size", self.hidden_size, "num_attention_heads", self.num_attention_heads
        )
        _require_one_of("vision.hidden_act", self.hidden_act, ACTIVATIONS)
        _require_one_of("vision.patches", self.patches, PATCHES)
        _require_one_of("vision.heading", self.heading, HEADINGS)
        n, inked = (self.image_size // self.patch_size) ** 2, self.patches == "inked"
        if not (1 <= self.most_patches <= n if inked else self.most_patches == 0):
            raise UserError(
                f"vision.most_patches is {self.most_patches}: "
                + (f"1 to {n} are needed" if inked else 'it belongs to patches "inked"')
            )
        n = self.num_hidden_layers
        if not -n - 1 <= self.feature_layer <= n:
            raise UserError(
                f"vision.feature_layer is {self.feature_layer}, but {n} layers have the hidden "
                f"states {-n - 1} to {n}"
            )

    @property
    def num_patches(self) -> int:
        """Patches that a picture has."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def num_features(self) -> int:
        """Patches that are looked at, and features that come out."""
        return self.most_patches or self.num_patches

    @property
    def num_feature_layers(self) -> int:
        """Layers that have to run before the features are known (23 of 24 in CLIP-L at −2)."""
        return self.feature_layer % (self.num_hidden_layers + 1)


@dataclass(frozen=True, kw_only=True)
class ConnectorConfig:
    """From image features to the decoder's width.

    kind: "mlp2" is LLaVA's (linear, GELU, linear), "mlp1" a single linear map, "resampler" a
      transformer whose `num_queries` learned queries read the features.  The fields below `kind`
      are the resampler's.
    """

    kind: str = "mlp2"
    num_queries: int = 64
    num_hidden_layers: int = 2
    num_attention_heads: int = 8

    def __post_init__(self):
        _require_one_of("connector.kind", self.kind, CONNECTORS)


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """A Mistral decoder.

    sliding_window: a token sees itself and the `sliding_window − 1` positions before it; None
      for no limit.  0 means None too, for configurations whose fields have to keep their type.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rope_theta: float
    rms_norm_eps: float
    sliding_window: int | None
    tie_word_embeddings: bool = False

    def __post_init__(self):
        _require_divisible(
            "text.num_attention_heads", self.num_attention_heads,
            "num_key_value_heads", self.num_key_value_heads,
        )  # fmt: skip
        _require_divisible("text.head_dim", self.head_dim, "the rotary pair", 2)
        object.__setattr__(self, "sliding_window", self.sliding_window or None)


@dataclass(frozen=True, kw_only=True)
class NotaGPTConfig:
    """The whole model and how it is computed.

    image_token_id: the token whose positions take image features in place of embeddings.
    dtype: of activations; softmax, norms and logits are in float32 whatever it is.
    param_dtype: of parameters as `init` makes them.
    remat: what the backward pass keeps of each layer: "none" rematerialises nothing, "full" keeps
      a layer's input only, "dots" also its matrix products with weights.
    attention: implementation name, see `attention.attention`.
    platform: what the program is compiled for, "cpu", "gpu" (NVIDIA's) or "tpu", which need not be
      where it is compiled; "" for this process's own.
    unroll: layers that one turn of a stack's loop computes.  More compile longer; in a small stack
      on a CPU the loop itself costs time.
    operands: dtype in which matrices are multiplied, sums and results being in `dtype`; "" for
      `dtype`.  "bfloat16" halves the time of a float32 model on CPUs with AVX-512 BF16 and is
      slower than float32 on others (a run's "auto" asks the CPU).
    """

    vision: VisionConfig
    text: TextConfig
    image_token_id: int
    connector: ConnectorConfig = dataclasses.field(default_factory=ConnectorConfig)
    dtype: str = "float32"
    param_dtype: str = "float32"
    remat: str = "none"
    attention: str = "auto"
    platform: str = ""
    unroll: int = 1
    operands: str = ""

    def __post_init__(self):
        _require_one_of("operands", self.operands, ("", "float32", "bfloat16", "float16"))
        _require_one_of("remat", self.remat, REMAT_POLICIES)
        _require_one_of("platform", self.platform, PLATFORMS)
        for field in ("dtype", "param_dtype"):
            _require_one_of(field, getattr(self, field), ("float32", "bfloat16", "float16"))
        if self.connector.kind == "resampler":
            _require_divisible(
                "text.hidden_size", self.text.hidden_size,
                "connector.num_attention_heads", self.connector.num_attention_heads,
            )  # fmt: skip
        if not 0 <= self.image_token_id < self.text.vocab_size:
            raise UserError(
                f"image_token_id {self.image_token_id} is outside the vocabulary of "
                f"{self.text.vocab_size}"
            )

    @property
    def num_image_tokens(self) -> int:
        """Positions that one image takes in the decoder's sequence."""
        if self.connector.kind == "resampler":
            return self.connector.num_queries
        return self.vision.num_features

    @property
    def dtypes(self) -> dict[str, Any]:
        """The keyword arguments `dtype` and `param_dtype` of every Flax module."""
        return {"dtype": jnp.dtype(self.dtype), "param_dtype": jnp.dtype(self.param_dtype)}

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NotaGPTConfig:
        """From nested plain values, e.g. `config.model.to_dict()`; the inverse of `to_dict`."""
        parts = {"vision": VisionConfig, "text": TextConfig, "connector": ConnectorConfig}
        try:
            built = {
                key: parts[key](**value) if key in parts else value for key, value in values.items()
            }
            return cls(**built)
        except TypeError as error:  # names the missing or the unknown field
            raise UserError(f"the model's configuration does not fit: {cut(str(error))}") from error


def _require_divisible(name: str, value: int, by: str, divisor: int) -> None:
    if divisor < 1 or value % divisor:
        raise UserError(f"{name} is {value}, which is not a multiple of {by} ({divisor})")


def _require_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
