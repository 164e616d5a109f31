"""The whole road on real tunes at a size of seconds: build, three phases, evaluation."""

import json

import pytest

from configs import phase1, phase2, phase3
from nota_jax import run
from nota_jax.data.build.pages import Settings
from nota_jax.errors import UserError

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


def test_an_evaluation_that_was_killed_keeps_its_whole_answers(folder):
    config, said = configured(phase2, folder), []
    path = folder / "phase2/evaluation_train/predictions.jsonl"
    whole = path.read_text()
    path.write_text(whole[:-20])
    run.evaluate_run(run.prepare(config, said.append), None, said.append)
    assert any(line.startswith("5 answers are already in") for line in said)
    assert path.read_text() == whole


def test_a_run_of_another_size_is_refused_by_the_parameter_that_differs(folder):
    config = configured(phase3, folder)
    config.run_dir = str(folder / "wider")
    config.model.text.hidden_size = 32
    prepared = run.prepare(config, lambda _: None)
    with pytest.raises(UserError, match="has shape .*, expected is"):
        run.train(prepared, lambda _: None)


def test_the_papers_size_is_refused_before_anything_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"needs at least .* GiB .* this host has"):
        run.prepare(phase2.get_config("7b"), lambda _: None)
    assert not list(tmp_path.iterdir())


def test_settings_of_the_build_reach_it(folder):
    report = json.loads((folder / "data/build_report.json").read_text())
    assert report["arguments"]["size"] == Settings().size == 336
    assert report["tunes"]["in"] == 24
