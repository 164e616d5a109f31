"""The sample that is asked while a model trains: which pages, what it scores, and in a real run."""

import dataclasses
import json
import types

import numpy as np
import pytest

from nota_jax import main, places, run
from nota_jax.checkpoint import scores
from nota_jax.checkpoint.steps import load_params
from nota_jax.data.records import Turn
from nota_jax.errors import UserError
from nota_jax.evaluation import predict, sample
from nota_jax.models import decode
from nota_jax.params import flatten
from tests.data.make_dataset import write_dataset
from tests.faults import victim

TUNE = "X:1\nT:Reel\nM:4/4\nL:1/8\nK:G\nGABc d2 e2|]"


def page(number, *turns, abc=TUNE):
    """A page as evaluation sees it; turns: (task, subtask, right answer)."""
    made = tuple(Turn(task, subtask, f"{subtask}?", answer) for task, subtask, answer in turns)
    return types.SimpleNamespace(
        id=f"p{number}", turns=made, metadata={"abc": abc, "source_id": f"tune{number}"}
    )


def scored(*pages_and_answers, asked="x"):
    """The score of (page, answers to its turns …)."""
    turns = sample.questions([page for page, _ in pages_and_answers])
    said = [(text, False) for _, answers in pages_and_answers for text in answers]
    return sample.score(turns, said, asked)


FIELDS = [
    ("extraction", name, value)
    for name, value in (
        ("title", "Reel"), ("key", "G"), ("meter", "4/4"), ("unit_note_length", "1/8"),
        ("composer", "Ann Lee"),
    )
]  # fmt: skip
WHOLE, BARS = ("extraction", "abc", TUNE), ("alignment", "alignment", "GABc d2 e2|")


# ---- what decides


def test_of_fields_alone_it_is_the_share_that_is_wrong_leniently():
    one = page(1, *FIELDS)
    score = scored((one, ["reel", "G minor", "C", "1/8", ""]))  # "C" is 4/4
    assert score.error == pytest.approx(2 / 5) and score.of == "header fields"
    assert score.figures == pytest.approx({"error": 0.4, "fields.lenient": 0.6, "cut": 0.0})


def test_where_a_transcription_is_asked_it_is_the_share_of_characters_that_are_wrong():
    """2 of the page's 39 characters and 4 of the bars' 11; the fields do not count."""
    pages = page(1, *FIELDS[:2], WHOLE), page(2, BARS)
    wrong = TUNE.replace("GABc", "GABB").replace("d2", "d4")
    score = scored((pages[0], ["no", "no", wrong]), (pages[1], ["GABc d2"]))
    assert score.error == pytest.approx((2 + 4) / (39 + 11))
    assert score.of == "characters of the transcriptions"
    assert score.figures["abc.character_errors"] == pytest.approx(2 / 39)
    assert score.figures["alignment.character_errors"] == pytest.approx(4 / 11)


def test_of_analyses_it_is_the_share_of_facts_that_are_not_told_rightly():
    """Of three facts one is wrong; of prose in which none is found, the characters count."""
    one = page(1, ("analysis", "range", "The range is a major sixth, from G4 to E5."))
    score = scored((one, ["The range is a major sixth, from G4 to F5."]))
    assert score.error == pytest.approx(1 / 3) and score.of == "facts of the analyses"
    plain = page(1, ("analysis", "overview", "A merry dance."))
    score = scored((plain, ["A sorry dance."]))
    assert score.error == pytest.approx(2 / 14) and score.of == "characters of the analyses"


def test_answers_that_were_cut_off_are_counted():
    one = page(1, *FIELDS)
    turns = sample.questions([one])
    said = [("Reel", False), ("G", True), ("4/4", True), ("1/8", False), ("Ann Lee", False)]
    assert sample.score(turns, said).figures == {"error": 0.0, "fields.lenient": 1.0, "cut": 2.0}


# ---- what makes scores comparable


def settings(**more):
    return predict.Settings("data/x", ("extraction_validation",), questions=0, **more)


def test_scores_are_comparable_where_questions_answers_and_limits_are_the_same():
    one = page(1, *FIELDS)
    turns = sample.questions([one])
    mark = sample.mark(turns, settings())
    elsewhere = dataclasses.replace(settings(), dataset="data/y", pages_per_batch=2)
    assert sample.mark(turns, elsewhere) == mark
    assert sample.mark(turns[:-1], settings()) != mark
    assert sample.mark(turns, settings(max_new_tokens=9)) != mark
    other = page(1, *FIELDS[:-1], ("extraction", "composer", "none"))
    assert sample.mark(sample.questions([other]), settings()) != mark


# ---- a real run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    sizes = {"extraction_train": 40, "extraction_validation": 9, "extraction_test": 2}
    write_dataset(folder / "dataset", sizes)
    return folder


def configured(folder, name, **evaluation):
    config = victim.configuration(folder, name, 4)
    config.save_every = 100
    config.eval.update(dict(every=2, sample=5, batch_size=2, split="test") | evaluation)
    return config


@pytest.fixture(scope="module")
def trained(folder):
    """(the run, how training ended, what was said, programs of decoding after each evaluation)."""
    config, said, programs = configured(folder, "asked"), [], []

    def say(line):
        said.append(line)
        if "wrong, the best" in line:
            programs.append(decode._generate._cache_size())

    prepared = run.prepare(config, say)
    return prepared, run.train(prepared, say), said, programs


def evaluations(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").open())
    return {line["step"]: line for line in lines if "eval/error" in line}


def test_training_is_the_same_to_the_bit_and_the_journal_has_the_scores(folder, trained):
    prepared, outcome, said, _ = trained
    assert any("30 questions about 5 pages of extraction_validation" in line for line in said)
    found = evaluations(folder / "asked")
    assert list(found) == [2, 4]
    assert set(found[2]) == {
        "step", "eval/error", "eval/fields.lenient", "eval/abc.character_errors", "eval/cut",
        *(key for key in found[2] if key == "eval/abc.note_f1"),
    }  # fmt: skip
    config = configured(folder, "plain", every=0)
    plain = run.train(run.prepare(config, lambda _: None), lambda _: None)
    assert evaluations(folder / "plain") == {}
    a, b = flatten(plain.state.params), flatten(outcome.state.params)
    assert all(np.array_equal(a[path], b[path]) for path in a)


def test_decoding_is_compiled_at_the_first_evaluation_and_never_again(trained):
    _, _, _, programs = trained
    assert len(programs) == 2 and programs[0] == programs[1]


def test_the_same_parameters_get_the_same_score_again(folder, trained):
    prepared, outcome, _, _ = trained
    config = prepared.config
    ask = sample.asking(
        prepared.model, prepared.tokenizer, run.asking(config, "validation"),
        run.make_mesh(**config.mesh), pages=5, seed=config.seed, say=lambda _: None,
    )  # fmt: skip
    again = ask(outcome.state.params, lambda: False)
    assert again == scores.read(folder / "asked/checkpoints/4")
    assert ask(outcome.state.params, lambda: True) is None  # broken off


def test_pages_are_whole_and_drawn_by_the_seed(folder, trained):
    prepared, *_ = trained
    how = run.asking(prepared.config, "validation")

    def drawn(seed, pages=5):
        found = predict.asked_pages(
            prepared.model, prepared.tokenizer, dataclasses.replace(how, questions=0),
            pages=pages, seed=seed,
        )  # fmt: skip
        return [(page.id, len(page.turns)) for page in found]

    assert drawn(0) == drawn(0) != drawn(1)
    assert len(drawn(0)) == 5 and all(n == 6 for _, n in drawn(0))
    assert len(drawn(0, pages=50)) == 9  # there are no more
    assert drawn(0, pages=3) == drawn(0)[:3]


def test_the_best_and_a_step_can_be_evaluated(folder, trained):
    """The answers of an older checkpoint have a folder of their own."""
    prepared, *_ = trained
    best = scores.step_of(folder / "asked@best")[1]
    config, said = configured(folder, "asked@2"), []
    assert not main.run_mode(config, "evaluate", {})
    assert config.run_dir == str(folder / "asked")
    for which, at in (("2", "@2"), ("4", "")):
        run.evaluate_run(prepared, None, said.append, which)
        assert (folder / f"asked/evaluation_test{at}/predictions.jsonl").is_file()
        assert f"the checkpoint of step {which} of {folder / 'asked'} answers" in said
    run.evaluate_run(prepared, None, said.append, "best")
    assert said.count(f"the checkpoint of step {best} of {folder / 'asked'} answers") == 2
    assert sum("answers are already in" in line for line in said) == 2  # of 2, and of the best


@pytest.mark.parametrize("key", ["previous", "init_from"])
def test_the_best_and_a_step_can_be_started_from(folder, trained, key):
    prepared, *_ = trained
    config, said = configured(folder, f"from_{key}", every=0), []
    config[key], config.steps = f"{folder / 'asked'}@2", 1
    start = run.starting_weights(run.prepare(config, said.append), said.append)(None)
    want = load_params(folder / "asked@2", prepared.shapes)
    newest = load_params(folder / "asked", prepared.shapes)
    a, b, c = map(flatten, (start, want, newest))
    assert all(np.array_equal(a[path], b[path]) for path in b)
    assert any(not np.array_equal(a[path], c[path]) for path in c)
    assert any(line.startswith("weights: from ") and "asked@2" in line for line in said)
    config[key] = f"{folder / 'asked'}@3"
    with pytest.raises(UserError, match=r"has no checkpoint of step 3; there are: 2.*, 4"):
        run.starting_weights(run.prepare(config, said.append), said.append)


def test_a_run_keeps_down_which_step_it_began_from(folder, trained):
    config = configured(folder, "next", every=0)
    config.previous = f"{folder / 'asked'}@best"
    run.train(run.prepare(config, lambda _: None), lambda _: None)
    first = json.loads((folder / "next/history.jsonl").read_text().splitlines()[0])
    best = scores.step_of(folder / "asked@best")[1]
    assert first["marks"]["began"] == places.spelled(folder / "asked", best)


def test_a_dataset_without_validation_pages_is_refused_before_training(tmp_path):
    write_dataset(tmp_path / "dataset", {"extraction_train": 4, "extraction_test": 2})
    config = configured(tmp_path, "none")
    with pytest.raises(
        UserError, match="no pages in extraction_validation, .* --config.eval.every="
    ):
        run.ready.require_split(config)


def test_a_run_is_not_written_to_a_checkpoint_of_another(folder, trained, capsys):
    argv = ["main", "--config=configs/phase2.py", f"--config.run_dir={folder / 'asked'}@best"]
    assert main.main(argv) == 2
    assert (
        "@best says which of its checkpoints is read, with --mode=eval" in capsys.readouterr().err
    )
