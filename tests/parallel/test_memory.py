"""What certainly does not fit is refused from shapes alone, on any number of hosts."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from nota_jax.errors import UserError
from nota_jax.parallel import memory
from nota_jax.units import GIB


class Gpu(SimpleNamespace):
    """A device as jax shows it: another process's cannot be asked for its memory."""

    platform, device_kind = "gpu", "NVIDIA A100-SXM4-80GB"

    def memory_stats(self):
        if self.process_index:
            raise RuntimeError("memory_stats is only supported for addressable devices")
        return {"bytes_limit": 72 * GIB}


@pytest.fixture
def two_hosts(monkeypatch):
    devices = [Gpu(process_index=i // 8) for i in range(16)]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    monkeypatch.setattr(jax, "local_devices", lambda: devices[:8])
    monkeypatch.setattr(jax, "device_count", lambda: len(devices))


def needing(gibs):
    return memory.Need(trainable=gibs * GIB, frozen=0, gradients=0, optimizer=0)


def test_only_this_processs_devices_are_asked(two_hosts):
    limit, what = memory.available()
    assert limit == 72 * GIB
    assert what == "16 × NVIDIA A100-SXM4-80GB hold 72.0 GiB each"


def test_a_copy_must_fit_the_devices_that_it_is_sharded_over(two_hosts):
    memory.require(needing(8 * 72), 8, "phase 2")
    with pytest.raises(UserError, match=r"at least 577.0 GiB .* over 8 devices .*fsdp × tensor"):
        memory.require(needing(8 * 72 + 1), 8, "phase 2")
    memory.require(needing(8 * 72 + 1), 16, "phase 2")


def test_what_trains_is_counted_four_times():
    shapes = {"a": np.zeros((3, 5)), "b": np.zeros(7)}
    needed = memory.need(shapes, {"a": True, "b": False}, frozen_bytes=2)
    assert (needed.trainable, needed.gradients, needed.optimizer) == (60, 60, 120)
    assert needed.frozen == 14 and needed.total == 254
