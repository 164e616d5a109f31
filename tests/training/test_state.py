"""The state before the first step, made from weights that somebody loaded."""

import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nota_jax.parallel.mesh import make_mesh, param_shardings
from nota_jax.params import flatten, resolve
from nota_jax.training import state
from nota_jax.training.optimizer import OptimizerConfig, make_optimizer

TABLE = ((r"vision_tower/.*", False), (r".*", True))


@pytest.mark.parametrize("consume", [True, False])
def test_weights_as_loaded_and_as_placed_are_not_all_there_at_once(
    nano_params, monkeypatch, consume
):
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), nano_params)
    loaded = [weakref.ref(leaf) for leaf in jax.tree.leaves(params)]
    alive: list[int] = []
    device_put = jax.device_put

    def watched(*arguments, **options):
        alive.append(sum(reference() is not None for reference in loaded))
        return device_put(*arguments, **options)

    trainable = resolve(TABLE, params, table="trainable")
    shardings = param_shardings(make_mesh(devices=jax.devices()[:1]), params)
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1.0), 10)
    monkeypatch.setattr(jax, "device_put", watched)
    made = state.create(
        params, trainable, optimizer, shardings, consume=consume
    )  # fmt: skip
    count = len(loaded)
    if consume:
        assert not params
        # Whatever is put next: what was put before it is gone, but for the leaf in hand.
        assert all(n <= count - i + 1 for i, n in enumerate(alive[:count]))
    else:
        assert set(alive) == {count}
        assert all(
            np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in flatten(params).values()
        )
    for path, leaf in flatten(made.params).items():
        np.testing.assert_allclose(leaf, flatten(nano_params)[path], rtol=1e-2)
