"""Hugging Face directories of small random models, one for every layout that is in the world."""

import dataclasses
import json
import math

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    MistralConfig,
    MistralForCausalLM,
)

from nota_jax.models.config import NotaGPTConfig
from tests.models.hf_reference import hf_llava

# From the names that transformers 5 has in memory, replaced in this order.
RENAMING = {
    "transformers-5": {},
    "legacy": {
        "model.vision_tower.": "vision_tower.vision_model.",
        "model.multi_modal_projector.": "multi_modal_projector.",
        "model.language_model.": "language_model.model.",
        "lm_head.": "language_model.lm_head.",
    },
    "transformers-4.57": {"model.vision_tower.": "model.vision_tower.vision_model."},
    "original": {
        "model.vision_tower.": "model.vision_tower.vision_tower.vision_model.",
        "model.multi_modal_projector.linear_1.": "model.mm_projector.0.",
        "model.multi_modal_projector.linear_2.": "model.mm_projector.2.",
        "model.language_model.": "model.",
    },
}
LAYOUTS = (*RENAMING, "transformers-5-saved")


def quiet(_: str) -> None:
    """Where lines for people go in tests that do not read them."""


def renamed(tensors: dict, layout: str) -> dict:
    """Tensors under transformers 5's names in memory → under those of another layout."""

    def rename(name):
        for old, new in RENAMING[layout].items():
            if name.startswith(old):
                return new + name.removeprefix(old)
        return name

    return {rename(name): value for name, value in tensors.items()}


def tensors_of(model: torch.nn.Module) -> dict:
    """The model's parameters once each: a tied head is not listed."""
    return {name: value.detach().contiguous() for name, value in model.named_parameters()}


def llava_directory(folder, config: NotaGPTConfig, layout="legacy", dtype=torch.float32) -> dict:
    """Makes the directory; returns its tensors under legacy names."""
    model = hf_llava(config).to(dtype)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = tensors_of(model)
    if layout == "transformers-5-saved":
        model.save_pretrained(folder)
    else:
        save_file(renamed(tensors, layout), folder / "model.safetensors", {"format": "pt"})
        model.config.save_pretrained(folder)
    if layout == "original":
        original_config(folder, config)
    return renamed(tensors, "legacy")


def original_config(folder, config: NotaGPTConfig) -> None:
    """The flat config.json of LLaVA's own repository, and a CLIP's that it points to."""
    text, vision = dataclasses.asdict(config.text), dataclasses.asdict(config.vision)
    layer = vision.pop("feature_layer")
    (folder / "tower").mkdir()
    CLIPVisionConfig(**vision).save_pretrained(folder / "tower")
    values = text | {
        "model_type": "llava_mistral",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": layer,
        "mm_vision_tower": str(folder / "tower"),
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
    }
    (folder / "config.json").write_text(json.dumps(values))


def vision_config(config: NotaGPTConfig) -> dict:
    values = dataclasses.asdict(config.vision)
    values.pop("feature_layer")
    return values


def mistral_config(config: NotaGPTConfig) -> MistralConfig:
    values = dataclasses.asdict(config.text)
    theta = values.pop("rope_theta")
    return MistralConfig(**values, rope_parameters={"rope_type": "default", "rope_theta": theta})


def llava_next_directory(folder, config: NotaGPTConfig) -> dict:
    """A LLaVA-NeXT as transformers saves it; returns our part of it under legacy names."""
    model = LlavaNextForConditionalGeneration(
        LlavaNextConfig(
            vision_config=CLIPVisionConfig(**vision_config(config)),
            text_config=mistral_config(config),
            image_token_index=config.image_token_id,
        )
    )
    model.save_pretrained(folder)
    tensors = tensors_of(model)
    del tensors["model.image_newline"]
    return renamed(tensors, "legacy")


def clip_and_mistral(folder, config: NotaGPTConfig, dtype=torch.float32) -> dict:
    """`clip/` (both towers) and `mistral/`; returns what of them is ours, under legacy names."""
    torch.manual_seed(0)
    text = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    text |= dict(vocab_size=50, bos_token_id=1, eos_token_id=2)
    clip = CLIPModel(CLIPConfig(vision_config=vision_config(config), text_config=text)).to(dtype)
    clip.save_pretrained(folder / "clip")
    mistral = MistralForCausalLM(mistral_config(config)).to(dtype)
    mistral.save_pretrained(folder / "mistral")
    parts = {
        name.replace("vision_model.", "vision_tower.vision_model.", 1): value
        for name, value in tensors_of(clip).items()
        if name.startswith("vision_model.")
    }
    return parts | {f"language_model.{name}": x for name, x in tensors_of(mistral).items()}


def shard(folder, count: int) -> None:
    """Cuts a directory's only file into shards with their index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, each = sorted(tensors), math.ceil(len(tensors) / count)
    homes = {}
    for i in range(count):
        file = f"model-{i + 1:05d}-of-{count:05d}.safetensors"
        part = names[i * each : (i + 1) * each]
        save_file({name: tensors[name] for name in part}, folder / file, {"format": "pt"})
        homes |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": homes}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def same_bytes(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(
        a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)
    )  # fmt: skip


def exported(folder) -> dict:
    """All tensors of a directory, read by the safetensors library."""
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors
