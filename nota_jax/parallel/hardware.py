"""What accelerators can do, from their makers' data sheets."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from nota_jax.units import GIB


@dataclass(frozen=True)
class Gpu:
    """What XLA asks of an NVIDIA card before it compiles for one.

    major: of the compute capability (minor is 0 on all of these); cores: streaming
    multiprocessors; fp32_units, shared: per multiprocessor, in units and bytes; shared_block: the
    most shared memory that a block may ask for; l2: bytes; clock: GHz; description: as the driver
    gives it.
    """

    major: int
    cores: int
    fp32_units: int
    shared: int
    shared_block: int
    l2: int
    clock: float
    description: str


@dataclass(frozen=True)
class Chip:
    """One jax device.

    kinds: parts of jax's `device_kind`.
    memory: bytes that a program can have.
    flops: dense bf16 FLOPs per second, without sparsity.
    bandwidth: bytes per second from and to its memory.
    link: bytes per second that leave it, one way, over all its links to others of its host
      (NVLink) or slice (TPU's inter-chip interconnect).
    network: the same between hosts.
    per_host: devices of a full host.
    """

    name: str
    kinds: tuple[str, ...]
    memory: int
    flops: float
    bandwidth: float
    link: float
    network: float
    per_host: int
    gpu: Gpu | None = None

    @property
    def platform(self) -> str:
        return "cpu" if self.name == "cpu" else "gpu" if self.gpu else "tpu"


# NVIDIA, SXM cards.  FLOPs, memory bandwidth and NVLink (half of the two-way figure) from the
# data sheets of the A100 (2021), H100 (2023) and H200 (2024); network from those of DGX A100 (one
# 200 Gb/s InfiniBand port a GPU) and DGX H100/H200 (one of 400 Gb/s); memory as the driver reports
# it, a little below the name; the units of `Gpu` from NVIDIA's white papers of the two
# architectures and the CUDA programming guide's table of compute capabilities.
_A100: dict[str, Any] = dict(
    major=8, cores=108, fp32_units=64, shared=164 * 1024, shared_block=163 * 1024
)
_A100 |= dict(l2=40 * 2**20, clock=1.41)
_H100: dict[str, Any] = dict(
    major=9, cores=132, fp32_units=128, shared=228 * 1024, shared_block=227 * 1024
)
_H100 |= dict(l2=50 * 2**20, clock=1.98)

# Google TPU: FLOPs, memory bandwidth and interconnect from the "system architecture" pages of
# Cloud TPU (v4 2,400, v5e 1,600, v5p 4,800, v6e 3,584 Gb/s a chip); memory as libtpu 0.0.42's
# compiler gives it to a program ("available HBM"), a little below the 32, 16, 95 and 32 GB of the
# data sheets.  A slice is one network, so `network` is `link`.
CHIPS: tuple[Chip, ...] = (
    Chip("a100-40gb", ("A100-SXM4-40GB",), 42_298_834_944, 312e12, 1555e9, 300e9, 25e9, 8,
         Gpu(**_A100, description="NVIDIA A100-SXM4-40GB")),
    Chip("a100-80gb", ("A100",), 85_100_068_864, 312e12, 2039e9, 300e9, 25e9, 8,
         Gpu(**_A100, description="NVIDIA A100-SXM4-80GB")),
    Chip("h100-80gb", ("H100",), 84_942_979_072, 989e12, 3350e9, 450e9, 50e9, 8,
         Gpu(**_H100, description="NVIDIA H100 80GB HBM3")),
    Chip("h200", ("H200",), 151_397_597_184, 989e12, 4800e9, 450e9, 50e9, 8,
         Gpu(**_H100, description="NVIDIA H200 141GB HBM3e")),
    Chip("v4", ("TPU v4",), int(30.75 * GIB), 275e12, 1228e9, 300e9, 300e9, 4),
    Chip("v5e", ("TPU v5 lite", "TPU v5e"), int(15.75 * GIB), 197e12, 819e9, 200e9, 200e9, 4),
    Chip("v5p", ("TPU v5p", "TPU v5"), int(95.74 * GIB), 459e12, 2765e9, 600e9, 600e9, 4),
    Chip("v6e", ("TPU v6 lite", "TPU v6e"), int(31.25 * GIB), 918e12, 1640e9, 448e9, 448e9, 4),
)  # fmt: skip


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether this CPU has an instruction for it; others emulate it, slower than float32.

    Known of x86 on Linux, where the kernel lists what a CPU has; elsewhere taken as not.
    """
    try:
        return " avx512_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def operands(platform: str) -> str:
    """What a small model's matrices are best multiplied in (`NotaGPTConfig.operands`)."""
    return "bfloat16" if platform == "cpu" and multiplies_bfloat16() else ""


def chip_of(device: jax.Device) -> Chip | None:
    """The table's entry for a device; None where it is not known (CPUs)."""
    kind = device.device_kind.lower()
    found = [(len(k), chip) for chip in CHIPS for k in chip.kinds if k.lower() in kind]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def peak_flops(device: jax.Device) -> float | None:
    """Peak bf16 FLOPs per second of a device; None where it is not known (CPUs)."""
    chip = chip_of(device)
    return None if chip is None else chip.flops
