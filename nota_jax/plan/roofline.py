"""Predicts times from what a compiled program does and what a chip can do: a roofline.

Three limits: matrix products at the chip's peak, bytes through its memory, bytes over its links.
If they overlapped perfectly, a step would take the largest; if not at all, their sum.  The truth
lies between, above the lower end even for good programs, since no unit runs at its peak.  The
prediction is given as both ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nota_jax.parallel.hardware import Chip
from nota_jax.plan.workload import Work

LIMITS = ("compute", "memory", "network")


def step(measured: Mapping[str, Any], chip: Chip) -> dict[str, float]:
    """Seconds of a training step by limit; measured: `compile.measure`'s answer."""
    return _limits(measured, measured["flops_done"], measured["moved"], False, chip)


def token(measured: Mapping[str, Any], chip: Chip) -> dict[str, float]:
    """Seconds of one more token for all questions of a batch, by limit."""
    return _limits(measured, measured["token_flops"], measured["token_moved"], True, chip)


def _limits(
    measured: Mapping[str, Any], flops: float, moved: float, of_token: bool, chip: Chip
) -> dict[str, float]:
    network = 0.0
    for collective in measured["collectives"]:
        if collective["token"] == of_token:
            crosses = collective["crosses"] and chip.gpu
            network += collective["sent"] / (chip.network if crosses else chip.link)
    seconds = (flops / measured["devices"] / chip.flops, moved / chip.bandwidth, network)
    return dict(zip(LIMITS, seconds, strict=True))


def ends(limits: Mapping[str, float]) -> list[float]:
    """From the lower to the higher end: all overlapped, and nothing."""
    return [max(limits.values()), sum(limits.values())]


def phase_time(
    times: Mapping[int, Mapping[str, float]],
    work: Work,
    questions: float,
    rows: int,
    epochs: float,
) -> dict[str, Any]:
    """A mean step and the whole phase.

    times: `step`'s answer by length; questions, rows: of one step.
    Returns "limits" (seconds by limit), "step_s", "hours" and "tokens_per_s" (tokens of all
    devices, image and padding included), each from the lower to the higher end, and "steps".
    """
    low, high = (
        sum(share * ends(times[length])[end] for length, share in work.shares.items())
        for end in (0, 1)
    )
    steps = max(1, round(epochs * work.questions / questions))
    tokens = rows * sum(share * length for length, share in work.shares.items())
    return {
        "limits": {
            limit: sum(share * times[n][limit] for n, share in work.shares.items())
            for limit in LIMITS
        },
        "step_s": [low, high],
        "steps": steps,
        "hours": [steps * low / 3600, steps * high / 3600],
        "tokens_per_s": [tokens / high, tokens / low],
    }
