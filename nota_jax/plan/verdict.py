"""Does a phase fit hardware that is not here, and how long will it take?  XLA answers.

    python -m nota_jax.main --config=configs/phase2.py:7b --mode=plan --target=a100-80gb:8

The real training step is compiled for the target (`compile`, a process of its own).  Memory
and communication are measured on the compiled program; times are a prediction from them and from
data sheets (`roofline`).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from ml_collections import ConfigDict

from nota_jax.data.feed import lengths
from nota_jax.errors import UserError
from nota_jax.plan import report, roofline, workload
from nota_jax.plan.targets import Target, parse

Say = Callable[[str], None]
Measure = Callable[[dict[str, Any]], dict[str, Any]]

# What compiling for a platform needs beside jax, by the extra that brings it.
EXTRAS = {
    "gpu": (
        "plan-gpu",
        ("jax-cuda13-plugin", "jax-cuda13-pjrt", "nvidia-cuda-nvcc", "nvidia-nvvm"),
    ),
    "tpu": ("plan-tpu", ("libtpu",)),
}
# Of a GPU's memory, for what only the card itself can tell: NCCL's buffers, CUDA's context,
# kernels that tuning picks.  Kept free on TPU too, where full scheduling effort takes about it.
RESERVE = 0.10
REMATS = ("full", "dots", "none")  # from the smallest memory to the fewest operations
TIMEOUT_S = 3600
# Modules that the compiled program depends on, beside `models`.
_PROGRAM = (
    "params.py", "parallel/mesh.py", "plan/compile.py", "plan/hlo.py", "plan/traffic.py",
    *(f"training/{name}.py" for name in ("loss", "optimizer", "program", "state", "step")),
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """target: see `targets.parse`; fit: search rows per device and rematerialisation;
    out: folder for the answer (JSON, Markdown, chart) and for what was measured."""

    target: str
    fit: bool
    out: Path


def run(config: ConfigDict, settings: Settings, say: Say = print) -> dict[str, Any]:
    """Plans one phase, prints the answer and leaves it in `settings.out`.

    Raises:
      UserError: an unknown target, a mesh or batch that does not fit it, a compiler that failed.
    """
    target = parse(settings.target)
    missing = missing_packages(target)
    if missing:
        say(
            f"{', '.join(missing)} not installed, so {target} is planned on {target.devices} "
            "virtual CPU devices: a rough upper bound.  For the real compiler: "
            f"pip install 'nota_jax[{EXTRAS[target.platform][0]}]'"
        )
    work = workload.work_of(config, say)
    measure = Measurer(settings.out / "measured", say)
    virtual = bool(missing)
    if settings.fit:
        tried = list(fit(config, target, work, measure, virtual, say))
        fitting = [plan for plan in tried if plan["verdict"] != "does not fit"]
        best = min(fitting or tried, key=_cost)
        best["tried"] = [
            {k: plan[k] for k in ("remat", "accumulation", "rows", "peak", "verdict", "step_s")}
            for plan in tried
        ]
    else:
        best = plan_once(config, target, work, measure, virtual)
    report.write(best, settings.out)
    say(report.text(best))
    say(f"written: {settings.out}")
    return best


def _cost(plan: dict[str, Any]) -> float:
    """What the search makes small: predicted seconds, else operations, of a question."""
    longest = plan["lengths"][max(plan["lengths"])]
    return (plan["step_s"][1] if plan["step_s"] else longest["flops_done"]) / plan["questions"]


def plan_once(
    config: ConfigDict, target: Target, work: workload.Work, measure: Measure, virtual: bool
) -> dict[str, Any]:
    """The plan of a configuration as it is, in plain values that JSON knows."""
    ways = _ways(config, target)
    accumulation = config.data.accumulation
    rows = lengths.batch_rows(config.data.batch_size, work.questions_per_row, ways * accumulation)
    job = {"config": _plain(config), "target": str(target), "virtual": virtual, "rows": rows}
    measured = {length: measure(job | {"length": length}) for length in work.shares}
    peaks = {length: peak(m) for length, m in measured.items()}
    questions = rows * work.questions_per_row
    plan: dict[str, Any] = {
        "phase": config.phase, "size": config.size, "target": str(target),
        "compiled_on": "virtual CPU devices" if virtual or not target.chip else target.platform,
        "devices": target.devices, "mesh": measured[max(measured)]["mesh"],
        "remat": config.model.remat, "accumulation": accumulation, "rows": rows,
        "questions": round(questions, 1), "wanted_questions": config.data.batch_size,
        "rows_per_device": rows // ways // accumulation,
        "peak": max(peaks.values()), "memory": memory_of(target), "work": work.as_json(),
        "lengths": measured, "step_s": None,
    }  # fmt: skip
    refused = any("out_of_memory" in m for m in measured.values())
    plan |= verdict(plan["peak"], plan["memory"], refused)
    if target.chip and all("moved" in m for m in measured.values()):
        times = {n: roofline.predict(m, target.chip) for n, m in measured.items()}
        plan |= roofline.phase_time(times, work, questions, rows, config.epochs)
    return plan


def fit(
    config: ConfigDict,
    target: Target,
    work: workload.Work,
    measure: Measure,
    virtual: bool,
    say: Say,
) -> Iterator[dict[str, Any]]:
    """Plans from the most rows per device downwards, with more and more accumulation.

    With each number of rows the leanest rematerialisation goes first: where it does not fit, none
    does.  It ends where nothing more can be gained: no rematerialisation fits, or one row is left.
    """
    longest = workload.only_longest(work)
    for accumulation in (1, 2, 4, 8, 16, 32, 64):
        for remat in REMATS:
            trial = config.copy_and_resolve_references()
            trial.data.accumulation, trial.model.remat = accumulation, remat
            short = plan_once(trial, target, longest, measure, virtual)
            say(
                f"{short['rows_per_device']} rows a device × {accumulation}, remat {remat}: "
                f"{short['peak'] / 2**30:.1f} GiB, {short['verdict']}"
            )
            if short["verdict"] == "does not fit":
                yield short
                break
            yield plan_once(trial, target, work, measure, virtual)
        else:
            return
        if short["rows_per_device"] == 1:
            return


def _ways(config: ConfigDict, target: Target) -> int:
    """Into how many parts the rows are cut: data × fsdp, a -1 among the mesh's axes filled in."""
    sizes = {axis: config.mesh[axis] for axis in ("data", "fsdp", "tensor")}
    known = 1
    for size in sizes.values():
        known *= size if size > 0 else 1
    left = max(target.devices // known, 1)
    sizes = {axis: left if size == -1 else size for axis, size in sizes.items()}
    return sizes["data"] * sizes["fsdp"]


def peak(measured: dict[str, Any]) -> int:
    """Bytes on each device; what XLA says that it would need where the target has less."""
    if "peak" in measured:
        return measured["peak"]
    held = measured["held"]
    return max(sum(held.values()), measured["out_of_memory"]["needed"] or 0)


def memory_of(target: Target) -> int:
    """Bytes of each device; of virtual CPU devices, their share of this host's."""
    return target.chip.memory if target.chip else psutil.virtual_memory().total // target.devices


def verdict(needed: int, there: int, refused: bool) -> dict[str, Any]:
    """ "fits", "tight" (without the reserve) or "does not fit", and the margin in bytes."""
    word = "fits" if needed <= (1 - RESERVE) * there else "tight"
    return {
        "verdict": "does not fit" if refused or needed > there else word,
        "margin": there - needed,
    }


def missing_packages(target: Target) -> list[str]:
    """What compiling for the target lacks here."""
    if target.platform not in EXTRAS:
        return []

    def lacks(name: str) -> bool:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return True
        return False

    return [name for name in EXTRAS[target.platform][1] if lacks(name)]


@dataclass(frozen=True)
class Measurer:
    """Runs `compile` on a job, or finds its answer of an earlier run in `folder`."""

    folder: Path
    say: Say = print

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        path = self.folder / f"{_key(job)}.json"
        if path.exists():
            return json.loads(path.read_text())["result"]
        shape = f"{job['rows']} rows of {job['length']} positions"
        self.say(f"compiling for {job['target']}, {shape} …")
        answer = compile_apart(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        unfinished.write_text(json.dumps({"job": job, "result": answer}, indent=1))
        unfinished.replace(path)
        return answer


def _key(job: dict[str, Any]) -> str:
    """Digest of the job, of the code that makes the program, and of the compilers' versions."""
    folder = Path(__file__).parents[1]
    sources = sorted([
        *folder.glob("models/*.py"),
        *(folder / name for name in _PROGRAM),
    ])  # fmt: skip
    digest = hashlib.sha256(json.dumps(job, sort_keys=True).encode())
    for source in sources:
        digest.update(source.read_bytes())
    for package in ("jax", "jaxlib", "libtpu", "jax-cuda13-pjrt"):
        try:
            digest.update(f"{package} {importlib.metadata.version(package)}".encode())
        except importlib.metadata.PackageNotFoundError:
            pass
    return digest.hexdigest()[:20]


def compile_apart(job: dict[str, Any], command: tuple[str, ...] = ()) -> dict[str, Any]:
    """`compile.measure` in a process of its own.

    command: the worker, for tests; () for `compile`.

    Raises:
      UserError: the worker's own, or a sentence about how it died.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if job["virtual"] or job["target"].startswith("cpu"):
        count = parse(job["target"]).devices
        flags += f" --xla_force_host_platform_device_count={count}"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
        "XLA_FLAGS": flags.strip(),
    }
    command = command or (sys.executable, "-m", "nota_jax.plan.compile")
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "job.json"), Path(folder, "out.json")
        given.write_text(json.dumps(job))
        try:
            done = subprocess.run(
                [*command, str(given), str(out)],
                env=environment, capture_output=True, text=True, timeout=TIMEOUT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise UserError(
                f"the compiler for {job['target']} had no answer after {TIMEOUT_S // 60} minutes"
            ) from None
        if done.returncode or not out.exists():
            raise UserError(why_it_died(job["target"], done.returncode, done.stderr))
        answer = json.loads(out.read_text())
    if "error" in answer:
        raise UserError(answer["error"])
    return answer["result"]


def why_it_died(target: str, status: int, log: str) -> str:
    """A sentence about a compiler that ended without an answer."""
    if "lockfile" in log or "already in use by" in log:
        return (
            f"another process holds the TPU compiler's lock (libtpu compiles one program at a "
            f"time): plan {target} again when it is done"
        )
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if status < 0:
        hint = {
            signal.SIGSEGV: "on NVIDIA targets mostly because ptxas or libdevice was not found: "
            f"pip install --force-reinstall 'nota_jax[{EXTRAS['gpu'][0]}]'",
            signal.SIGKILL: "mostly because this host's memory was full: close other programs",
        }.get(signal.Signals(-status), f"its last words: {lines[-1][:300] if lines else 'none'}")
        name = signal.Signals(-status).name
        return f"the compiler for {target} crashed ({name}), {hint}"
    errors = [line for line in lines if "Error" in line] or lines
    return f"the compiler for {target} failed: {errors[-1][:500] if errors else 'it said nothing'}"


def _plain(config: ConfigDict) -> dict[str, Any]:
    return json.loads(config.to_json_best_effort())
