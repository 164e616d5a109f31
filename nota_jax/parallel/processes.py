"""Many processes, one run: how they find each other, and what they do together.

All of it is jax's: `jax.distributed` with its coordinator at process 0, its detection of clusters
(Slurm, TPU, Open MPI) and its heartbeats; collectives for what one process tells the others; its
preemption service for a stop behind the same step (`training.loop`).  Without a cluster that jax
knows, three variables say who a process is, as launch/local.sh sets them:

    JAX_COORDINATOR_ADDRESS=HOST:PORT  JAX_NUM_PROCESSES=N  JAX_PROCESS_ID=I

Settings, in seconds: NOTA_START_SECONDS (all must have come, 300) and NOTA_SILENCE_SECONDS (a
process that sends no heartbeat is dead, 60).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from nota_jax.errors import UserError, first_line, neighbour_gone, sentence

T = TypeVar("T")

_ENDED = (
    "error: this process was killed, or ended by jax because another process of this run is gone "
    "or never came."
)
_AGAIN = "The same command, started in all processes, goes on from the newest checkpoint"

PLAIN = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def several(env: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment says that this process is one of several.

    Raises:
      UserError: naming the variable that is missing or is no number.
    """
    given = [name for name in PLAIN if env.get(name)]
    # Of the three, a scheduler's users set the address alone: to choose the port, say.
    if set(given) & {"JAX_NUM_PROCESSES", "JAX_PROCESS_ID"}:
        if missing := [name for name in PLAIN if name not in given]:
            raise UserError(
                f"{' and '.join(missing)} missing beside {' and '.join(given)}: several processes "
                "need all three, a single one none of them"
            )
        return _number(env, "JAX_NUM_PROCESSES") > 1
    hosts = [name for name in env.get("TPU_WORKER_HOSTNAMES", "").split(",") if name]
    counts = (
        # Set by srun alone: inside a batch script, but outside a step, a process is by itself.
        _number(env, "SLURM_STEP_NUM_TASKS", 1),
        _number(env, "OMPI_COMM_WORLD_SIZE", 1),
        len(hosts) * _number(env, "MEGASCALE_NUM_SLICES", 1),
    )
    return max(counts) > 1


def _arguments(env: Mapping[str, str]) -> dict[str, Any]:
    """What `jax.distributed.initialize` has to be told; the rest it finds out by itself."""
    arguments: dict[str, Any] = {}
    if env.get("JAX_NUM_PROCESSES"):
        count, index = _number(env, "JAX_NUM_PROCESSES"), _number(env, "JAX_PROCESS_ID")
        if index >= count:
            raise UserError(
                f"this is process {index}, but there are {count} processes, numbered from 0 to "
                f"{count - 1}"
            )
        address = env["JAX_COORDINATOR_ADDRESS"]
        if not re.fullmatch(r".+:\d{1,5}", address) or int(address.rpartition(":")[2]) > 65535:
            raise UserError(
                f"JAX_COORDINATOR_ADDRESS is {address!r}: write process 0's HOST:PORT, as "
                "node1:8476"
            )
        arguments |= {
            "coordinator_address": address,
            "num_processes": count,
            "process_id": index,
            "cluster_detection_method": "deactivate",
        }
    elif "SLURM_STEP_NUM_TASKS" in env:
        arguments["local_device_ids"] = _slurm_gpus(env)
    return arguments


def _slurm_gpus(env: Mapping[str, str]) -> list[int] | None:
    """An equal share of the node's GPUs; jax's own choice is one GPU a task, whatever is there."""
    here = re.match(r"\d+", env.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    tasks = int(here[0]) if here else 1
    visible = [x for x in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if x]
    on_node = _number(env, "SLURM_GPUS_ON_NODE", 0)
    there = len(visible) or on_node
    if not there:
        return None
    if tasks == 1 or there < on_node:  # all that this process sees are its own
        return list(range(there))
    if there % tasks:
        raise UserError(
            f"Slurm runs {tasks} tasks on a node with {there} GPUs, which cannot be shared "
            "evenly: choose another --ntasks-per-node (1 is best: a process serves all GPUs)"
        )
    local, each = _number(env, "SLURM_LOCALID"), there // tasks
    return list(range(local * each, (local + 1) * each))


def _number(env: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = env.get(name, "")
    if not text and default is not None:
        return default
    if not text.isdecimal():
        raise UserError(
            f"{name} is {text!r}: a whole number is wanted" if text else f"{name} is not set"
        )
    return int(text)


def start(env: Mapping[str, str] = os.environ) -> str | None:
    """Joins this process to the others, before anything touches a device.

    Returns:
      "process 1 of 4", or None where the process is alone.

    Raises:
      UserError: what the environment says cannot be right, or the others did not come in time.
    """
    if not several(env):
        return None
    arguments, patience = _arguments(env), _number(env, "NOTA_START_SECONDS", 300)
    told = ", ".join(f"{name}={env[name]}" for name in PLAIN if name in env) or "scheduler"
    # Before, because where nobody comes it is jax that ends this process, from C++.
    waiting = f"waiting up to {patience} s for the other processes of this run ({told})"
    print(waiting, file=sys.stderr, flush=True)
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=patience,
            heartbeat_timeout_seconds=max(10, _number(env, "NOTA_SILENCE_SECONDS", 60)),
        )
    except (RuntimeError, ValueError, KeyError) as error:
        reason = first_line(error)
        raise UserError(
            f"the processes of this run did not find each other ({told}): {reason}"
        ) from None
    return f"process {jax.process_index()} of {jax.process_count()}"


def is_main() -> bool:
    return jax.process_index() == 0


def share(make: Callable[[], Any]) -> Any:
    """What `make` gives in process 0, in every process; JSON."""
    if jax.process_count() == 1:
        return make()
    text = json.dumps(make()).encode() if is_main() else b""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    padded = np.frombuffer(text.ljust(length), np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes())


def barrier(name: str) -> None:
    """Returns when every process has called it."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def any_of(here: bool) -> bool:
    """Whether it is so in any process."""
    if jax.process_count() == 1:
        return here
    return bool(np.any(multihost_utils.process_allgather(np.array(here))))


def main_first(work: Callable[[], T]) -> T:
    """Does `work` in process 0, and then, finding it done, in the others."""
    if not is_main():
        barrier("main first")
        return work()
    done = work()
    barrier("main first")
    return done


@contextmanager
def together(env: Mapping[str, str] = os.environ) -> Iterator[str | None]:
    """`start`, and parting from the others if all goes well.

    Of several processes one that meets a mistake or a failure says so and is gone at once: waiting
    for the others, as jax would at its end, would keep them waiting too.  They notice by a broken
    collective or by missing heartbeats, if the launcher does not end them before, and end with a
    sentence as well.
    """
    many = _known_to_be_several(env)
    try:
        with _last_word() if many else nullcontext():
            yield start(env)
            if many:
                jax.distributed.shutdown()
    except KeyboardInterrupt:
        if many:
            _quit(130, "interrupted")
        raise
    except Exception as error:
        if many:
            why = "(of several processes the one that failed first says why)"
            _quit(*(sentence(error) or _gone(error) or (1, traceback.format_exc() + why)))
        raise


def _known_to_be_several(env: Mapping[str, str]) -> bool:
    with suppress(UserError):  # `start` says it
        return several(env)
    return False


def _gone(error: Exception) -> tuple[int, str] | None:
    """Status and sentence of a collective that broke because another process is gone."""
    if not neighbour_gone(error):
        return None
    reason = str(error).strip().splitlines()[0][:300]
    return 1, (
        f"error: another process of this run is gone ({reason}); if it was not killed, its own "
        f"last line says why. {_AGAIN}"
    )


@contextmanager
def _last_word() -> Iterator[None]:
    """Within, whatever ends this process from outside or from C++ is followed by a sentence.

    jax aborts a process whose neighbour dies, and its words are a stack trace; Python has no say
    in that.  So a shell waits for the end of a pipe: either it is told a word, or it speaks.
    """
    speak = f'read word || echo "{_ENDED} {_AGAIN}" >&2'
    shell = subprocess.Popen(["/bin/sh", "-c", speak], stdin=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        with suppress(OSError):
            shell.communicate("word\n")


def _quit(status: int, text: str) -> NoReturn:
    print(text, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(status)
