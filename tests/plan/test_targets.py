"""What `--target` understands, and what it says to the rest."""

import pytest

from nota_jax.errors import UserError
from nota_jax.parallel.hardware import CHIPS, chip_of, peak_flops
from nota_jax.plan.targets import parse


@pytest.mark.parametrize(
    "text, canonical, devices, hosts, platform",
    [
        ("a100-80gb:8", "a100-80gb:8", 8, 1, "gpu"),
        ("A100-40GB:1", "a100-40gb:1", 1, 1, "gpu"),
        ("h100-80gb:2x8", "h100-80gb:2x8", 16, 2, "gpu"),
        ("h200:32", "h200:4x8", 32, 4, "gpu"),
        ("v5e:16", "v5e:4x4", 16, 4, "tpu"),
        ("tpu-v5p:2x2x2", "v5p:2x2x2", 8, 2, "tpu"),
        ("v6e:1", "v6e:1x1", 1, 1, "tpu"),
        ("v4:64", "v4:4x4x4", 64, 16, "tpu"),
        ("cpu:8", "cpu:8", 8, 1, "cpu"),
    ],
)
def test_targets_are_read(text, canonical, devices, hosts, platform):
    target = parse(text)
    assert (str(target), target.devices) == (canonical, devices)
    assert (target.hosts, target.platform) == (hosts, platform)
    assert parse(str(target)) == target


@pytest.mark.parametrize(
    "text, said",
    [
        ("a100:8", "did you mean a100-80gb"),
        ("gtx1080:1", "Known: |there is"),
        ("a100-80gb", "how many"),
        ("a100-80gb:0", "how many"),
        ("a100-80gb:12", "as in a100-80gb:2x8"),
        ("a100-80gb:2x2x2", "hosts × GPUs"),
        ("v5e:17", "slices have 1, 4, 8, 16"),
        ("v5e:2x2x2", "has 2 dimensions"),
        ("v5p:4x4", "has 3 dimensions"),
        ("cpu:2x4", "one number"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(text, said):
    with pytest.raises(UserError, match=said):
        parse(text)


class Device:
    def __init__(self, kind):
        self.device_kind = kind


@pytest.mark.parametrize(
    "kind, name",
    [
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA H100 80GB HBM3", "h100-80gb"),
        ("NVIDIA H200", "h200"),
        ("TPU v4", "v4"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v6 lite", "v6e"),
    ],
)
def test_a_device_is_found_in_the_table(kind, name):
    assert chip_of(Device(kind)).name == name


def test_a_cpu_has_no_known_peak():
    assert peak_flops(Device("cpu")) is None


def test_every_chip_has_its_figures():
    for chip in CHIPS:
        assert min(chip.memory, chip.flops, chip.bandwidth, chip.link, chip.network) > 0
        assert chip.network <= chip.link
