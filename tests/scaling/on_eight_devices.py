"""Run by test_mesh.py in a process of its own, in which XLA shows eight virtual CPU devices.

    python on_eight_devices.py JOB.pkl OUT.pkl

JOB holds (config, params, batch, mesh sizes); OUT gets, for each mesh, the loss and the gradients
of the sharded computation and how parameters lay.
"""

import pickle
import sys
from pathlib import Path

import jax
import numpy as np

from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.notagpt import NotaGPT
from nota_jax.scaling.mesh import make_mesh, param_shardings, place_batch, place_params
from nota_jax.training import rules
from nota_jax.training.step import loss_and_grads

config, params, batch, sizes = pickle.loads(Path(sys.argv[1]).read_bytes())
model = NotaGPT(NotaGPTConfig.from_dict(config))
results = {}
for size in sizes:
    mesh = make_mesh(*size)
    placed = place_params(params, param_shardings(mesh, params))
    metrics, grads = jax.jit(lambda p, b: loss_and_grads(model, p, {}, b, accumulation=2))(
        placed, place_batch(mesh, batch)
    )
    results[size] = {
        "loss": float(metrics["loss"]),
        "grads": jax.tree.map(np.asarray, grads),
        "pieces": {
            path: (len(x.sharding.device_set), x.sharding.shard_shape(x.shape))
            for path, x in rules.flatten(placed).items()
        },
    }
Path(sys.argv[2]).write_bytes(pickle.dumps(results))
