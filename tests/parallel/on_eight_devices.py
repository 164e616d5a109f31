"""Run by test_mesh.py in a process of its own, in which XLA shows eight virtual CPU devices.

    python on_eight_devices.py JOB.pkl OUT.pkl

JOB holds (config, params, batch, mesh sizes); OUT gets, for each mesh, the loss and the gradients
of the sharded computation and how parameters lay; and under "collectives" how often the loss
gathers and sums something, by the number of its chunks, with and without the ambient mesh.
"""

import contextlib
import pickle
import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.notagpt import NotaGPT
from nota_jax.parallel.mesh import make_mesh, param_shardings, place_batch, place_params
from nota_jax.params import flatten
from nota_jax.plan import traffic
from nota_jax.training.loss import chunked_cross_entropy
from nota_jax.training.objectives import answers
from nota_jax.training.step import sums_and_grads

config, params, batch, sizes = pickle.loads(Path(sys.argv[1]).read_bytes())
model = NotaGPT(NotaGPTConfig.from_dict(config))
results = {}
for size in sizes:
    mesh = make_mesh(*size)
    placed = place_params(params, param_shardings(mesh, params))

    @jax.jit
    def sharded(params, batch, mesh=mesh):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # as in the training step
            objective = answers.of_chunks(8)
            return sums_and_grads(model, objective, params, {}, batch, accumulation=2)

    sums, grads = sharded(placed, place_batch(mesh, batch))
    results[size] = {
        "loss": float(sums["answers"][0] / sums["answers"][1]),
        "grads": jax.tree.map(np.asarray, grads),
        "pieces": {
            path: (len(x.sharding.device_set), x.sharding.shard_shape(x.shape))
            for path, x in flatten(placed).items()
        },
    }

mesh = make_mesh(1, 8, 1)
rows, columns = NamedSharding(mesh, P(("data", "fsdp"))), NamedSharding(mesh, P("fsdp", "tensor"))


def collectives(chunk, ambient):
    """Runs of collectives in the compiled gradient of the loss of 40 positions."""

    def loss(hidden, kernel, targets, weights):
        with ambient:
            return chunked_cross_entropy(hidden, kernel, targets, weights, chunk=chunk)[0]

    def shape(where, dtype, *sizes):
        return jax.ShapeDtypeStruct(sizes, dtype, sharding=where)

    arguments = (
        shape(rows, np.float32, 8, 40, 16), shape(columns, np.float32, 16, 64),
        shape(rows, np.int32, 8, 40), shape(rows, np.float32, 8, 40),
    )  # fmt: skip
    gradient = jax.jit(jax.grad(loss, (0, 1)), out_shardings=(rows, columns))
    text = gradient.lower(*arguments).compile().as_text()
    return sum(found.count for found in traffic.read(text).collectives)


results["collectives"] = {
    name: {40 // chunk: collectives(chunk, ambient) for chunk in (20, 8)}
    for name, ambient in (
        ("mesh", jax.sharding.use_abstract_mesh(mesh.abstract_mesh)),
        ("none", contextlib.nullcontext()),
    )
}
Path(sys.argv[2]).write_bytes(pickle.dumps(results))
