"""Does a run fit this host?  Answered from shapes alone, before anything is allocated.

What is counted is certain: parameters, their gradients and the optimizer's two moments, in the
dtypes of decision 11.  Activations come on top, so the answer "too small" is final and the answer
"fits" is not (the plan of a real step is the scaling issue's business).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import psutil

from nota_jax.errors import UserError

GIB = 2**30


@dataclass(frozen=True)
class Need:
    """Bytes over all devices: trainable parameters (fp32), frozen ones, gradients, AdamW's two."""

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
    """Bytes that the devices of this run hold together, and a sentence's worth of what they are."""
    devices = jax.devices()
    if devices[0].platform == "cpu":
        total = psutil.virtual_memory().total
        return total, f"this host has {total / GIB:,.1f} GiB of memory and no accelerator"
    limits = [(d.memory_stats() or {}).get("bytes_limit", 0) for d in devices]
    return sum(limits), (
        f"{len(devices)} × {devices[0].device_kind} hold {sum(limits) / GIB:,.1f} GiB together"
    )


def require(needed: Need, run: str) -> None:
    """Raises UserError where what is certainly needed exceeds what is there."""
    there, what = available()
    if there and needed.total > there:
        raise UserError(
            f"{run} needs at least {needed}; {what}. Take a smaller size "
            f"(--config=configs/phase2.py:tiny), or more devices."
        )
