"""Does a run fit the devices here?  Answered from shapes alone, before anything is allocated.

What is counted is certain: parameters, their gradients and the optimizer's two moments, in the
types that training holds them in.  Activations come on top, so the answer "too small" is final and
the answer "fits" is not; `--mode=plan` compiles the real step and counts everything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import psutil

from nota_jax.errors import UserError
from nota_jax.units import GIB


@dataclass(frozen=True)
class Need:
    """Bytes of one copy of the run: trainable parameters (fp32), frozen ones, gradients, AdamW's
    two moments."""

    trainable: int
    frozen: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        return self.trainable + self.frozen + self.gradients + self.optimizer

    def __str__(self) -> str:
        return (
            f"{self.total / GIB:,.1f} GiB (trainable parameters {self.trainable / GIB:,.1f}, "
            f"frozen {self.frozen / GIB:,.1f}, gradients {self.gradients / GIB:,.1f}, "
            f"optimizer {self.optimizer / GIB:,.1f}), activations not counted"
        )


def need(shapes, trainable, frozen_bytes: int) -> Need:
    """Memory of a run.

    shapes: parameter tree of ShapeDtypeStructs; trainable: tree of bools of the same structure;
    frozen_bytes: bytes per frozen parameter (2 on accelerators, 4 on CPU).
    """
    counts = {True: 0, False: 0}
    for leaf, trains in zip(jax.tree.leaves(shapes), jax.tree.leaves(trainable), strict=True):
        counts[bool(trains)] += math.prod(leaf.shape)
    t = 4 * counts[True]
    return Need(trainable=t, frozen=frozen_bytes * counts[False], gradients=t, optimizer=2 * t)


def available() -> tuple[int, str]:
    """Bytes of one device of this run, and a sentence's worth of where they are."""
    # Only a process's own devices can be asked; the others' are taken to be like them.
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        total = psutil.virtual_memory().total
        return total // len(devices), (
            f"this host has {total / GIB:,.1f} GiB of memory and no accelerator"
        )
    limit = min((d.memory_stats() or {}).get("bytes_limit", 0) for d in devices)
    return limit, (
        f"{jax.device_count()} × {devices[0].device_kind} hold {limit / GIB:,.1f} GiB each"
    )


def require(needed: Need, ways: int, run: str) -> None:
    """Raises UserError where what is certainly needed exceeds what is there.

    ways: over how many devices a copy of the run is sharded (fsdp × tensor).
    """
    limit, what = available()
    if limit and needed.total > ways * limit:
        spread = f" over {ways} devices (fsdp × tensor)" if ways > 1 else ""
        raise UserError(
            f"{run} needs at least {needed}{spread}; {what}. Take a smaller size "
            f"(--config=configs/phase2.py:tiny), or shard it over more devices (config.mesh)."
        )
