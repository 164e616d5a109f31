"""The reading speed counts what was read."""

import sys

import pytest

from nota_jax.data.feed.pipeline import Pipeline, PipelineConfig
from nota_jax.data.feed.tokenizer import train_bpe
from nota_jax.data.store.reader import texts
from nota_jax.tools import reading_speed
from tests.data.make_dataset import SIZE, write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("speed") / "dataset", {"extraction_train": 40})


def test_questions_and_images_are_counted(dataset, tmp_path):
    tok = train_bpe(texts(dataset, ["extraction_train"]), 400, tmp_path)
    config = PipelineConfig(n_image_tokens=4, image_size=SIZE, batch_size=24, lengths=(120, 220))
    made = Pipeline(dataset, ["extraction_train"], tok, config)
    rates = reading_speed.measure(made, seconds=0.2)
    ratio = rates["questions_per_second"] / rates["images_per_second"]
    assert rates["images_per_second"] > 0
    assert ratio == pytest.approx(made.plan.n_turns / made.plan.n_rows, rel=0.2)


def test_the_command_prints_rates(dataset, monkeypatch, capsys):
    arguments = ["--dataset", str(dataset), "--size", "48", "--seconds", "0.1"]
    monkeypatch.setattr(sys, "argv", ["reading_speed", *arguments])
    assert reading_speed.main() == 0
    assert "images_per_second" in capsys.readouterr().out
