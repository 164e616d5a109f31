"""Evaluation while training: it tells which checkpoint is best, and training does not notice it.

The questions are a stand-in that keeps the parameters.  Real ones: tests/evaluation/test_sample.py.
"""

import json
import os
import signal
import time

import numpy as np
import pytest

from nota_jax import places
from nota_jax.checkpoint import scores
from nota_jax.checkpoint.scores import Score
from nota_jax.checkpoint.steps import Checkpoints, load_params
from nota_jax.errors import UserError
from nota_jax.params import flatten
from nota_jax.training import evaluating
from tests.training.small_runs import bits

# What the steps score in a run of six that is evaluated every two: 4 is the best.
ERRORS = {2: 0.5, 4: 0.25, 6: 0.375}


class Asking:
    """Gives each step its error, and keeps which parameters it was asked with.

    A step is known by its parameters: `steps` has those that were seen, in order.
    before: called with the number of the evaluation, 1 for the first.
    """

    def __init__(self, errors=ERRORS, first=2, every=2, before=lambda n: None):
        self.errors, self.next, self.every, self.before = errors, first, every, before
        self.seen, self.asked = [], 0

    def __call__(self, params, stopped):
        self.asked += 1
        self.before(self.asked)
        if stopped():
            return None
        self.seen.append(bits(params))
        step, self.next = self.next, self.next + self.every
        error = self.errors[step]
        return Score(error, "header fields", "sample", {"error": error, "cut": 1.0})


def journal(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


def evaluations(folder):
    return {x["step"]: x["eval/error"] for x in journal(folder) if "eval/error" in x}


def test_every_so_many_steps_and_at_the_end():
    assert [n for n in range(8) if evaluating.due(3, 7, n)] == [3, 6, 7]
    assert not any(evaluating.due(0, 7, n) for n in range(8))


def test_a_run_is_the_same_to_the_bit_whether_it_is_evaluated_or_not(run, tmp_path, undisturbed):
    ask = Asking()
    outcome, said = run(tmp_path, ask=ask, evaluate_every=2, keep_last=1)
    assert bits(outcome.state) == undisturbed(run)
    assert len(ask.seen) == 3 and len(set(map(tuple, ask.seen))) == 3  # of three steps
    assert ask.seen[-1] == bits(outcome.state.params)
    assert [line.partition(" (")[0] for line in said if "header fields" in line] == [
        "step 2: 50.0 % of the header fields wrong, the best so far",
        "step 4: 25.0 % of the header fields wrong, the best so far",
        "step 6: 37.5 % of the header fields wrong, the best is step 4's",
    ]
    assert evaluations(tmp_path) == ERRORS
    assert [x["step"] for x in journal(tmp_path) if "loss" in x] == [2, 4, 6]
    assert places.steps(tmp_path) == [6, 4]  # the newest, and the best


def test_the_best_is_what_others_start_from(run, tmp_path, nano_params):
    ask = Asking()
    outcome, _ = run(tmp_path, ask=ask, evaluate_every=2)
    best = load_params(f"{tmp_path}@best", nano_params)
    assert bits(best) == ask.seen[1] != bits(outcome.state.params)


def test_a_run_is_interrupted_and_goes_on_with_its_best(run, tmp_path, undisturbed):
    run(tmp_path, ask=Asking(), evaluate_every=2, stop_after=5, keep_last=1)
    assert places.steps(tmp_path) == [5, 4]
    outcome, said = run(tmp_path, ask=Asking(first=6), evaluate_every=2, keep_last=1)
    assert bits(outcome.state) == undisturbed(run)
    assert any("37.5 % of the header fields wrong, the best is step 4's" in x for x in said)
    assert evaluations(tmp_path) == ERRORS and places.steps(tmp_path) == [6, 4]


class Killed(BaseException):
    """What nobody handles: nothing of the process is done after it."""


def killed():
    raise Killed


@pytest.mark.parametrize("where", ["in the evaluation", "behind the journal", "behind the score"])
def test_a_run_that_is_killed_at_an_evaluation_ends_as_if_it_had_not_been(
    run, tmp_path, undisturbed, monkeypatch, where
):
    ask = Asking(before=lambda n: killed() if n == 2 and where == "in the evaluation" else None)
    write, count = scores.write, []

    def dying(checkpoint, score):
        count.append(checkpoint.name)
        if len(count) == 2 and where == "behind the journal":
            killed()
        write(checkpoint, score)
        if len(count) == 2 and where == "behind the score":
            killed()

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(scores, "write", dying)
        run(tmp_path, ask=ask, evaluate_every=2)
    assert places.steps(tmp_path)[0] == 4  # saved before it was asked
    known = where == "behind the score"
    again = Asking(first=6 if known else 4)
    outcome, said = run(tmp_path, ask=again, evaluate_every=2)
    assert any("resuming behind step 4" in line for line in said)
    assert bits(outcome.state) == undisturbed(run)
    assert len(again.seen) == (1 if known else 2)  # nothing is asked twice
    assert evaluations(tmp_path) == ERRORS
    assert [x["step"] for x in journal(tmp_path)] == [2, 2, 4, 4, 6, 6]
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best_step() == 4


def test_a_signal_breaks_an_evaluation_off_and_it_is_made_up_for(run, tmp_path, undisturbed):
    ask = Asking(before=lambda n: n == 2 and os.kill(os.getpid(), signal.SIGTERM))
    outcome, said = run(tmp_path, ask=ask, evaluate_every=2)
    assert (outcome.step, outcome.interrupted) == (4, "stopped by SIGTERM")
    assert any("step 4: the evaluation is broken off, and made up for" in line for line in said)
    assert evaluations(tmp_path) == {2: 0.5} and places.steps(tmp_path) == [4, 2]
    outcome, _ = run(tmp_path, ask=Asking(first=4), evaluate_every=2)
    assert bits(outcome.state) == undisturbed(run)
    assert evaluations(tmp_path) == ERRORS


def test_a_finished_run_is_evaluated_once(run, tmp_path):
    run(tmp_path)
    ask = Asking(first=6)
    outcome, _ = run(tmp_path, ask=ask, evaluate_every=4)  # the last step counts
    assert outcome.step == 6 and len(ask.seen) == 1 and evaluations(tmp_path) == {6: 0.375}
    run(tmp_path, ask=ask, evaluate_every=4)
    assert len(ask.seen) == 1 and evaluations(tmp_path) == {6: 0.375}


def test_what_fails_in_an_evaluation_costs_no_step(run, tmp_path):
    def fail(n):
        raise UserError("the page is damaged")

    with pytest.raises(UserError, match="the page is damaged"):
        run(tmp_path, ask=Asking(before=fail), evaluate_every=3)
    assert places.steps(tmp_path) == [3]
    outcome, _ = run(tmp_path)  # without
    assert outcome.step == 6


def test_a_score_that_the_disk_does_not_take_costs_the_score_alone(
    run, tmp_path, undisturbed, monkeypatch
):
    write = scores.write

    def full(checkpoint, score):
        if checkpoint.name == "4":
            raise UserError("cannot write score.json: the disk is full")
        write(checkpoint, score)

    monkeypatch.setattr(scores, "write", full)
    outcome, said = run(tmp_path, ask=Asking(), evaluate_every=2)
    assert bits(outcome.state) == undisturbed(run)
    [line] = [line for line in said if line.startswith("WARNING")]
    assert "the score of step 4 is not kept, nor can it be best: cannot write" in line
    assert evaluations(tmp_path) == ERRORS
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best_step() == 6


def test_the_time_of_an_evaluation_is_not_trainings(run, tmp_path, monkeypatch):
    """Speeds are those of the steps: the totals' seconds stand still meanwhile."""
    spent, clock = [], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 1e6 * len(spent))
    outcome, _ = run(tmp_path, ask=Asking(before=spent.append), evaluate_every=2)
    assert spent == [1, 2, 3] and outcome.totals.seconds < 1e5


def test_aids_are_among_what_is_asked(run, tmp_path):
    """`ask` gets the whole tree, trained and frozen parameters joined."""
    paths = []

    def ask(params, stopped):
        paths.append(set(flatten(params)))
        return Score(0.0, "header fields", "sample", {"error": 0.0})

    outcome, _ = run(tmp_path, ask=ask, evaluate_every=6)
    assert paths == [set(flatten(outcome.state.params))]
    assert all(np.isfinite(x).all() for x in flatten(outcome.state.params).values())
