"""Kills a training run again and again, and looks whether anybody could tell.

    python -m tests.faults.kill_run --kills 30 --seed 0 [--processes 2] [--folder DIR]

A small run is trained without disturbance, and once more while SIGKILL ends it at random moments:
while it starts, reads its checkpoint, draws batches, trains, and in the middle of saves.  Of
several processes one is killed; the others have to end by themselves, with a sentence, and all are
started again.  Parameters, optimizer, order of the data, metrics and answers of the two have to be
the same to the last bit, with no step missing and none twice.  Ends with 0, or with 1 and what
differs.  With `--folder` every kill is noted in DIR, and the same command goes on behind the last.
"""

from __future__ import annotations

import argparse
import atexit
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
from nota_jax import places
from nota_jax.training.metrics import SPEEDS
from tests import compiling
from tests.data.make_dataset import write_dataset
from tests.parallel.launched import free_port

ROOT = Path(nota_jax.__file__).parents[1]
STEPS_A_LIFE = 15  # more than there are between two kills: something is always left to kill
# How long processes wait for each other, and the longest that one may outlive another.
PATIENCE = {"NOTA_START_SECONDS": "45", "NOTA_SILENCE_SECONDS": "10"}
MOST_SECONDS = 120
MOMENTS = ("start", "restore", "first step", "step")
DATASET = {"extraction_train": 40, "alignment_train": 4}


class Life:
    """The processes of the run, started together, and the lines that they have said."""

    def __init__(self, folder: Path, name: str, steps: int, processes: int = 1):
        command = [sys.executable, "-m", "tests.faults.victim", folder, name, str(steps)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        # Compiling less thoroughly, and once, saves most of the time; all lives do alike.
        env |= {"XLA_FLAGS": compiling.FLAGS}
        env |= {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
        env |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        env |= {"JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0"}
        if processes > 1:
            env |= {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}"}
            env |= {"JAX_NUM_PROCESSES": str(processes), **PATIENCE}
        self.processes = [
            subprocess.Popen(
                [str(x) for x in command], cwd=ROOT, text=True, start_new_session=True,
                env=env | ({"JAX_PROCESS_ID": str(index)} if processes > 1 else {}),
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
            for index in range(processes)
        ]  # fmt: skip
        self.lines: list[str] = []
        self.news = threading.Condition()
        self.talking = processes
        self.readers = [
            threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
            for process in self.processes
        ]
        for reader in self.readers:
            reader.start()
        atexit.register(self._abandon)

    def _abandon(self) -> None:
        for process in self.processes:
            process.kill()

    def _read(self, output: Any) -> None:
        for line in output:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.talking -= 1
            self.news.notify_all()

    def wait_for(self, said: Callable[[list[str]], bool]) -> bool:
        """Returns when `said` holds of its lines, or (False) when one of it has ended before."""
        with self.news:
            whole = self.talking
            self.news.wait_for(lambda: self.talking < whole or said(self.lines))
            return said(self.lines)

    def kill(self, index: int) -> None:
        """Kills one of the processes; the others have to end by themselves, with a sentence."""
        os.killpg(self.processes[index].pid, signal.SIGKILL)
        try:
            statuses = self.end(timeout=MOST_SECONDS)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"the others hang where {index} was killed:\n{self.text()}") from None
        if statuses.pop(index) != -signal.SIGKILL:
            raise SystemExit(f"a life ended by itself, before its kill:\n{self.text()}")
        if statuses and (0 in statuses or not any(x.startswith("error: ") for x in self.lines)):
            raise SystemExit(f"the others ended with {statuses}, no sentence:\n{self.text()}")

    def end(self, timeout: float | None = None) -> list[int]:
        statuses = [process.wait(timeout) for process in self.processes]
        for reader in self.readers:
            reader.join()
        return statuses

    def text(self) -> str:
        return "\n".join(self.lines)


def moments(rng: random.Random) -> tuple[str, Callable[[list[str]], bool]]:
    """An event of a life to wait for, before the last moment of chance."""
    kind = rng.choice((*MOMENTS, "step", "step"))
    if kind == "start":
        return kind, lambda lines: True
    if kind == "restore":
        return kind, lambda lines: any("data: " in line for line in lines)
    count = 1 if kind == "first step" else rng.randint(2, 8)
    return kind, lambda lines: sum("  loss " in line for line in lines) >= count


def undisturbed(life: Life, which: str) -> None:
    if any(life.end()):
        raise SystemExit(f"{which} failed:\n{life.text()}")


def kill(life: Life, run: Path, rng: random.Random) -> dict[str, Any]:
    """One kill at a moment of chance, and what it met."""
    start = time.monotonic()
    kind, event = moments(rng)
    if life.wait_for(event):
        # From the event on, what is hit is left to chance: about three steps and a save.
        time.sleep(rng.random() * (1.5 if kind == "start" else 0.3))
    which = rng.randrange(len(life.processes))
    life.kill(which)
    checkpoints = run / "checkpoints"
    saving = bool(list(checkpoints.glob("[0-9]*orbax-checkpoint-tmp*")))
    found = {"process": which, "moment": kind, "saving": saving, "lock": (run / "lock").exists()}
    return found | {
        "newest": max(places.steps(run), default=0),
        "seconds": round(time.monotonic() - start, 1),
    }


def killed(
    start: Callable[[], Life], run: Path, kills: int, seed: int, say: Callable[[str], None]
) -> Counter[str]:
    """The run under kills, from the one on that `kills.jsonl` lacks; how often each kind of moment
    was met, and what lay there."""
    journal = run.with_name("kills.jsonl")
    done = journal.read_text().splitlines() if journal.exists() else []
    for number in range(len(done), kills):
        found = kill(start(), run, random.Random(f"{seed}/{number}"))
        done.append(json.dumps({"kill": number + 1, **found}))
        with journal.open("a") as file:
            file.write(done[-1] + "\n")
        say(f"of {kills}: {done[-1]}")
    undisturbed(start(), "the last life")
    records = [json.loads(line) for line in done]
    met = Counter(record["moment"] for record in records)
    met["in the middle of a save"] = sum(record["saving"] for record in records)
    met["locks left behind"] = sum(record["lock"] for record in records)
    return met


def differences(folder: Path, one: str, other: str, steps: int, processes: int = 1) -> list[str]:
    """What tells the killed run (`other`) from the undisturbed one."""
    found = []
    for index in range(processes):
        here, there = (json.loads((folder / f"{n}.final{index}").read_text()) for n in (one, other))
        found += [f"state{path} in process {index}" for path in here if here[path] != there[path]]

    found += [f"set aside: {p.name}" for p in (folder / other / "checkpoints").glob("*.damaged*")]
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
    last = run_dir / "checkpoints" / str(places.steps(run_dir)[0])
    return json.loads((last / "about" / "metadata").read_text())


def compare(
    folder: Path, kills: int, seed: int, processes: int = 1, say: Callable[[str], None] = print
) -> tuple[list[str], Counter[str]]:
    """(what tells a killed run from an undisturbed one, which moments were met)."""
    folder = folder / f"kills{kills}-seed{seed}-processes{processes}"
    steps = STEPS_A_LIFE * kills + 2
    if not (folder / "undisturbed.whole").exists():
        shutil.rmtree(folder, ignore_errors=True)  # one that was broken off was disturbed
        folder.mkdir(parents=True)
        write_dataset(folder / "dataset", DATASET)
        undisturbed(Life(folder, "undisturbed", steps, processes), "the undisturbed run")
        (folder / "undisturbed.whole").touch()
        say(f"undisturbed: {steps} steps")
    again = partial(Life, folder, "killed", steps, processes)
    met = killed(again, folder / "killed", kills, seed, say)
    return differences(folder, "undisturbed", "killed", steps, processes), met


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="of which one is killed each time")
    parser.add_argument("--folder", type=Path, help="where the runs go; a temporary one, removed")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # no life outlives this one
    folder = args.folder or Path(tempfile.mkdtemp(prefix="kill_run"))
    try:
        say = partial(print, flush=True)
        found, met = compare(folder, args.kills, args.seed, args.processes, say)
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
