"""What lies in the repository reads pages of tunes that it has never seen."""

import json
from pathlib import Path

import pytest
from rapidfuzz.distance import Levenshtein

from configs import phase1, text
from nota_jax import quickstart, run
from nota_jax.data.build import dataset
from nota_jax.data.build.pages import Settings
from nota_jax.data.feed.pipeline import Pipeline
from nota_jax.data.store import reader
from nota_jax.evaluation import predict
from nota_jax.params import flatten, resolve, unflatten
from nota_jax.read.asking import SHIPPED
from nota_jax.training.objectives import text as text_alone
from nota_jax.training.program import pipeline_config


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Answers about the pages of the held-out tunes among the first 90 of a collection."""
    folder = tmp_path_factory.mktemp("shipped")
    data = folder / "data"
    dataset.build(data, ["ryansMammoth"], 90, Settings(split_by="hash"), 2)  # as it was trained
    splits = [f"extraction_{part}" for part in ("validation", "test")]
    sizes = reader.split_sizes(data)
    config = quickstart.shipped(SHIPPED, str(folder / "run"), str(data))
    prepared = run.prepare(config, lambda _: None)
    settings = predict.Settings(
        str(data), tuple(split for split in splits if split in sizes), questions=0,
        pages_per_batch=4, max_new_tokens=384,
    )  # fmt: skip
    params = run.weights(prepared, lambda _: None)
    answers = predict.predict(
        prepared.model, params, prepared.tokenizer, settings, folder / "read", lambda _: None
    )
    assert len(answers) >= 18
    return answers


def share_right(read, subtask):
    right = [p.prediction == p.answer for p in read if p.subtask == subtask]
    return sum(right) / len(right)


def test_meter_and_unit_note_length_are_read(read):
    assert share_right(read, "meter") >= 0.8
    assert share_right(read, "unit_note_length") >= 0.8


def test_most_of_the_characters_are_read(read):
    pages = [(p.prediction.strip(), p.answer.strip()) for p in read if p.subtask == "abc"]
    wrong = sum(Levenshtein.distance(said, printed) for said, printed in pages)
    assert wrong < 0.2 * sum(len(printed) for _, printed in pages)


def test_it_is_small_and_says_where_it_comes_from():
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*")) < 25e6
    config = json.loads((SHIPPED / "config.json").read_text())
    assert config["vision_config"]["patches"] == "inked"
    card = (SHIPPED / "README.md").read_text()
    assert "without Essen" in card and "320 of a page's 576 patches" in card


def test_tiny_starts_phase_1_from_the_parts_and_trains_the_connector_alone(tmp_path, monkeypatch):
    """What the table freezes was trained before: a decoder that knows what ABC looks like."""
    monkeypatch.chdir(Path(__file__).parents[1])
    config = phase1.get_config("tiny")
    parts = Path(config.init_from)
    assert parts == quickstart.PARTS and config.tokenizer == config.init_from
    assert sum(path.stat().st_size for path in parts.rglob("*")) < 10e6
    card = (parts / "README.md").read_text()
    assert "Parts to start from" in card and "without Essen" in card
    config.run_dir, config.data.dir = str(tmp_path / "run"), str(tmp_path / "data")
    config.data.build.update(corpora=("ryansMammoth",), limit=12, workers=1)
    prepared, said = run.prepare(config, lambda _: None), []
    loaded = flatten(run.weights(prepared, said.append))
    assert any(str(parts) in line for line in said)
    trains = resolve(config.trainable, {**loaded, "aids/address/bias": None}, table="trainable")
    on = {path.split("/")[0] for path, trained in trains.items() if trained}
    assert on == {"multi_modal_projector", "aids"}

    splits = [s for s in reader.split_sizes(config.data.dir) if s.startswith("extraction")]
    settings = pipeline_config(text.get_config("tiny"), 0, 1)
    batch = next(iter(Pipeline(config.data.dir, splits, prepared.tokenizer, settings, epochs=1)))
    total, weight = text_alone.sums(prepared.model, unflatten(loaded), batch, chunk=64)["answers"]
    assert total / weight < 3.5  # log 512 is 6.2
