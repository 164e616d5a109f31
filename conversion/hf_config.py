"""Hugging Face's `config.json` ↔ `NotaGPTConfig`, and the copy that lies beside converted weights.

A `config.json` leaves out what equals its class's default, so the defaults of transformers'
`MistralConfig` and `CLIPVisionConfig` stand here in full.  What we cannot compute (another
activation, scaled rotary angles, all of CLIP's tokens …) is refused and never rounded to something
near: the shapes would fit and the numbers would not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from conversion.tensors import refuse
from nota_jax import jsontext
from nota_jax.errors import UserError, cut
from nota_jax.models.config import NotaGPTConfig, TextConfig, VisionConfig
from nota_jax.params import flatten

FILE = "architecture.json"
Section = TypeVar("Section", VisionConfig, TextConfig)

CONTEXT = 32768  # Mistral-7B's `max_position_embeddings`; rotary angles need no table

MISTRAL_DEFAULTS = dict(
    vocab_size=32000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
    num_attention_heads=32, num_key_value_heads=8, head_dim=None, rms_norm_eps=1e-6,
    sliding_window=4096, hidden_act="silu", tie_word_embeddings=False, model_type="mistral",
)  # fmt: skip
CLIP_DEFAULTS = dict(
    image_size=224, patch_size=32, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
    num_attention_heads=12, hidden_act="quick_gelu", layer_norm_eps=1e-5, num_channels=3,
    model_type="clip_vision_model",
)  # fmt: skip
# What the original LLaVA only names.
KNOWN_TOWERS = {
    "openai/clip-vit-large-patch14-336": dict(
        image_size=336, patch_size=14, hidden_size=1024, intermediate_size=4096,
        num_hidden_layers=24, num_attention_heads=16,
    )
}  # fmt: skip
# field of a section → (accepted values, what it is, ours)
MISTRAL = {
    "model_type": (("mistral", "llava_mistral"), "the decoder", "a Mistral"),
    "hidden_act": (("silu",), "the decoder's activation", "silu"),
}
CLIP = {
    "model_type": (("clip_vision_model", "clip"), "the vision tower", "a CLIP"),
    "num_channels": ((3,), "the number of the vision tower's channels", "3"),
}
# field of the original's config → (accepted values, why no others)
ORIGINAL = {
    "mm_projector_type": (("mlp2x_gelu",), "the connector has to be linear, GELU, linear"),
    "mm_vision_select_feature": (("patch", None), "CLS is not among our image tokens"),
    "mm_use_im_start_end": ((False, None), "its extra tokens around images are not written here"),
    "mm_use_im_patch_token": ((False, None), "its patch tokens are not written here"),
}
LLAVA = {
    "vision_feature_select_strategy": (("default", None), "CLS is not among our image tokens"),
    "projector_hidden_act": (("gelu", None), "the connector's activation is the exact GELU"),
    "multimodal_projector_bias": ((True, None), "the connector has biases"),
}


def read_json(path: Path) -> dict[str, Any]:
    try:
        values = jsontext.parse(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path.parent} is not the directory of a model: no {path.name}") from None
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}): copy it again") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a configuration")
    return values


@dataclass(frozen=True)
class Described:
    """A model in Hugging Face's own fields, not yet held against what we can compute.

    vision, text: the sections of the two towers; where: the file to name in errors;
    feature_layer: which hidden state of the vision tower the connector reads;
    image_token: None where none is decided, as in a Mistral that has never seen one.
    """

    where: str
    vision: Mapping[str, Any]
    text: Mapping[str, Any]
    feature_layer: int = -2
    image_token: int | None = None

    @property
    def vocab_size(self) -> int:
        return int(self.text.get("vocab_size", MISTRAL_DEFAULTS["vocab_size"]))


def of_llava(
    folder: Path, layout: str, tensor_names: Collection[str], clip: Path | None
) -> Described:
    """What a LLaVA's `config.json` says.

    layout: of its tensors, as named; clip: the directory that describes (and holds) the vision
    tower of an original LLaVA.

    Raises:
      UserError: that lists what is not as in our model.
    """
    config = read_json(folder / "config.json")
    original, where = layout == "original", f"{folder}/config.json"
    problems: list[str] = []
    _check(config, ORIGINAL if original else LLAVA, problems)
    text: Any
    vision: Any
    if original:
        text, vision = config, _tower_of_original(config, clip)
        layer, image_token = config.get("mm_vision_select_layer", -2), None
        if not vision:
            tower = config.get("mm_vision_tower")
            problems.append(f"its vision tower {tower!r} is described nowhere: give --clip DIR")
    else:
        text, vision = config.get("text_config"), config.get("vision_config")
        layer = config.get("vision_feature_layer", -2)
        image_token = config.get("image_token_index", config.get("image_token_id", 32000))
        if not isinstance(text, dict) or not isinstance(vision, dict):
            problems.append("no text_config or vision_config: is it a LLaVA?")
    if isinstance(layer, list) and len(layer) == 1:
        layer = layer[0]
    if not isinstance(layer, int):
        problems.append(f"the connector reads the layers {layer}; ours reads one")
    refuse(f"{where} describes a model that is not ours", problems)
    if not original:
        tied = text.get("tie_word_embeddings")
        if tied is None and not any(name.endswith("lm_head.weight") for name in tensor_names):
            # 4.x writes the flag above, where its default is True and says nothing.
            tied = config.get("tie_word_embeddings", False)
        text = {"model_type": "llama"} | text | {"tie_word_embeddings": bool(tied)}
    return Described(where, vision, text, layer, image_token)


def _tower_of_original(config: Mapping[str, Any], clip: Path | None) -> Mapping[str, Any]:
    """The vision section that an original LLaVA only names; empty where nothing describes it."""
    tower = config.get("mm_vision_tower")
    if clip is not None:
        return clip_section(clip)
    if tower in KNOWN_TOWERS:
        return KNOWN_TOWERS[tower]
    if tower and (Path(tower) / "config.json").is_file():
        return clip_section(Path(tower))
    return {}


def of_clip_and_mistral(clip: Path, mistral: Path) -> Described:
    """A LLaVA-to-be of two models, each with its own `config.json`."""
    config = read_json(mistral / "config.json")
    if config.get("model_type") != "mistral":
        raise UserError(f"{mistral} holds a {config.get('model_type')!r}, not a Mistral")
    return Described(f"{mistral}/config.json", clip_section(clip), config)


def clip_section(folder: Path) -> dict[str, Any]:
    """The vision part of a CLIP's `config.json`, of both towers or of one."""
    config = read_json(folder / "config.json")
    section = config.get("vision_config", config)
    if not isinstance(section, dict):
        raise UserError(f"{folder}/config.json: its vision_config is no section; copy it again")
    kind = section.get("model_type", config.get("model_type"))
    if kind not in ("clip_vision_model", "clip"):
        raise UserError(f"{folder} holds a {kind!r}, not a CLIP")
    return section


def build(described: Described, vocab_size: int, image_token: int) -> NotaGPTConfig:
    """The architecture; all that we cannot compute is listed.

    vocab_size, image_token: what they become here.
    """
    v, t = CLIP_DEFAULTS | dict(described.vision), MISTRAL_DEFAULTS | dict(described.text)
    problems = [
        f"{what} is {section[key]!r}; ours is {ours}"
        for section, rows in ((t, MISTRAL), (v, CLIP))
        for key, (accepted, what, ours) in rows.items()
        if section[key] not in accepted
    ]
    rope, scaling = (t.get(name) or {} for name in ("rope_parameters", "rope_scaling"))
    if isinstance(rope, dict) and isinstance(scaling, dict):
        scaled = rope.get("rope_type", scaling.get("rope_type", scaling.get("type", "default")))
        if scaled not in ("default", None):
            problems.append(f"the rotary angles are scaled ({cut(str(scaled))}); ours are not")
    else:
        problems.append("rope_parameters or rope_scaling is no section")
        rope = {}
    heads, theta = t["num_attention_heads"], rope.get("rope_theta") or t.get("rope_theta") or 1e4
    asked = dict(hidden_size=t["hidden_size"], num_attention_heads=heads, rope_theta=theta)
    problems += [
        f"the decoder's {name} is {cut(repr(x))}; a number above 0 is needed"
        for name, x in asked.items()
        if not isinstance(x, int | float) or not 0 < x < 2.0**63
    ]
    refuse(f"{described.where} describes a model that is not ours", problems)
    t |= {
        "vocab_size": vocab_size,
        "num_key_value_heads": t["num_key_value_heads"] or heads,
        "head_dim": t["head_dim"] or t["hidden_size"] // heads,
        "rope_theta": float(theta),
        "tie_word_embeddings": bool(t["tie_word_embeddings"]),
    }
    v["feature_layer"] = described.feature_layer
    return NotaGPTConfig(
        vision=_of_fields(VisionConfig, v),
        text=_of_fields(TextConfig, t),
        image_token_id=image_token,
    )


def _of_fields(kind: type[Section], values: Mapping[str, Any]) -> Section:
    known = {f.name: values[f.name] for f in dataclasses.fields(kind) if f.name in values}
    try:
        return kind(**known)
    except TypeError as error:  # a list where a number is to stand
        raise UserError(
            f"the model's config.json is damaged, {cut(repr(known))}: {error}; copy it again"
        ) from None


def _check(config: Mapping[str, Any], accepted: Mapping[str, tuple], problems: list[str]) -> None:
    for key, (values, why) in accepted.items():
        if config.get(key) not in values:
            problems.append(f"{key} is {config[key] if key in config else 'absent'}: {why}")


def to_hf(config: NotaGPTConfig, dtype: str, tokens: Mapping[str, int | None]) -> dict[str, Any]:
    """`config.json` as transformers 4.46, 4.57 and 5 read it alike.

    tokens: ids of `bos`, `eos` and `pad`, None where there is no such token.
    """
    text, vision = dataclasses.asdict(config.text), dataclasses.asdict(config.vision)
    theta, layer = text.pop("rope_theta"), vision.pop("feature_layer")
    ids = {f"{name}_token_id": tokens.get(name) for name in ("bos", "eos", "pad")}
    dtypes = {"torch_dtype": dtype, "dtype": dtype}  # 4.x, 5
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        **dtypes,
        "ignore_index": -100,
        "image_token_index": config.image_token_id,
        "image_seq_length": config.vision.num_patches,
        "vision_feature_layer": layer,
        "vision_feature_select_strategy": "default",
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
        "tie_word_embeddings": config.text.tie_word_embeddings,
        "pad_token_id": tokens.get("pad"),
        "text_config": {
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            **text,
            "rope_theta": theta,  # 4.x
            "rope_parameters": {"rope_type": "default", "rope_theta": theta},  # 5
            "max_position_embeddings": CONTEXT,
            "hidden_act": "silu",
            "attention_dropout": 0.0,
            **dtypes,
            "use_cache": True,
            **ids,
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            **vision,
            "num_channels": 3,
            "projection_dim": 768,
            "attention_dropout": 0.0,
            **dtypes,
        },
    }


def architecture(config: NotaGPTConfig) -> dict[str, Any]:
    """What decides the model's numbers, without how it is computed."""
    values = config.to_dict()
    return {key: values[key] for key in ("vision", "text", "connector", "image_token_id")}


def of_directory(
    folder: Path, vocab_size: int = 0, image_token: int | None = None
) -> NotaGPTConfig:
    """The architecture of a conversion (`architecture.json`) or of a run (`config.json`).

    vocab_size, image_token: a run's configuration leaves them to its tokenizer.
    """
    if (folder / FILE).is_file():
        return NotaGPTConfig.from_dict(read_json(folder / FILE))
    model: Any = read_json(folder / "config.json").get("model")
    described = isinstance(model, dict) and isinstance(model.get("text"), dict)
    if not described or image_token is None:
        raise UserError(f"{folder} has no description of its model, or no tokenizer/ beside it")
    text = model["text"] | {"vocab_size": vocab_size}
    # A run asks its machine what to multiply in; that is no part of an architecture.
    known = model | {"text": text, "image_token_id": image_token, "operands": ""}
    return NotaGPTConfig.from_dict(known)


def require_same(found: NotaGPTConfig, wanted: NotaGPTConfig, where: str | Path) -> None:
    """Raises UserError that lists every field in which weights and run differ.

    Shapes alone would let a wrong rotary base or epsilon through.
    """
    got, want = (flatten(architecture(config)) for config in (found, wanted))
    problems = []
    for path in want:
        # The connector's other fields are the resampler's, which Hugging Face has no name for.
        if path.startswith("connector/") and path != "connector/kind":
            continue
        if got[path] != want[path]:
            key = path.replace("/", ".")
            option = f": --config.model.{key}={got[path] or 0}" if "/" in path else ""
            problems.append(f"{key} is {got[path]} there and {want[path]} here{option}")
    refuse(f"the weights in {where} are of another model than the configuration", problems)
