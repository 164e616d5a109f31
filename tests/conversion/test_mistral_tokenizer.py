"""CLIP + Mistral with Mistral's real tokenizer: the way to 7b, at small width."""

import pathlib
import shutil

import mistral_common
import numpy as np
import pytest
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer

from conversion import from_hf, to_hf
from nota_jax.data.feed import chat
from nota_jax.data.feed.tokenizer import load_tokenizer
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
    found = processor(
        images=Image.fromarray(np.zeros((28, 28, 3), np.uint8)),
        text=f"[INST] <image>\n{question} [/INST]",
        return_tensors="np",
    )
    want = chat.encode_prefix(ours, "mistral_instruct", 16)
    want += chat.encode_prompts(ours, "mistral_instruct", [question])[0]
    assert found["input_ids"][0].tolist() == want


def test_the_exports_tokenizer_reads_and_writes_abc_as_mistrals_own(folder):
    theirs, ours = AutoTokenizer.from_pretrained(folder / "hf"), load_tokenizer(folder / "mistral")
    ids = theirs(TUNE)["input_ids"]
    assert ids == [ours.bos_token_id, *ours(TUNE, add_special_tokens=False)["input_ids"]]
    assert theirs.decode(ids, skip_special_tokens=True).strip() == TUNE.strip()
