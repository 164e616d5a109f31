"""Who a process is, read from what starts it; every mistake there is a sentence."""

import errno
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from nota_jax.errors import TryAgain, UserError
from nota_jax.parallel import processes
from nota_jax.parallel.mesh import AXES, row_share
from nota_jax.parallel.processes import _arguments, several

PLAIN = {
    "JAX_COORDINATOR_ADDRESS": "node1:1234",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "3",
}
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_GPUS_ON_NODE": "8",
    "CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7",
}
FOUR_TASKS = {"SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_STEP_NUM_TASKS": "8"}
GKE = {"TPU_WORKER_HOSTNAMES": "a-0.a,a-1.a,a-2.a,a-3.a", "TPU_WORKER_ID": "2"}
SLICES = {
    "MEGASCALE_NUM_SLICES": "2",
    "MEGASCALE_SLICE_ID": "1",
    "MEGASCALE_COORDINATOR_ADDRESS": "a-0.a:8080",
}


def without(environment, name):
    return {key: value for key, value in environment.items() if key != name}


def test_a_lone_process_needs_nothing():
    assert not several({})
    assert not several({"JAX_COORDINATOR_ADDRESS": "node1:1234"})
    assert not several(PLAIN | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"})
    assert not several({"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"})
    # In a batch script, but not under srun; and a step of one task.
    assert not several({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"})
    assert not several(SLURM | {"SLURM_STEP_NUM_TASKS": "1"})


@pytest.mark.parametrize(
    "environment",
    [PLAIN, SLURM, GKE, GKE | SLICES, {"TPU_WORKER_HOSTNAMES": "a"} | SLICES,
     {"OMPI_COMM_WORLD_SIZE": "2"}],
)  # fmt: skip
def test_one_of_several_is_known_by_what_starts_it(environment):
    assert several(environment)


def test_jax_is_told_what_it_cannot_find_out():
    told = _arguments(PLAIN)
    assert (told["coordinator_address"], told["num_processes"], told["process_id"]) == (
        "node1:1234", 4, 3
    )  # fmt: skip
    assert _arguments(GKE) == {}


def test_slurm_one_task_a_node_has_all_of_its_gpus():
    assert _arguments(SLURM) == {"local_device_ids": list(range(8))}
    none = without(without(SLURM, "CUDA_VISIBLE_DEVICES"), "SLURM_GPUS_ON_NODE")
    assert _arguments(none) == {"local_device_ids": None}


def test_slurm_several_tasks_a_node_share_its_gpus():
    assert _arguments(SLURM | FOUR_TASKS | {"SLURM_LOCALID": "1"})["local_device_ids"] == [2, 3]
    bound = FOUR_TASKS | {"CUDA_VISIBLE_DEVICES": "0"}  # --gpus-per-task: Slurm has shared them
    assert _arguments(SLURM | bound)["local_device_ids"] == [0]


@pytest.mark.parametrize(
    "environment, text",
    [
        (without(PLAIN, "JAX_PROCESS_ID"), "JAX_PROCESS_ID missing beside JAX_COORDINATOR_ADDRESS"),
        (
            without(PLAIN, "JAX_COORDINATOR_ADDRESS"),
            "COORDINATOR_ADDRESS missing beside JAX_NUM",
        ),
        (PLAIN | {"JAX_PROCESS_ID": "4"}, "this is process 4, but there are 4 .* from 0 to 3"),
        (PLAIN | {"JAX_NUM_PROCESSES": "four"}, "JAX_NUM_PROCESSES is 'four': a whole number"),
        (PLAIN | {"JAX_COORDINATOR_ADDRESS": "node1"}, "'node1': write process 0's HOST:PORT"),
        (PLAIN | {"JAX_COORDINATOR_ADDRESS": "node1:99999"}, "write process 0's HOST:PORT"),
        (
            SLURM | {"SLURM_STEP_TASKS_PER_NODE": "3", "SLURM_STEP_NUM_TASKS": "3"},
            "3 tasks on a node with 8 GPUs, which cannot be shared evenly",
        ),
    ],
)
def test_what_cannot_be_right_is_named(environment, text):
    with pytest.raises(UserError, match=text):
        if several(environment):
            _arguments(environment)


def over(processes, each, *sizes):
    """A mesh over the devices of several processes; as much of one as `row_share` sees."""
    devices = [SimpleNamespace(process_index=p) for p in range(processes) for _ in range(each)]
    shape = dict(zip(AXES, sizes, strict=True))
    return SimpleNamespace(devices=np.array(devices).reshape(sizes), shape=shape)


@pytest.mark.parametrize(
    "mesh, shares",
    [
        (over(1, 8, 1, 8, 1), [(0, 1)]),
        (over(2, 4, 8, 1, 1), [(0, 2), (1, 2)]),
        (over(2, 4, 1, 2, 4), [(0, 2), (1, 2)]),
        (over(4, 2, 2, 1, 4), [(0, 2), (0, 2), (1, 2), (1, 2)]),  # tensor over two processes
        (over(2, 4, 1, 1, 8), [(0, 1), (0, 1)]),
    ],
)
def test_each_process_reads_the_rows_of_its_devices(mesh, shares):
    assert [row_share(mesh, process) for process in range(len(shares))] == shares


def test_rows_that_straddle_processes_are_refused():
    with pytest.raises(UserError, match="across the borders of 4 processes: choose `tensor`"):
        row_share(over(4, 3, 3, 1, 4), 0)


# ---- what one of several says at its end


@pytest.mark.parametrize(
    "error, status, said",
    [
        (UserError("no"), 2, "error: no"),
        (TryAgain("not yet"), 1, "error: not yet"),
        (OSError(errno.ENOSPC, "No space left", "/run/x"), 2, "error: /run/x: No space left (said"),
        (OSError(errno.EIO, "Input/output error", "/run/x"), 1, "error: /run/x: Input/output"),
        (
            ValueError("UNKNOWN: Gloo AllGather failed: Connection closed by peer"),
            1,
            "error: another process of this run is gone (UNKNOWN: Gloo AllGather failed",
        ),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
            2,
            "error: memory does not suffice (RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes)",
        ),
        (jax.errors.JaxRuntimeError("INTERNAL: a bug"), 1, "Traceback (most recent call last)"),
        (OSError("a library's own"), 1, "Traceback (most recent call last)"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_one_of_several_ends_at_once_with_a_sentence(monkeypatch, error, status, said):
    ends = []

    def end(*how):
        ends.append(how)
        raise SystemExit

    monkeypatch.setattr(processes, "start", lambda env: "process 3 of 4")
    monkeypatch.setattr(processes, "_quit", end)
    with pytest.raises(SystemExit), processes.together(PLAIN):
        raise error
    [(code, text)] = ends
    assert code == status and text.startswith(said)


def test_alone_an_error_goes_its_usual_way():
    with pytest.raises(OSError, match="gone"), processes.together({}):
        raise OSError(errno.ENOENT, "gone")


def test_what_ends_a_process_from_outside_is_followed_by_a_sentence():
    program = "import os; from nota_jax.parallel.processes import _last_word\nwith _last_word(): "
    ends = []
    for how in ("os.kill(os.getpid(), 9)", "os.abort()", "pass"):
        command = [sys.executable, "-c", program + how]
        ends.append(subprocess.run(command, capture_output=True, text=True, env=os.environ))
    for killed in ends[:2]:
        assert "error: this process was killed, or ended by jax because" in killed.stderr
    assert ends[2].stderr == "" and ends[2].returncode == 0
