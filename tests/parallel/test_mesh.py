"""Placement on a mesh changes where numbers are computed, not the numbers."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

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
        "XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8",
    }
    subprocess.run(
        [sys.executable, script, folder / "job.pkl", folder / "out.pkl"],
        env=environment,
        check=True,
        timeout=1200,
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


def test_parameters_are_sharded_as_the_rules_say(sharded):
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


def test_what_cannot_be_sharded_evenly_is_named(nano_params):
    with pytest.raises(UserError) as caught:
        mesh.param_shardings(abstract(1, 1, 3), nano_params)
    assert (
        "language_model/lm_head/kernel has shape (16, 64): dimension 1 of size 64 cannot be "
        "sharded evenly over mesh axis 'tensor' of size 3"
    ) in str(caught.value)
    assert "vision_tower/encoder/layers/mlp/fc1/bias" in str(caught.value)


def test_a_spec_with_too_many_dimensions_is_named(nano_params):
    table = [(".*/norm/scale", mesh.P("fsdp", "tensor")), (".*", mesh.P())]
    with pytest.raises(UserError, match=r"norm/scale has shape \(16,\), too few dimensions"):
        mesh.param_shardings(abstract(1, 1, 1), nano_params, table)


@pytest.mark.parametrize("sizes", [(3, 1, 1), (-1, 2, 1), (1, 1, 2)])
def test_a_mesh_that_does_not_fill_the_devices_is_refused(sizes):
    with pytest.raises(UserError, match="does not fill 1 devices: its sizes must multiply to 1"):
        mesh.make_mesh(*sizes, devices=jax.devices()[:1])


@pytest.mark.parametrize("sizes", [(-1, 1, -1), (1, -1, -1), (-1, -1, -1), (0, 1, 1), (1, -2, 1)])
def test_sizes_that_say_too_little_are_refused(sizes):
    with pytest.raises(UserError, match="or -1 for what is left"):
        mesh.mesh_sizes(*sizes, islands=2, each=8)


@pytest.mark.parametrize(
    "asked, islands, each, filled",
    [
        ((-1, -1, 1), 1, 8, (1, 8, 1)),
        ((-1, -1, 1), 4, 8, (4, 8, 1)),  # data over the hosts, fsdp inside
        ((-1, -1, 2), 4, 8, (4, 4, 2)),
        ((-1, -1, 8), 4, 4, (1, 2, 8)),  # tensor needs two hosts already
        ((1, -1, 1), 4, 8, (1, 32, 1)),
        ((-1, 16, 1), 4, 8, (2, 16, 1)),
        ((2, -1, 4), 4, 8, (2, 4, 4)),
        ((-1, -1, 1), 1, 3, (3, 1, 1)),  # no width is a multiple of 3
        ((-1, -1, 1), 2, 6, (6, 2, 1)),
        ((-1, -1, 2), 1, 12, (3, 2, 2)),
    ],
)
def test_open_sizes_are_filled_in(asked, islands, each, filled):
    assert mesh.mesh_sizes(*asked, islands=islands, each=each) == filled


class Device(SimpleNamespace):
    """A stand-in for a device."""

    __hash__, __eq__ = object.__hash__, object.__eq__


def devices_of(islands, each, kind="NVIDIA A100-SXM4-80GB", platform="gpu"):
    """Stand-ins for the devices of several hosts or slices, out of order."""
    made = [
        Device(
            id=i, slice_index=i // each, process_index=i // each, platform=platform,
            device_kind=kind, coords=(i % each, 0, 0), core_on_chip=0,
        )
        for i in range(islands * each)
    ]  # fmt: skip
    return made[::2] + made[1::2]


def islands_along(grid, axis):
    """How many islands a line of devices along an axis meets."""
    lines = np.moveaxis(np.vectorize(lambda d: d.slice_index)(grid), axis, -1)
    return {len(set(line)) for line in lines.reshape(-1, lines.shape[-1])}


@pytest.mark.parametrize(
    "kind", [("NVIDIA A100-SXM4-80GB", "gpu"), ("TPU v6 lite", "tpu")], ids=["gpu", "tpu"]
)
def test_by_default_data_crosses_hosts_and_slices_and_fsdp_does_not(kind):
    made = mesh.make_mesh(devices=devices_of(2, 8, *kind))
    assert dict(made.shape) == {"data": 2, "fsdp": 8, "tensor": 1}
    assert [islands_along(made.devices, axis) for axis in range(3)] == [{2}, {1}, {1}]
    assert mesh.layout(made) == (
        "mesh data 2 × fsdp 8 × tensor 1: data across 2 hosts or slices of 8 devices"
    )


def test_fsdp_crosses_slices_where_it_is_told_to():
    made = mesh.make_mesh(2, 8, 2, devices_of(4, 8, "TPU v6 lite", "tpu"))
    assert [islands_along(made.devices, axis) for axis in range(3)] == [{2}, {2}, {1}]
    assert "data and fsdp across 4 hosts or slices of 8 devices" in mesh.layout(made)


def test_hosts_of_different_sizes_are_refused():
    with pytest.raises(UserError, match="have 8, 4 devices: a mesh needs the same number on each"):
        mesh.make_mesh(devices=[*devices_of(1, 8), *devices_of(2, 8)[4:8]])


def test_rows_that_cannot_be_sharded_over_the_mesh_are_refused():
    mesh.check_rows(abstract(2, 4, 1), 16)
    with pytest.raises(
        UserError, match="12 rows cannot be sharded evenly over data × fsdp = 2 × 4"
    ):
        mesh.check_rows(abstract(2, 4, 1), 12)
