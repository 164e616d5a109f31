"""Kills a training run again and again, and looks whether anybody could tell.

    python -m tests.faults.kill_run --kills 30 --seed 0 [--folder DIR]

A small run is trained without disturbance, and once more while SIGKILL ends it at random moments:
while it starts, reads its checkpoint, draws batches, trains, and in the middle of saves.
Parameters, optimizer, order of the data, metrics and answers of the two have to be the same to the
last bit, with no step missing and none twice.  Ends with 0, or with 1 and what differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nota_jax
from nota_jax.training.metrics import SPEEDS
from tests.data.make_dataset import write_dataset

ROOT = Path(nota_jax.__file__).parents[1]
STEPS_A_LIFE = 10  # more than there are between two kills: something is always left to kill
DATASET = {"extraction_train": 40, "alignment_train": 4}


class Life:
    """A process of the run, and the lines that it has said."""

    def __init__(self, folder: Path, name: str, steps: int):
        command = [sys.executable, "-m", "tests.faults.victim", folder, name, str(steps)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        # Compiling less thoroughly, and once, saves most of the time; all lives do alike.
        env |= {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
        env |= {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
        env |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        env |= {"JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0"}
        self.process = subprocess.Popen(
            [str(x) for x in command], cwd=ROOT, env=env, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.lines: list[str] = []
        self.news = threading.Condition()
        self.ended = False
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def wait_for(self, said: Callable[[list[str]], bool]) -> bool:
        """Returns when `said` holds of its lines, or (False) when it has ended before."""
        with self.news:
            self.news.wait_for(lambda: self.ended or said(self.lines))
            return said(self.lines)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.end()

    def end(self) -> int:
        status = self.process.wait()
        self.reader.join()
        return status

    def text(self) -> str:
        return "\n".join(self.lines)


def moments(rng: random.Random) -> tuple[str, Callable[[list[str]], bool]]:
    """An event of a life to wait for, before the last moment of chance."""
    kind = rng.choice(["start", "restore", "first step", "step", "step", "step"])
    if kind == "start":
        return kind, lambda lines: True
    if kind == "restore":
        return kind, lambda lines: any("data: " in line for line in lines)
    count = 1 if kind == "first step" else rng.randint(2, 4)
    return kind, lambda lines: sum("  loss " in line for line in lines) >= count


def trained(folder: Path, name: str, steps: int, say: Callable[[str], None]) -> None:
    """The run without any disturbance."""
    life = Life(folder, name, steps)
    if life.end():
        raise SystemExit(f"the undisturbed run failed:\n{life.text()}")
    say(f"undisturbed: {steps} steps")


def killed(
    folder: Path, name: str, steps: int, kills: int, rng: random.Random, say: Callable[[str], None]
) -> Counter[str]:
    """The run under kills; how often each kind of moment was met."""
    met: Counter[str] = Counter()
    for number in range(kills):
        life = Life(folder, name, steps)
        kind, event = moments(rng)
        if life.wait_for(event):
            # From the event on, what is hit is left to chance: about three steps and a save.
            time.sleep(rng.random() * (1.5 if kind == "start" else 0.3))
        life.kill()
        if life.process.returncode != -signal.SIGKILL:
            raise SystemExit(f"life {number} ended by itself, before its kill:\n{life.text()}")
        checkpoints = folder / name / "checkpoints"
        if list(checkpoints.glob("*orbax-checkpoint-tmp*")):
            kind = "in the middle of a save"
        met[kind] += 1
        met["locks left behind"] += (folder / name / "lock").exists()
        whole = [int(p.name) for p in checkpoints.glob("*") if p.name.isdecimal()]
        say(f"kill {number + 1} of {kills}: {kind}; newest checkpoint {max(whole, default=0)}")
    life = Life(folder, name, steps)
    if life.end():
        raise SystemExit(f"the last life failed:\n{life.text()}")
    return met


def differences(folder: Path, one: str, other: str, steps: int) -> list[str]:
    """What tells the killed run (`other`) from the undisturbed one."""
    found = []
    states = [json.loads((folder / f"{name}.final").read_text()) for name in (one, other)]
    found += [f"state{path}" for path in states[0] if states[0][path] != states[1].get(path)]

    orders: list[dict[int, set[str]]] = []
    for name in (one, other):
        drawn: dict[int, set[str]] = {}
        for line in (folder / f"{name}.order").read_text().splitlines():
            step, *batch = json.loads(line)
            drawn.setdefault(step, set()).add(json.dumps(batch))
        orders.append(drawn)
    if sorted(orders[1]) != list(range(1, steps + 1)):
        found.append(f"steps drawn: {sorted(orders[1])}")
    found += [f"batch of step {n}" for n in orders[0] if orders[0][n] != orders[1].get(n)]

    logs = [metrics(folder / name) for name in (one, other)]
    if [x["step"] for x in logs[1]] != list(range(1, steps + 1)):
        found.append(f"steps in metrics.jsonl: {[x['step'] for x in logs[1]]}")
    found += [f"metrics of step {a['step']}" for a, b in zip(*logs, strict=False) if a != b]

    answers = [
        (folder / name / "evaluation_train" / "predictions.jsonl").read_text().splitlines()[1:]
        for name in (one, other)
    ]
    if answers[0] != answers[1] or not answers[0]:
        found.append("predictions")

    totals = [last_about(folder / name)["totals"] for name in (one, other)]
    for key in ("steps", "tokens", "images", "questions", "flops"):
        if totals[0][key] != totals[1][key]:
            found.append(f"totals.{key}: {totals[0][key]} and {totals[1][key]}")
    return found


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    """What does not depend on the clock."""
    reports = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [{k: x for k, x in report.items() if k not in SPEEDS} for report in reports]


def last_about(run_dir: Path) -> dict[str, Any]:
    last = max((p for p in (run_dir / "checkpoints").iterdir()), key=lambda p: int(p.name))
    return json.loads((last / "about" / "metadata").read_text())


def compare(
    folder: Path, kills: int, seed: int, say: Callable[[str], None] = print
) -> tuple[list[str], Counter[str]]:
    """(what tells a killed run from an undisturbed one, which moments were met)."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "dataset").exists():
        write_dataset(folder / "dataset", DATASET)
    steps = STEPS_A_LIFE * kills + 2
    trained(folder, "undisturbed", steps, say)
    met = killed(folder, "killed", steps, kills, random.Random(seed), say)
    return differences(folder, "undisturbed", "killed", steps), met


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the runs go; a temporary one, removed")
    args = parser.parse_args(argv)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="kill_run"))
    try:
        found, met = compare(folder, args.kills, args.seed, partial(print, flush=True))
    finally:
        if args.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(", ".join(f"{kind}: {n}" for kind, n in met.most_common()))
    for line in found:
        print(f"DIFFERS: {line}")
    if not found:
        print(f"{args.kills} kills, and the two runs are the same to the last bit")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
