"""The whole road on real tunes at a size of seconds: build, three phases, evaluation."""

import json
import shutil

import numpy as np
import pytest

from configs import phase1, phase2, phase3
from nota_jax import history, run
from nota_jax.checkpoint.steps import load_params
from nota_jax.data.build.foreign import build as records
from nota_jax.data.build.foreign import sources
from nota_jax.data.build.pages import Settings
from nota_jax.errors import UserError
from nota_jax.params import flatten
from tests.data.build.foreign.made import llava, picture, write_array

NOTES = list("CDEFGABc")
TUNES = [
    (key, " ".join(NOTES[shift:] + NOTES[:shift]) + "|" + "C2 D2 E2 F2|" * (shift + 1) + "G4 G4")
    for key in ("G", "D", "Am", "F")
    for shift in range(6)
]
SCALE = "".join(
    f"X:{i}\nT:Scale {i}\nM:4/4\nL:1/8\nK:{key}\n{body}|]\n\n"
    for i, (key, body) in enumerate(TUNES)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A place with a corpus of 24 tunes, where runs and dataset go."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "tunes").mkdir()
    (folder / "tunes" / "scales.abc").write_text(SCALE)
    return folder


TASKS = {1: "alignment", 2: "extraction", 3: "analysis"}


def configured(phase, folder):
    """A phase's own configuration, shrunk."""
    c = phase.get_config("tiny")
    c.data.dir = str(folder / "data")
    c.data.build.corpora, c.data.build.limit = (f"path:{folder / 'tunes'}",), 0
    c.run_dir = str(folder / f"phase{c.phase}")
    c.previous = str(folder / f"phase{c.phase - 1}") if c.phase > 1 else ""
    c.model.vision.update(dict(image_size=336, patch_size=84, hidden_size=16, intermediate_size=32))
    c.model.vision.update(dict(num_hidden_layers=2, num_attention_heads=2, most_patches=12))
    c.model.vision.heading = "enlarged"
    c.model.text.update(dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1))
    c.model.text.update(dict(num_attention_heads=2, num_key_value_heads=1, head_dim=8))
    c.init_from = c.tokenizer = ""
    c.data.tasks, c.data.subtasks = (TASKS[c.phase],), ()
    c.vocab_size, c.steps, c.log_every = 400, 3, 1
    c.data.batch_size, c.data.lengths, c.data.threads = 6, (512,), 1
    c.data.shares = {}
    c.eval.update(dict(split="train", questions=6, max_new_tokens=4, batch_size=2))
    return c


def test_three_phases_hand_their_weights_on_and_are_evaluated(folder):
    for phase in (phase1, phase2, phase3):
        config, said = configured(phase, folder), []
        (task,) = config.data.tasks
        prepared = run.prepare(config, said.append)
        outcome = run.train(prepared, said.append)
        assert outcome.step == 3 and outcome.interrupted is None
        start = f"from phase {config.phase - 1}" if config.previous else "random"
        assert any(line.startswith("weights: ") and start in line for line in said)
        blind = any("language_model and vision_tower stay so" in line for line in said)
        assert blind == (config.phase == 1)  # nothing was there to start from

        scores = run.evaluate_run(prepared, outcome.state.params, said.append)
        lines = (folder / f"phase{config.phase}/evaluation_train/predictions.jsonl").read_text()
        records = [json.loads(line) for line in lines.splitlines()[1:]]
        assert len(records) == scores["all"]["questions"] == 6
        assert all(record["id"].split(":")[0].endswith(task) for record in records)
        assert all(isinstance(record["prediction"], str) for record in records)


def test_a_finished_run_does_not_train_again_and_keeps_its_answers(folder):
    config, said = configured(phase2, folder), []
    prepared = run.prepare(config, said.append)
    outcome = run.train(prepared, said.append)
    assert not outcome.report and any("resuming behind step 3 of 3" in line for line in said)
    assert not any(line.startswith("weights: ") for line in said)  # nor asks where it began
    before = run.evaluate_run(prepared, None, said.append)
    assert any("answers are already in" in line for line in said)
    saved = json.loads((folder / "phase2/evaluation_train/evaluation.json").read_text())
    assert saved["all"] == json.loads(json.dumps(before["all"]))


def test_parts_take_the_places_of_what_the_run_starts_from(folder):
    config, said = configured(phase2, folder), []
    config.run_dir, config.previous = str(folder / "mixed"), ""
    config.tokenizer = config.init_from = str(folder / "phase1")
    config.parts = (("language_model/.*", str(folder / "phase3")),)
    prepared = run.prepare(config, said.append)
    found = flatten(run.starting_weights(prepared, said.append)(None))
    assert said[-2:] == [
        f"weights: from the checkpoint {folder / 'phase1'}",
        f"         but language_model/.* from {folder / 'phase3'}",
    ]
    whole, part = (
        flatten(load_params(folder / name, prepared.shapes)) for name in ("phase1", "phase3")
    )
    assert found.keys() == whole.keys() == part.keys()
    for path, x in found.items():
        ours = part if path.startswith("language_model/") else whole
        np.testing.assert_array_equal(x, ours[path])
    assert any((whole[path] != x).any() for path, x in part.items())


def test_an_evaluation_that_was_killed_keeps_its_whole_answers(folder):
    config, said = configured(phase2, folder), []
    path = folder / "phase2/evaluation_train/predictions.jsonl"
    whole = path.read_text()
    path.write_text(whole[:-20])
    run.evaluate_run(run.prepare(config, said.append), None, said.append)
    assert any(line.startswith("5 answers are already in") for line in said)
    assert path.read_text() == whole


def test_an_evaluation_from_several_views_stands_beside_the_one_from_one(folder):
    config, said = configured(phase2, folder), []
    config.eval.views = 2
    scores = run.evaluate_run(run.prepare(config, said.append), None, said.append)
    assert scores["all"]["questions"] == 6
    beside = [path for path in (folder / "phase2").glob("evaluation_train_*") if path.is_dir()]
    assert len(beside) == 1
    assert json.loads((beside[0] / "predictions.jsonl").open().readline())["settings"]["views"] == 2


def test_a_run_of_another_size_is_refused_by_the_key_that_differs(folder):
    config = configured(phase3, folder)
    config.run_dir = str(folder / "wider")
    config.model.text.hidden_size = 32
    prepared = run.prepare(config, lambda _: None)
    with pytest.raises(UserError, match="config.model.text.hidden_size was 16 and is 32"):
        run.train(prepared, lambda _: None)


def test_the_papers_size_is_refused_before_anything_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"needs at least .* GiB .* this host has"):
        run.prepare(phase2.get_config("7b"), lambda _: None)
    assert not list(tmp_path.iterdir())


def test_a_recipe_that_changes_on_the_way_is_said_and_kept_with_its_step(folder):
    shutil.copytree(folder / "phase1", folder / "longer")
    config, said = configured(phase1, folder), []
    config.run_dir, config.steps, config.optim.learning_rate = str(folder / "longer"), 4, 5e-4
    outcome = run.train(run.prepare(config, said.append), said.append)
    assert outcome.step == 4
    assert "changed behind step 3: config.optim.learning_rate was 0.001, is 0.0005" in said
    first, second = map(json.loads, (folder / "longer" / history.FILE).read_text().splitlines())
    assert first["step"] == 0 and first["total_steps"] == 3 and set(first["marks"]) == {
        "tokenizer", "dataset",
    }  # fmt: skip
    assert second["step"] == 3 and second["changed"]["optim.learning_rate"] == [1e-3, 5e-4]


def test_what_gives_the_parameters_their_meaning_cannot_change_on_the_way(folder):
    config = configured(phase1, folder)
    config.model.text.rope_theta, config.steps = 1e4, 9
    with pytest.raises(UserError, match="config.model.text.rope_theta was 1000000.0 and is 10000"):
        run.prepare(config, lambda _: None)
    config = configured(phase1, folder)
    config.steps, config.data.batch_size = 9, 12
    prepared = run.prepare(config, lambda _: None)
    with pytest.raises(UserError, match="config.data.batch_size was 6 and is 12"):
        run.train(prepared, lambda _: None)


@pytest.fixture
def next_phase(folder):
    """(phase 3 behind a copy of phase 2, that copy's folder, what was said)."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "phase2", copy)
    config = configured(phase3, folder)
    config.previous, config.run_dir = str(copy), str(folder / "behind")
    return run.prepare(config, lambda _: None), copy, []


def test_a_previous_phase_that_was_cut_short_is_said(next_phase):
    prepared, copy, said = next_phase
    first = json.loads((copy / history.FILE).read_text().splitlines()[0]) | {"total_steps": 200}
    (copy / history.FILE).write_text(json.dumps(first) + "\n")
    run.starting_weights(prepared, said.append)
    assert said == [f"weights: from phase 2, {copy}, step 3 of 200: not finished"]


def test_a_previous_phase_that_cannot_be_read_is_a_sentence_and_not_random_weights(next_phase):
    prepared, copy, said = next_phase
    (copy / history.FILE).unlink()
    (copy / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json is no configuration of a run, or is damaged"):
        run.starting_weights(prepared, said.append)
    (copy / "config.json").unlink()
    with pytest.raises(UserError, match="is there but has no config.json of a run"):
        run.starting_weights(prepared, said.append)
    shutil.copy(copy.parent / "phase2/config.json", copy)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(UserError, match="is there but has no checkpoint"):
        run.starting_weights(prepared, said.append)
    assert said == []
    shutil.rmtree(copy)
    run.starting_weights(prepared, said.append)
    assert f"weights: random, seed 0 ({copy} has no run)" in said


def test_settings_of_the_build_reach_it(folder):
    report = json.loads((folder / "data/build_report.json").read_text())
    assert report["arguments"]["size"] == Settings().size == 336
    assert report["tunes"]["in"] == 24


def test_somebody_elses_conversations_are_trained_on_and_have_no_score(tmp_path):
    """From LLaVA's JSON, with a phase's own tasks, of which such a dataset has one."""
    images = tmp_path / "images"
    for name, numbers in (("train", range(8)), ("test", range(8, 16))):
        conversations = [
            llava(str(n), picture(images, f"{n}.png", n), ("What is it?", f"Tune {n}."),
                  ("And what else?", "Nothing."))
            for n in numbers
        ]  # fmt: skip
        write_array(tmp_path / f"{name}.json", conversations)
    named = [f"llava:{tmp_path / name}.json" for name in ("train", "test")]
    records.build(tmp_path / "data", *sources.sources(named, images), workers=1)
    config, said = configured(phase2, tmp_path), []
    config.data.tasks, config.previous, config.eval.split = ("extraction", "alignment"), "", "test"
    prepared = run.prepare(config, said.append)
    assert f"{config.data.dir} has no pages of alignment: extraction alone" in said
    outcome = run.train(prepared, said.append)
    assert outcome.step == 3
    scores = run.evaluate_run(prepared, outcome.state.params, said.append)
    assert scores["all"]["questions"] == scores["all"]["answered"] == 6
    summary = json.loads((tmp_path / "phase2/evaluation_test/summary.json").read_text())
    assert summary["figures"] == {}
    assert summary["remarks"] == ["6 answers are to questions of no kind that has a score"]
    lines = (tmp_path / "phase2/evaluation_test/predictions.jsonl").read_text().splitlines()[1:]
    ids = [json.loads(line)["id"].rpartition(":")[2] for line in lines]
    assert ids == ["other", "other.2"] * 3  # two questions of a page are two
    config.data.tasks = ("analysis",)
    with pytest.raises(UserError, match="has no pages of analysis: it has those of 'extraction'"):
        run.prepare(config, said.append)
