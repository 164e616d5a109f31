"""A stack of equal layers as one scanned, rematerialised module."""

from __future__ import annotations

import flax.linen as nn
import jax

from nota_jax.models.config import NotaGPTConfig

POLICIES = {
    "full": None,  # keep the layer's input, compute the rest again
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def scan_layers(
    layer: type[nn.Module],
    config: NotaGPTConfig,
    length: int,
    *,
    run: int | None = None,
) -> type[nn.Module]:
    """`layer` repeated `length` times, its parameters stacked on axis 0.

    `layer.__call__(x, *inputs)` returns (x, output); every layer gets the same inputs, and the
    outputs are stacked on axis 0 too.

    run: compute only the first `run` layers; the parameters of the rest exist all the same, so
      that a checkpoint stays whole, and cost neither time nor activations.
    """
    if config.remat != "none":
        # Inside a scan XLA cannot merge the recomputation away, so its barrier is not needed.
        layer = nn.remat(layer, policy=POLICIES[config.remat], prevent_cse=False)
    run = length if run is None else run

    def stack(n: int) -> type[nn.Module]:
        return nn.scan(
            layer, variable_axes={"params": 0}, split_rngs={"params": True},
            in_axes=nn.broadcast, length=n,
        )  # fmt: skip

    if run == length:
        return stack(length)
    return nn.map_variables(
        stack(run), "params", trans_in_fn=lambda tree: jax.tree.map(lambda p: p[:run], tree)
    )
