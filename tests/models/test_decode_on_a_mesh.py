"""Decoding on many devices: the same answers, and weights that stay where they are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("decoding") / "found.json"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    script = Path(__file__).with_name("decoding_on_eight_devices.py")
    subprocess.run([sys.executable, script, out], env=environment, check=True, timeout=280)
    return json.loads(out.read_text())


def test_greedy_answers_do_not_depend_on_the_mesh(found):
    alone, *sharded = found["answers"]
    assert sharded == [alone] * 2


def test_a_batch_gathers_each_weight_about_once(found):
    """While images and questions are read, a layer at a time, as in training."""
    ours = found["compiled"]
    assert ours["batch"] < 1.2 * ours["weights"]


def test_a_token_sends_activations_and_no_weights(found):
    """Two sums over the devices for each layer, and little beside them."""
    ours = found["compiled"]
    sums = 2 * found["layers"] * 2 * 7 / 8 * ours["step"]
    assert sums <= ours["token"] < 1.3 * sums
    assert ours["token"] < ours["weights"] / 20


def test_no_device_holds_all_weights(found):
    """Beside its part of them: a copy of that part for the steps, and a layer at a time."""
    ours = found["compiled"]
    assert ours["temporaries"] < ours["weights"] / 2
