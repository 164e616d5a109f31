"""Where one process of a run dies or fails, the others end with a sentence; none waits for ever."""

import pickle
import signal
import time
from pathlib import Path

import pytest

from tests.parallel.launched import finish, free_port, launch

WORKER = Path(__file__).with_name("one_of_many.py")

ROLL_CALL = """
import os, sys, time
from nota_jax.errors import UserError
from nota_jax.parallel.lifeline import call_roll

host, port, count, index, deed = sys.argv[1:]
try:
    line = call_roll(host, int(port), int(count), int(index), 3, 60)
except UserError as error:
    sys.exit(f"error: {error}")
print(line.share(lambda: [1, "a"]), flush=True)
line.barrier()
if deed == "die":
    os.kill(os.getpid(), 9)
if deed == "fail":
    line.fail(2, "the page is damaged")
if deed == "wait":
    time.sleep(30)
line.close()
"""


def roll_call(*processes, host="127.0.0.1"):
    """Processes given as (count, index, deed), which know nothing of jax: [(status, out, err)]."""
    port, started = free_port(), []
    for count, index, deed in processes:
        command = ["-c", ROLL_CALL, host, port, count, index, deed]
        started += launch(1, 1, command)
    begun = time.monotonic()
    results = finish(started, timeout=25)
    assert time.monotonic() - begun < 20
    return results


def test_all_come_share_and_part():
    results = roll_call((3, 0, ""), (3, 1, ""), (3, 2, ""))
    assert [(status, out) for status, out, _ in results] == [(0, "[1, 'a']\n")] * 3


@pytest.mark.parametrize("dead, told", [(0, (1, 2)), (2, (0, 1))])
def test_a_death_is_told_to_all(dead, told):
    deeds = [(3, i, "die" if i == dead else "wait") for i in range(3)]
    results = roll_call(*deeds)
    assert results[dead][0] == -signal.SIGKILL
    for i in told:
        status, _, text = results[i]
        assert status == 3
        assert f"process {dead} on" in text and "died without a word" in text
        assert "start the same command again, it continues" in text
        assert len(text.splitlines()) == 1


@pytest.mark.parametrize("failing", [0, 2])
def test_a_mistake_in_one_is_told_to_all(failing):
    results = roll_call(*((3, i, "fail" if i == failing else "wait") for i in range(3)))
    assert [status for status, *_ in results] == [2, 2, 2]
    for _, _, text in results:
        assert "the page is damaged" in text and "again" not in text
        assert len(text.splitlines()) == 1


def test_who_does_not_come_is_named():
    results = roll_call((4, 0, ""), (4, 2, ""))
    assert [status for status, *_ in results] == [1, 1]
    for _, _, text in results:
        assert "2 of 4 processes came within 3 s; missing: 1, 3" in text


def test_a_wrong_address_is_named():
    [(status, _, text)] = roll_call((2, 1, ""))
    assert status == 1 and "process 1 reached nobody at 127.0.0.1:" in text
    [(status, _, text)] = roll_call((2, 1, ""), host="no-such-host.invalid")
    assert status == 1 and "reached nobody at no-such-host.invalid:" in text


def test_numbers_that_disagree_are_named():
    (_, _, first), (_, _, second) = roll_call((2, 0, ""), (3, 1, ""))
    for text in (first, second):
        assert "was told of 3 processes, process 0 of 2: the numbers must agree" in text


def test_two_with_one_number_are_named():
    texts = [text for _, _, text in roll_call((3, 0, ""), (3, 1, ""), (3, 1, ""))]
    assert sum("two processes say that they are process 1" in text for text in texts) >= 2


def test_a_port_that_is_taken_is_named():
    results = roll_call((2, 0, ""), (2, 0, ""))
    assert any("cannot listen on port" in text for _, _, text in results)


@pytest.fixture(scope="module")
def work(nano_config, nano_params, nano_batch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deaths")
    batches = [nano_batch(4, seed) for seed in range(30)]
    job = (nano_config.to_dict(), nano_params, batches, ())
    (folder / "job.pkl").write_bytes(pickle.dumps(job))
    return folder


def start(work, name, *words):
    return launch(2, 1, [WORKER, work / "job.pkl", work / name, 2, 1, 1, *words])


@pytest.mark.parametrize("dead", [0, 1])
def test_a_process_killed_while_training_ends_the_other(work, dead):
    results = finish(start(work, f"dead{dead}", f"die={dead}:3"))
    assert results[dead][0] == -signal.SIGKILL
    status, _, text = results[1 - dead]
    assert status == 3
    assert f"error: process {dead} on" in text and "died without a word" in text


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
