"""Small random models of transformers, and the same weights as our parameters."""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np
import torch
from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, MistralConfig

from conversion import names
from nota_jax.models.config import ConnectorConfig, NotaGPTConfig, TextConfig, VisionConfig
from nota_jax.models.notagpt import param_shapes
from nota_jax.params import unflatten

IMAGE = 7
TINY = NotaGPTConfig(
    vision=VisionConfig(
        image_size=28, patch_size=7, hidden_size=32, intermediate_size=64,
        num_hidden_layers=3, num_attention_heads=4,
    ),
    text=TextConfig(
        vocab_size=101, hidden_size=48, intermediate_size=80, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, head_dim=12, rope_theta=1e4,
        rms_norm_eps=1e-5, sliding_window=None,
    ),
    image_token_id=IMAGE,
)  # fmt: skip


def tiny(
    *, text: dict | None = None, vision: dict | None = None, connector: dict | None = None, **whole
) -> NotaGPTConfig:
    """TINY with some fields replaced."""
    return dataclasses.replace(
        TINY,
        text=dataclasses.replace(TINY.text, **(text or {})),
        vision=dataclasses.replace(TINY.vision, **(vision or {})),
        connector=ConnectorConfig(**(connector or {})),
        **whole,
    )


def hf_llava(config: NotaGPTConfig, seed: int = 0) -> LlavaForConditionalGeneration:
    """transformers' model of the same shape, fp32, eager attention, every tensor random.

    The weights are larger than transformers' own initialisation, so that every layer matters to
    the result and a wrong one cannot hide below the tolerance.
    """
    text, vision = dataclasses.asdict(config.text), dataclasses.asdict(config.vision)
    feature_layer, theta = vision.pop("feature_layer"), text.pop("rope_theta")
    hf_config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision),
        text_config=MistralConfig(
            **text, rope_parameters={"rope_type": "default", "rope_theta": theta},
            pad_token_id=None, bos_token_id=1, eos_token_id=2,
        ),
        image_token_index=config.image_token_id, image_seq_length=config.vision.num_patches,
        vision_feature_layer=feature_layer, tie_word_embeddings=config.text.tie_word_embeddings,
        attn_implementation="eager",
    )  # fmt: skip
    model = LlavaForConditionalGeneration(hf_config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if value.ndim > 1:
                value.copy_(noise / value[0].numel() ** 0.5)
            else:
                value.copy_(0.2 * noise + ("norm" in name and name.endswith("weight")))
    return model


def params_of(model: torch.nn.Module) -> dict:
    """Our parameter tree with the weights of an in-memory transformers model."""
    tensors = {name: value.detach().numpy() for name, value in model.named_parameters()}
    return jax.tree.map(jax.numpy.asarray, to_tree(tensors, "transformers-5"))


def to_tree(tensors: Mapping[str, np.ndarray], layout: str) -> dict:
    """Tensors in memory → the nested parameter tree; what the layout leaves out is left out."""
    flat: dict[str, np.ndarray] = {}
    stacks: dict[str, dict[int, np.ndarray]] = {}
    for name, tensor in tensors.items():
        match names.locate(name, layout):
            case names.Slot(path, None) as slot:
                flat[path] = slot.to_ours(tensor)
            case names.Slot(path, layer) as slot:
                stacks.setdefault(path, {})[layer] = slot.to_ours(tensor)
            case None:
                raise KeyError(name)
    for path, stack in stacks.items():
        flat[path] = np.stack([stack[layer] for layer in range(len(stack))])
    return unflatten(flat)


def random_params(config: NotaGPTConfig, seed: int = 0) -> dict:
    """The model's parameters filled by numpy, which compiles nothing."""
    rng = np.random.default_rng(seed)
    shapes = param_shapes(config)

    def fill(path, leaf):
        noise = rng.normal(size=leaf.shape).astype(leaf.dtype)
        if path[-1].key == "kernel":
            return noise / np.prod(leaf.shape[-2:-1]) ** 0.5
        return 1 + 0.2 * noise if path[-1].key == "scale" else 0.2 * noise

    return jax.tree_util.tree_map_with_path(fill, shapes)


def random_inputs(
    config: NotaGPTConfig, batch: int = 2, text: int = 13, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [B, S, S, 3] and tokens [B, 2 + N + text] with the image behind two tokens."""
    rng = np.random.default_rng(seed)
    size = config.vision.image_size
    pixels = rng.normal(size=(batch, size, size, 3)).astype(np.float32)
    n = config.num_image_tokens
    tokens = rng.integers(8, config.text.vocab_size, (batch, 2 + n + text))
    tokens[:, 2 : 2 + n] = config.image_token_id
    return pixels, tokens


def to_torch_pixels(pixels: np.ndarray) -> torch.Tensor:
    return torch.tensor(pixels.transpose(0, 3, 1, 2))


def max_difference(ours, theirs) -> float:
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    return float(np.abs(np.asarray(ours) - theirs).max())
