"""What disks, other processes and NaNs do to a run: it says so, and goes on where that is right."""

import errno
import json
import os
import resource
import shutil

import jax
import numpy as np
import pytest

from nota_jax import files
from nota_jax.errors import UserError
from tests.training.small_runs import bits


def saved_steps(folder):
    return sorted(p.name for p in (folder / "checkpoints").iterdir())


def logged(folder):
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").open()]


# ---- damaged checkpoints


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one_to_the_same_end(
    run, tmp_path, undisturbed
):
    run(tmp_path, stop_after=4, save_every=2)
    path = tmp_path / "checkpoints/4/about/metadata"
    path.write_text(path.read_text()[:100])
    outcome, said = run(tmp_path)
    assert any(line.startswith("WARNING: ") and "4.damaged" in line for line in said)
    assert any("resuming behind step 2 of 6" in line for line in said)
    assert bits(outcome.state) == undisturbed(run)
    assert logged(tmp_path) == [2, 4, 6]


def test_a_run_without_a_sound_checkpoint_ends_with_a_sentence_and_keeps_everything(run, tmp_path):
    run(tmp_path, stop_after=2)
    shutil.rmtree(tmp_path / "checkpoints/2/params")
    for _ in range(2):
        with pytest.raises(UserError, match="no checkpoint in .* is sound; .* 2.damaged"):
            run(tmp_path)
    assert saved_steps(tmp_path) == ["2.damaged"]


# ---- disks


def test_a_full_disk_costs_an_interval_and_not_the_run(run, tmp_path, undisturbed, monkeypatch):
    room = []

    def on_batch(i, _):
        room[:] = [0] if i in (2, 3) else []  # full while step 4 is saved

    free = files.free_bytes
    monkeypatch.setattr(files, "free_bytes", lambda path: room[0] if room else free(path))
    outcome, said = run(tmp_path, on_batch, save_every=2)
    [line] = [line for line in said if line.startswith("WARNING")]
    assert "step 4 is not saved: the checkpoint of step 4 needs" in line
    assert "Training goes on, and tries again with the next save" in line
    assert bits(outcome.state) == undisturbed(run)
    assert saved_steps(tmp_path) == ["2", "6"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax's threads
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_write_that_breaks_off_costs_its_interval_and_not_the_run(run, tmp_path, undisturbed):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def on_batch(i, _):
        if i == 1:  # no file beyond 100 bytes, from here until the failure is told
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))

    def hear(line):
        if "is not saved" in line:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    try:
        outcome, said = run(tmp_path, on_batch, hear=hear, save_every=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert any("WARNING: step 2 is not saved" in line for line in said)
    assert any("WARNING: metrics.jsonl cannot be written" in line for line in said)
    assert bits(outcome.state) == undisturbed(run)
    assert saved_steps(tmp_path) == ["4", "6"] and logged(tmp_path) == [2, 4, 6]
    assert bits(run(tmp_path)[0].state) == undisturbed(run)


def test_two_intervals_that_cannot_be_saved_end_the_run_with_a_sentence(run, tmp_path, monkeypatch):
    def on_batch(i, _):
        if i == 1:
            monkeypatch.setattr(files, "free_bytes", lambda path: 0)

    with pytest.raises(UserError) as caught:
        run(tmp_path, on_batch, save_every=1)
    text = str(caught.value)
    assert "step 3 is not saved (2 saves in a row have failed)" in text
    assert text.endswith("What was saved before stays as it was; make room and run the same "
                         "command to continue")  # fmt: skip
    assert saved_steps(tmp_path) == ["1"]


def test_the_last_step_that_cannot_be_saved_is_a_sentence(run, tmp_path, monkeypatch):
    def on_batch(i, _):
        if i == 5:
            monkeypatch.setattr(files, "free_bytes", lambda path: 0)

    with pytest.raises(UserError, match="step 6 is not saved: .* run the same command to continue"):
        run(tmp_path, on_batch)


def test_a_directory_that_is_read_only_is_a_sentence(run, tmp_path, monkeypatch):
    run(tmp_path, stop_after=2)
    before = sorted(tmp_path.rglob("*"))
    opened = os.open

    def refuse(path, flags, *rest, **more):
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(UserError, match="cannot write .*/lock: Read-only file system"):
        run(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


# ---- other processes


def test_two_runs_never_train_in_one_directory(run, tmp_path):
    refused = []

    def second(i, _):
        if i == 1:
            with pytest.raises(UserError) as caught:
                run(tmp_path)
            refused.append(str(caught.value))

    outcome, _ = run(tmp_path, second, stop_after=3)
    assert f"process {os.getpid()} on" in refused[0] and "trains there since" in refused[0]
    assert outcome.step == 3 and not (tmp_path / "lock").exists()


# ---- NaN


def poison(*numbers):
    """Makes the batches of these steps give an infinite loss."""

    def on_batch(i, batch):
        if i + 1 in numbers:
            batch["weights"][0, -4:] = np.inf

    return on_batch


def test_a_step_that_is_not_finite_is_left_out_where_that_was_asked_for(run, tmp_path):
    outcome, said = run(tmp_path, poison(3), on_nan="skip", save_every=2, log_every=1)
    [line] = [line for line in said if line.startswith("WARNING")]
    assert "step 3: loss" in line and "is not finite" in line and "1 in a row, 3 at most" in line
    assert (outcome.step, outcome.totals.skipped) == (6, 1)
    assert all(np.isfinite(x).all() for x in (np.asarray(y) for y in _floats(outcome.state)))
    assert logged(tmp_path) == [1, 2, 4, 5, 6]  # of step 3 there is nothing to report
    record = json.loads((tmp_path / "nan_batch.json").read_text())
    assert (record["step"], record["data"]) == (3, {"next": 2})
    assert "config.on_nan=skip" not in line


def _floats(state):
    leaves = jax.tree.leaves((state.trainable, state.opt_state))
    return [x for x in leaves if x.dtype == np.float32]


def test_a_step_that_is_left_out_changes_counters_alone(run, tmp_path):
    two, _ = run(tmp_path / "two", stop_after=2, on_nan="skip")
    three, _ = run(tmp_path / "three", poison(3), stop_after=3, on_nan="skip")
    assert [x.tobytes() for x in map(np.asarray, _floats(two.state))] == [
        x.tobytes() for x in map(np.asarray, _floats(three.state))
    ]
    assert int(three.state.step) == 3


def test_too_many_that_are_not_finite_in_a_row_end_the_run(run, tmp_path):
    options = dict(on_nan="skip", most_nans=2, log_every=1, save_every=1)
    with pytest.raises(UserError, match=r"step 5: .*\(3 steps in a row, config.most_nans is 2\)"):
        run(tmp_path, poison(3, 4, 5), **options)
    assert saved_steps(tmp_path)[-1] == "4"
    with pytest.raises(UserError, match="config.on_nan is 'leap'"):
        run(tmp_path, on_nan="leap")


def test_skipping_changes_nothing_where_everything_is_finite(run, tmp_path, undisturbed):
    assert bits(run(tmp_path, on_nan="skip")[0].state) == undisturbed(run)


def test_a_batch_that_is_not_finite_is_met_again_by_the_same_command(run, tmp_path):
    for _ in range(2):
        with pytest.raises(UserError, match="goes on from there and meets this batch again at ste"):
            run(tmp_path, poison(4), save_every=2)
    assert json.loads((tmp_path / "nan_batch.json").read_text())["data"] == {"next": 3}
