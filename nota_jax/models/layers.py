"""What all transformer layers share: linear maps, and the stack as one scanned module."""

from __future__ import annotations

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec

from nota_jax.models.config import NotaGPTConfig

# Mesh axes (`parallel.mesh` says what they mean): those that shard the rows of a batch, and those
# over which a decoding step shards its weights.
ROW_AXES = ("data", "fsdp")
WEIGHT_AXES = ("tensor", "fsdp")

POLICIES = {
    "full": None,  # keep the layer's input, compute the rest again
    "dots": jax.checkpoint_policies.save_only_these_names("linear"),
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
            in_axes=nn.broadcast, length=n, unroll=min(config.unroll, n),
        )  # fmt: skip

    if run == length:
        return stack(length)
    return nn.map_variables(
        stack(run), "params", trans_in_fn=lambda tree: jax.tree.map(lambda p: p[:run], tree)
    )


def keep_rows(x: jax.Array) -> jax.Array:
    """x [B, …] and its gradient stay cut by rows, over the ambient mesh's `ROW_AXES`.

    Under fsdp the weights are cut over the devices that also cut the rows.  Left to itself, XLA's
    partitioner sometimes leaves the weights where they are and gathers the activations of all
    rows instead: of a frozen tower, say.  Without an ambient mesh nothing happens.
    """
    return constrain(x, ROW_AXES)


def constrain(x: jax.Array, *spec: str | tuple[str, ...] | None) -> jax.Array:
    """x sharded over the ambient mesh as a `PartitionSpec` says; without a mesh x as it is."""
    if not set(ROW_AXES) <= set(jax.sharding.get_abstract_mesh().axis_names):
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*spec))


def row_blocks() -> int:
    """Into how many parts the ambient mesh cuts the rows of a batch; 1 without one."""
    sizes = dict(jax.sharding.get_abstract_mesh().shape)
    return math.prod(sizes.get(axis, 1) for axis in ROW_AXES)


def copy_for_row_blocks(kernel: jax.Array) -> jax.Array:
    """kernel [D, V] → [`row_blocks`, D, V]: a copy beside each block of rows.

    For a kernel that a loop reads.  One that is cut over the devices would be gathered anew at
    every turn, and its gradient summed over the devices as often; a copy's gradient stays where it
    is, and the sum over the copies comes once, behind the loop.  V stays cut over `tensor`.
    """
    copies = jnp.broadcast_to(kernel, (row_blocks(), *kernel.shape))
    if len(copies) == 1:
        return copies
    return jax.lax.with_sharding_constraint(copies, PartitionSpec(ROW_AXES, None, "tensor"))


class Linear(nn.Module):
    """x […, D] → […, size].

    `nn.Dense` would cast kernel and bias to the compute dtype first, so that their gradients came
    rounded to it, before they are summed over devices and microbatches.
    """

    config: NotaGPTConfig
    size: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        dtype, param_dtype = self.config.dtypes.values()
        shape = (x.shape[-1], self.size)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, param_dtype)
        # Named for the remat policy, which does not look inside a custom gradient.
        y = matmul(x.astype(dtype), kernel, None, self.config.operands)
        y = checkpoint_name(y, "linear")
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.size,), param_dtype)
        return (y + bias).astype(dtype)


def linear(config: NotaGPTConfig, size: int, name: str, *, use_bias: bool = True) -> Linear:
    """A linear map to `size`, in the configured dtypes."""
    return Linear(config, size, use_bias, name=name)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def matmul(
    x: jax.Array, kernel: jax.Array, dtype: str | None = None, operands: str = ""
) -> jax.Array:
    """x […, D] · kernel [D, E] → […, E].

    The kernel's gradient is xᵀ · dy, where JAX would compute (dyᵀ · x)ᵀ.  On a CPU the latter makes
    XLA fuse the backward pass of what follows into a strided transpose of dy: 15 % of a training
    step (B 8, T 576, width 256, 2 cores), and for the head 4 % of `tiny`'s.

    dtype: of the sums and the result; None for x's.
    operands: what x, kernel and the result's gradient are multiplied in; "" for x's dtype, as under
      PyTorch's autocast.  Gradients come in the dtypes of x and kernel.
    """
    return _matmul_forward(x, kernel, dtype, operands)[0]


def _matmul_forward(x, kernel, dtype, operands):
    # Kept as they were multiplied: cast again from the kernel, it would be gathered again under
    # fsdp.
    x_cast = x.astype(operands or x.dtype)
    kernel_cast = kernel.astype(x_cast.dtype)
    y = jax.lax.dot_general(
        x_cast, kernel_cast, (((x.ndim - 1,), (0,)), ((), ())),
        preferred_element_type=dtype or x.dtype,
    )  # fmt: skip
    return y, (x_cast, kernel_cast, jnp.empty(0, x.dtype), jnp.empty(0, kernel.dtype))


def _matmul_backward(dtype, operands, saved, dy):
    del dtype, operands
    x, kernel, like_x, like_kernel = saved
    rows, last = tuple(range(x.ndim - 1)), (x.ndim - 1,)
    dy = dy.astype(x.dtype)
    dx = jax.lax.dot_general(
        dy, kernel, ((last, (1,)), ((), ())), preferred_element_type=like_x.dtype
    )
    kernel_gradient = jax.lax.dot_general(
        x, dy, ((rows, rows), ((), ())), preferred_element_type=like_kernel.dtype
    )
    return dx, kernel_gradient


matmul.defvjp(_matmul_forward, _matmul_backward)
