"""A model in Hugging Face's format, asked through transformers, as anybody's is."""

import json
import shutil

import numpy as np
import pytest

from conversion import to_hf
from nota_jax.data.feed import images
from nota_jax.data.feed.tokenizer import train_bpe
from nota_jax.errors import UserError
from nota_jax.evaluation import hf, predict, score
from nota_jax.evaluation.answers import ANSWERS, collect
from nota_jax.models.notagpt import NotaGPT
from tests.conversion.hf_directories import quiet
from tests.conversion.runs import run_directory, with_tokenizer
from tests.data.make_dataset import make_page, write_dataset
from tests.models.hf_reference import tiny

SPLITS = ("extraction_test",)
ASKED = ("key", "meter", "abc")
NEW = 4  # tokens of an answer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    sizes = {"extraction_test": 3, "extraction_train": 2}
    return write_dataset(tmp_path_factory.mktemp("data") / "d", sizes)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A random run's configuration, parameters and tokenizer, and its export."""
    folder = tmp_path_factory.mktemp("run")
    tok = train_bpe(["What is the key? K:G\nGABc d2B2|"] * 3, 280, folder / "tokenizer")
    config = with_tokenizer(tiny(vision=dict(image_size=56, patch_size=14)), tok)
    params = run_directory(folder / "run", config, tok)
    to_hf.export(to_hf.open_run(folder / "run"), folder / "hf", say=quiet)
    return config, params, tok, folder / "hf"


def settings(run, data, **more):
    asked = {"subtasks": ASKED, "max_new_tokens": NEW} | more
    return hf.Settings(str(run[3]), str(data), SPLITS, **asked)


def answers(folder):
    lines = (folder / ANSWERS).read_text().splitlines()
    return {line["id"]: line for line in map(json.loads, lines[1:])}


@pytest.fixture(scope="module")
def theirs(run, data, tmp_path_factory):
    return hf.predict(settings(run, data), tmp_path_factory.mktemp("out") / "hf", 4, quiet)


def test_transformers_answers_as_we_do(run, data, theirs, tmp_path):
    config, params, tok, _ = run
    short = ASKED[:2]  # which one compiled program answers
    asked = predict.Settings(str(data), SPLITS, short, questions=0, max_new_tokens=NEW)
    predict.predict(NotaGPT(config), params, tok, asked, tmp_path, quiet)
    ours, found = answers(tmp_path), answers(theirs)
    assert len(found) == 3 * 3 and len(ours) == 3 * 2
    assert len({line["prediction"] for line in found.values()}) > 1
    for id, line in ours.items():  # and so for all that a line has
        assert found[id] == line | {"too_long": False}


def test_an_interrupted_evaluation_goes_on_and_asks_nothing_twice(
    run, data, theirs, tmp_path, monkeypatch
):
    ask, times = hf.ask, []

    def interrupted(model, pictures, questions, limit):
        if len(times) == 1:
            raise KeyboardInterrupt
        times.append(len(questions))
        return ask(model, pictures, questions, limit)

    monkeypatch.setattr(hf, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hf.predict(settings(run, data), tmp_path / "out", 4, quiet)
    assert len(answers(tmp_path / "out")) == times[0] == 4

    def counted(model, pictures, questions, limit):
        times.append(len(questions))
        return ask(model, pictures, questions, limit)

    monkeypatch.setattr(hf, "ask", counted)
    said: list[str] = []
    hf.predict(settings(run, data), tmp_path / "out", 2, said.append)  # with smaller batches
    assert said == [f"4 answers are already in {tmp_path / 'out' / ANSWERS}, 5 questions are left"]
    assert times == [4, 2, 2, 1] and answers(tmp_path / "out") == answers(theirs)
    monkeypatch.setattr(hf, "load", None)  # nor is the model loaded for nothing
    assert hf.predict(settings(run, data), tmp_path / "out", 2, quiet) == tmp_path / "out"


def test_other_settings_leave_finished_answers_alone(run, data, theirs, monkeypatch):
    before = (theirs / ANSWERS).read_text()
    monkeypatch.setattr(hf, "load", lambda *_: None)
    monkeypatch.setattr(hf, "ask", lambda model, pictures, *_: [hf.Said("G")] * len(pictures))
    other = hf.predict(settings(run, data, questions=2), theirs, 4, quiet)
    assert other != theirs and (theirs / ANSWERS).read_text() == before
    assert [a.said for a in collect(other).answers] == ["G"] * 2


def test_a_question_that_does_not_fit_is_not_asked(run):
    loaded = hf.load(run[3])
    questions = ["key?", "k" * 400, "meter?"]
    page = images.decode(make_page("extraction", 1).png).convert("RGB")
    said = hf.ask(loaded, [page] * 3, questions, NEW)
    few = np.random.default_rng(0).integers(40, 60)
    tight = hf.Loaded(
        loaded.torch, loaded.processor, loaded.model, loaded.device, loaded.stops, int(few)
    )
    found = hf.ask(tight, [page] * 3, questions, NEW)
    assert [answer.text is None for answer in said] == [False] * 3
    assert found == [said[0], hf.Said(None), said[2]]
    assert all(answer.cut for answer in said if len(loaded.processor.tokenizer(answer.text)) > NEW)


def test_the_command_asks_and_scores(run, data, tmp_path, capsys):
    command = ["--hf", str(run[3]), "--dataset", str(data), "--out", str(tmp_path / "out"),
               "--subtasks", "key", "--max-new-tokens", "4"]  # fmt: skip
    assert score.main(command) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["splits"] == ["extraction_test"] and summary["counts"]["answered"] == 3
    assert summary["settings"]["model"] == str(run[3])
    assert "3 answers scored" in capsys.readouterr().out
    assert score.main(command[:2]) == 2 and "--hf needs --out" in capsys.readouterr().err


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run[3], tmp_path / "hf")


def test_what_is_no_model_is_told_in_a_sentence(copy, tmp_path):
    with pytest.raises(UserError, match="no config.json .*conversion.to_hf"):
        hf.load(tmp_path)
    (copy / "chat_template.jinja").unlink()
    (copy / "chat_template.json").unlink(missing_ok=True)
    with pytest.raises(UserError, match="has no chat template"):
        hf.load(copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(UserError, match="transformers .* does not load"):
        hf.load(copy)


def test_weights_that_are_missing_are_not_made_up(copy):
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] += 1
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="no weights for 9 tensors of its model"):
        hf.load(copy)


def test_without_pytorch_a_sentence(run, data, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(UserError, match=r"torch is missing: pip install 'nota_jax\[convert\]'"):
        hf.predict(settings(run, data), tmp_path / "out", 4, quiet)
    assert not (tmp_path / "out").exists()
