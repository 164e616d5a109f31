"""Many processes, one run: who they are, and what they do together.

A process finds itself in (the first that applies):

    plain variables   JAX_COORDINATOR_ADDRESS=HOST:PORT  JAX_NUM_PROCESSES=N  JAX_PROCESS_ID=I
    Slurm             SLURM_STEP_NUM_TASKS and its kin, under srun with more than one task
    TPU (GKE)         TPU_WORKER_HOSTNAMES and TPU_WORKER_ID; MEGASCALE_* for several slices

HOST is process 0's, as the others reach it.  PORT is for jax, PORT + 1 for `lifeline`.  Settings,
in seconds: NOTA_START_SECONDS (all must have come, 300) and NOTA_SILENCE_SECONDS (a machine that
no longer answers is dead, 60).
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import jax

from nota_jax.errors import UserError
from nota_jax.parallel.lifeline import Lifeline, call_roll

T = TypeVar("T")

PLAIN = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
PORT = 8476  # of the coordinator, where nobody says otherwise

_lifeline: Lifeline | None = None  # as jax's own client: one for the process


@dataclass(frozen=True)
class Cluster:
    """Where this process stands.

    found: in what, for people.  host, port: process 0's.  devices: the GPUs of this host that are
    this process's; None for all of them.
    """

    found: str
    host: str
    port: int
    count: int
    index: int
    devices: tuple[int, ...] | None = None

    def __str__(self) -> str:
        shown = "" if self.devices is None else f", GPUs {', '.join(map(str, self.devices))}"
        return (
            f"process {self.index} of {self.count}{shown} ({self.found}; process 0 is "
            f"{self.host}:{self.port})"
        )


def find(env: Mapping[str, str]) -> Cluster | None:
    """What the environment says; None where this process is alone.

    Raises:
      UserError: naming the variable that is missing or cannot be right.
    """
    found = _plain(env) or _slurm(env) or _tpu(env)
    if found is not None and not 0 <= found.index < found.count:
        raise UserError(
            f"{found.found}: this is process {found.index}, but there are {found.count} processes, "
            f"numbered from 0 to {found.count - 1}"
        )
    return found if found is not None and found.count > 1 else None


def _plain(env: Mapping[str, str]) -> Cluster | None:
    given = [name for name in PLAIN if env.get(name)]
    # Of the three, a scheduler's users set the address alone: to choose the port, say.
    if not set(given) & {"JAX_NUM_PROCESSES", "JAX_PROCESS_ID"}:
        return None
    if missing := [name for name in PLAIN if name not in given]:
        raise UserError(
            f"{' and '.join(missing)} missing beside {' and '.join(given)}: several processes "
            "need all three, a single one none of them"
        )
    host, port = _address(env["JAX_COORDINATOR_ADDRESS"])
    count, index = _number(env, "JAX_NUM_PROCESSES"), _number(env, "JAX_PROCESS_ID")
    devices = env.get("JAX_LOCAL_DEVICE_IDS")
    try:
        own = tuple(map(int, devices.split(","))) if devices else None
    except ValueError:
        raise UserError(f"JAX_LOCAL_DEVICE_IDS is {devices!r}: write numbers, as 0,1") from None
    return Cluster("environment variables", host, port, count, index, own)


def _slurm(env: Mapping[str, str]) -> Cluster | None:
    # Set by srun alone: inside a batch script, but outside a step, a process is by itself.
    if "SLURM_STEP_NUM_TASKS" not in env or "SLURM_PROCID" not in env:
        return None
    count, index = _number(env, "SLURM_STEP_NUM_TASKS"), _number(env, "SLURM_PROCID")
    if count == 1:
        return None
    nodes, job = _need(env, "SLURM_STEP_NODELIST", "Slurm"), _number(env, "SLURM_JOB_ID")
    # Jobs that share a node need ports of their own: pairs from the dynamic range.
    host, port = first_host(nodes), 61000 + 2 * (job % 2000)
    if address := env.get("JAX_COORDINATOR_ADDRESS"):
        host, port = _address(address)
    return Cluster(f"Slurm job {job}", host, port, count, index, _slurm_gpus(env))


def _slurm_gpus(env: Mapping[str, str]) -> tuple[int, ...] | None:
    """An equal share of the node's GPUs, where Slurm shows all of them to each of several tasks."""
    here = re.match(r"\d+", env.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    tasks = int(here[0]) if here else 1
    visible = [x for x in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if x]
    there = len(visible) or _number(env, "SLURM_GPUS_ON_NODE", 0)
    if tasks == 1 or there < 2 or there < _number(env, "SLURM_GPUS_ON_NODE", there):
        return None  # all that this process sees are its own
    if there % tasks:
        raise UserError(
            f"Slurm runs {tasks} tasks on a node with {there} GPUs, which cannot be shared "
            "evenly: choose another --ntasks-per-node (1 is best: a process serves all GPUs)"
        )
    local, each = _number(env, "SLURM_LOCALID"), there // tasks
    return tuple(range(local * each, (local + 1) * each))


def first_host(nodes: str) -> str:
    """ "gpu07" of Slurm's "gpu[07-09,12],big1"."""
    match = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\]([^,\[]*))?", nodes)
    if match is None:
        raise UserError(f"SLURM_STEP_NODELIST is {nodes!r}: it names no host")
    return "".join(part or "" for part in match.groups())


def _tpu(env: Mapping[str, str]) -> Cluster | None:
    names = [x.split(":")[0].strip() for x in env.get("TPU_WORKER_HOSTNAMES", "").split(",")]
    slices = _number(env, "MEGASCALE_NUM_SLICES", 1)
    if not names[0] or len(names) * slices == 1:
        return None
    index = _number(env, "TPU_WORKER_ID")
    host = names[0]
    if slices > 1:
        index += _number(env, "MEGASCALE_SLICE_ID") * len(names)
        host = _need(env, "MEGASCALE_COORDINATOR_ADDRESS", "TPU slices").split(":")[0]
    count, port = len(names) * slices, _number(env, "JAX_COORDINATOR_PORT", PORT)
    return Cluster(f"TPU, {slices} × {len(names)} hosts", host, port, count, index)


def _need(env: Mapping[str, str], name: str, where: str) -> str:
    if not env.get(name):
        raise UserError(f"{name} is not set, though {where} should have set it")
    return env[name]


def _number(env: Mapping[str, str], name: str, default: int | None = None) -> int:
    if default is not None and not env.get(name):
        return default
    text = _need(env, name, "what starts this process")
    if not text.isdecimal():
        raise UserError(f"{name} is {text!r}: a whole number is wanted")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65535:
        raise UserError(
            f"JAX_COORDINATOR_ADDRESS is {text!r}: write process 0's HOST:PORT, as node1:{PORT}"
        )
    return host.strip("[]"), int(port)


def start(env: Mapping[str, str] = os.environ) -> Cluster | None:
    """Joins this process to the others; before anything touches a device.  None where it is alone.

    Raises:
      UserError: see `find` and `lifeline.call_roll`.
    """
    global _lifeline
    cluster = find(env)
    if cluster is None or _lifeline is not None:
        return cluster
    patience = _number(env, "NOTA_START_SECONDS", 300)
    silence = max(10, _number(env, "NOTA_SILENCE_SECONDS", 60))
    _lifeline = call_roll(
        cluster.host, cluster.port + 1, cluster.count, cluster.index, patience, silence
    )
    _delay_abort()
    # jax would catch SIGTERM for a service that we do not use, and the process would not end.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            f"{cluster.host}:{cluster.port}",
            cluster.count,
            cluster.index,
            local_device_ids=cluster.devices,
            cluster_detection_method="deactivate",  # it would give each Slurm task one GPU
            initialization_timeout=patience,
            # The lifeline is sooner; jax's own limit stands behind it.
            heartbeat_timeout_seconds=2 * silence,
        )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{cluster}: jax.distributed did not start: {reason}") from error
    if jax.process_count() != cluster.count or jax.process_index() != cluster.index:
        raise UserError(
            f"{cluster}: the devices say process {jax.process_index()} of {jax.process_count()}"
        )
    return cluster


def _delay_abort() -> None:
    """Gives the lifeline the time to speak before jax aborts this process.

    Where process 0 dies, jax's coordinator dies with it, jax notices as soon as the lifeline does,
    and aborts from a thread of C++.  With `sleep` for a handler, that thread sleeps for as many
    seconds as SIGABRT's number (6) first; an abort for another reason only comes later.
    """
    if os.name == "posix":
        libc = ctypes.CDLL(None)
        libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))


def leave() -> None:
    """Waits for all processes and parts from them; the end of a run that went well."""
    global _lifeline
    if _lifeline is not None:
        _lifeline.close()
        _lifeline = None
        jax.distributed.shutdown()


def fail(status: int, text: str) -> None:
    """Ends all processes with the sentence; does not return.  Does nothing in a lone process."""
    if _lifeline is not None:
        _lifeline.fail(status, text)


def share(make: Callable[[], Any]) -> Any:
    """What `make` gives in process 0, in every process; JSON."""
    return make() if _lifeline is None else _lifeline.share(make)


def barrier() -> None:
    """Returns when every process has called it."""
    if _lifeline is not None:
        _lifeline.barrier()


def main_first(work: Callable[[], T]) -> T:
    """Does `work` in process 0, and then, finding it done, in the others."""
    if _lifeline is None or _lifeline.index:
        share(lambda: None)
        return work()
    done = work()
    share(lambda: None)
    return done


def is_main() -> bool:
    return jax.process_index() == 0


@contextmanager
def together(env: Mapping[str, str] = os.environ) -> Iterator[Cluster | None]:
    """`start`, and `leave` if all goes well.  A mistake or a failure in here ends all processes."""
    try:
        yield start(env)
    except UserError as error:
        fail(2, str(error))
        raise
    except KeyboardInterrupt:
        fail(130, "interrupted")
        raise
    except Exception as error:
        if _lifeline is not None:
            _unexpected(error)
        raise
    leave()


def _unexpected(error: Exception) -> None:
    """Of many processes one met an error that is not the user's; most often another's death."""
    # Collectives break at once where their partner dies; then the lifeline says so right away,
    # and ends this process.  The traceback would only hide that.
    time.sleep(2)
    traceback.print_exception(error)
    fail(1, f"{type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]}")
