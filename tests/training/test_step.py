"""The training step: what moves, what does not, and that microbatches do not matter."""

import re

import jax
import numpy as np
import pytest

from nota_jax.errors import UserError
from nota_jax.models.notagpt import NotaGPT
from nota_jax.parallel.mesh import make_mesh, param_shardings
from nota_jax.params import count_params, flatten, resolve, unflatten
from nota_jax.training import state
from nota_jax.training.objectives import answers
from nota_jax.training.optimizer import OptimizerConfig, make_optimizer, schedule
from nota_jax.training.step import make_train_step, sums_and_grads

PHASE_2 = ((r"vision_tower/.*", False), (r".*", True))
ANSWERS = answers.of_chunks(256)


@pytest.fixture(scope="module")
def phase_2(nano_config, nano_params):
    """(fresh state maker, train step) of the phase that leaves the vision tower frozen."""
    config = OptimizerConfig(learning_rate=1e-2)
    optimizer = make_optimizer(config, 6)
    trainable = resolve(PHASE_2, nano_params, table="trainable")
    shardings = param_shardings(make_mesh(devices=jax.devices()[:1]), nano_params)

    def fresh():
        return state.create(nano_params, trainable, optimizer, shardings)

    where = jax.tree.map(lambda x: x.sharding, fresh())
    step = make_train_step(
        NotaGPT(nano_config), ANSWERS, optimizer, schedule(config, 6), shardings=where
    )
    return fresh, step


def paths(tree):
    return set(flatten(tree))


def test_frozen_parameters_stay_bit_identical(phase_2, nano_params, nano_batch):
    fresh, step = phase_2
    after = fresh()
    for i in range(3):
        after, _ = step(after, nano_batch(4, seed=i))
    for path, leaf in flatten(after.frozen).items():
        np.testing.assert_array_equal(leaf, flatten(nano_params)[path])
    moved = {
        path
        for path, leaf in flatten(after.trainable).items()
        if np.any(np.asarray(leaf) != flatten(nano_params)[path])
    }
    assert moved == paths(after.trainable)
    assert paths(after.frozen) | moved == paths(nano_params)


def test_optimizer_state_exists_for_trainables_only(phase_2):
    fresh, _ = phase_2
    start = fresh()
    moments = [x for x in jax.tree.leaves(start.opt_state) if x.ndim > 0]
    n = sum(x.size for x in moments)
    assert n == 2 * count_params(start.trainable) < 2 * count_params(start.params)


def test_the_gradient_has_the_structure_of_the_trainable_part(phase_2, nano_config, nano_batch):
    start = phase_2[0]()
    _, grads = jax.eval_shape(
        lambda t, f, b: sums_and_grads(NotaGPT(nano_config), ANSWERS, t, f, b),
        start.trainable,
        start.frozen,
        nano_batch(2),
    )
    assert paths(grads) == paths(start.trainable)
    assert not any(path.startswith("vision_tower") for path in paths(grads))


def test_a_step_compiles_once_and_consumes_its_state(phase_2, nano_batch):
    fresh, step = phase_2
    start = fresh()
    after, _ = step(start, nano_batch(4))
    step(after, nano_batch(4, seed=1))
    assert step._cache_size() == 1
    assert all(x.is_deleted() for x in jax.tree.leaves(start.trainable))


def test_a_step_never_talks_to_the_host(phase_2, nano_batch):
    fresh, step = phase_2
    talk = re.compile(r"callback|infeed|outfeed|\b(send|recv)\(")
    assert not talk.search(step.lower(fresh(), nano_batch(4)).compile().as_text())

    def talkative(state, batch):
        state, metrics = step(state, batch)
        jax.debug.print("loss {}", metrics["loss"])
        return state

    assert talk.search(jax.jit(talkative).lower(fresh(), nano_batch(4)).compile().as_text())


def test_the_callers_parameters_survive_a_step(nano_params, phase_2, nano_batch):
    # On CPU a jax array made from a numpy array may be the same memory.
    kept = jax.tree.map(np.copy, nano_params)
    fresh, step = phase_2
    step(fresh(), nano_batch(4))
    jax.tree.map(np.testing.assert_array_equal, kept, nano_params)


@pytest.fixture(scope="module")
def gradients(nano_config, nano_params):
    """(batch, microbatches) → sums and gradient with respect to everything."""
    model = NotaGPT(nano_config)
    compiled = jax.jit(
        lambda params, batch, n: sums_and_grads(model, ANSWERS, params, {}, batch, accumulation=n),
        static_argnums=2,
    )
    return lambda batch, n=1: compiled(nano_params, batch, n)


def test_accumulated_gradients_equal_those_of_the_large_batch(
    gradients, nano_batch, assert_same_gradients
):
    batch = nano_batch(16)
    per_row = batch["weights"].sum(axis=1)
    assert len(set(per_row)) > 1  # or a mean of means would pass as well
    (whole, want), (parts, got) = gradients(batch), gradients(batch, 4)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), parts, whole)
    assert_same_gradients(got, want)


def test_loss_is_the_mean_over_supervised_tokens_of_the_batch(gradients, nano_batch):
    batch = nano_batch(16)
    sums, _ = gradients(batch)
    (total, weight), (_, counted) = sums["answers"], sums["accuracy"]
    alone = 0.0
    for row in range(16):
        weights = batch["weights"] * (np.arange(16) == row)[:, None]
        alone += gradients(batch | {"weights": weights})[0]["answers"][0]
    np.testing.assert_allclose(total, alone, rtol=1e-5)
    assert weight == counted == batch["weights"].sum()
    loss = ANSWERS.loss({"answers": (total, weight)}, {"answers": weight})
    np.testing.assert_allclose(loss, total / batch["weights"].sum(), rtol=1e-6)


def test_weights_of_the_whole_batch_cost_no_pass_through_the_model(nano_config, nano_params):
    arrays = answers.arrays(nano_config, 16, 20)
    products = {
        n: jax.jit(
            lambda params, batch, n=n: sums_and_grads(
                NotaGPT(nano_config), ANSWERS, params, {}, batch, accumulation=n
            )
        )
        .lower(nano_params, arrays)
        .as_text()
        .count("stablehlo.dot_general")
        for n in (1, 4)
    }
    assert products[1] == products[4] > 0


def test_rows_that_do_not_divide_into_microbatches_are_refused(gradients, nano_batch):
    with pytest.raises(UserError, match="16 rows cannot be split into 3 equal microbatches"):
        gradients(nano_batch(16), 3)


def test_a_gradient_that_is_not_finite_is_flagged(phase_2, nano_batch):
    fresh, step = phase_2
    start = fresh()
    _, metrics = step(start, nano_batch(4))
    assert metrics["finite"]
    start = fresh()
    broken = flatten(start.trainable)
    broken["language_model/model/norm/scale"] *= np.nan
    _, metrics = step(start.replace(trainable=unflatten(broken)), nano_batch(4))
    assert not metrics["finite"]
