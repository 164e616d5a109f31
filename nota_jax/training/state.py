"""What a training step reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from nota_jax.params import Tree, flatten, join_trees, split_tree, unflatten


class TrainState(flax.struct.PyTreeNode):
    """Parameters split in two, and what the optimizer remembers about one of them.

    step: int32 scalar, optimizer steps done.
    trainable: nested dict, fp32 (design decision 11).
    frozen: nested dict, in bf16 on accelerators; never written to.
    opt_state: of `trainable` only.
    """

    step: jax.Array
    trainable: Any
    frozen: Any
    opt_state: optax.OptState

    @property
    def params(self) -> dict[str, Any]:
        """The whole parameter tree, as `model.apply` wants it."""
        return join_trees(self.trainable, self.frozen)

    @property
    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps of the state beside the parameters."""
        return {"opt_state": self.opt_state, "step": self.step}


def frozen_dtype(platform: str | None = None) -> jnp.dtype | None:
    """What frozen parameters are held in: bf16 on accelerators, on CPU (None) as they come.

    platform: "cpu", "gpu" or "tpu"; None for this process's.
    """
    return None if (platform or jax.default_backend()) == "cpu" else jnp.dtype(jnp.bfloat16)


def place(
    tree: dict[str, Any],
    dtype: Any,
    shardings: Mapping[str, NamedSharding],
    *,
    consume: bool = False,
) -> dict[str, Any]:
    """The tree on the devices in `dtype` (None: its own); no buffer is shared with `tree`.

    consume: `tree` is emptied, and each leaf let go when it is placed, so that the weights as they
      came and as they are placed are never all there at once.
    """

    def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
        to = leaf.dtype if dtype is None else dtype
        if isinstance(leaf, np.ndarray):
            leaf = leaf.astype(to, copy=False)  # before the transfer: half the bytes for bf16
        else:
            leaf = leaf.astype(to)
        # A step donates, and so destroys, the state's buffers; the caller's must survive it.
        placed = jax.device_put(leaf, sharding, may_alias=False)
        # Else the memory of all copies is taken before that of the first original is free again.
        return jax.block_until_ready(placed) if consume else placed

    flat = flatten(tree)
    if consume:
        tree.clear()
    return unflatten({path: put(flat.pop(path), shardings[path]) for path in list(flat)})


def create(
    params: dict[str, Any],
    trainable: Mapping[str, bool],
    optimizer: optax.GradientTransformation,
    shardings: Mapping[str, NamedSharding],
    *,
    consume: bool = False,
) -> TrainState:
    """The state before the first step.

    Args:
      params: whole tree, of numpy or jax arrays; it stays usable, unless
      consume: it is emptied, see `place`.
      trainable: by path, `params.resolve`'s answer.
      optimizer: sees the trainable part only.
      shardings: by path, `parallel.mesh.param_shardings`' answer.
    """
    chosen, frozen = split_tree(params, trainable)
    if consume:
        params.clear()
    chosen = place(chosen, jnp.float32, shardings, consume=True)
    where = jax.tree.map(lambda x: x.sharding, abstract_state(chosen, optimizer, shardings))
    return TrainState(
        step=jax.device_put(jnp.zeros((), jnp.int32), where.step),
        trainable=chosen,
        frozen=place(frozen, frozen_dtype(), shardings, consume=True),
        opt_state=jax.jit(optimizer.init, out_shardings=where.opt_state)(chosen),
    )


def abstract_state(
    chosen: Tree,
    optimizer: optax.GradientTransformation,
    shardings: Mapping[str, NamedSharding],
) -> TrainState:
    """Shapes, dtypes and places of everything in the state but its frozen part, which is empty.

    The optimizer's moments lie where their parameters do; counters are on every device.

    chosen: the trainable parameters or their shapes.
    """
    everywhere = NamedSharding(next(iter(shardings.values())).mesh, PartitionSpec())
    where = unflatten({path: shardings[path] for path in flatten(chosen)})

    def at(leaf: Any, sharding: NamedSharding = everywhere, dtype: Any = None) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, dtype or leaf.dtype, sharding=sharding)

    trainable = jax.tree.map(lambda x, s: at(x, s, jnp.float32), chosen, where)
    return TrainState(
        step=at(jax.eval_shape(lambda: jnp.zeros((), jnp.int32))),
        trainable=trainable,
        frozen={},
        opt_state=optax.tree_map_params(
            optimizer,
            at,
            jax.eval_shape(optimizer.init, trainable),
            where,
            transform_non_params=at,
        ),
    )
