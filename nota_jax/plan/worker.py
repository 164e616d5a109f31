"""Asks `compile` in a process of its own, keeps what it answered, and says how it died."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nota_jax.errors import UserError
from nota_jax.files import write_json
from nota_jax.plan.targets import Target, parse

Job = dict[str, Any]
Say = Callable[[str], None]

# What compiling for a platform needs beside jax, by the extra that brings it.
EXTRAS = {
    "gpu": (
        "plan-gpu",
        ("jax-cuda13-plugin", "jax-cuda13-pjrt", "nvidia-cuda-nvcc", "nvidia-nvvm"),
    ),
    "tpu": ("plan-tpu", ("libtpu",)),
}
TIMEOUT_S = 3600
COMMAND = (sys.executable, "-m", "nota_jax.plan.compile")
# What the compiled program depends on: packages of this project, and others' versions.
_OURS = ("models", "parallel", "plan", "training")
_THEIRS = ("jax", "jaxlib", "libtpu", "jax-cuda13-pjrt")


def missing_packages(target: Target) -> list[str]:
    """What compiling for the target lacks here."""
    _, needed = EXTRAS.get(target.platform, ("", ()))
    return [name for name in needed if _version(name) is None]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def measure(job: Job, folder: Path, say: Say) -> dict[str, Any]:
    """`compile.measure`'s answer for a job; from an earlier run's in `folder` if it is there.

    Raises:
      UserError: the worker's own, or a sentence about how it died.
    """
    path = folder / f"{_digest(job)}.json"
    if path.exists():
        return json.loads(path.read_text())["result"]
    shape = (
        f"{job['pages']} pages of {job['questions']} questions"
        if "pages" in job
        else f"{job['rows']} rows of {job['length']} tokens"
    )
    say(f"compiling for {job['target']}, {shape} …")
    answer = compile_apart(job)
    write_json(path, {"job": job, "result": answer}, indent=1)
    return answer


def _digest(job: Job) -> str:
    """Of the job, of the code that makes the program, and of the compilers' versions."""
    folder = Path(__file__).parents[1]
    digest = hashlib.sha256(json.dumps(job, sort_keys=True).encode())
    for source in sorted(path for name in _OURS for path in (folder / name).rglob("*.py")):
        digest.update(source.read_bytes())
    for package in _THEIRS:
        digest.update(f"{package} {_version(package)}".encode())
    return digest.hexdigest()[:20]


def compile_apart(job: Job, command: Sequence[str] = COMMAND) -> dict[str, Any]:
    """`compile.measure` in a process of its own; raises as `measure` does."""
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
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "job.json"), Path(folder, "out.json")
        given.write_text(json.dumps(job))
        try:
            done = subprocess.run(
                [*command, str(given), str(out)],
                env=environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
            )
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
