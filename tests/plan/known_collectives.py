"""Run by test_hlo.py in a process in which XLA shows eight virtual CPU devices.

    python known_collectives.py OUT.json

Compiles small programs whose collectives are known, and writes their HLO texts.
"""

import json
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

mesh = jax.make_mesh((2, 4), ("data", "fsdp"))
x = jax.ShapeDtypeStruct((64, 128), jnp.float32, sharding=NamedSharding(mesh, P("fsdp")))


def compiled(body):
    """`body` on each device's [16, 128] of x, compiled."""
    mapped = jax.shard_map(body, mesh=mesh, in_specs=P("fsdp"), out_specs=P(), check_vma=False)
    return jax.jit(mapped).lower(x).compile().as_text()


def loop(body, times):
    return lambda x: jax.lax.scan(lambda c, _: (body(c), None), x, None, length=times)[0]


def gathered(x):
    return jax.lax.all_gather(x, "fsdp").sum(0)


def scattered(x):
    return jnp.tile(jax.lax.psum_scatter(x, "fsdp", tiled=True), (4, 1))


texts = {
    "sum in a loop of 5": compiled(loop(lambda x: jax.lax.psum(jnp.sin(x), "fsdp"), 5)),
    "sum over both axes": compiled(lambda x: jax.lax.psum(x, ("data", "fsdp"))),
    "gather in a loop of 3 in one of 2": compiled(loop(loop(gathered, 3), 2)),
    "scatter": compiled(scattered),
    "shift": compiled(partial(jax.lax.ppermute, axis_name="fsdp", perm=[(0, 1), (1, 2), (2, 3)])),
    "sum over data": compiled(lambda x: jax.lax.psum(x, "data")),
}
Path(sys.argv[1]).write_text(json.dumps(texts))
