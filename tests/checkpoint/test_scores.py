"""Which checkpoint is best, that it stays, and how it is asked for."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from nota_jax import places
from nota_jax.checkpoint import scores
from nota_jax.checkpoint.scores import Score, best, step_of
from nota_jax.checkpoint.slices import Stored
from nota_jax.checkpoint.steps import Checkpoints, load_params, load_parts
from nota_jax.errors import UserError
from nota_jax.params import flatten
from tests.checkpoint.test_steps import CONNECTOR, Run, same, small_params

WEIGHT = "multi_modal_projector/linear_1/kernel"


def of(error, asked="these", **figures):
    return Score(error, "header fields", asked, {"error": error, **figures})


# ---- which is best


@pytest.mark.parametrize(
    "errors, which",
    [
        ({2: 0.5, 4: 0.25, 6: 0.75}, 4),
        ({2: 0.25, 4: 0.25, 6: 0.75}, 4),  # of equals the newest
        ({2: 1.5}, 2),
        ({}, None),
    ],
)
def test_the_best_has_the_least_error(errors, which):
    assert best({step: of(error) for step, error in errors.items()}) == which


def test_scores_of_other_questions_are_not_compared():
    """Two of ten easy questions wrong are not better than three of ten hard ones."""
    assert best({2: of(0.2, "easy"), 4: of(0.3, "hard"), 6: of(0.4, "hard")}) == 4


def test_a_score_is_told_with_its_unit():
    assert str(of(0.125)) == "12.5 % of the header fields wrong"


# ---- a run of five steps: 2 is its best, and the two newest stay beside it

ERRORS = {1: 0.75, 2: 0.25, 3: 0.5, 4: 0.375, 5: 1.0}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("run") / "phase2", small_params(), CONNECTOR)
    with Checkpoints(run.folder, keep_last=2) as checkpoints:
        for step, error in ERRORS.items():
            run.step()
            run.save(checkpoints)
            assert checkpoints.score(step, of(error))
            assert checkpoints.best_step() == min(2, step)
    return run.folder


def test_the_newest_and_the_best_checkpoints_stay(scored):
    assert places.steps(scored) == [5, 4, 2]
    assert scores.read_all(scored) == {step: of(ERRORS[step]) for step in (2, 4, 5)}


def test_the_best_stays_best_for_those_who_open_the_run_again(scored, tmp_path):
    shutil.copytree(scored, tmp_path / "run")
    with Checkpoints(tmp_path / "run", keep_last=1) as checkpoints:
        assert (checkpoints.best_step(), checkpoints.latest_step()) == (2, 5)


def test_a_step_that_is_not_on_disk_keeps_no_score(scored, tmp_path):
    shutil.copytree(scored, tmp_path / "run")
    with Checkpoints(tmp_path / "run") as checkpoints:
        assert not checkpoints.score(3, of(0.0))
        assert checkpoints.best_step() == 2


def test_a_run_that_is_not_evaluated_keeps_its_newest_alone(tmp_path):
    run = Run(tmp_path, small_params(), CONNECTOR)
    with Checkpoints(tmp_path, keep_last=2) as checkpoints:
        for _ in range(4):
            run.step()
            run.save(checkpoints)
        assert checkpoints.best_step() is None
    assert places.steps(tmp_path) == [4, 3]


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b'{"error": 0.1}', b"\xff", None],
    ids=["empty", "no score", "a list", "half", "no text", "a changed digit"],
)
def test_a_score_that_a_disk_spoiled_costs_no_checkpoint(scored, tmp_path, content):
    shutil.copytree(scored, tmp_path / "run")
    path, said = tmp_path / "run/checkpoints/2/score.json", []
    changed = path.read_bytes().replace(b"0.25", b"0.24") if content is None else content
    path.write_bytes(changed)
    with Checkpoints(tmp_path / "run", say=said.append) as checkpoints:
        assert checkpoints.best_step() == 4
    assert len(said) == 1 and "2/score.json is no score" in said[0]
    assert "step 2 counts as not scored" in said[0]
    assert places.steps(tmp_path / "run") == [5, 4, 2]


# ---- how one is asked for


def test_a_run_its_best_and_a_step_are_spelled_in_one_way(scored):
    assert step_of(scored) == (scored, None)
    assert step_of(f"{scored}@best") == (scored, 2)
    assert step_of(f"{scored}@4") == (scored, 4)
    assert scores.exact(f"{scored}@best") == f"{scored}@2"
    assert scores.exact(str(scored)) == str(scored)


def test_a_folder_whose_name_has_the_mark_is_itself(tmp_path):
    (tmp_path / "a@best").mkdir()
    assert places.split(tmp_path / "a@best") == (tmp_path / "a@best", "")
    assert places.split(tmp_path / "me@work") == (tmp_path / "me@work", "")  # nothing is there
    for name in ("@best", "run@", "run"):
        assert places.split(tmp_path / name) == (tmp_path / name, "")
    assert places.split("runs/x/../y@12") == (places.Path("runs/x/../y"), "12")


@pytest.mark.parametrize(
    "which, words",
    [
        ("@3", "phase2 has no checkpoint of step 3; there are: 2 (best), 4, 5"),
        ("@bset", "behind the @ stands best or a step; there are: 2 (best), 4, 5"),
        ("@-4", "behind the @ stands best or a step; there are: 2 (best), 4, 5"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(scored, which, words):
    with pytest.raises(UserError) as caught:
        step_of(f"{scored}{which}")
    assert words in str(caught.value)


def test_a_run_that_was_never_evaluated_has_no_best(scored, tmp_path):
    shutil.copytree(scored, tmp_path / "run")
    for path in (tmp_path / "run").glob("checkpoints/*/score.json"):
        path.unlink()
    with pytest.raises(UserError, match=r"was evaluated while it trained \(config.eval.every\), so "
                       "none is the best; there are: 2, 4, 5"):  # fmt: skip
        step_of(tmp_path / "run@best")


def test_a_conversion_has_neither_a_best_nor_steps(tmp_path):
    (tmp_path / "base").mkdir()
    for which in ("best", "100"):
        with pytest.raises(UserError, match="has no checkpoints"):
            step_of(f"{tmp_path}@{which}")


def test_every_reader_takes_the_best(scored):
    """Each step of `Run` has added one to what it trains."""
    start, shapes = small_params(), small_params()
    for place, added in ((scored, 5.0), (f"{scored}@best", 2.0), (f"{scored}@4", 4.0)):
        want = flatten(start)[WEIGHT] + np.float32(0)
        for _ in range(int(added)):
            want = want + np.float32(1)
        whole = load_params(place, shapes)
        np.testing.assert_array_equal(flatten(whole)[WEIGHT], want)
        part = load_parts(place, "multi_modal_projector/.*")
        assert list(flatten(part)) == [WEIGHT]
        np.testing.assert_array_equal(flatten(part)[WEIGHT], want)
        stored = Stored(place)
        np.testing.assert_array_equal(stored.read(WEIGHT), want)
        for path in stored.forms.keys() - {WEIGHT}:
            stored.read(path)
        stored.verify()
    assert same(load_params(f"{scored}@5", shapes), load_params(scored, shapes))


def test_a_score_holds_what_is_written_into_it(tmp_path):
    score = of(1 / 3, cut=2.0)
    scores.write(tmp_path, score)
    assert scores.read(tmp_path) == score
    assert json.loads((tmp_path / "score.json").read_text())["error"] == 1 / 3
    assert dataclasses.asdict(score)["figures"] == {"error": 1 / 3, "cut": 2.0}
