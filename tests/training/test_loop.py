"""The loop: interrupted and resumed it ends where it would have ended, and it never saves a NaN.

What disks and other processes do to a run: test_loop_faults.py.
"""

import json
import os
import signal

import numpy as np
import pytest

from nota_jax.checkpoint.base import save_base
from nota_jax.checkpoint.steps import load_params
from nota_jax.errors import UserError
from nota_jax.params import resolve, split_tree
from tests.training.small_runs import PHASE_2, bits


def test_six_steps_equal_three_a_restart_and_three_bit_for_bit(run, tmp_path):
    whole, _ = run(tmp_path / "whole")
    first, said = run(tmp_path / "parts", stop_after=3)
    assert (first.step, first.interrupted) == (3, "asked to stop after step 3")
    assert "step 3 of 6 is saved in" in said[-1]
    second, said = run(tmp_path / "parts")
    assert any("resuming behind step 3 of 6" in line for line in said)
    assert (second.step, second.interrupted) == (6, None)
    assert bits(second.state) == bits(whole.state)
    assert (second.totals.steps, second.totals.tokens) == (6, whole.totals.tokens)

    logs = [
        {x["step"]: x["loss"] for x in map(json.loads, (tmp_path / f / "metrics.jsonl").open())}
        for f in ("whole", "parts")
    ]
    assert list(logs[0]) == [2, 4, 6] and list(logs[1]) == [2, 3, 4, 6]
    assert logs[0][6] == logs[1][6]


def test_a_run_that_goes_on_with_more_steps_says_so_in_its_record(run, tmp_path):
    """What model cards are written from is what was run in the end."""
    run(tmp_path, record={"steps": 6})
    run(tmp_path, total_steps=8, record={"steps": 8})
    assert json.loads((tmp_path / "config.json").read_text()) == {"steps": 8}
    run(tmp_path, total_steps=8, record={"steps": 4})  # nothing more was done
    assert json.loads((tmp_path / "config.json").read_text()) == {"steps": 8}


def test_a_finished_run_is_left_as_it_is(run, tmp_path):
    run(tmp_path)
    before = sorted(p.stat().st_mtime_ns for p in (tmp_path / "checkpoints").rglob("*"))
    outcome, _ = run(tmp_path)
    assert (outcome.step, outcome.report, outcome.interrupted) == (6, {}, None)
    assert sorted(p.stat().st_mtime_ns for p in (tmp_path / "checkpoints").rglob("*")) == before


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(run, tmp_path):
    def poison(i, batch):
        if i == 3:  # step 4
            batch["weights"][0, -4:] = np.inf

    with pytest.raises(UserError) as caught:
        run(tmp_path, poison, save_every=2)
    text = str(caught.value)
    assert "step 4: loss" in text and "the checkpoint of step 2 stays" in text
    assert "batch4-row0:title, batch4-row1:title, batch4-row2:title and 1 more" in text
    record = json.loads((tmp_path / "nan_batch.json").read_text())
    assert (record["step"], len(record["ids"])) == (4, 4)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"2"}
    resumed, _ = run(tmp_path)  # the poison gone
    assert bits(resumed.state) == bits(run(tmp_path / "clean")[0].state)


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_behind_its_step_with_everything_saved(run, tmp_path, kind):
    def interrupt(i, _):
        if i == 1:
            os.kill(os.getpid(), kind)

    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    outcome, said = run(tmp_path, interrupt)
    assert (outcome.step, outcome.interrupted) == (2, f"stopped by {kind.name}")
    assert "run the same command to continue" in said[-1]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"2"}


def test_the_next_phase_starts_from_the_directory_of_the_last(run, tmp_path, nano_params):
    connector = ((r"multi_modal_projector/.*", True), (".*", False))
    first, _ = run(tmp_path / "1", stop_after=2, trainable=connector)
    params = load_params(tmp_path / "1", nano_params)
    assert bits(params) == bits(first.state.params)
    second, _ = run(tmp_path / "2", stop_after=2, params=params)
    frozen = split_tree(params, resolve(PHASE_2, params, table="trainable"))[1]
    assert bits(second.state.frozen) == bits(frozen)
    assert bits(load_params(tmp_path / "2", nano_params)) == bits(second.state.params)


def test_a_run_will_not_resume_with_another_split(run, tmp_path):
    run(tmp_path, stop_after=1)
    with pytest.raises(
        UserError, match="base does not fit what is frozen: it also has vision_tower"
    ):
        run(tmp_path, trainable=((".*", True),))


def test_a_converted_checkpoint_is_not_overwritten(run, tmp_path, nano_params):
    save_base(tmp_path, nano_params)
    with pytest.raises(UserError, match="choose another run_dir"):
        run(tmp_path)


def test_data_that_ends_too_early_is_a_sentence(run, tmp_path):
    with pytest.raises(UserError, match="the data ended before step 3 of 6"):
        run(tmp_path, limit=2)


def test_nothing_to_train_is_a_sentence(run, tmp_path):
    with pytest.raises(UserError, match="freezes every parameter"):
        run(tmp_path, trainable=((".*", False),))
