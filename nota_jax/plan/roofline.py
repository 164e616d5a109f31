"""Predicts times from what a compiled step does and what a chip can do: a roofline.

Three limits: matrix operations at the chip's peak, bytes through its memory, bytes over its links.
If they overlapped perfectly, a step would take the largest; if not at all, their sum.  The truth
lies between, above the lower end even for good programs, since no unit runs at its peak.  The
prediction is given as both ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nota_jax.parallel.hardware import Chip
from nota_jax.plan.workload import Work


def predict(measured: Mapping[str, Any], chip: Chip) -> dict[str, float]:
    """Seconds of one step by limit, "compute", "memory" and "network", and "low" and "high".

    measured: `compile.measure`'s answer.
    """
    network = 0.0
    for collective in measured["collectives"]:
        crosses = collective["crosses"] and chip.gpu
        network += collective["sent"] / (chip.network if crosses else chip.link)
    limits = {
        "compute": measured["flops_done"] / measured["devices"] / chip.flops,
        "memory": measured["moved"] / chip.bandwidth,
        "network": network,
    }
    return limits | {"low": max(limits.values()), "high": sum(limits.values())}


def phase_time(
    times: Mapping[int, Mapping[str, float]],
    work: Work,
    questions: float,
    rows: int,
    epochs: float,
) -> dict[str, Any]:
    """A mean step and the whole phase.

    times: `predict`'s answer by length; questions, rows: of one step.
    Returns "limits" (seconds by limit), "step_s", "hours" and "tokens_per_s" (positions of all
    devices, image and padding included), each from the lower to the higher end, and "steps".
    """

    def mean(key: str) -> float:
        return sum(share * times[length][key] for length, share in work.shares.items())

    low, high = mean("low"), mean("high")
    steps = max(1, round(epochs * work.questions / questions))
    positions = rows * sum(share * length for length, share in work.shares.items())
    return {
        "limits": {key: mean(key) for key in ("compute", "memory", "network")},
        "step_s": [low, high],
        "steps": steps,
        "hours": [steps * low / 3600, steps * high / 3600],
        "tokens_per_s": [positions / high, positions / low],
    }
