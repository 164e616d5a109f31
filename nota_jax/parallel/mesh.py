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
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from nota_jax.errors import UserError
from nota_jax.params import Rules, Tree, flatten, resolve, unflatten

AXES = ("data", "fsdp", "tensor")

# Specs speak of a parameter's *last* dimensions; those before them (the layer stack on axis 0, a
# convolution's window) are never cut.  Kernels are [in, out].
SHARDING_RULES: Rules = (
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
    types = (AxisType.Auto,) * len(AXES)
    try:
        return jax.make_mesh(sizes, AXES, axis_types=types, devices=devices)
    except NotImplementedError:
        # Sizes that are no product of a TPU slice's own axes, as 32 × 8 on 16 × 16 chips.
        grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
        return Mesh(grid, AXES, axis_types=types)


def param_shardings(
    mesh: Mesh, shapes: Tree, table: Rules = SHARDING_RULES
) -> dict[str, NamedSharding]:
    """Where each parameter lies, by path.

    Raises:
      UserError: naming every parameter, shape and dimension that the mesh cannot cut evenly.
    """
    specs = resolve(table, shapes, table="sharding")
    shardings, problems = {}, []
    for path, leaf in flatten(shapes).items():
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


def batch_ways(mesh: Mesh) -> int:
    """Into how many parts a batch's rows are cut."""
    return _ways(mesh, ("data", "fsdp"))


def check_rows(mesh: Mesh, rows: int) -> None:
    """Raises UserError where a global batch of `rows` rows cannot be cut over the mesh."""
    ways = batch_ways(mesh)
    if rows % ways:
        raise UserError(
            f"a batch of {rows} rows cannot be cut evenly over data × fsdp = "
            f"{mesh.shape['data']} × {mesh.shape['fsdp']} = {ways}; change the batch or the mesh"
        )


def place_params(params: Tree, shardings: Mapping[str, NamedSharding]) -> dict[str, Any]:
    """The tree on the devices, each leaf where `param_shardings` says."""
    flat = flatten(params)
    return unflatten({path: jax.device_put(x, shardings[path]) for path, x in flat.items()})


def place_batch(mesh: Mesh, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """This process's rows of the batch as parts of global arrays.

    batch: the rows of this process's `row_share`; the global batch is all shares together.
    """
    sharding, (_, shares) = batch_sharding(mesh), row_share(mesh)
    return {
        name: jax.make_array_from_process_local_data(
            sharding, x, (len(x) * shares, *np.shape(x)[1:])
        )
        for name, x in batch.items()
    }


def place_key(mesh: Mesh, key: jax.Array) -> jax.Array:
    """A random key, the same in all processes, on every device of the mesh."""
    # As numbers: a typed key cannot be put where other processes' devices are.
    data = jax.device_put(np.asarray(jax.random.key_data(key)), NamedSharding(mesh, P()))
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(key))


def place_whole(mesh: Mesh, x: np.ndarray) -> jax.Array:
    """A batch that every process has whole, as a global array: each device takes its rows."""
    return jax.make_array_from_callback(np.shape(x), batch_sharding(mesh), lambda part: x[part])


def row_share(mesh: Mesh, process: int | None = None) -> tuple[int, int]:
    """Which of how many equal shares of a global batch's rows a process reads.

    Where `tensor` (or a tail of `fsdp`) reaches over several processes, they read the same rows.

    process: None for this one.

    Raises:
      UserError: where processes would hold overlapping, but different rows.
    """
    process = jax.process_index() if process is None else process
    blocks: dict[int, set[int]] = {}
    for block, devices in enumerate(mesh.devices.reshape(batch_ways(mesh), -1)):
        for device in devices:
            blocks.setdefault(device.process_index, set()).add(block)
    shares = sorted({tuple(sorted(own)) for own in blocks.values()})
    if sum(map(len, shares)) != len(set().union(*shares)) or len(set(map(len, shares))) > 1:
        raise UserError(
            f"mesh {' × '.join(f'{axis} {size}' for axis, size in mesh.shape.items())} cuts the "
            f"batch across the borders of {len(blocks)} processes: choose `tensor` so that it "
            "divides the devices of a process, or is a multiple of them"
        )
    return shares.index(tuple(sorted(blocks[process]))), len(shares)
