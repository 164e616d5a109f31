"""What is wrong with a directory is said in a sentence, and nothing half-written stays."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from conversion import from_hf, tensors, to_hf
from nota_jax.errors import UserError
from tests.conversion import hf_directories as hf
from tests.conversion.hf_directories import quiet
from tests.models.hf_reference import tiny

INDEX = "model.safetensors.index.json"


@pytest.fixture
def good(tmp_path):
    """A legacy LLaVA in three shards."""
    hf.llava_directory(tmp_path / "hf", tiny())
    hf.shard(tmp_path / "hf", 3)
    return tmp_path / "hf"


def refusal(folder) -> str:
    with pytest.raises(UserError) as caught:
        from_hf.read(llava=folder)
    return str(caught.value)


def change(folder, edit) -> None:
    """Rewrites the one file of a directory."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)


def test_a_missing_shard(good):
    (good / "model-00002-of-00003.safetensors").unlink()
    assert "missing shard model-00002-of-00003.safetensors (" in refusal(good)


@pytest.mark.parametrize("left", [4, 100, -1])
def test_a_truncated_shard(good, left):
    file = good / "model-00003-of-00003.safetensors"
    os.truncate(file, left if left > 0 else file.stat().st_size + left)
    text = refusal(good)
    assert str(file) in text and ("truncated" in text or "no safetensors file" in text)


def test_an_index_that_disagrees_with_its_shards(good):
    index = json.loads((good / INDEX).read_text())
    homes = index["weight_map"]
    gone, *_, moved = sorted(homes)
    homes[moved] = homes[gone]
    del homes[gone]
    homes["invented.weight"] = homes[moved]
    (good / INDEX).write_text(json.dumps(index))
    text = refusal(good)
    assert "lacks invented.weight, which the index promises" in text
    assert f"lacks {moved}, which" in text and f"holds {gone}, which the index does not" in text


def test_an_index_that_is_none(good):
    (good / INDEX).write_text('{"weight_map": [1]')
    assert "is no index of shards" in refusal(good)


def test_several_files_without_an_index(good):
    (good / INDEX).unlink()
    assert "3 safetensors files" in refusal(good)


def test_everything_that_does_not_fit_is_listed_together(tmp_path):
    hf.llava_directory(tmp_path / "hf", tiny())

    def spoil(tensors):
        tensors["surprise.weight"] = torch.zeros(3)
        tensors["multi_modal_projector.linear_1.bias"] = torch.zeros(49)
        del tensors["language_model.model.norm.weight"]
        gate = "language_model.model.layers.1.mlp.gate_proj.weight"
        tensors[gate] = tensors[gate].to(torch.int8)
        up = "language_model.model.layers.2.mlp.up_proj.weight"
        tensors[up] = tensors[up].bfloat16()
        tensors["language_model.model.layers.3.input_layernorm.weight"] = torch.ones(48)

    change(tmp_path / "hf", spoil)
    text = refusal(tmp_path / "hf")
    for part in (
        "unknown tensor surprise.weight (3,)",
        "linear_1.bias has shape (49,), expected is (48,)",
        "missing tensor language_model.model.norm.weight",
        "gate_proj.weight is I8: only F32, F16, BF16 are read",
        "the layers of language_model/model/layers/mlp/up_proj/kernel have different dtypes",
        "surplus tensor language_model.model.layers.3.input_layernorm.weight: the configuration",
    ):
        assert part in text


def test_a_configuration_without_its_sections(tmp_path):
    hf.llava_directory(tmp_path / "hf", tiny())
    path = tmp_path / "hf/config.json"
    for section in (None, "mistral"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"text_config": section}))
        assert "no text_config or vision_config: is it a LLaVA?" in refusal(tmp_path / "hf")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "x.pth"])
def test_pickled_weights_are_refused_unopened(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(b"\x80\x04cos\nabort\n(tR.")
    text = refusal(tmp_path)
    assert "pickled weights only" in text and "weights_only=True" in text


def test_directories_that_are_no_model(tmp_path):
    assert "there is no directory" in refusal(tmp_path / "nowhere")
    assert "is not the directory of a model" in refusal(tmp_path)
    hf.llava_directory(tmp_path / "hf", tiny())
    (tmp_path / "hf/config.json").unlink()
    assert "no config.json" in refusal(tmp_path / "hf")
    (tmp_path / "hf/config.json").write_text("{")
    assert "is no JSON" in refusal(tmp_path / "hf")


def test_files_that_are_no_safetensors(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    file = tmp_path / "model.safetensors"
    for content, words in (
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<html>not found</html>", "no safetensors file"),
        ((20).to_bytes(8, "little") + b"not JSON, just twenty", "header makes no sense"),
        (b"", "no safetensors file"),
    ):
        file.write_bytes(content)
        assert words in refusal(tmp_path)


@pytest.mark.parametrize(
    "section, key, value, words",
    [
        ("text_config", "model_type", "llama", "the decoder is 'llama'; ours is a Mistral"),
        ("text_config", "hidden_act", "gelu", "activation is 'gelu'; ours is silu"),
        ("text_config", "rope_scaling", {"type": "linear", "factor": 2}, "are scaled (linear)"),
        ("vision_config", "model_type", "siglip_vision_model", "ours is a CLIP"),
        (None, "vision_feature_select_strategy", "full", "CLS is not among our image tokens"),
        (None, "projector_hidden_act", "relu", "the exact GELU"),
        (None, "vision_feature_layer", [-2, -5], "ours reads one"),
    ],
)
def test_models_that_are_not_ours_are_refused_though_shapes_fit(
    tmp_path, section, key, value, words
):
    hf.llava_directory(tmp_path / "hf", tiny())
    path = tmp_path / "hf/config.json"
    values = json.loads(path.read_text())
    (values[section] if section else values)[key] = value
    if key == "rope_scaling":
        del values[section]["rope_parameters"]
    path.write_text(json.dumps(values))
    assert words in refusal(tmp_path / "hf")


def test_the_wrong_kind_of_directory_says_which_option_it_is_for(tmp_path):
    hf.clip_and_mistral(tmp_path, tiny())
    assert "give --clip and --mistral" in refusal(tmp_path / "mistral")
    with pytest.raises(UserError, match="holds a 'clip', not a Mistral"):
        from_hf.read(clip=tmp_path / "clip", mistral=tmp_path / "clip")
    with pytest.raises(UserError, match="give either --llava DIR, or --clip DIR and --mistral DIR"):
        from_hf.read(mistral=tmp_path / "mistral")


def test_a_forced_layout_that_is_wrong_says_what_is_missing(good):
    with pytest.raises(UserError, match="unknown tensor .*vision_model"):
        from_hf.read(llava=good, layout="transformers-5-saved")


def test_a_llava_that_lost_its_connector_is_not_given_a_new_one(tmp_path):
    hf.llava_directory(tmp_path / "hf", tiny())

    def lose(tensors):
        for name in [name for name in tensors if name.startswith("multi_modal_projector")]:
            del tensors[name]

    change(tmp_path / "hf", lose)
    assert "missing tensor multi_modal_projector.linear_1.weight" in refusal(tmp_path / "hf")


def test_no_room_is_said_beforehand(good, tmp_path, monkeypatch):
    reading = from_hf.read(llava=good)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(UserError, match=r"/out needs .* MB at .*, 1 B are free: make room"):
        from_hf.convert(reading, tmp_path / "out", quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_a_disk_that_fills_up_leaves_nothing(good, tmp_path):
    from_hf.convert(from_hf.read(llava=good), tmp_path / "ckpt", quiet)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(UserError, match="cannot write .*/out: File too large. Nothing was lef"):
            to_hf.export(to_hf.open_run(tmp_path / "ckpt"), tmp_path / "out", say=quiet)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
        with pytest.raises(UserError, match="cannot write the parameters"):
            from_hf.convert(from_hf.read(llava=good), tmp_path / "out", quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt", "hf"]


def test_what_is_there_already_is_not_overwritten(good, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        from_hf.convert(from_hf.read(llava=good), tmp_path / "out", quiet)
    assert (tmp_path / "out/mine.txt").read_text() == "mine"


KILLED = """
import os, signal, sys
from conversion import fill, from_hf
read, count = fill.Parameter.read, []
def dying(self, index=None):
    count.append(self)
    if len(count) == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(self, index)
fill.Parameter.read = dying
from_hf.main(sys.argv[1:])
"""


def test_a_killed_conversion_leaves_nothing_that_looks_whole(good, tmp_path):
    out = tmp_path / "ckpt"
    argv = [sys.executable, "-c", KILLED, "--llava", str(good), "--out", str(out)]
    assert subprocess.run(argv, capture_output=True).returncode == -signal.SIGKILL
    assert not out.exists()
    (half,) = tmp_path.glob(".*.incomplete")
    assert not (half / "architecture.json").exists()
    with pytest.raises(UserError):
        to_hf.open_run(half)
    from_hf.convert(from_hf.read(llava=good), out, quiet)  # and the next one is not in its way
    assert not half.exists() and (out / "architecture.json").exists()


def test_commands_answer_with_a_status_and_no_traceback(good, tmp_path, capsys):
    out = tmp_path / "ckpt"
    assert from_hf.main(["--llava", str(tmp_path / "none"), "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("error: there is no directory")
    assert from_hf.main(["--llava", str(good), "--out", str(out)]) == 0
    assert "layout legacy: " in capsys.readouterr().out
    back = ["--ckpt", str(out), "--out", str(tmp_path / "back")]
    assert to_hf.main([*back, "--max-shard-size", "0"]) == 2
    assert to_hf.main([*back, "--max-shard-size", "10MB"]) == 0
    assert to_hf.main(["--ckpt", str(good), "--out", str(out)]) == 2
    assert "in Hugging Face's format already" in capsys.readouterr().err


def test_our_reader_and_the_library_agree(good):
    ours = tensors.open_directory(good)
    theirs = hf.exported(good)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        np.testing.assert_array_equal(tensor.read(), theirs[name].numpy())
