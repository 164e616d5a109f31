"""CLIP + Mistral with Mistral's real tokenizer: the way to 7b, at small width."""

import json
import pathlib
import shutil

import mistral_common
import numpy as np
import pytest
from PIL import Image
from sentencepiece import SentencePieceProcessor
from transformers import AutoProcessor, AutoTokenizer

from conversion import from_hf, hf_tokenizer, to_hf
from nota_jax.data.feed import chat
from nota_jax.data.feed.tokenizer import load_tokenizer, save_tokenizer
from tests.conversion import hf_directories as hf
from tests.conversion.hf_directories import quiet
from tests.models.hf_reference import tiny

TUNE = "X:1\nT:The Bag of Spuds\nM:4/4\nL:1/8\nK:Ador\n|:eAAB cBAG|[CEG]2 (3abc {gf}e4:|\n"
SHIPPED = pathlib.Path(mistral_common.__file__).parent / "data/tokenizer.model.v1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """clip/, mistral/ → ckpt/ → hf/."""
    folder = tmp_path_factory.mktemp("mistral")
    hf.clip_and_mistral(folder, tiny(text=dict(vocab_size=32000)))
    shutil.copy(SHIPPED, folder / "mistral/tokenizer.model")
    reading = from_hf.read(clip=folder / "clip", mistral=folder / "mistral")
    from_hf.convert(reading, folder / "ckpt", quiet)
    to_hf.export(to_hf.open_run(folder / "ckpt"), folder / "hf", say=quiet)
    return folder


def test_image_and_pad_are_llavas_tokens_and_the_vocabulary_is_padded(folder):
    run = to_hf.open_run(folder / "ckpt")
    assert run.architecture.image_token_id == 32000
    assert run.tokenizer.pad_token_id == 32001
    assert run.architecture.text.vocab_size == 32064
    again = from_hf.read(llava=folder / "hf")
    assert again.architecture == run.architecture and not again.plan.initialised


def test_the_exports_processor_writes_our_prompts(folder):
    ours = load_tokenizer(folder / "ckpt")
    processor = AutoProcessor.from_pretrained(folder / "hf")
    question = "Transcribe this score to ABC notation."
    content = [{"type": "image"}, {"type": "text", "text": question}]
    found = processor(
        images=Image.fromarray(np.zeros((28, 28, 3), np.uint8)),
        text=processor.apply_chat_template([{"role": "user", "content": content}]),
        return_tensors="np",
    )
    want = chat.encode_prefix(ours, "mistral_instruct", 16)
    want += chat.encode_prompts(ours, "mistral_instruct", [question])[0]
    assert found["input_ids"][0].tolist() == want


def test_the_exports_tokenizer_reads_and_writes_abc_as_mistrals_own(folder):
    theirs, ours = AutoTokenizer.from_pretrained(folder / "hf"), load_tokenizer(folder / "mistral")
    ids = theirs(TUNE)["input_ids"]
    assert ids == ours(TUNE, add_special_tokens=False)["input_ids"]
    assert theirs.decode(ids, skip_special_tokens=True).strip() == TUNE.strip()


def test_the_sentencepiece_file_travels_through_conversion_run_and_export(folder, tmp_path):
    for place in ("ckpt", "hf"):
        assert (folder / place / "tokenizer.model").read_bytes() == SHIPPED.read_bytes()
    run = to_hf.open_run(folder / "ckpt")  # a run keeps the tokenizer that it began with
    save_tokenizer(run.tokenizer, tmp_path / "run/tokenizer")
    again = load_tokenizer(tmp_path / "run")
    hf_tokenizer.write(again, tmp_path / "hf", run.template)
    assert (tmp_path / "hf/tokenizer.model").read_bytes() == SHIPPED.read_bytes()


def as_llama_cpp_reads_it(export) -> tuple[list[str], list[bool]]:
    """Tokens and which of them are control tokens: `_create_vocab_sentencepiece` of its
    `convert_hf_to_gguf.py`, which stops where there is no tokenizer.model."""
    pieces = SentencePieceProcessor(model_file=str(export / "tokenizer.model"))
    size = json.loads((export / "config.json").read_text())["text_config"]["vocab_size"]
    tokens, control = [f"[PAD{i}]" for i in range(size)], [False] * size
    for i in range(pieces.vocab_size()):
        tokens[i], control[i] = pieces.id_to_piece(i), pieces.is_control(i)
    settings = json.loads((export / "tokenizer_config.json").read_text())
    for i, entry in settings["added_tokens_decoder"].items():
        tokens[int(i)], control[int(i)] = entry["content"], entry["special"]
    return tokens, control


def test_llama_cpps_converter_finds_as_many_tokens_as_the_embedding_has_rows(folder):
    tokens, control = as_llama_cpp_reads_it(folder / "hf")
    embedding = hf.exported(folder / "hf")["language_model.model.embed_tokens.weight"]
    assert len(tokens) == len(embedding) == 32064
    ours = load_tokenizer(folder / "ckpt")
    assert tokens[: len(ours)] == ours.convert_ids_to_tokens(list(range(len(ours))))
    assert [i for i in range(len(tokens)) if control[i]] == [0, 1, 2, 32000, 32001]


def test_llama_cpp_is_told_that_the_template_writes_bos_and_the_space(folder):
    settings = json.loads((folder / "hf/tokenizer_config.json").read_text())
    assert settings["add_bos_token"] is settings["add_prefix_space"] is False
    assert settings["chat_template"].startswith("{{ bos_token }} {%")
