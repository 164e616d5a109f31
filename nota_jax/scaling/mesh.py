"""The mesh `data × fsdp × tensor`, and what lies where on it.

- `data`: every device has all parameters and its own rows of the batch.
- `fsdp`: parameters, gradients and optimizer state are cut over devices and gathered as needed
  (ZeRO-3); the batch is cut over this axis as well.
- `tensor`: matrix products are cut (Megatron): the first of a pair by columns, the second by
  rows, so that one sum per pair crosses devices.

Only placement is written down here; XLA's partitioner derives the communication.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from nota_jax.errors import UserError
from nota_jax.training import rules

AXES = ("data", "fsdp", "tensor")

# Specs speak of a parameter's *last* dimensions; those before them (the layer stack on axis 0, a
# convolution's window) are never cut.  Kernels are [in, out].
SHARDING_RULES: rules.Rules = (
    (
        r".*/(q_proj|k_proj|v_proj|fc1|gate_proj|up_proj|linear_1|lm_head)/kernel",
        P("fsdp", "tensor"),
    ),
    (r".*/(o_proj|out_proj|fc2|down_proj|linear_2)/kernel", P("tensor", "fsdp")),
    (r".*/(q_proj|k_proj|v_proj|fc1|linear_1)/bias", P("tensor")),
    (r".*/embed_tokens/embedding", P("tensor", "fsdp")),
    (r".*/patch_embedding/kernel", P("fsdp")),
    # Norms, position embeddings, other biases and learned queries: too small to be worth a cut.
    (r".*", P()),
)


def make_mesh(
    data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """A mesh over all devices; one axis may be -1 for "whatever is left".

    Raises:
      UserError: if the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [data, fsdp, tensor]
    shown = " × ".join(f"{axis} {size}" for axis, size in zip(AXES, sizes, strict=True))
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise UserError(f"mesh {shown}: sizes are positive, and at most one is -1 (what is left)")
    if -1 in sizes:
        sizes[sizes.index(-1)] = max(len(devices) // -math.prod(sizes), 1)
    if math.prod(sizes) != len(devices):
        raise UserError(
            f"mesh {shown} needs {abs(math.prod(sizes))} devices or a divisor of what is there; "
            f"there are {len(devices)} {devices[0].platform} devices"
        )
    return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def param_shardings(
    mesh: Mesh, shapes: rules.Tree, table: rules.Rules = SHARDING_RULES
) -> dict[str, NamedSharding]:
    """Where each parameter lies, by path.

    Raises:
      UserError: naming every parameter, shape and dimension that the mesh cannot cut evenly.
    """
    specs = rules.resolve(table, shapes, table="sharding")
    shardings, problems = {}, []
    for path, leaf in rules.flatten(shapes).items():
        spec = specs[path]
        if len(spec) > len(leaf.shape):
            problems.append(f"{path} has shape {leaf.shape}, too few dimensions for {spec}")
            continue
        leading = len(leaf.shape) - len(spec)
        for dimension, axes in enumerate(spec, leading):
            size = leaf.shape[dimension]
            if axes is not None and size % (ways := _ways(mesh, axes)):
                problems.append(
                    f"{path} has shape {leaf.shape}: dimension {dimension} of size {size} cannot "
                    f"be cut evenly over mesh axis {axes!r} of size {ways}"
                )
        shardings[path] = NamedSharding(mesh, P(*[None] * leading, *spec) if spec else P())
    if problems:
        raise UserError(
            "the mesh does not fit the parameters; change config.mesh or the sizes:\n  "
            + "\n  ".join(problems)
        )
    return shardings


def _ways(mesh: Mesh, axes: str | tuple[str, ...]) -> int:
    return math.prod(mesh.shape[a] for a in ((axes,) if isinstance(axes, str) else axes))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows are cut over data and fsdp; everything else of a batch stays whole."""
    return NamedSharding(mesh, P(("data", "fsdp")))


def check_rows(mesh: Mesh, rows: int) -> None:
    """Raises UserError where a global batch of `rows` rows cannot be cut over the mesh."""
    ways = _ways(mesh, ("data", "fsdp"))
    if rows % ways:
        raise UserError(
            f"a batch of {rows} rows cannot be cut evenly over data × fsdp = "
            f"{mesh.shape['data']} × {mesh.shape['fsdp']} = {ways}; change the batch or the mesh"
        )


def place_params(params: rules.Tree, shardings: Mapping[str, NamedSharding]) -> dict[str, Any]:
    """The tree on the devices, each leaf where `param_shardings` says."""
    flat = rules.flatten(params)
    return rules.unflatten({path: jax.device_put(x, shardings[path]) for path, x in flat.items()})


def place_batch(mesh: Mesh, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """This process's rows of the batch as parts of global arrays.

    Each process passes the rows of its own slice of the dataset; the global batch is all of them.
    """
    sharding = batch_sharding(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, x) for name, x in batch.items()}
