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


@pytest.mark.parametrize("dead", [0, 1])
def test_a_process_killed_while_training_ends_the_other(work, dead):
    """By a broken collective, or jax's heartbeats: with a status that says "start again"."""
    results = finish(start(work, f"dead{dead}", f"die={dead}:3"))
    assert results[dead][0] == -signal.SIGKILL
    assert results[1 - dead][0] in (1, -signal.SIGABRT)


def test_a_mistake_that_one_process_meets_ends_both_and_is_said(work):
    (other, *_), (status, _, text) = finish(start(work, "mistake", "err=1:3"))
    assert status == 2 and "error: the page is damaged" in text and "Traceback" not in text
    assert other in (1, -signal.SIGABRT)


def test_an_unexpected_error_of_one_process_ends_both_with_its_traceback(work):
    (status, _, text), (other, *_) = finish(start(work, "bug", "break=0:3"))
    assert status == 1 and "RuntimeError: a bug" in text
    assert other in (1, -signal.SIGABRT)


def test_who_waits_in_vain_for_the_others_says_for_what_and_ends(work):
    """It is jax that ends it, from C++; whether server or client speaks last is a race."""
    command = [WORKER, work / "job.pkl", work / "alone", 2, 1, 1]
    first, other = launch(2, 1, command, NOTA_START_SECONDS="3")
    other.kill()
    (status, _, text), _ = finish([first, other])
    assert status == -signal.SIGABRT
    assert "waiting up to 3 s for the other processes of this run" in text
    assert "JAX_PROCESS_ID=0)" in text and "DEADLINE_EXCEEDED" in text


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
