"""The optimizer is AdamW with LLaVA's schedule, and its tables reach single parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from nota_jax.errors import UserError
from nota_jax.training.optimizer import OptimizerConfig, make_optimizer, schedule

PARAMS = {"a": {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([0.5])}}
GRADS = {"a": {"kernel": jnp.array([0.3, 0.4]), "bias": jnp.array([-1.2])}}


def run(optimizer, steps, params=PARAMS):
    state = optimizer.init(params)
    for i in range(steps):
        grads = jax.tree.map(lambda g, i=i: g * (1 + i), GRADS)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_learning_rate_warms_up_and_falls_along_a_cosine():
    rate = schedule(OptimizerConfig(learning_rate=2.0, warmup=0.1, final=0.1), 100)
    np.testing.assert_allclose(rate(jnp.arange(10)), 0.2 * np.arange(1, 11), rtol=1e-6)
    np.testing.assert_allclose(rate(10), 2.0, rtol=1e-6)
    np.testing.assert_allclose(rate(55), 0.5 * (2.0 + 0.2), rtol=1e-6)
    np.testing.assert_allclose(rate(jnp.array([100, 200])), 0.2, rtol=1e-6)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_updates_equal_torch_adamw_with_clipping(clip_norm):
    config = OptimizerConfig(
        learning_rate=0.1, warmup=0.2, weight_decay=0.1, clip_norm=clip_norm, b2=0.95
    )
    leaves = {path: torch.tensor(np.asarray(x)) for path, x in PARAMS["a"].items()}
    for leaf in leaves.values():
        leaf.requires_grad_()
    adamw = torch.optim.AdamW(leaves.values(), lr=1.0, betas=(0.9, 0.95), weight_decay=0.1)
    rate = schedule(config, 10)
    for i in range(6):
        for path, leaf in leaves.items():
            leaf.grad = torch.tensor(np.asarray(GRADS["a"][path] * (1 + i)))
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(leaves.values(), clip_norm)
        adamw.param_groups[0]["lr"] = float(rate(i))
        adamw.step()
    params = run(make_optimizer(config, 10), 6)
    for path, leaf in leaves.items():
        np.testing.assert_allclose(params["a"][path], leaf.detach().numpy(), rtol=2e-6)


def test_weight_decay_reaches_what_its_table_says():
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.5)
    without = run(make_optimizer(OptimizerConfig(learning_rate=0.1), 10), 3)
    decay = {"a/kernel": True, "a/bias": False}
    masked = run(make_optimizer(config, 10, decay=decay), 3)
    everywhere = run(make_optimizer(config, 10), 3)
    np.testing.assert_array_equal(masked["a"]["bias"], without["a"]["bias"])
    np.testing.assert_array_equal(masked["a"]["kernel"], everywhere["a"]["kernel"])
    assert np.all(np.abs(masked["a"]["kernel"]) < np.abs(without["a"]["kernel"]))


def test_learning_rate_multipliers_scale_single_parameters():
    config = OptimizerConfig(learning_rate=0.1)
    one = run(make_optimizer(config, 10), 1)
    table = {"a/kernel": 0.25, "a/bias": 1.0}
    scaled = run(make_optimizer(config, 10, multipliers=table), 1)
    np.testing.assert_array_equal(scaled["a"]["bias"], one["a"]["bias"])
    moved = scaled["a"]["kernel"] - PARAMS["a"]["kernel"]
    np.testing.assert_allclose(moved, 0.25 * (one["a"]["kernel"] - PARAMS["a"]["kernel"]), 1e-5)


@pytest.mark.parametrize(
    "wrong", [dict(learning_rate=-1.0), dict(warmup=3), dict(clip_norm=0.0), dict(final=-0.1)]
)
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(UserError, match=f"optim.{next(iter(wrong))}"):
        OptimizerConfig(**({"learning_rate": 1e-3} | wrong))


def test_a_centred_kernel_keeps_its_sum_over_the_inputs():
    key = jax.random.key(0)
    params = {"kernel": jax.random.normal(key, (5, 5, 3, 4)), "other": jnp.ones((6, 4))}
    grads = jax.tree.map(lambda x: 1.0 + 0.1 * x, params)  # as from white paper: all much alike
    config = OptimizerConfig(learning_rate=0.1, clip_norm=None)

    def moved(centered):
        optimizer = make_optimizer(config, 10, centered=centered)
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        return updates

    plain, some = moved(None), moved({"kernel": True, "other": False})
    assert jnp.abs(plain["kernel"].sum((0, 1, 2))).min() > 7  # 75 inputs, each by 0.1
    np.testing.assert_allclose(some["kernel"].sum((0, 1, 2)), 0, atol=1e-5)
    assert jnp.abs(some["kernel"]).max() > 0.05
    np.testing.assert_array_equal(some["other"], plain["other"])
