"""The mesh `data × fsdp × tensor`, and what lies where on it.

- `data`: every device has all parameters and its own rows of the batch.
- `fsdp`: parameters, gradients and optimizer state are sharded over devices and gathered as needed
  (ZeRO-3); the batch is sharded over this axis as well.
- `tensor`: matrix products are sharded (Megatron): the first of a pair by columns, the second by
  rows, so that one sum per pair crosses devices.

Only placement is written down here; XLA's partitioner derives the communication.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from nota_jax.errors import UserError
from nota_jax.models.layers import ROW_AXES
from nota_jax.params import Rules, Tree, flatten, resolve, unflatten

AXES = ("data", "fsdp", "tensor")

# Specs speak of a parameter's *last* dimensions; those before them (the layer stack on axis 0, a
# convolution's window) are never sharded.  Kernels are [in, out].
SHARDING_RULES: Rules = (
    (
        r".*/(q_proj|k_proj|v_proj|fc1|gate_proj|up_proj|linear_1|lm_head)/kernel",
        P("fsdp", "tensor"),
    ),
    (r".*/(o_proj|out_proj|fc2|down_proj|linear_2)/kernel", P("tensor", "fsdp")),
    (r".*/(q_proj|k_proj|v_proj|fc1|linear_1)/bias", P("tensor")),
    (r".*/embed_tokens/embedding", P("tensor", "fsdp")),
    (r".*/patch_embedding/kernel", P("fsdp")),
    # Norms, position embeddings, other biases and learned queries: too small to be worth it.
    (r".*", P()),
)


def mesh_sizes(data: int, fsdp: int, tensor: int, islands: int, each: int) -> tuple[int, int, int]:
    """The mesh's sizes over `islands` times `each` devices, every -1 filled in.

    An island is what a fast network joins: the GPUs of a host, the chips of a TPU slice.  One -1 is
    whatever is left.  Where data and fsdp are both -1, fsdp fills an island and data counts the
    islands, so that only the sum of gradients crosses the slow network.  Of 3, 6 or 12 devices
    fsdp leaves the factor 3 to data: widths are multiples of powers of two.

    Raises:
      UserError: if the sizes do not multiply to the number of devices.
    """
    devices, sizes = islands * each, [data, fsdp, tensor]
    if any(size < 1 and size != -1 for size in sizes) or sizes.count(-1) > 1 + (tensor != -1):
        raise UserError(
            f"mesh {shown(sizes)}: sizes are positive, or -1 for what is left (one of them, or "
            "data and fsdp)"
        )
    if data == fsdp == -1:
        sizes[0] = islands * _odd(each // tensor) if each % tensor == 0 else _odd(devices // tensor)
    if -1 in sizes:
        sizes[sizes.index(-1)] = max(devices // -math.prod(sizes), 1)
    if math.prod(sizes) != devices:
        raise UserError(
            f"mesh {shown([data, fsdp, tensor])} does not fill {devices} devices: its sizes must "
            f"multiply to {devices} (-1: what is left)"
        )
    return sizes[0], sizes[1], sizes[2]


def _odd(n: int) -> int:
    """What is left of a number when it has been halved as often as it can be."""
    return n // (n & -n) if n else 1


def shown(sizes: Sequence[int]) -> str:
    """ "data 2 × fsdp 8 × tensor 1"."""
    return " × ".join(f"{axis} {size}" for axis, size in zip(AXES, sizes, strict=True))


def islands_of(devices: Sequence[jax.Device]) -> tuple[int, int]:
    """How many islands (see `mesh_sizes`) devices lie on, and how many there are on each.

    Raises:
      UserError: if it is not the same number on each.
    """
    # jax numbers the slices of TPUs, and of GPUs the hosts (or what NVLink joins beyond them); a
    # lone process of CPU devices has no such number.
    counts = Counter(getattr(device, "slice_index", 0) for device in devices)
    if len(set(counts.values())) > 1:
        raise UserError(
            f"the hosts or slices have {', '.join(map(str, counts.values()))} devices: a mesh "
            "needs the same number on each"
        )
    return len(counts), len(devices) // len(counts)


def make_mesh(
    data: int = -1, fsdp: int = -1, tensor: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """A mesh over all devices; -1 as in `mesh_sizes`.

    Several islands are spanned by `data` as far as it reaches, then by fsdp, then by tensor.

    Raises:
      UserError: if the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    islands, each = islands_of(devices)
    sizes = mesh_sizes(data, fsdp, tensor, islands, each)
    outer = _across(sizes, islands)
    inner = [size // over for size, over in zip(sizes, outer, strict=True)]
    if islands > 1:
        make = partial(mesh_utils.create_hybrid_device_mesh, inner, outer, devices)
    else:
        make = partial(mesh_utils.create_device_mesh, sizes, devices)
    try:
        # The flat TPUs' axes are split whenever that helps, as `jax.make_mesh` does it.
        flat = devices[0].device_kind in ("TPU v5 lite", "TPU v5e")
        grid = make(allow_split_physical_axes=flat)
    except NotImplementedError:
        # Sizes that are no product of a TPU slice's own axes, as 32 × 8 on 16 × 16 chips.
        grid = make(allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _across(sizes: Sequence[int], islands: int) -> list[int]:
    """How many islands each axis reaches over: data as many as it can, then fsdp, then tensor."""
    outer = []
    for size in sizes:
        outer.append(math.gcd(size, islands))
        islands //= outer[-1]
    return outer


def layout(mesh: Mesh) -> str:
    """ "mesh data 2 × fsdp 8 × tensor 1", and over several islands what crosses them."""
    islands, each = islands_of(list(mesh.devices.flat))
    text = f"mesh {shown(mesh.devices.shape)}"
    if islands == 1:
        return text
    outer = _across(mesh.devices.shape, islands)
    crossing = " and ".join(axis for axis, over in zip(AXES, outer, strict=True) if over > 1)
    return f"{text}: {crossing} across {islands} hosts or slices of {each} devices"


def param_shardings(
    mesh: Mesh, shapes: Tree, table: Rules = SHARDING_RULES
) -> dict[str, NamedSharding]:
    """Where each parameter lies, by path.

    Raises:
      UserError: naming every parameter, shape and dimension that the mesh cannot shard evenly.
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
                    f"be sharded evenly over mesh axis {axes!r} of size {ways}"
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
    """Rows are sharded over data and fsdp; everything else of a batch stays whole."""
    return NamedSharding(mesh, P(ROW_AXES))


def batch_ways(mesh: Mesh) -> int:
    """Over how many devices (or groups of them) a batch's rows are sharded."""
    return _ways(mesh, ROW_AXES)


def check_rows(mesh: Mesh, rows: int) -> None:
    """Raises UserError where a global batch of `rows` rows does not shard evenly over the mesh."""
    ways = batch_ways(mesh)
    if rows % ways:
        raise UserError(
            f"a batch of {rows} rows cannot be sharded evenly over data × fsdp = "
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
            f"mesh {shown(mesh.devices.shape)} shards the "
            f"batch across the borders of {len(blocks)} processes: choose `tensor` so that it "
            "divides the devices of a process, or is a multiple of them"
        )
    return shares.index(tuple(sorted(blocks[process]))), len(shares)
