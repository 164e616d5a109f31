"""How many FLOPs (floating-point operations) a training step costs, counted analytically.

A multiply-add is two; only matrix products are counted (embedding look-ups, norms and
softmax are not), as is usual for model FLOP utilisation.  A part that trains costs three forward
passes (forward, gradients of activations, gradients of weights); a frozen part that gradients pass
through costs two; a frozen part that nothing trainable lies below costs one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jax.interpreters import partial_eval


@dataclass(frozen=True)
class Forward:
    """FLOPs of a forward pass over one row: one image and T tokens."""

    vision: float
    connector: float
    text: float

    @property
    def total(self) -> float:
        return self.vision + self.connector + self.text


def forward_flops(config, length: int) -> Forward:
    """Of one image and `length` tokens, those of the image included.

    config: `nota_jax.models.config.NotaGPTConfig`.  Attention is counted over the full
    length × length square, which is what the reference implementation computes.
    """
    v, c, t = config.vision, config.connector, config.text
    d, patches = v.hidden_size, v.num_features
    tokens = patches + 1  # CLS
    per_layer = 2 * tokens * (4 * d**2 + 2 * d * v.intermediate_size) + 4 * tokens**2 * d
    # The layers behind the feature layer are never computed (hidden_states[-2]).
    vision = v.num_feature_layers * per_layer + 2 * patches * 3 * v.patch_size**2 * d

    w = t.hidden_size
    if c.kind == "mlp1":
        connector = 2 * patches * d * w
    elif c.kind == "mlp2":
        connector = 2 * patches * (d * w + w**2)
    else:
        connector = _resampler_flops(config)

    attention = w * t.head_dim * 2 * (t.num_attention_heads + t.num_key_value_heads)
    per_layer = 2 * length * (attention + 3 * w * t.intermediate_size)
    per_layer += 4 * length**2 * t.num_attention_heads * t.head_dim
    text = t.num_hidden_layers * per_layer + 2 * length * w * t.vocab_size
    return Forward(float(vision), float(connector), float(text))


def step_flops(config, rows: int, length: int, trains: Mapping[str, bool]) -> float:
    """FLOPs of one optimizer step over `rows` rows of `length` tokens.

    trains: whether anything trains below each of "vision_tower", "multi_modal_projector" and
      "language_model".
    """
    f = forward_flops(config, length)
    vision = 3 if trains["vision_tower"] else 1
    below = trains["vision_tower"]
    connector = 1 + below + trains["multi_modal_projector"]
    below = below or trains["multi_modal_projector"]
    text = 3 if trains["language_model"] else 1 + below
    return rows * (vision * f.vision + connector * f.connector + text * f.text)


def _resampler_flops(config) -> float:
    """Of `models.connector.Resampler` and the two linear maps around it."""
    c, w = config.connector, config.text.hidden_size
    patches, queries = config.vision.num_features, c.num_queries
    seen = patches + queries
    per_layer = 2 * w**2 * (2 * queries + 2 * seen + 8 * queries) + 4 * queries * seen * w
    maps = 2 * patches * config.vision.hidden_size * w + 2 * queries * w**2
    return maps + c.num_hidden_layers * per_layer


def traced_flops(jaxpr: Any) -> float:
    """FLOPs of a traced program (`jax.make_jaxpr`'s answer), over all devices together.

    Unlike `step_flops`, which is what the mathematics asks for, this is what will be done: with
    rematerialisation, and with attention's blocks as they are computed.  Loops count as often as
    they run, and once where that depends on data; of a branch the dearer side counts; what nobody
    reads (a frozen kernel's gradient) is left out, as the compiler does.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    used, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)
    return _flops(used)


def _flops(jaxpr: Any) -> float:
    total = 0.0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, own = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = own["dimension_numbers"]
            depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * math.prod(equation.outvars[0].aval.shape) * depth
        elif name in _CUDNN_PRODUCTS:
            total += _CUDNN_PRODUCTS[name] * _cudnn_product(equation)
        inner = [_flops(sub) for sub in _inner(equation)]
        if name == "cond":
            total += max(inner)
        else:
            total += sum(inner) * (_RUNS[name](own) if name in _RUNS else 1)
    return total


# How often the inside of an equation runs, over all devices.
_RUNS = {
    "scan": lambda own: own["length"],
    "shard_map": lambda own: own["mesh"].size,
    "pallas_call": lambda own: math.prod(own["grid_mapping"].grid),
}
# Matrix products in cuDNN's attention, which is one equation without an inside.
_CUDNN_PRODUCTS = {"dot_product_attention_fwd_wrapper": 2, "dot_product_attention_bwd_wrapper": 5}


def _cudnn_product(equation: Any) -> float:
    """FLOPs of queries times keys, [B, T, H, D] times [B, S, K, D], half of them if causal."""
    queries, keys = (x.aval.shape for x in equation.invars[:2])
    causal = "CAUSAL" in str(equation.params["mask_type"])
    return 2 * math.prod(queries) * keys[1] / (2 if causal else 1)


def _inner(equation: Any) -> Iterator[Any]:
    for value in equation.params.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(getattr(part, "jaxpr", part), "eqns"):
                yield part
