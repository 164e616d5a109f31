"""Placement on a mesh changes where numbers are computed, not the numbers."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

import nota_jax
from nota_jax.errors import UserError
from nota_jax.models.notagpt import NotaGPT
from nota_jax.parallel import mesh
from nota_jax.training.objectives import answers
from nota_jax.training.step import sums_and_grads

SIZES = [(8, 1, 1), (2, 2, 2), (1, 2, 4)]  # data, fsdp, tensor


@pytest.fixture(scope="module")
def sharded(nano_config, nano_params, nano_batch, tmp_path_factory):
    """Results of `on_eight_devices.py` by mesh size.

    A process of its own, because the number of virtual devices is fixed when jax starts, and eight
    of them slow everything else down (15 to 25 % on two cores).
    """
    folder = tmp_path_factory.mktemp("mesh")
    job = (nano_config.to_dict(), nano_params, nano_batch(16), SIZES)
    (folder / "job.pkl").write_bytes(pickle.dumps(job))
    script = Path(__file__).with_name("on_eight_devices.py")
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(nota_jax.__file__).parents[1]),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    subprocess.run(
        [sys.executable, script, folder / "job.pkl", folder / "out.pkl"],
        env=environment,
        check=True,
        timeout=300,
    )
    return pickle.loads((folder / "out.pkl").read_bytes())


@pytest.fixture(scope="module")
def alone(nano_config, nano_params, nano_batch):
    """Loss and gradients of the same batch on one device, in one piece."""
    model = NotaGPT(nano_config)
    both = jax.jit(lambda p, b: sums_and_grads(model, answers.of_chunks(256), p, {}, b))
    sums, grads = both(nano_params, nano_batch(16))
    total, weight = sums["answers"]
    return {"loss": total / weight}, jax.tree.map(np.asarray, grads)


@pytest.mark.parametrize("size", SIZES)
def test_loss_and_gradients_equal_the_single_devices(sharded, alone, assert_same_gradients, size):
    metrics, grads = alone
    np.testing.assert_allclose(sharded[size]["loss"], metrics["loss"], rtol=1e-6)
    assert_same_gradients(sharded[size]["grads"], grads)


def test_parameters_are_cut_as_the_rules_say(sharded):
    path = "language_model/model/layers/mlp/up_proj/kernel"  # [2 layers, 16, 32]
    assert {size: sharded[size]["pieces"][path] for size in SIZES} == {
        (8, 1, 1): (8, (2, 16, 32)),
        (2, 2, 2): (8, (2, 8, 16)),
        (1, 2, 4): (8, (2, 8, 8)),
    }


def test_the_head_is_gathered_once_however_many_chunks_the_loss_has(sharded):
    found = sharded["collectives"]
    assert found["mesh"][2] == found["mesh"][5] > 0
    assert found["none"][2] < found["none"][5]


def abstract(data, fsdp, tensor):
    return AbstractMesh((data, fsdp, tensor), mesh.AXES, axis_types=(AxisType.Auto,) * 3)


def test_what_cannot_be_cut_evenly_is_named(nano_params):
    with pytest.raises(UserError) as caught:
        mesh.param_shardings(abstract(1, 1, 3), nano_params)
    assert (
        "language_model/lm_head/kernel has shape (16, 64): dimension 1 of size 64 cannot be cut "
        "evenly over mesh axis 'tensor' of size 3"
    ) in str(caught.value)
    assert "vision_tower/encoder/layers/mlp/fc1/bias" in str(caught.value)


def test_a_spec_with_too_many_dimensions_is_named(nano_params):
    table = [(".*/norm/scale", mesh.P("fsdp", "tensor")), (".*", mesh.P())]
    with pytest.raises(UserError, match=r"norm/scale has shape \(16,\), too few dimensions"):
        mesh.param_shardings(abstract(1, 1, 1), nano_params, table)


@pytest.mark.parametrize("sizes", [(3, 1, 1), (-1, 2, 1), (1, 1, 2)])
def test_a_mesh_that_is_not_there_is_refused(sizes):
    with pytest.raises(UserError, match="there are 1 cpu devices"):
        mesh.make_mesh(*sizes, devices=jax.devices()[:1])


def test_two_open_axes_are_refused():
    with pytest.raises(UserError, match="at most one is -1"):
        mesh.make_mesh(-1, -1, 1)


def test_rows_that_cannot_be_cut_over_the_mesh_are_refused():
    mesh.check_rows(abstract(2, 4, 1), 16)
    with pytest.raises(UserError, match="12 rows cannot be cut evenly over data × fsdp = 2 × 4"):
        mesh.check_rows(abstract(2, 4, 1), 12)
