"""The loop: interrupted and resumed it ends where it would have ended, and it never saves a NaN."""

import json
import os
import signal

import jax
import numpy as np
import pytest

from nota_jax.checkpoint.base import save_base
from nota_jax.checkpoint.steps import load_params
from nota_jax.errors import UserError
from nota_jax.models.notagpt import NotaGPT
from nota_jax.parallel.mesh import make_mesh
from nota_jax.params import resolve, split_tree
from nota_jax.training.loop import TrainConfig, train
from nota_jax.training.optimizer import OptimizerConfig

PHASE_2 = ((r"vision_tower/.*", False), (r".*", True))


class Batches:
    """A stand-in for the data pipeline: batch i is made from seed i.

    on_batch: called with (i, batch) before it is handed out; it may change the batch, or the world.
    """

    def __init__(self, make, on_batch=lambda i, batch: None, limit=100):
        self.make, self.on_batch, self.limit = make, on_batch, limit

    def __iter__(self):
        return Iterator(self)


class Iterator:
    def __init__(self, batches):
        self.batches, self.next = batches, 0

    def __next__(self):
        if self.next >= self.batches.limit:
            raise StopIteration
        batch = self.batches.make(4, seed=self.next)
        self.batches.on_batch(self.next, batch)
        self.next += 1
        return batch | {"ids": [[f"batch{self.next}-row{i}:title"] for i in range(4)]}

    def get_state(self):
        return {"next": self.next}

    def set_state(self, state):
        self.next = state["next"]


@pytest.fixture
def run(nano_config, nano_params, nano_batch):
    """`run(folder, on_batch, **config)` → (outcome, lines said)."""

    def start(folder, on_batch=lambda i, batch: None, params=nano_params, limit=100, **options):
        config = dict(total_steps=6, trainable=PHASE_2, log_every=2, save_every=100)
        config["optimizer"] = OptimizerConfig(learning_rate=1e-2)
        said = []
        outcome = train(
            TrainConfig(**(config | options)),
            NotaGPT(nano_config),
            nano_params,
            lambda shardings: params,
            Batches(nano_batch, on_batch, limit),
            make_mesh(devices=jax.devices()[:1]),
            folder,
            say=said.append,
        )
        return outcome, said

    return start


def bits(tree):
    def raw(x):
        is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x).tobytes()

    return [raw(x) for x in jax.tree.leaves(tree)]


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
    assert "step 4: loss" in text and "the checkpoint of step 2 is intact" in text
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
