"""What a run counts, and where it writes it: terminal, JSON lines, TensorBoard files."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from nota_jax.units import duration


@dataclass(frozen=True)
class Totals:
    """Work done and time spent, over all processes.

    tokens: positions that are not padding, image tokens included.  flops: operations that the
    model needs for it (`models.flops`).  seconds: wall clock.  waited: seconds in which the
    devices had nothing to do because the next batch was not there.
    """

    steps: int = 0
    tokens: int = 0
    images: int = 0
    questions: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0

    def __add__(self, other: Totals) -> Totals:
        a, b = dataclasses.asdict(self), dataclasses.asdict(other)
        return Totals(**{name: a[name] + b[name] for name in a})

    def __sub__(self, other: Totals) -> Totals:
        a, b = dataclasses.asdict(self), dataclasses.asdict(other)
        return Totals(**{name: a[name] - b[name] for name in a})


def work(batch: Mapping[str, Any], flops: float = 0.0, shares: int = 1) -> Totals:
    """What one step over a batch (as the pipeline makes it) amounts to.

    shares: how many the global batch was cut into, of which this is one; the others' counts are
      taken to be equal.
    """
    turn_ids = np.asarray(batch["turn_ids"])
    return Totals(
        steps=1,
        tokens=int(np.sum(turn_ids >= 0)) * shares,
        images=int(np.sum(np.any(turn_ids >= 0, axis=1))) * shares,
        questions=int(np.sum(np.maximum(turn_ids.max(axis=1), 0))) * shares,
        flops=flops,
    )


def average(steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Metrics of several steps as one: means, over supervised tokens where that is their unit.

    The learning rate is that of the last step.
    """
    columns = {name: np.array([float(m[name]) for m in steps]) for name in steps[0]}
    tokens = columns.pop("supervised_tokens")
    per_token = {
        name: float(np.sum(columns[name] * tokens) / max(np.sum(tokens), 1.0))
        for name in ("loss", "accuracy")
    }
    return per_token | {
        "grad_norm": float(columns["grad_norm"].mean()),
        "learning_rate": float(columns["learning_rate"][-1]),
    }


class Meter:
    """Counts a run's work and times it between two reports.

    totals: since the run began, parts before a resume included.
    peak_flops: of all devices together; None leaves the model FLOP utilisation out.
    """

    def __init__(self, totals: Totals = Totals(), peak_flops: float | None = None):
        self.totals, self.peak_flops = totals, peak_flops
        self._metrics: list[Mapping[str, Any]] = []
        self._reported = totals
        self._since = time.monotonic()

    def add(self, done: Totals, metrics: Mapping[str, Any]) -> None:
        """Counts a step; `metrics` are left on the devices until the report wants them."""
        self.totals += done
        self._metrics.append(metrics)

    def restart(self) -> None:
        """Leaves the time since the last report, and the steps in it, out of the speeds."""
        self._reported, self._since = self.totals, time.monotonic()

    def report(self) -> dict[str, float]:
        """Mean metrics and speeds since the last report."""
        self.totals += Totals(seconds=time.monotonic() - self._since)
        done = self.totals - self._reported
        report = average(self._metrics) | rates(done, self.peak_flops)
        self._metrics.clear()
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
        f"acc {100 * report['accuracy']:4.1f} %",
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


class Journal:
    """`run_dir/metrics.jsonl` and TensorBoard files in `run_dir/tensorboard`.

    A resumed run forgets what was written behind the step it resumes from, so that no step occurs
    twice.  Only one process should write; the others pass `active=False`.
    """

    def __init__(self, run_dir: Path, *, resumed_at: int = 0, active: bool = True):
        self.active = active
        if not active:
            return
        path = run_dir / "metrics.jsonl"
        kept = []
        if resumed_at and path.exists():
            kept = [x for x in path.read_text().splitlines() if _step(x) <= resumed_at]
        self.file = path.open("w")
        self.file.writelines(x + "\n" for x in kept)
        self.board = SummaryWriter(
            str(run_dir / "tensorboard"), purge_step=resumed_at + 1 if resumed_at else None
        )

    def write(self, step: int, report: Mapping[str, float]) -> None:
        """One line of JSON, one point per curve."""
        if not self.active:
            return
        self.file.write(json.dumps({"step": step, **report}) + "\n")
        self.file.flush()
        for name, value in report.items():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        if self.active:
            self.file.close()
            self.board.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _step(text: str) -> float:
    """The step of a line; infinity for one that a crash cut off."""
    try:
        return json.loads(text)["step"]
    except (json.JSONDecodeError, KeyError):
        return math.inf
