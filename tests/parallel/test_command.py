"""The command line in two processes: one dataset, one tokenizer, one set of files, one mistake."""

import json

import pytest

from tests.parallel.launched import finish, launch, without_gloo
from tests.test_run import SCALE

CONFIG = """
from pathlib import Path
from configs import phase2
from tests.test_run import configured


def get_config(folder):
    c = configured(phase2, Path(folder))
    c.previous, c.data.batch_size = "", 12
    c.eval.questions, c.eval.batch_size, c.data.subtasks = 3, 1, ("key",)
    return c
"""


@pytest.fixture
def command(tmp_path):
    (tmp_path / "tunes").mkdir()
    (tmp_path / "tunes/scales.abc").write_text(SCALE)
    (tmp_path / "small.py").write_text(CONFIG)
    return ["-m", "nota_jax.main", f"--config={tmp_path / 'small.py'}:{tmp_path}"]


def test_two_processes_build_train_and_evaluate_together(command, tmp_path):
    (status, said, errors), (other, silent, _) = finish(launch(2, 1, command), timeout=600)
    assert (status, other) == (0, 0), errors
    assert "process 0 of 2" in said
    assert said.count("building the dataset") == said.count("training a byte-level BPE") == 1
    assert without_gloo(silent) == ""

    logged = [json.loads(line) for line in (tmp_path / "phase2/metrics.jsonl").open()]
    assert [line["step"] for line in logged] == [1, 2, 3]
    lines = (tmp_path / "phase2/evaluation_train/predictions.jsonl").read_text().splitlines()
    ids = [json.loads(line)["id"] for line in lines[1:]]
    assert len(ids) == len(set(ids)) == 3
    assert (tmp_path / "phase2/evaluation_train/evaluation.json").is_file()
    assert not list((tmp_path / "phase2").glob("shared-*"))


def test_commands_that_differ_are_refused(command):
    results = finish(launch(2, 1, [*command, "--config.seed={index}"]), timeout=600)
    assert [status for status, *_ in results] == [2, 2]
    (_, _, first), (_, _, second) = results
    assert "another process has another configuration: start all processes with the same" in first
    assert "config.seed is 1 here and 0 in process 0: start all processes with" in second
