"""The sides of a benchmark: what each does, how they take turns, and how they compare."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from nota_jax.bench.records import Arrays
from nota_jax.errors import UserError
from nota_jax.parallel.hardware import peak_flops
from nota_jax.training import metrics

IN_TURN = 3  # steps of a side in a round, the first of them not timed
SAME_LOSS = 1e-3  # relative; what two programs of the same mathematics may differ by


@dataclass(frozen=True)
class Side:
    """One way to do the work: `run(i)` does step i and returns what has to be equal elsewhere.

    name: "us: …" or "hf: …"; about: what is known beside times (FLOPs, memory …).
    """

    name: str
    run: Callable[[int], Any]
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def work_of(batches: Sequence[Arrays]) -> dict[str, Any]:
    """Rows and length of a batch; tokens, images and questions of a step on average."""
    done = [metrics.work(batch) for batch in batches]
    return {
        "rows": len(batches[0]["tokens"]), "length": batches[0]["tokens"].shape[1],
        "tokens": sum(d.tokens for d in done) / len(done),
        "images": sum(d.images for d in done) / len(done),
        "questions": sum(d.questions for d in done) / len(done),
    }  # fmt: skip


def alternate(
    sides: Sequence[Side], rounds: int, say: Callable[[str], None]
) -> tuple[dict[str, list[Any]], dict[str, list[tuple[float, float]]]]:
    """Every side's answers, and its (seconds, processor seconds) a step, a few steps in turn.

    A turn's first step is not timed: as in training, the caches then hold the side's own data, and
    threads of the other side have stopped waiting for more.  One round before is not timed at all:
    it compiles and warms up; its answers count.
    """
    found: dict[str, list[Any]] = {side.name: [] for side in sides}
    times: dict[str, list[tuple[float, float]]] = {side.name: [] for side in sides}
    for i in range(rounds + 1):
        for side in sides:
            for k in range(IN_TURN):
                if k == 1:
                    start, spent = time.perf_counter(), time.process_time()
                found[side.name].append(side.run(i * IN_TURN + k))
            if i:
                took = time.perf_counter() - start, time.process_time() - spent
                times[side.name].append((took[0] / (IN_TURN - 1), took[1] / (IN_TURN - 1)))
        if i in (0, 1, rounds):
            say(f"round {i} of {rounds}: all {len(sides)} sides done")
    return found, times


def compare_losses(losses: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Largest relative difference from the first side's losses, of the first step and of all.

    Raises:
      UserError: where the first step's differs by more than `SAME_LOSS`: not the same work.
    """
    (name, ours), *others = losses.items()
    first = {o: abs(theirs[0] / ours[0] - 1) for o, theirs in others}
    for other, difference in first.items():
        if not difference <= SAME_LOSS:
            raise UserError(
                f"{other!r} has the loss {losses[other][0]:.6f} where {name!r} has {ours[0]:.6f}: "
                "the two do not compute the same, and their times are not comparable"
            )
    whole = [abs(b / a - 1) for _, theirs in others for a, b in zip(ours, theirs, strict=True)]
    return {"first_step": max(first.values()), "all_steps": max(whole)}


def compare_answers(found: Mapping[str, Sequence[Any]], new_tokens: int) -> dict[str, Any]:
    """How long the answers are, and how many of all are the same on every side."""
    answers = [rounds[0] for rounds in found.values()]
    return {
        "longest_allowed": new_tokens,
        "mean_tokens": float(np.mean([len(a) for a in answers[0]])),
        "questions": len(answers[0]),
        "same": sum(all(x == group[0] for x in group) for group in zip(*answers, strict=True)),
    }


def summaries(
    sides: Sequence[Side], times: Mapping[str, Sequence[tuple[float, float]]], n_devices: int
) -> dict[str, dict[str, Any]]:
    """Medians and quartiles of each side, rates from them, and its ratio to the first side.

    The ratio is the median over rounds of (side's time / first side's time in that round).
    """
    base = np.array(times[sides[0].name])
    peak = peak_flops(jax.devices()[0])
    results = {}
    for side in sides:
        t = np.array(times[side.name])
        low, median, high = np.percentile(t[:, 0], [25, 50, 75])
        result = dict(side.about) | {
            "seconds": float(median), "quartiles": [float(low), float(high)],
            "cpu_seconds": float(np.median(t[:, 1])),
            "times_first": float(np.median(t[:, 0] / base[:, 0])),
            "times_first_cpu": float(np.median(t[:, 1] / base[:, 1])),
        }  # fmt: skip
        for unit in ("tokens", "images", "questions"):
            if unit in side.about:
                result[f"{unit}_per_second"] = side.about[unit] / float(median)
        if peak and "flops" in side.about:
            result["mfu"] = side.about["flops"] / float(median) / (peak * n_devices)
        if jax.default_backend() != "cpu" and side.name.startswith("us"):
            stats = jax.devices()[0].memory_stats() or {}
            result["device_peak"] = stats.get("peak_bytes_in_use")
        results[side.name] = result
    return results
