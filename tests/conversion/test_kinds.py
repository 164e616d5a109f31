"""What is given for a model and is none is called by its name, and its owner told what to do."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from conversion import from_hf
from nota_jax.errors import UserError
from tests.conversion import hf_directories as hf
from tests.models.hf_reference import tiny


def refusal(folder, **how) -> str:
    with pytest.raises(UserError) as caught:
        from_hf.read(**(how or {"llava": folder}))
    assert str(folder) in str(caught.value)
    return str(caught.value)


def write(folder, files: dict) -> None:
    """Files by name: JSON of a dictionary, tensors of a list of names, or text."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            save_file({tensor: torch.zeros(2, 2) for tensor in content}, path)
        else:
            path.write_text(json.dumps(content) if isinstance(content, dict) else content)


LORA = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
ADAPTER = {"peft_type": "LORA", "base_model_name_or_path": "someone/llava-mistral"}
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
QWEN = {"model_type": "qwen2_vl", "architectures": ["Qwen2VL"], "vision_config": {}}

# name → (files, what is said)
KINDS = {
    "a LoRA adapter": (
        {"adapter_config.json": ADAPTER, "adapter_model.safetensors": [LORA]},
        ("a LoRA adapter", "merge_and_unload", "someone/llava-mistral"),
    ),
    "a pickled adapter": (
        {"adapter_config.json": ADAPTER, "adapter_model.bin": "x", "config.json": {}},
        ("a LoRA adapter", "merge_and_unload"),
    ),
    "an adapter without its configuration": (
        {"model.safetensors": [LORA], "config.json": {}},
        ("a LoRA adapter", "merge_and_unload"),
    ),
    "an adapter of another kind": (
        {"adapter_config.json": {"peft_type": "LOHA"}, "adapter_model.safetensors": ["x.hada_w1"]},
        ("a LOHA adapter", "merge_and_unload"),
    ),
    "a tuned prompt": (
        {"adapter_config.json": ADAPTER | {"peft_type": "PROMPT_TUNING"}, "adapter_model.bin": "x"},
        ("PROMPT_TUNING", "cannot be merged", "give the base itself"),
    ),
    "a model with an adapter beside it": (
        {"adapter_model.safetensors": [LORA], "model.safetensors": ["x"], "config.json": {}},
        ("holds a model", "a LoRA adapter", "remove adapter_*"),
    ),
    "a GGUF": ({"model.Q4_K_M.gguf": "GGUF"}, ("model.Q4_K_M.gguf is a GGUF", "safetensors")),
    "an ONNX": ({"model.onnx": "x", "config.json": {}}, ("ONNX", "safetensors")),
    "TensorFlow's weights": ({"tf_model.h5": "x", "config.json": {}}, ("TensorFlow's",)),
    "Flax's weights": ({"flax_model.msgpack": "x", "config.json": {}}, ("Flax's",)),
    "pickles": ({"pytorch_model.bin": "x", "config.json": {}}, ("pickled weights only",)),
    "a diffusion pipeline": (
        {"model_index.json": {}, "unet/diffusion_pytorch_model.safetensors": ["x"]},
        ("diffusers",),
    ),
    "a part of a pipeline": (
        {"config.json": {"_diffusers_version": "0"}, "diffusion_pytorch_model.safetensors": ["x"]},
        ("diffusers",),
    ),
    "Mistral's own format": (
        {"params.json": {}, "consolidated.safetensors": ["x"], "tokenizer.model": "x"},
        ("Mistral's own format", "version for transformers"),
    ),
    "quantised weights, by their configuration": (
        {"config.json": {"quantization_config": {"quant_method": "awq"}}, "model.safetensors": []},
        ("quantised (awq)", "bf16"),
    ),
    "quantised weights, by their names": (
        {"config.json": {}, "model.safetensors": ["model.layers.0.mlp.up_proj.qweight"]},
        ("are quantised", "bf16"),
    ),
    "a checkpoint of ours": ({"base/x": "x", "architecture.json": {}}, ("--config.init_from",)),
    "a hub's cache": (
        {"refs/main": "abc", "snapshots/abc/model.safetensors": ["x"]},
        ("give one of", "snapshots/abc"),
    ),
    "a trainer's output": (
        {"training_args.bin": "x", "checkpoint-500/model.safetensors": ["x"]},
        ("give one of", "checkpoint-500"),
    ),
    "a text model": (
        {"config.json": LLAMA, "model.safetensors": ["model.embed_tokens.weight"]},
        ("'llama' (LlamaForCausalLM)", "knows no pictures", "--mistral"),
    ),
    "a text model of other names": (
        {"config.json": {"model_type": "gpt2"}, "model.safetensors": ["h.0.attn.c_attn.weight"]},
        ("'gpt2'", "knows no pictures"),
    ),
    "another family's model with pictures": (
        {"config.json": QWEN, "model.safetensors": ["model.embed_tokens.weight"]},
        ("'qwen2_vl' (Qwen2VL)", "only CLIP with a Mistral"),
    ),
    "nothing": ({}, ("is empty", "download")),
    "something else": ({"notes.txt": "x"}, ("is not the directory of a model",)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_model_is_called_by_its_name(kind, tmp_path):
    files, said = KINDS[kind]
    write(tmp_path, files)
    text = refusal(tmp_path)
    assert all(words in text for words in said), text


@pytest.mark.parametrize(
    "name, said",
    [
        ("model.gguf", "a GGUF"), ("model.safetensors", "give the directory"),
        ("model.tar.gz", "unpack it"), ("pytorch_model.bin", "in safetensors"),
    ],
)  # fmt: skip
def test_a_file_is_called_by_its_name_too(name, said, tmp_path):
    (tmp_path / name).write_text("x")
    assert said in refusal(tmp_path / name)


def test_clip_and_mistral_are_looked_at_in_the_same_way(tmp_path):
    hf.clip_and_mistral(tmp_path, tiny())
    write(tmp_path / "lora", {"adapter_config.json": ADAPTER, "adapter_model.safetensors": [LORA]})
    write(tmp_path / "gguf", {"clip.gguf": "x"})
    clip, mistral = tmp_path / "clip", tmp_path / "mistral"
    assert "a LoRA adapter" in refusal(tmp_path / "lora", clip=clip, mistral=tmp_path / "lora")
    assert "a GGUF" in refusal(tmp_path / "gguf", clip=tmp_path / "gguf", mistral=mistral)


def test_a_model_with_lora_in_a_tensors_name_is_refused_and_without_it_is_read(tmp_path):
    hf.llava_directory(tmp_path / "hf", tiny())
    from_hf.read(llava=tmp_path / "hf")
    file = tmp_path / "hf/model.safetensors"
    save_file(load_file(file) | {LORA: torch.zeros(2, 2)}, file)
    assert "a LoRA adapter" in refusal(tmp_path / "hf")
