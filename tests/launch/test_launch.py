"""The launch scripts: they start a run again until it is done, and stop where it must not go on.

What they start is a stand-in here (`train`), which notes how it was called and ends as it is told.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

import nota_jax

ROOT = Path(nota_jax.__file__).parents[1]
LAUNCH = ROOT / "launch"
SCRIPTS = [
    LAUNCH / name
    for name in ("until_done.sh", "local.sh", "slurm.sbatch", "tpu_pod.sh", "build_array.sbatch")
]

# Ends with the next status of the list for its process; "wait" waits for a signal.
TRAIN = """#!/bin/bash
me=${JAX_PROCESS_ID:-0} gpus=${CUDA_VISIBLE_DEVICES:-}
echo "$me/${JAX_NUM_PROCESSES:-1} ${JAX_COORDINATOR_ADDRESS:-alone} [$gpus] $*" >> "$HERE/calls"
read -r status rest <<< "$(cat "$HERE/plan$me")"
echo "$rest" > "$HERE/plan$me"
if [ "$status" = wait ]; then
    trap 'echo TERM >> "$HERE/signals$me"; exit 130' TERM
    touch "$HERE/ready$me"
    for ((i = 0; i < 200; i++)); do sleep 0.1; done
fi
exit "$status"
"""

# hosts of the slice are folders; "worker=all" runs the command in each of them, one after another.
GCLOUD = """#!/bin/bash
echo "gcloud $*" >> "$HERE/gcloud"
case "$*" in
*describe*) read -r state rest <<< "$(cat "$HERE/states")"; echo "$rest" > "$HERE/states"
    echo "${state/none/}" ;;
*scp*) for host in 0 1; do cp "$5" "$HERE/host$host/"; done ;;
*ssh*)
    command=${@: -1}; command=${command#--command=}; worst=0
    for host in 0 1; do
        (cd "$HERE/host$host" && HOME=$PWD HOST=$host bash -c "$command") || worst=1
    done
    exit $worst ;;
esac
"""
CURL = """#!/bin/bash
case "$*" in
*agent-worker-number) echo "$HOST" ;;
*worker-network-endpoints) echo "h0:1:10.0.0.1,h1:2:10.0.0.2" ;;
esac
"""


@pytest.fixture
def stage(tmp_path):
    """`stage(script, *arguments, plans=[...], **variables)` → the started script."""
    started = []

    def program(name, text):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    train = program("train", TRAIN)
    program("gcloud", GCLOUD)
    program("curl", CURL)

    def start(script, *arguments, plans=("0",), **variables):
        for process, plan in enumerate(plans):
            (tmp_path / f"plan{process}").write_text(plan)
        env = {
            **os.environ,
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "HERE": str(tmp_path),
            "NOTA_PYTHON": str(train),
            "NOTA_PAUSE": "0.1",
            "NOTA_POLL": "0.1",
        }
        env.pop("CUDA_VISIBLE_DEVICES", None)
        process = subprocess.Popen(
            [LAUNCH / script, *arguments],
            env=env | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=hears_ctrl_c,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def hears_ctrl_c():
    """In a child: a shell cannot trap what was ignored when it began, as background jobs do."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def calls(folder):
    return (folder / "calls").read_text().splitlines()


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ended(process):
    said, _ = process.communicate(timeout=600)
    return process.returncode, said


def test_a_killed_run_is_started_again_until_it_is_done(stage, tmp_path):
    status, said = ended(stage("local.sh", "--config=c.py:tiny", plans=["137 3 0"]))
    assert status == 0
    assert calls(tmp_path) == ["0/1 alone [] -m nota_jax.main --config=c.py:tiny"] * 3
    assert "ended with status 137" in said and "starting again" in said


@pytest.mark.parametrize("final", [2, 130])
def test_a_mistake_and_a_stop_are_not_tried_again(stage, tmp_path, final):
    assert ended(stage("local.sh", "--config=c", plans=[f"{final} 0"]))[0] == final
    assert len(calls(tmp_path)) == 1


def test_it_gives_up_where_every_try_fails_at_once(stage, tmp_path):
    status, said = ended(stage("local.sh", "--config=c", plans=["1 1 1 1 1"], NOTA_RESTARTS="2"))
    assert (status, len(calls(tmp_path))) == (1, 3)
    assert "3 tries in a row" in said and "giving up" in said


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("count", [1, 2])
def test_a_signal_reaches_each_process_once_and_ends_it_all(stage, tmp_path, kind, count):
    process = stage("local.sh", "-n", str(count), "--config=c", plans=["wait 0"] * count)
    wait_for(lambda: all((tmp_path / f"ready{i}").exists() for i in range(count)))
    process.send_signal(kind)
    assert ended(process)[0] == 130
    assert len(calls(tmp_path)) == count
    for i in range(count):
        assert (tmp_path / f"signals{i}").read_text() == "TERM\n"


def test_usr1_ends_the_tries_and_leaves_the_command_alone(stage, tmp_path):
    """As in slurm.sbatch, whose tasks hear of the time limit from Slurm."""
    process = stage("local.sh", "--config=c", plans=["wait 0"])
    wait_for((tmp_path / "ready0").exists)
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.3)
    assert process.poll() is None and not (tmp_path / "signals0").exists()
    [child] = psutil.Process(process.pid).children()
    child.kill()
    assert ended(process)[0] == 137
    assert len(calls(tmp_path)) == 1


@pytest.mark.parametrize("first", ["2", "137"])
def test_where_one_process_fails_the_others_are_ended(stage, tmp_path, first):
    """The other one would wait for ever, and does not even hear of TERM."""
    process = stage(
        "local.sh", "-n", "2", "--config=c", plans=[first, "wait"],
        NOTA_GRACE="0.2", NOTA_RESTARTS="0",
    )  # fmt: skip
    assert ended(process)[0] == int(first)
    assert len(calls(tmp_path)) == 2 and not (tmp_path / "signals1").exists()


def test_several_processes_know_each_other_and_share_the_gpus(stage, tmp_path):
    process = stage(
        "local.sh", "-n", "2", "--config=c", plans=["3 0", "137 0"], CUDA_VISIBLE_DEVICES="0,1,4,5"
    )
    assert ended(process)[0] == 0
    lines = calls(tmp_path)
    assert len(lines) == 4
    first = sorted(lines[:2])
    assert first[0].startswith("0/2 127.0.0.1:") and "[0,1]" in first[0]
    assert first[1].startswith("1/2 127.0.0.1:") and "[4,5]" in first[1]
    addresses = [line.split()[1] for line in lines]
    assert addresses[0] == addresses[1] and addresses[2] == addresses[3]


@pytest.mark.parametrize("arguments", [(), ("-n",), ("-n", "two", "--config=c"), ("-n", "2")])
def test_a_wrong_call_is_a_sentence(stage, arguments):
    status, said = ended(stage("local.sh", *arguments))
    assert status == 2 and ("usage:" in said or "-n wants the number" in said)


def test_a_preempted_slice_is_asked_for_again(stage, tmp_path):
    """Not there, there, dead in the middle of the run, suspended, asked for again, done."""
    (tmp_path / "states").write_text("none CREATING ACTIVE SUSPENDED none ACTIVE ACTIVE")
    for host in (0, 1):
        python = tmp_path / f"host{host}/nota_jax/.venv/bin/python"
        python.parent.mkdir(parents=True)
        shutil.copy(tmp_path / "bin/train", python)
        (python.parent / "pip").symlink_to("/bin/true")
    process = stage(
        "tpu_pod.sh", "pod", "zone-a", "v5litepod-8", "--config=c.py:7b", "--config.x=a b",
        plans=["3 0", "137 0"], NOTA_MOUNT="touch mounted",
    )  # fmt: skip
    status, said = ended(process)
    assert status == 0, said
    wanted = "[] -u -m nota_jax.main --config=c.py:7b --config.x=a b"
    made = calls(tmp_path)  # the two of a try in any order
    assert sorted(made[:2]) == sorted(made[2:]) == [f"{i}/2 10.0.0.1:8476 {wanted}" for i in (0, 1)]
    asked = (tmp_path / "gcloud").read_text()
    assert asked.count("queued-resources create pod --node-id=pod --zone=zone-a") == 2
    assert asked.count("queued-resources delete pod --zone=zone-a --force --quiet") == 1
    assert (tmp_path / "host1/nota_jax/mounted").exists()
    assert (tmp_path / "host1/nota_jax/pyproject.toml").exists()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(script):
    subprocess.run(["bash", "-n", script], check=True)
    places = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if (shellcheck := shutil.which("shellcheck", path=places)) is None:
        pytest.skip("shellcheck is not installed")
    result = subprocess.run([shellcheck, script], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.fixture
def jobset():
    return yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())


def test_the_jobset_is_consistent(jobset):
    [job] = jobset["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    rows, columns = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    chips = int(container["resources"]["limits"]["google.com/tpu"])
    assert rows * columns == chips * spec["completions"]
    assert spec["parallelism"] == spec["completions"] and spec["completionMode"] == "Indexed"
    # Only a mistake ends the whole; everything else is a restart of all pods.
    assert spec["backoffLimit"] == 0 and pod["restartPolicy"] == "Never"
    [rule] = spec["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [2])
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def lost(given, read, at=""):
    """Paths of what a model did not take over: it drops what it does not know, a misspelt field."""
    if isinstance(given, dict):
        pairs = ((f"{at}.{k}", x, read.get(k) if isinstance(read, dict) else None)
                 for k, x in given.items())  # fmt: skip
    elif isinstance(given, list):
        pairs = ((f"{at}[{i}]", x, y) for i, (x, y) in enumerate(zip(given, read, strict=True)))
    else:
        return [] if given == read else [at]
    return [path for place, x, y in pairs for path in lost(x, y, place)]


def test_the_jobset_fits_its_schema(jobset):
    models = pytest.importorskip("kubeflow_trainer_api.models")
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    read = models.JobsetV1alpha2JobSet.from_dict(jobset).to_dict()
    assert lost(jobset, read) == []
    assert lost({"spec": {"maxRestart": 1}}, read) == [".spec.maxRestart"]
    for job in jobset["spec"]["replicatedJobs"]:
        whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job["name"]}}
        kubernetes_validate.validate(whole | job["template"], "1.37", strict=True)


@pytest.mark.parametrize(
    "arguments, wanted",
    [
        (["--variants", "2"], "--variants 2 --shard 3/4 --workers 8"),
        (["--merge"], "--merge"),
    ],
)
def test_a_task_of_an_array_builds_its_part_and_another_merges(arguments, wanted, tmp_path):
    """Tasks 5 to 8 of an array: this is the third of four."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    python.chmod(0o755)
    environment = os.environ | {
        "SLURM_SUBMIT_DIR": str(tmp_path), "NOTA_PYTHON": str(python), "SLURM_JOB_ID": "9",
        "SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "4",
        "SLURM_CPUS_PER_TASK": "8", "SLURMD_NODENAME": "vm",
    }  # fmt: skip
    command = [LAUNCH / "build_array.sbatch", "--out", "a b", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 7  # Slurm hears how it ended
    assert done.stdout.splitlines()[-1] == f"-u -m nota_jax.data.build --out a b {wanted}"


def test_the_jobs_that_build_a_dataset_are_consistent_and_fit_their_schema():
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    build, merge = yaml.safe_load_all((LAUNCH / "build_job.yaml").read_text())
    for job in (build, merge):
        kubernetes_validate.validate(job, "1.37", strict=True)
        pod = job["spec"]["template"]["spec"]
        [container], rules = pod["containers"], job["spec"]["podFailurePolicy"]["rules"]
        assert rules[0]["action"] == "FailJob" and rules[0]["onExitCodes"]["values"] == [2]
        assert rules[0]["onExitCodes"]["containerName"] == container["name"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    spec, [container] = build["spec"], build["spec"]["template"]["spec"]["containers"]
    [parts] = [one["value"] for one in container["env"] if one["name"] == "NOTA_PARTS"]
    assert spec["completions"] == spec["parallelism"] == int(parts)
    assert spec["completionMode"] == "Indexed"
    out = "--out=/shared/data/nota"
    assert out in container["args"]
    assert out in merge["spec"]["template"]["spec"]["containers"][0]["args"]
    # What its shell makes of it, for the last part.
    echo = {"PATH": os.environ["PATH"], "JOB_COMPLETION_INDEX": "15", "NOTA_PARTS": parts}
    script = container["args"][0].replace("exec python", "echo")
    said = subprocess.run(
        [*container["command"], script, *container["args"][1:]],
        env=echo, capture_output=True, text=True, check=True,
    )  # fmt: skip
    wanted = f"-u -m nota_jax.data.build {out} --variants=27 --shard 16/16 --workers 8"
    assert said.stdout.strip() == wanted
