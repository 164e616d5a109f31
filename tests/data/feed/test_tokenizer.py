"""The byte-level BPE made for scores: reversible, deterministic, one token a note."""

import json
import pathlib
import random
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nota_jax.data.feed import tokenizer
from nota_jax.data.feed.chat import CHAT_TEMPLATE
from nota_jax.data.feed.tokenizer import (
    SPECIAL_TOKENS,
    find,
    load_tokenizer,
    save_tokenizer,
    train_bpe,
    vocabulary_size,
)
from nota_jax.errors import UserError


def some_texts() -> list[str]:
    rng = random.Random(0)
    notes = [n + d for n in ("A", "B", "^c", "d'", "E,", "_e", "z") for d in ("", "2", "3/2", "/")]
    bars = ["".join(rng.choice(notes) for _ in range(4)) for _ in range(400)]
    tunes = [
        f"X:1\nT:Reel {i}\nM:4/4\nL:1/8\nK:Ador\n|:" + "|".join(bars[4 * i : 4 * i + 4]) + ":|"
        for i in range(100)
    ]
    return tunes + ["What key is this piece in?", "The range is 12 semitones."] * 20


@pytest.fixture(scope="module")
def tok(tmp_path_factory):
    return train_bpe(some_texts(), 600, tmp_path_factory.mktemp("bpe"))


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back_unchanged(tok, text):
    assert tok.decode(tok(text, add_special_tokens=False)["input_ids"]) == text


@given(st.lists(st.sampled_from([*SPECIAL_TOKENS, " ", "\n", "|", ":|", "A2", "é", "K:", "(3"])))
@settings(max_examples=200, deadline=None)
def test_text_with_special_tokens_comes_back_unchanged(tok, parts):
    text = "".join(parts)
    assert tok.decode(tok(text, add_special_tokens=False)["input_ids"]) == text


def test_a_frequent_note_is_one_token_and_tokens_never_cross_a_bar(tok):
    pieces = tok.tokenize("A2^c3/2E,/|:Ad'2|1")
    assert pieces == ["A2", "^c3/2", "E,/", "|:", "A", "d'2", "|", "1"]
    with_bars = [token for token in tok.get_vocab() if "|" in token]
    assert len(with_bars) > 2
    assert all(re.fullmatch(r"Ġ?[\[:]?\|+[:\]]?[1-9]?", token) for token in with_bars), with_bars


def test_special_tokens_are_single_ids_and_bos_is_added(tok):
    ids = tok("[INST] <image>\nWhat? [/INST]")["input_ids"]
    assert ids[0] == tok.bos_token_id and ids[1] == tok.convert_tokens_to_ids("[INST]")
    assert ids.count(tok.convert_tokens_to_ids("<image>")) == 1
    assert [tok.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS] == list(range(7))
    assert tok.pad_token == "<pad>" and tok.eos_token == "</s>"


def test_the_order_of_the_texts_and_the_process_do_not_change_a_byte(tok, tmp_path):
    texts = some_texts()
    random.Random(1).shuffle(texts)
    train_bpe(texts, 600, tmp_path / "shuffled")
    program = (
        "import json, sys; from nota_jax.data.feed.tokenizer import train_bpe; "
        "train_bpe(json.load(sys.stdin), 600, sys.argv[1])"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "elsewhere")],
        input=json.dumps(texts), text=True, check=True,
    )  # fmt: skip
    for name in ("tokenizer.json", "tokenizer_config.json"):
        first = (tmp_path / "shuffled" / name).read_bytes()
        assert first == (tmp_path / "elsewhere" / name).read_bytes()
    assert json.loads((tmp_path / "shuffled" / "tokenizer.json").read_text()) == json.loads(
        tok.backend_tokenizer.to_str()
    )


def test_transformers_loads_the_folder_by_itself(tok, tmp_path):
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    train_bpe(some_texts(), 600, tmp_path)
    text = "K:Ador <image>|:A2 </s>"
    for cls in (AutoTokenizer, PreTrainedTokenizerFast):
        other = cls.from_pretrained(tmp_path, local_files_only=True)
        assert other(text)["input_ids"] == tok(text)["input_ids"]
        assert other.chat_template == tok.chat_template


def test_wrong_folders_and_sizes_are_told_to_the_user(tmp_path):
    with pytest.raises(UserError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    with pytest.raises(UserError, match="at least 263 entries"):
        train_bpe(["text"], 200, tmp_path)
    with pytest.raises(UserError, match="training split is empty"):
        train_bpe([], 300, tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="cannot read .*tokenizer.json"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_is_found_in_a_folder_or_in_the_run_that_owns_it(tok, tmp_path):
    run, bare = tmp_path / "run", tmp_path / "bare"
    train_bpe(some_texts(), 300, run / "tokenizer")
    train_bpe(some_texts(), 310, bare)
    assert find(run, bare) == run / "tokenizer" and find(bare, run) == bare
    assert find("", tmp_path / "missing", tmp_path, bare) == bare  # tmp_path holds none itself
    assert find("", tmp_path) is find() is None
    assert len(load_tokenizer(run)) == 300 and len(load_tokenizer(bare)) == 310


def test_a_tokenizer_that_was_half_written_is_not_found(tok, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tokenizer.json, "dumps", killed)
    with pytest.raises(KeyboardInterrupt):
        save_tokenizer(tok, tmp_path)
    assert find(tmp_path) is None and not list(tmp_path.iterdir())


def test_what_is_saved_says_nothing_of_where_it_was_loaded(tok, tmp_path):
    settings = json.loads((pathlib.Path(tok.name_or_path) / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_file": "/home/me/tokenizer.json", "auto_map": {"AutoTokenizer": "x.y"}}
    source, copy = tmp_path / "source", tmp_path / "copy"
    save_tokenizer(tok, source)
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    save_tokenizer(load_tokenizer(source), copy)
    kept = json.loads((copy / "tokenizer_config.json").read_text())
    assert not set(tokenizer.NOT_KEPT) & kept.keys()
    assert str(tmp_path) not in (copy / "tokenizer_config.json").read_text()


def test_a_sentencepiece_file_travels_with_the_tokenizer(tok, tmp_path):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    save_tokenizer(tok, first)
    assert not (first / "tokenizer.model").exists()
    (first / "tokenizer.model").write_bytes(b"pieces")
    save_tokenizer(load_tokenizer(first), second)
    save_tokenizer(load_tokenizer(second), third)
    assert (third / "tokenizer.model").read_bytes() == b"pieces"


def test_a_template_that_the_tokenizer_brings_is_replaced_by_ours(tok, tmp_path):
    save_tokenizer(tok, tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>"}
    settings["chat_template"] = "{{ messages[0]['content'] + '!' }}"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load_tokenizer(tmp_path).chat_template == CHAT_TEMPLATE


def test_a_vocabulary_is_rounded_up_unless_its_size_is_given():
    assert [vocabulary_size(n) for n in (1, 64, 65, 1000)] == [64, 64, 128, 1024]
    assert vocabulary_size(32002, 32064) == vocabulary_size(32064, 32064) == 32064
    with pytest.raises(UserError, match="has 32065 entries, config.model.text.vocab_size is 32064"):
        vocabulary_size(32065, 32064)
