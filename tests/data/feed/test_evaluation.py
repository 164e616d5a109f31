"""Held-out pages with their questions: all of them, or a fair and repeatable sample."""

import collections

import numpy as np
import pytest

from nota_jax.data.feed import chat, images
from nota_jax.data.feed.evaluation import eval_questions
from nota_jax.data.feed.tokenizer import train_bpe
from nota_jax.data.store.reader import PageReader, texts
from nota_jax.errors import UserError
from tests.data.make_dataset import write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    sizes = {"extraction_train": 10, "extraction_test": 25, "alignment_test": 6}
    return write_dataset(tmp_path_factory.mktemp("held-out") / "dataset", sizes)


@pytest.fixture(scope="module")
def tok(dataset, tmp_path_factory):
    return train_bpe(texts(dataset, ["extraction_train"]), 400, tmp_path_factory.mktemp("bpe"))


def test_eval_questions_are_the_pages_with_their_prompts(dataset, tok):
    pages = list(eval_questions(dataset, ["extraction_test"], tok, n_image_tokens=4, image_size=48))
    on_disk = {page.id: page for page in PageReader(dataset, ["extraction_test"])}
    assert sorted(page.id for page in pages) == sorted(on_disk)
    for page in pages:
        stored = on_disk[page.id]
        assert page.turns == stored.turns and page.metadata == stored.metadata
        np.testing.assert_array_equal(page.image, images.load(stored.png, 48))
        assert list(page.prefix) == chat.encode_prefix(tok, "mistral_instruct", 4)
        for prompt, turn in zip(page.prompts, page.turns, strict=True):
            text = tok.decode([*page.prefix, *prompt])
            assert text == f"<s>[INST] {'<image>' * 4}\n{turn.question} [/INST]"


def test_a_limited_evaluation_is_the_beginning_of_the_full_one(dataset, tok):
    def ask(**options):
        return list(
            eval_questions(
                dataset, ["extraction_test"], tok, n_image_tokens=4, image_size=48, **options
            )
        )

    everything = [(page.id, turn) for page in ask() for turn in page.turns]
    for limit in (1, 6, 20):
        some = [(page.id, turn) for page in ask(limit=limit) for turn in page.turns]
        assert some == everything[:limit]
    assert [page.id for page in ask()] != sorted(page.id for page in ask())
    keys = [turn.subtask for page in ask(subtasks=("key", "abc")) for turn in page.turns]
    assert collections.Counter(keys) == {"key": 25, "abc": 25}
    with pytest.raises(UserError, match="subtask form"):
        ask(subtasks=("form",))


def test_a_subtask_that_one_of_several_splits_has_is_asked_there(dataset, tok):
    """Phase 1 of the small sizes asks whole pages and highlighted bars, which two tasks bring."""
    splits = ("alignment_test", "extraction_test")
    options = dict(n_image_tokens=4, image_size=48, subtasks=("alignment", "abc"), limit=5)
    pages = list(eval_questions(dataset, splits, tok, **options))
    asked = [turn.subtask for page in pages for turn in page.turns]
    assert asked == ["alignment"] * 5 + ["abc"] * 5
