"""Where one process of a run dies or fails, the others end with a sentence; none waits for ever."""

import pickle
import signal
from pathlib import Path

import pytest

from tests.parallel.launched import finish, launch

WORKER = Path(__file__).with_name("one_of_many.py")


@pytest.fixture(scope="module")
def work(nano_config, nano_params, nano_batch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deaths")
    batches = [nano_batch(4, seed) for seed in range(30)]
    job = (nano_config.to_dict(), nano_params, batches, ())
    (folder / "job.pkl").write_bytes(pickle.dumps(job))
    return folder


def start(work, name, *words):
    command = [WORKER, work / "job.pkl", work / name, 2, 1, 1, *words]
    return launch(2, 1, command, NOTA_SILENCE_SECONDS="10")


def assert_ended_by_the_others_death(result):
    """With a sentence behind whatever jax wrote, and no traceback of ours."""
    status, _, text = result
    assert status in (1, -signal.SIGABRT)
    last = text.strip().splitlines()[-1]
    assert last.startswith("error: ") and "another process of this run is gone" in last
    assert last.endswith("goes on from the newest checkpoint") and "Traceback" not in text


@pytest.mark.parametrize("dead", [0, 1])
def test_a_process_killed_while_training_ends_the_other(work, dead):
    """By a broken collective, or jax's heartbeats: with a status that says "start again"."""
    results = finish(start(work, f"dead{dead}", f"die={dead}:3"))
    assert results[dead][0] == -signal.SIGKILL
    assert_ended_by_the_others_death(results[1 - dead])


def test_a_mistake_that_one_process_meets_ends_both_and_is_said(work):
    other, (status, _, text) = finish(start(work, "mistake", "err=1:3"))
    assert status == 2 and "error: the page is damaged" in text and "Traceback" not in text
    assert_ended_by_the_others_death(other)


def test_an_unexpected_error_of_one_process_ends_both_with_its_traceback(work):
    (status, _, text), other = finish(start(work, "bug", "break=0:3"))
    assert status == 1 and "RuntimeError: a bug" in text
    assert_ended_by_the_others_death(other)


def test_who_waits_in_vain_for_the_others_says_for_what_and_ends(work):
    """It is jax that ends it, from C++; whether server or client speaks last is a race."""
    command = [WORKER, work / "job.pkl", work / "alone", 2, 1, 1]
    first, other = launch(2, 1, command, NOTA_START_SECONDS="3")
    other.kill()
    (status, _, text), _ = finish([first, other])
    assert status == -signal.SIGABRT
    assert "waiting up to 3 s for the other processes of this run" in text
    assert "JAX_PROCESS_ID=0)" in text and "DEADLINE_EXCEEDED" in text
    assert "another process of this run is gone or never came" in text.splitlines()[-1]


def test_a_signal_to_one_process_stops_both_behind_the_same_step(work):
    processes = start(work, "stopped", "pause")
    while "step" not in (line := processes[0].stdout.readline()) or "loss" not in line:
        assert line, processes[0].communicate()
    processes[1].send_signal(signal.SIGTERM)
    (status, said, _), (other, *_) = finish(processes)
    assert (status, other) == (130, 130)
    assert "of 30 is saved in" in said and "run the same command to continue" in said
    [saved] = (int(p.name) for p in (work / "stopped/checkpoints").iterdir())
    assert 1 < saved < 30


def test_a_damaged_checkpoint_ends_all_and_started_again_they_use_the_one_before(work):
    """Whether all of them find it damaged, or one that reads it from another disk."""
    command = [WORKER, work / "job.pkl", work / "spoilt", 1, 1, 1, "stop=6", "save=2"]
    assert finish(launch(1, 1, command))[0][0] == 130
    folder = work / "spoilt/checkpoints"
    for path in (folder / "6/params").glob("**/d/*"):
        path.write_bytes(path.read_bytes()[::-1])
    results = finish(start(work, "spoilt"))
    assert [status for status, *_ in results] == [1, 1], results
    assert any("checkpoints/6 is damaged: " in text and "the same command goes on from the one "
               "before" in text.splitlines()[-1] for *_, text in results)  # fmt: skip
    assert sorted(p.name for p in folder.iterdir()) == ["2", "4", "6.damaged"]

    other, (status, _, text) = finish(start(work, "spoilt", "spoil=1"))
    assert status == 1 and "checkpoints/4 is damaged: a disk that only" in text.splitlines()[-1]
    assert other[0] in (1, -signal.SIGABRT) and "error: " in other[2] and "Trace" not in other[2]
    assert sorted(p.name for p in folder.iterdir()) == ["2", "4.damaged", "6.damaged"]
