"""The comparison says "the same model" where it is, and notices where it is not."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from conversion import from_hf, to_hf, verify
from nota_jax.data.feed import chat
from nota_jax.data.feed.tokenizer import save_tokenizer, train_bpe
from nota_jax.errors import UserError
from tests.conversion import hf_directories as hf
from tests.conversion.hf_directories import quiet
from tests.models.hf_reference import tiny


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """(export with all its files, checkpoint, a wide picture)."""
    folder = tmp_path_factory.mktemp("verify")
    tok = train_bpe([verify.TEXT, verify.QUESTION], 270, folder / "tok")
    config = tiny(text=dict(vocab_size=320), image_token_id=chat.image_token_id(tok))
    hf.llava_directory(folder / "first", config)
    save_tokenizer(tok, folder / "first")
    from_hf.convert(from_hf.read(llava=folder / "first"), folder / "ckpt", quiet)
    to_hf.export(to_hf.open_run(folder / "ckpt"), folder / "hf", say=quiet)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "score.png")
    return folder / "hf", folder / "ckpt", folder / "score.png"


def compare(pair, hf_folder=None):
    lines = []
    export, ckpt, picture = pair
    good = verify.verify(
        hf_folder or export, ckpt, [picture], new_tokens=5, say=lines.append
    )  # fmt: skip
    return good, "\n".join(lines)


def test_an_export_is_the_same_model(pair):
    good, text = compare(pair)
    assert good and "the same model" in text
    assert "prompt the same" in text and text.count("greedy text the same") == 1
    assert "not square" in text and "laid on a white one first" in text
    for stage in ("vision", "connector", "logits", "KL"):
        assert stage in text


def test_without_pictures_two_tunes_are_engraved(pair):
    lines = []
    assert verify.verify(*pair[:2], new_tokens=2, say=lines.append)
    for name in ("engraved tune 1", "engraved tune 2", "text alone"):
        assert any(line.startswith(f"{name}: largest difference") for line in lines)


def changed(pair, tmp_path, edit_tensors=None, edit_config=None):
    """A copy of the export with something changed."""
    for file in pair[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if edit_tensors:
        tensors = load_file(tmp_path / "model.safetensors")
        edit_tensors(tensors)
        save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    if edit_config:
        values = json.loads((tmp_path / "config.json").read_text())
        edit_config(values)
        (tmp_path / "config.json").write_text(json.dumps(values))
    return tmp_path


def swap(tensors):
    a, b = (f"language_model.model.layers.{i}.mlp.up_proj.weight" for i in (0, 1))
    tensors[a], tensors[b] = tensors[b].clone(), tensors[a].clone()


def theta(values):
    values["text_config"]["rope_parameters"]["rope_theta"] = 2e4
    values["text_config"]["rope_theta"] = 2e4


@pytest.mark.parametrize("what", [dict(edit_tensors=swap), dict(edit_config=theta)])
def test_swapped_layers_and_another_rotary_base_are_noticed(pair, tmp_path, what):
    good, text = compare(pair, changed(pair, tmp_path, **what))
    assert not good and "NOT the same model" in text


def test_weights_that_transformers_leaves_random_are_a_mistake(pair, tmp_path):
    def drop(tensors):
        del tensors["multi_modal_projector.linear_1.weight"]

    folder = changed(pair, tmp_path, edit_tensors=drop)
    with pytest.raises(UserError, match="does not load .* whole.*linear_1.weight"):
        compare(pair, folder)


def test_bad_directories_and_pictures_are_mistakes(pair, tmp_path):
    with pytest.raises(UserError, match="is not the directory of a Hugging Face model"):
        compare(pair, tmp_path)
    with pytest.raises(UserError, match="there is no picture"):
        verify.verify(*pair[:2], [tmp_path / "none.png"], say=quiet)


def test_the_divergence_is_torchs():
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(2, 1, 4, 9))
    want = torch.nn.functional.kl_div(
        torch.tensor(q).log_softmax(-1), torch.tensor(p).log_softmax(-1),
        log_target=True, reduction="none",
    ).sum(-1).max()  # fmt: skip
    assert verify.divergence(p, q) == pytest.approx(float(want))
    assert verify.divergence(p, p) == 0
