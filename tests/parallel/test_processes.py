"""Many processes do what one does: the same losses, one checkpoint, and they end together.

The processes are real and talk over gloo; each has virtual CPU devices.
"""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.parallel.launched import finish, launch, without_gloo

STEPS = 4
WORKER = Path(__file__).with_name("one_of_many.py")


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").open()]


@pytest.fixture(scope="module")
def work(nano_config, nano_params, nano_batch, tmp_path_factory):
    """The folder, with the job that all runs share."""
    folder = tmp_path_factory.mktemp("processes")
    rng = np.random.default_rng(0)
    batch = nano_batch(8)
    prefix = np.full((8, 5), nano_config.image_token_id, np.int32)
    prefix[:, 0] = 1
    lengths = rng.integers(0, 6, (8, 3)).astype(np.int32)
    pixels = (batch["images"] / 255).astype(np.float32)
    turns = rng.integers(1, 60, (8, 3, 5)).astype(np.int32)
    questions = (pixels, prefix, turns, lengths, 2)
    batches = [nano_batch(16, seed) for seed in range(STEPS)]
    job = (nano_config.to_dict(), nano_params, batches, questions)
    (folder / "job.pkl").write_bytes(pickle.dumps(job))
    return folder


def start(work, name, mesh, *words, count=1, devices=8):
    return launch(count, devices, [WORKER, work / "job.pkl", work / name, *mesh, *words])


def succeed(processes, status=0):
    results = finish(processes)
    assert [code for code, *_ in results] == [status] * len(results), results
    return results


@pytest.fixture(scope="module")
def alone(work):
    """One process with eight devices, to the end."""
    succeed(start(work, "alone", (1, 8, 1), "answer"))
    return work / "alone"


@pytest.fixture(scope="module")
def half(work):
    """Two processes with four devices each, until the middle; and what they said."""
    results = succeed(start(work, "half", (1, 8, 1), "stop=2", count=2, devices=4), status=130)
    return work / "half", results


@pytest.fixture(scope="module")
def whole(work, half):
    """The same to the end, in two processes again, but on another mesh."""
    shutil.copytree(half[0], work / "whole")
    results = succeed(start(work, "whole", (2, 1, 4), "answer", count=2, devices=4))
    assert "resuming behind step 2 of 4" in results[0][1]
    return work / "whole"


# In this order each test starts one of the runs, and none waits for all of them.


def test_only_process_0_speaks(half):
    (_, first, _), (_, second, _) = half[1]
    assert "step 2/4" in first and "parameters train" in first
    assert without_gloo(second) == ""


def test_two_processes_have_the_losses_of_one(alone, half):
    assert len(losses(alone)) == STEPS
    np.testing.assert_allclose(losses(half[0]), losses(alone)[:2], rtol=1e-6)


def test_a_checkpoint_of_two_processes_is_resumed_by_one(work, alone, half):
    shutil.copytree(half[0], work / "one")
    [(_, said, _)] = succeed(start(work, "one", (4, 1, 1), devices=4))
    assert "resuming behind step 2 of 4" in said
    np.testing.assert_allclose(losses(work / "one"), losses(alone), rtol=1e-6)


def test_a_checkpoint_of_two_processes_is_resumed_by_two_on_another_mesh(alone, whole):
    np.testing.assert_allclose(losses(whole), losses(alone), rtol=1e-6)


def test_two_processes_give_the_answers_of_one(alone, whole):
    ours, theirs = (pickle.loads((f / "answers.pkl").read_bytes()) for f in (whole, alone))
    assert len(set(theirs.tokens.flat)) > 5
    np.testing.assert_array_equal(ours.tokens, theirs.tokens)
    np.testing.assert_array_equal(ours.lengths, theirs.lengths)
