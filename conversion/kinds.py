"""What people have that is no model of ours: called by its name, with what to do about it.

A folder called "model" may hold an adapter, a GGUF, a diffusion pipeline or a cache.  What tensors
are called would say so only to those who know; the files around them say it to all.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nota_jax import jsontext
from nota_jax.errors import UserError

# Kinds of PEFT that are not numbers to be added to weights.
PROMPTS = ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING",
           "ADAPTION_PROMPT", "CPT")  # fmt: skip
MERGE = (
    "merge it into its base and give what that saves: peft.PeftModel.from_pretrained(BASE, "
    "{folder!r}).merge_and_unload().save_pretrained(OUT), BASE being {base}"
)
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".zst", ".7z", ".rar")
TAKE_SAFETENSORS = "take the model's version for transformers, in safetensors"
TAKE_WHOLE = "take the model that it was made from, in fp32, fp16 or bf16"
# (what lies in the folder, what that is, what to do), for folders without safetensors
OTHER_WEIGHTS = (
    ("*.gguf", "is a GGUF, llama.cpp's format, mostly quantised", TAKE_SAFETENSORS),
    ("*.ggml", "is a GGML, llama.cpp's format of old", TAKE_SAFETENSORS),
    ("*.onnx", "is a compiled graph (ONNX)", TAKE_SAFETENSORS),
    ("*.h5", "is TensorFlow's", "load it there with transformers 4 and save it as safetensors"),
    ("*.msgpack", "is Flax's", "load it there with transformers 4 and save it as safetensors"),
    ("*.nemo", "is NeMo's", TAKE_SAFETENSORS),
)
PART_OF_QUANTISED = (".qweight", ".qzeros", ".absmax", ".quant_map", ".weight_scale_inv", ".SCB")


def require_model(place: Path) -> None:
    """Nothing for the directory of a model, as far as its files' names say.

    Raises:
      UserError: there is none, or it is something else: what it is, and what to do.
    """
    if place.is_file():
        raise UserError(f"{place} is a file, {_of_file(place)}")
    if not place.is_dir():
        raise UserError(f"there is no directory {place}")
    files = {path.name for path in place.iterdir()}
    if not files:
        raise UserError(
            f"{place} is not the directory of a model: it is empty; was the download finished?"
        )
    config = _read(place / "config.json")
    if "adapter_config.json" in files or any(name.startswith("adapter_model.") for name in files):
        both = any(name.startswith("model") and name.endswith(".safetensors") for name in files)
        found = (
            "holds a model (remove adapter_* if it is merged into it already) and" if both else ""
        )
        raise UserError(f"{place} {found or 'is'} {_adapter(place)}")
    if "model_index.json" in files or "_diffusers_version" in config:
        raise UserError(
            f"{place} is a diffusers pipeline or a part of one, which makes pictures and reads "
            "none: give a LLaVA, or a CLIP and a Mistral"
        )
    if "config.json" not in files and files & {"params.json", "consolidated.safetensors"}:
        raise UserError(
            f"{place} is in Mistral's own format (params.json, consolidated): {TAKE_SAFETENSORS}"
        )
    if isinstance(quantised := config.get("quantization_config"), dict):
        raise UserError(f"{place} is quantised ({quantised.get('quant_method')}): {TAKE_WHOLE}")
    if not any(name.endswith((".safetensors", ".safetensors.index.json")) for name in files):
        _without_safetensors(place)


def _of_file(file: Path) -> str:
    if file.suffix == ".safetensors":
        return "one of a model's: give the directory that holds it and its config.json"
    if file.suffix in ARCHIVES:
        return "an archive: unpack it and give the directory"
    for pattern, what, advice in OTHER_WEIGHTS:
        if file.match(pattern):
            return f"and {what}: {advice}"
    return f"not the directory of a model: {TAKE_SAFETENSORS}"


def _adapter(folder: Path) -> str:
    config = _read(folder / "adapter_config.json")
    kind = str(config.get("peft_type") or "LORA")
    base = str(config.get("base_model_name_or_path") or "the model that it was trained on")
    if kind in PROMPTS:
        return (
            f"a PEFT adapter ({kind}) to {base} and no model: it is no change of weights and "
            "cannot be merged; give the base itself"
        )
    name = "LoRA" if kind == "LORA" else kind
    return f"a {name} adapter (PEFT) and no model: {MERGE.format(folder=str(folder), base=base)}"


def _without_safetensors(folder: Path) -> None:
    for pattern, what, advice in OTHER_WEIGHTS:
        for file in sorted(folder.glob(pattern)):
            raise UserError(f"{folder} holds no safetensors; {file.name} {what}: {advice}")
    if (folder / "base").is_dir():
        raise UserError(
            f"{folder} is a checkpoint of nota_jax already: training starts from it with "
            "--config.init_from, conversion.to_hf exports it with --ckpt"
        )
    if (folder / "snapshots").is_dir():
        folder = folder / "snapshots"
    models = sorted({file.parent for file in folder.glob("*/*.safetensors")})
    if models:
        which = ", ".join(str(model) for model in models[:3])
        raise UserError(f"{folder} holds no model itself, its folders do: give one of {which}")


def require_whole(folder: Path, names: Iterable[str]) -> None:
    """Raises UserError where the tensors' names are those of an adapter or of quantised weights."""
    for name in names:
        if ".lora_" in name or name.startswith("base_model.model."):
            raise UserError(f"{folder} holds {name}: it is {_adapter(folder)}")
        if name.endswith(PART_OF_QUANTISED):
            raise UserError(f"{folder} holds {name}: its weights are quantised; {TAKE_WHOLE}")


def require_llava(folder: Path) -> None:
    """Raises UserError where the configuration is another family's than LLaVA's, CLIP's, Mistral's.

    Those of the parts pass: what they are for is said by who asks for a whole.
    """
    config = _read(folder / "config.json")
    kind = config.get("model_type")
    if kind in (None, "mistral", "clip", "clip_vision_model") or "llava" in str(kind):
        return
    named = config.get("architectures")
    made = ", ".join(map(str, named if isinstance(named, list) else ())) or "no architecture named"
    family = f"{folder} holds a {kind!r} ({made}), which is not a LLaVA"
    if "vision_config" in config:
        raise UserError(f"{family}: of models with pictures only CLIP with a Mistral is read here")
    raise UserError(
        f"{family} and knows no pictures; NotaGPT's parts are a CLIP and a Mistral: give --clip "
        "and --mistral"
    )


def _read(file: Path) -> dict[str, Any]:
    """A JSON object; {} where there is none, of which others speak."""
    try:
        values = jsontext.parse(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
