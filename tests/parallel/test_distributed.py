"""Who a process is, read from what starts it; every mistake there is a sentence."""

from types import SimpleNamespace

import numpy as np
import pytest

from nota_jax.errors import UserError
from nota_jax.parallel.mesh import AXES, row_share
from nota_jax.parallel.processes import Cluster, find, first_host

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


def test_a_lone_process_needs_nothing():
    assert find({}) is None
    assert find({"JAX_COORDINATOR_ADDRESS": "node1:1234"}) is None
    assert find(PLAIN | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}) is None
    assert find({"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}) is None
    # In a batch script, but not under srun.
    assert find({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}) is None


def test_plain_variables():
    assert find(PLAIN) == Cluster("environment variables", "node1", 1234, 4, 3)
    assert find(PLAIN | {"JAX_COORDINATOR_ADDRESS": "[::1]:80"}).host == "::1"
    assert find(PLAIN | {"JAX_LOCAL_DEVICE_IDS": "2,3"}).devices == (2, 3)


def test_slurm_one_task_a_node_has_all_of_its_gpus():
    cluster = find(SLURM)
    assert (cluster.found, cluster.host) == ("Slurm job 4711", "gpu07")
    assert (cluster.count, cluster.index, cluster.devices) == (2, 1, None)
    assert 1024 < cluster.port < 65535


def test_slurm_several_tasks_a_node_share_its_gpus():
    assert find(SLURM | FOUR_TASKS | {"SLURM_LOCALID": "1"}).devices == (2, 3)
    bound = FOUR_TASKS | {"CUDA_VISIBLE_DEVICES": "0"}  # --gpus-per-task: Slurm has shared them
    assert find(SLURM | bound).devices is None


def test_two_jobs_on_a_node_use_other_ports():
    ports = {find(SLURM | {"SLURM_JOB_ID": str(job)}).port for job in range(100, 200)}
    assert len(ports) == 100 and all(port % 2 == 0 for port in ports)


@pytest.mark.parametrize(
    "nodes, first",
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("gpu[07-09,12],big1", "gpu07"),
        ("gpu[7,9]", "gpu7"),
        ("rack[1-2]-gpu", "rack1-gpu"),
    ],
)
def test_the_first_host_of_slurms_lists(nodes, first):
    assert first_host(nodes) == first


def test_tpu_hosts_of_one_slice_and_of_several():
    assert find(GKE) == Cluster("TPU, 1 × 4 hosts", "a-0.a", 8476, 4, 2)
    assert find(GKE | SLICES) == Cluster("TPU, 2 × 4 hosts", "a-0.a", 8476, 8, 6)


def without(environment, name):
    return {key: value for key, value in environment.items() if key != name}


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
        (PLAIN | {"JAX_LOCAL_DEVICE_IDS": "all"}, "JAX_LOCAL_DEVICE_IDS is 'all'"),
        (without(SLURM, "SLURM_STEP_NODELIST"), "SLURM_STEP_NODELIST is not set, though Slurm"),
        (
            SLURM | {"SLURM_STEP_TASKS_PER_NODE": "3", "SLURM_STEP_NUM_TASKS": "3"},
            "3 tasks on a node with 8 GPUs, which cannot be shared evenly",
        ),
        (without(GKE, "TPU_WORKER_ID"), "TPU_WORKER_ID is not set"),
        (GKE | {"TPU_WORKER_ID": "7"}, "this is process 7, but there are 4"),
        (
            without(GKE | SLICES, "MEGASCALE_COORDINATOR_ADDRESS"),
            "MEGASCALE_COORDINATOR_ADDRESS is not set",
        ),
    ],
)
def test_what_cannot_be_right_is_named(environment, text):
    with pytest.raises(UserError, match=text):
        find(environment)


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
