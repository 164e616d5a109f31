"""Answers on disk: taken where they are answers to the very same, and never overwritten by others.

The model is a stand-in that answers each question with its own text.
"""

import dataclasses
import json
import types

import numpy as np
import pytest

from nota_jax.data.feed import tokenizer
from nota_jax.evaluation import kept, predict
from tests.data.make_dataset import SIZE, write_dataset

SPLITS = {"extraction_test": 2, "alignment_test": 2}


@pytest.fixture(scope="module")
def tok(tmp_path_factory):
    return tokenizer.train_bpe(["What is the key? G|"] * 9, 300, tmp_path_factory.mktemp("tok"))


@pytest.fixture
def data(tmp_path):
    return write_dataset(tmp_path / "data", SPLITS)


@pytest.fixture
def asked(monkeypatch):
    """Pages that were shown to the model."""
    seen = []

    def answer(model, params, tok, settings, pages, rows, mesh):
        seen.extend(page.id for page in pages)
        return [(f"answer to {turn.question}", False) for page in pages for turn in page.turns]

    monkeypatch.setattr(predict, "answer", answer)
    return seen


def model(most_patches=4):
    shape = types.SimpleNamespace(
        num_image_tokens=4,
        vision=types.SimpleNamespace(image_size=SIZE),
        to_dict=lambda: {"vision": {"most_patches": most_patches}},
    )
    return types.SimpleNamespace(config=shape)


def settings(data, **more):
    return predict.Settings(str(data), tuple(SPLITS), questions=0, pages_per_batch=1, **more)


def run(data, tok, out, said=None, weight=1.0, shown=None, **more):
    params = {"kernel": np.full((2, 2), weight, np.float32)}
    say = (lambda _: None) if said is None else said.append
    chosen = settings(data, **more)
    return predict.predict(shown or model(), params, tok, chosen, out, say)


def lines(out):
    return (out / predict.ANSWERS).read_text().splitlines()


def test_every_question_is_answered_once_and_not_again(data, tok, asked, tmp_path):
    first = run(data, tok, tmp_path / "out")
    assert len(asked) == 4 and len(first) == 2 * 6 + 2
    said: list[str] = []
    assert run(data, tok, tmp_path / "out", said) == first
    assert len(asked) == 4 and said[0].startswith("14 answers are already in")


def test_a_line_without_a_field_is_asked_again_and_said(data, tok, asked, tmp_path):
    first = run(data, tok, tmp_path / "out")
    whole = lines(tmp_path / "out")
    broken = json.loads(whole[1])
    del broken["prediction"]
    whole[1], whole[3], whole[5] = json.dumps(broken), "[]", '{"id": 7}'
    (tmp_path / "out" / predict.ANSWERS).write_text("\n".join(whole) + '\n{"id": "extr')
    asked.clear()
    said: list[str] = []
    assert run(data, tok, tmp_path / "out", said) == first
    assert said[0].startswith("4 of 15 lines in") and "asked anew" in said[0]
    assert 1 <= len(asked) <= 3
    assert len(lines(tmp_path / "out")) == 15


@pytest.mark.parametrize(
    "change, named",
    [
        ({"weight": 2.0}, "weights"),
        ({"shown": model(most_patches=9)}, "pages, model or tokenizer"),
        ({"max_new_tokens": 7}, "settings"),
    ],
)
def test_answers_of_other_weights_models_or_settings_are_asked_anew_and_said(
    data, tok, asked, tmp_path, change, named
):
    run(data, tok, tmp_path / "out")
    said: list[str] = []
    run(data, tok, tmp_path / "out", said, **change)
    assert len(asked) == 8
    assert said[0].startswith("14 answers in") and f"are of other {named}: all is asked" in said[0]


def test_answers_of_another_tokenizer_are_asked_anew(data, tok, asked, tmp_path):
    run(data, tok, tmp_path / "out")
    other = tokenizer.train_bpe(["a reel, a jig, a march"] * 9, 290, tmp_path / "tok")
    run(data, other, tmp_path / "out")
    assert len(asked) == 8


def test_a_dataset_that_was_built_again_is_asked_anew_with_its_own_labels(
    data, tok, asked, tmp_path
):
    run(data, tok, tmp_path / "out")
    for path in data.iterdir():
        path.unlink()
    write_dataset(data, {"extraction_train": 5, **SPLITS})  # other pages under the same names
    again = run(data, tok, tmp_path / "out")
    assert len(asked) == 8
    assert all(p.answer.endswith(p.id.split(":")[0].split("-")[1]) for p in again
               if p.subtask == "key")  # fmt: skip


def test_an_answer_whose_label_is_another_by_now_is_not_scored(data, tok, asked, tmp_path):
    """Even where the mark is the same."""
    run(data, tok, tmp_path / "out")
    whole = lines(tmp_path / "out")
    changed = json.loads(whole[1]) | {"answer": "of another tune"}
    whole[1] = json.dumps(changed)
    (tmp_path / "out" / predict.ANSWERS).write_text("\n".join(whole) + "\n")
    asked.clear()
    found = run(data, tok, tmp_path / "out")
    assert len(asked) == 1 and all(p.answer != "of another tune" for p in found)


def test_other_settings_have_a_folder_of_their_own(data, tok, asked, tmp_path):
    wanted = tmp_path / "evaluation_test"
    plain, hot = settings(data), settings(data, temperature=0.7)
    assert kept.folder(wanted, plain) == wanted  # nothing is there
    run(data, tok, wanted)
    before = lines(wanted)
    assert kept.folder(wanted, plain) == wanted
    other = kept.folder(wanted, hot)
    assert other.parent == tmp_path and other.name.startswith("evaluation_test_")
    run(data, tok, other, temperature=0.7)
    assert lines(wanted) == before
    assert kept.folder(wanted, hot) == other
    assert kept.folder(wanted, dataclasses.replace(plain, questions=5)) not in (wanted, other)


def test_a_file_that_is_not_ours_keeps_nobody_from_his_folder(data, tmp_path):
    (tmp_path / predict.ANSWERS).write_text("not JSON\n")
    assert kept.folder(tmp_path, settings(data)) == tmp_path
