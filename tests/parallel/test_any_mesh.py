"""A run goes on with any number of devices and processes: the same records, the same losses."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.data.make_dataset import write_dataset
from tests.faults.kill_run import last_about
from tests.parallel.launched import finish, launch
from tests.parallel.on_any_mesh import STEPS

WORKER = Path(__file__).with_name("on_any_mesh.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("any_mesh")
    write_dataset(folder / "dataset", {"extraction_train": 40, "extraction_validation": 4})
    return folder


def start(folder, *words, processes=1, devices=1):
    kept = {  # each mesh is met several times, and most of the time is compilation
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    results = finish(launch(processes, devices, [WORKER, folder, *words], **kept), timeout=1200)
    assert [status for status, *_ in results] == [0] * processes, results
    return results[0][1]


def logged(folder, name):
    """Step → a figure of the journal."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    return {line["step"]: line[name] for line in lines if name in line}


def losses(folder):
    return list(logged(folder, "loss").values())


def records(folder, name):
    """Step → the questions of its batch, in the order of their rows."""
    found = {}
    for line in (folder / f"{name}.order").open():
        step, process, _, ids = json.loads(line)
        found.setdefault(step, {})[process] = ids
    return {step: sum((parts[i] for i in sorted(parts)), []) for step, parts in found.items()}


def work(run):
    totals = last_about(run)["totals"]
    return {key: totals[key] for key in ("steps", "images", "flops")}


@pytest.fixture(scope="module")
def moved(folder):
    """Five rows a step on 1 device, and on others; what was said."""
    start(folder, "processes:2:3", processes=2)
    return start(
        folder, f"alone:1:{STEPS}", "moved:1:2", "moved:2:4", "moved:4:6", f"moved:1:{STEPS}",
        f"processes:3:{STEPS}", devices=4,
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["moved", "processes"],
    ids=["on 1, 2, 4 and 1 devices", "in two processes, then on 3 devices of one"],
)
def test_a_run_goes_on_wherever_it_is_moved(folder, moved, name):
    assert len(losses(folder / name)) == STEPS
    assert records(folder, name) == records(folder, "alone")
    np.testing.assert_allclose(losses(folder / name), losses(folder / "alone"), rtol=1e-6)
    assert work(folder / name) == pytest.approx(work(folder / "alone"))


@pytest.mark.parametrize("name", ["moved", "processes"])
def test_a_run_is_evaluated_on_the_way_wherever_it_is(folder, moved, name):
    """With as good as the same scores: a rounding may turn a letter of an answer."""
    found, alone = (logged(folder / run, "eval/error") for run in (name, "alone"))
    assert list(found) == list(alone) == [2, 4, 6, 8]
    np.testing.assert_allclose(list(found.values()), list(alone.values()), rtol=0.05)
    assert sum("18 questions about 3 pages" in line for line in moved.splitlines()) == 6


def test_meshes_and_padding_are_said(moved):
    for mesh in ("data 1 × fsdp 2", "data 1 × fsdp 4", "data 3 × fsdp 1"):
        assert f"mesh {mesh} × tensor 1" in moved
    assert "of 8 rows of a step 3 are padding, so that they divide over the devices" in moved
    assert "resuming behind step 3 of 8" in moved
