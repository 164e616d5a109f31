"""What a run counts, and how it is told; where it is written: `journal`."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics as clu

from nota_jax.training.terms import Sums
from nota_jax.units import duration

SPEEDS = ("steps_per_second", "tokens_per_second", "images_per_second", "questions_per_second",
          "data_wait", "mfu")  # fmt: skip
NOT_TERMS = {*SPEEDS, "loss", "grad_norm", "learning_rate", "skipped"}  # of a report


@dataclass(frozen=True)
class Totals:
    """Work done and time spent, over all processes.

    tokens: those that are not padding, image tokens included.  flops: what the model needs for it
    (`models.flops`).  seconds: wall clock.  waited: seconds in which the
    devices had nothing to do because the next batch was not there.  skipped: steps whose update was
    left out because it was not finite.
    """

    steps: int = 0
    tokens: int = 0
    images: int = 0
    questions: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    skipped: int = 0

    def __add__(self, other: Totals) -> Totals:
        a, b = dataclasses.asdict(self), dataclasses.asdict(other)
        return Totals(**{name: a[name] + b[name] for name in a})

    def __sub__(self, other: Totals) -> Totals:
        a, b = dataclasses.asdict(self), dataclasses.asdict(other)
        return Totals(**{name: a[name] - b[name] for name in a})


def work(
    batch: Mapping[str, Any], flops: float = 0.0, *, rows: int | None = None, of: int | None = None
) -> Totals:
    """What one step over a batch (as the pipeline makes it) amounts to.

    A batch without turns is one of pictures alone, one without images of text alone.

    rows: how many at its beginning are no padding; None for all.
    of: how many the global batch has, of which these are some; the others are taken to be as long
      on average.  None for `rows`.
    """
    rows = len(next(iter(batch.values()))) if rows is None else rows
    of = rows if of is None else of
    turn_ids = np.asarray(batch.get("turn_ids", np.zeros((rows, 0), np.int32)))[:rows]
    used = np.any(turn_ids >= 0, axis=1) if turn_ids.size else np.ones(rows, bool)
    questions = np.maximum(turn_ids.max(axis=1, initial=0), 0)
    share = of / rows if rows else 0.0  # a process whose rows are all padding knows of nothing
    return Totals(
        steps=1,
        tokens=round(np.sum(turn_ids >= 0) * share),
        images=round(np.sum(used) * share) if "images" in batch else 0,
        questions=round(np.sum(questions) * share),
        flops=flops,
    )


def averages(sums: Sums, grad_norm: jax.Array, learning_rate: jax.Array) -> clu.Collection:
    """What a step reports, in a form that merges with other steps' by sums and weights."""
    one = jnp.ones((), jnp.float32)
    return clu.Collection.create_collection(
        **{name: clu.Average(total=total, count=weight) for name, (total, weight) in sums.items()},
        grad_norm=clu.Average(total=grad_norm, count=one),
        learning_rate=clu.LastValue(total=learning_rate, count=one),
    )


def merged(steps: Iterable[clu.Collection], factors: Mapping[str, float]) -> dict[str, float]:
    """Several steps as one: each term's mean by its weights, and the loss that they make.

    A term without any weight in these steps is left out.

    factors: of the terms in the loss (`Objective.factors`).
    """
    # On the host and in double precision: merging on devices would start programs of their own.
    on_host = (jax.tree.map(np.float64, jax.device_get(step)) for step in steps)
    total = functools.reduce(lambda one, other: one.merge(other), on_host)
    with np.errstate(invalid="ignore"):  # 0 / 0 where a term has no weight
        found = {name: float(value) for name, value in total.compute().items()}
    found = {name: value for name, value in found.items() if not math.isnan(value)}
    return {"loss": sum(x * found.get(name, 0.0) for name, x in factors.items())} | found


class Meter:
    """Counts a run's work and times it between two reports.

    factors: see `merged`.
    totals: since the run began, parts before a resume included.
    peak_flops: of all devices together; None leaves the model FLOP utilisation out.
    """

    def __init__(
        self,
        factors: Mapping[str, float],
        totals: Totals = Totals(),
        peak_flops: float | None = None,
    ):
        self.factors, self.totals, self.peak_flops = factors, totals, peak_flops
        self._steps: list[clu.Collection] = []
        self._reported = totals
        self._since = time.monotonic()

    def add(self, done: Totals, step: clu.Collection) -> None:
        """Counts a step; its averages are left on the devices until the report wants them."""
        self.totals += done
        self._steps.append(step)

    def restart(self) -> None:
        """Leaves the time since the last report, and the steps in it, out of the speeds."""
        self._reported, self._since = self.totals, time.monotonic()

    def skip(self, steps: int) -> None:
        """Counts steps that were left out: added before, with averages that weigh nothing."""
        self.totals += Totals(skipped=steps)

    def report(self) -> dict[str, float]:
        """Averages and speeds since the last report; of steps that were all left out, {}."""
        self.totals += Totals(seconds=time.monotonic() - self._since)
        done = self.totals - self._reported
        report = merged(self._steps, self.factors)
        if "grad_norm" in report:
            report |= rates(done, self.peak_flops)
            report |= {"skipped": float(done.skipped)} if done.skipped else {}
        else:
            report = {}
        self._steps.clear()
        self.restart()
        return report


def rates(done: Totals, peak_flops: float | None = None) -> dict[str, float]:
    """Speeds over the window that `done` covers.

    peak_flops: of all devices together; None leaves the model FLOP utilisation out.
    """
    seconds = max(done.seconds, 1e-9)
    speeds = {
        "steps_per_second": done.steps / seconds,
        "tokens_per_second": done.tokens / seconds,
        "images_per_second": done.images / seconds,
        "questions_per_second": done.questions / seconds,
        "data_wait": done.waited / seconds,
    }
    if peak_flops and done.flops:
        speeds["mfu"] = done.flops / seconds / peak_flops
    return speeds


def line(step: int, total_steps: int, report: Mapping[str, float]) -> str:
    """One tidy line for the terminal."""
    width = len(str(total_steps))
    parts = [
        f"step {step:>{width}}/{total_steps}",
        f"loss {report['loss']:.4f}",
        *(f"{name} {report[name]:.3f}" for name in _terms(report)),
        f"lr {report['learning_rate']:.2e}",
        f"|g| {report['grad_norm']:.2f}",
        f"{report['tokens_per_second']:,.0f} tok/s",
        f"{report['images_per_second']:.1f} img/s",
        f"{report['questions_per_second']:.1f} q/s",
        f"wait {100 * report['data_wait']:.0f} %",
    ]
    if "mfu" in report:
        parts.append(f"MFU {100 * report['mfu']:.1f} %")
    parts.append(f"ETA {duration((total_steps - step) / report['steps_per_second'])}")
    return "  ".join(parts)


def _terms(report: Mapping[str, float]) -> list[str]:
    """The objective's terms in a report; one that is the whole loss is not said twice."""
    return [n for n, x in report.items() if n not in NOT_TERMS and x != report["loss"]]
