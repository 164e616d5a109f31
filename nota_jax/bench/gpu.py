"""What waits for a GPU, in order of worth, within so many minutes.

    python -m nota_jax.bench.gpu --minutes 25 [--size mini] [--out runs/gpu]

Each stage is a command of this project, in a process of its own: memory is free again behind it,
and what fails does not take the others along.  What a stage said lies in OUT/STAGE.log; OUT/gpu.md
has a line for each as soon as it is over.  A stage that uses up its share of the minutes is asked
to stop (SIGINT) and leaves what it has: trainings save, and the next stage goes on from there.
Given again, the same command goes on behind the stages that ended well.

`--size tiny` tries all of it on a CPU.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nota_jax import tables
from nota_jax.environment import quiet
from nota_jax.errors import UserError, exit_status
from nota_jax.files import write_atomic, write_json

GRACE = 60  # seconds that a stage has to save after it was asked to stop
COLUMNS = ("stage", "how it ended", "seconds", "last words")


@dataclass(frozen=True)
class Stage:
    """share: of the minutes, at most."""

    name: str
    command: tuple[str, ...]
    share: float


def stages(size: str, out: Path) -> list[Stage]:
    """What is run for a size; `tiny` stands for the large models too."""
    trial = size == "tiny"
    main = ("-m", "nota_jax.main")

    def phase(name: str, *more: str) -> tuple[str, ...]:
        known = (f"--config.run_dir={out / name}", f"--config.data.dir={out / 'data'}")
        return (*main, f"--config=configs/{name}.py:{size}", *known, *more)

    shape = "1,256,4,2,64" if trial else "4,1024,32,8,128"
    build = (
        ("--corpora", "oneills1850", "--limit", "40")
        if trial
        else ("--variants", "3", "--corpora", "oneills1850", "airdsAirs", "ryansMammoth",
              "miscFolk", "nottingham-dataset")
    )  # fmt: skip
    few = ("--config.steps=4", "--config.log_every=1") if trial else ()
    tok = f"--config.tokenizer={out / 'vision'}"
    apart = (
        f"--config.parts=(('vision_tower/.*','{out / 'vision'}'),"
        f"('language_model/.*','{out / 'text'}'))"
    )
    large, questions = "tiny" if trial else "7b", "--config.data.batch_size=8"
    layers = () if trial else (
        "--config.model.text.num_hidden_layers=4", "--config.model.vision.num_hidden_layers=4",
    )  # fmt: skip
    none = ("--config.init_from=", "--config.tokenizer=", "--config.previous=")
    elsewhere = f"--config.data.dir={out / 'none'}"
    fast = ("--rounds", "2") if trial else ("--rounds", "8")
    bench = ("-m", "nota_jax.bench", f"--config=configs/phase2.py:{large}", *none, elsewhere)
    return [
        Stage("kernels", ("-m", "nota_jax.bench.kernels", "--shape", shape,
                          "--out", str(out)), 0.1),
        Stage("dataset", ("-m", "nota_jax.data.build", "--out", str(out / "data"), *build), 0.2),
        Stage("vision", phase("vision", *few), 0.2),
        Stage("text", phase("text", tok, *few), 0.1),
        Stage("described", phase("described", tok, apart, *few), 0.2),
        Stage("phase1", phase("phase1", tok, "--config.init_from=",
                              f"--config.previous={out / 'described'}", "--config.eval.split=",
                              *few), 0.1),
        Stage("phase2", phase("phase2", tok, f"--config.previous={out / 'phase1'}",
                              "--config.eval.batch_size=32", *few), 0.3),
        Stage("layers of 7b", (*bench, *layers, questions, *fast, "--peer=hf",
                               "--out", str(out / "layers")), 0.2),
        Stage("7b, phase 1", ("-m", "nota_jax.bench", f"--config=configs/phase1.py:{large}",
                              *none, elsewhere, questions, *fast, "--out", str(out / "whole")),
              0.2),
        Stage("decoding", ("-m", "nota_jax.bench", f"--config=configs/phase2.py:{size}", *none,
                           elsewhere, *fast, "--peer=hf", "--decode",
                           "--out", str(out / "decoding")), 0.2),
    ]  # fmt: skip


def run(size: str, minutes: float, out: Path, chosen: Sequence[Stage] | None = None) -> bool:
    """Runs what is left to run; True where all stages ended well.

    chosen: None for `stages`.
    """
    if minutes <= 0:
        raise UserError(f"--minutes is {minutes:g}: it has to be more than 0")
    todo = stages(size, out) if chosen is None else list(chosen)
    out.mkdir(parents=True, exist_ok=True)
    record = out / "gpu.json"
    done: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    deadline = time.monotonic() + 60 * minutes
    for stage in todo:
        left = deadline - time.monotonic()
        if done.get(stage.name, {}).get("ended") == "well":
            continue
        if left <= 0:
            done[stage.name] = {"ended": "not begun: the minutes were over", "seconds": 0.0}
        else:
            print(f"=== {stage.name}: python {' '.join(stage.command)}", flush=True)
            limit = min(left, 60 * minutes * stage.share)
            done[stage.name] = _run(stage, limit, out / f"{stage.name.replace(' ', '_')}.log")
            print(f"    {done[stage.name]['ended']}, {done[stage.name]['seconds']:.0f} s")
        write_json(record, done)
        write_atomic(out / "gpu.md", _table(todo, done) + "\n")
    print(f"\n{_table(todo, done)}\n\nwritten: {out}")
    return all(done[stage.name]["ended"] == "well" for stage in todo)


def _run(stage: Stage, limit: float, log: Path) -> dict[str, Any]:
    start = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            (sys.executable, *stage.command), stdout=file, stderr=subprocess.STDOUT
        )
        try:
            status = process.wait(limit)
            ended = "well" if status == 0 else f"with status {status}"
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            ended = "asked to stop"
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                ended = "killed"
        except BaseException:  # Ctrl-C: the stage has heard it too
            process.wait()
            raise
    words = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return {"ended": ended, "seconds": time.monotonic() - start, "words": words[-1:]}


def _table(todo: Sequence[Stage], done: dict[str, Any]) -> str:
    rows = [
        (stage.name, done[stage.name]["ended"], f"{done[stage.name]['seconds']:.0f}",
         "".join(done[stage.name].get("words", ()))[:160].replace("|", "/"))
        for stage in todo if stage.name in done
    ]  # fmt: skip
    return tables.markdown(COLUMNS, rows, left=2)


def main() -> int:
    quiet()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--size", choices=("tiny", "mini"), default="mini")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    given = parser.parse_args()
    return exit_status(
        lambda: 0 if run(given.size, given.minutes, given.out) else 1,
        interrupted="the same command goes on",
    )


if __name__ == "__main__":
    sys.exit(main())
