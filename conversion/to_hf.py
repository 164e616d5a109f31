"""A checkpoint into a directory that `LlavaForConditionalGeneration.from_pretrained` loads.

    python -m conversion.to_hf --ckpt CKPT --out DIR [--dtype bfloat16] [--max-shard-size 5GB]

CKPT is the directory of a run of any phase (its frozen base and what it trained are joined; the
newest checkpoint, or that of RUN@best or RUN@STEP) or of a conversion.  DIR gets legacy tensor
names, which are the only ones that transformers 4.46, 4.57 and 5 all load, configuration,
tokenizer, chat template, processor files, and a model card.  Without --dtype each tensor keeps its
own.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from transformers import PreTrainedTokenizerBase

from conversion import card, fill, from_hf, hf_config, hf_tokenizer, names, tensors
from nota_jax import places
from nota_jax.checkpoint import fingerprints, slices
from nota_jax.data.feed import tokenizer
from nota_jax.data.feed.chat import IMAGE, image_token_id
from nota_jax.data.feed.tokenizer import load_tokenizer
from nota_jax.errors import UserError, exit_status
from nota_jax.files import new_folder, write_json
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.notagpt import param_shapes
from nota_jax.params import n_bytes
from nota_jax.pixels import IMAGE_MEAN, IMAGE_STD
from nota_jax.units import human_bytes

Say = Callable[[str], None]

SHARD = 5 * 10**9


@dataclass(frozen=True)
class Trained:
    """A run's or a conversion's directory, opened.

    tokenizer: None where there is none; image_mode, template: how it was shown pictures and
    questions (`data.feed`'s `images` and `chat`).
    """

    folder: Path
    stored: slices.Stored
    architecture: NotaGPTConfig
    tokenizer: PreTrainedTokenizerBase | None
    image_mode: str
    template: str

    @property
    def place(self) -> str:
        """As `nota_jax.places` spells it, its step as a number."""
        return places.spelled(self.folder, self.stored.step)


def open_run(place: str | Path) -> Trained:
    """What a run or a conversion holds, checked, with nothing large in memory.

    place: as `nota_jax.places` spells it.

    Raises:
      UserError: no such run, the wrong base, parameters that are not the described model's.
    """
    folder = places.folder_of(place)
    if not folder.is_dir():
        raise UserError(f"there is no directory {folder}")
    if not (folder / "base").exists() and tensors.is_checkpoint(folder):
        raise UserError(f"{folder} is in Hugging Face's format already")
    stored = slices.Stored(place)
    tok = load_tokenizer(folder) if tokenizer.find(folder) else None
    if fill.EMBEDDING not in stored.forms:
        raise UserError(f"{folder} holds no {fill.EMBEDDING}: it is not the run of a NotaGPT")
    vocab = stored.forms[fill.EMBEDDING].shape[0]
    image = None if tok is None else image_token_id(tok)
    config = hf_config.of_directory(folder, vocab, image)
    shapes = param_shapes(config)
    problem = f"the parameters in {folder} are not those of the model that it describes"
    fingerprints.require_shapes(stored.forms, shapes, problem)
    data: dict[str, Any] = {}
    if (folder / "config.json").is_file():
        data = hf_config.read_json(folder / "config.json").get("data", {})
    mode, template = data.get("image_mode", "pad"), data.get("template", "mistral_instruct")
    return Trained(folder, stored, config, tok, mode, template)


def export(
    run: Trained,
    out: str | Path,
    dtype: str | None = None,
    max_shard: int = SHARD,
    say: Say = print,
) -> None:
    """Writes the directory, which gets its name when all of it is there."""
    kind = run.architecture.connector.kind
    if kind != "mlp2":
        raise UserError(
            f"the connector of {run.folder} is a {kind}, which LLaVA has no counterpart for: only "
            "mlp2 can be exported"
        )
    target = jnp.dtype(dtype) if dtype else None
    for path, form in run.stored.forms.items():
        if target is None and form.dtype not in tensors.DTYPES.values():
            raise UserError(f"{path} is {form.dtype}, which is not exported as it is: give --dtype")
    slots, forms = names.slots(run.stored.forms), {}
    for name, slot in slots.items():
        form = run.stored.forms[slot.path]
        shape = slot.tensor_shape(form.shape)
        forms[name] = jax.ShapeDtypeStruct(shape, target or form.dtype)

    def produce(name: str) -> np.ndarray:
        slot = slots[name]
        values = slot.to_hf(run.stored.read(slot.path, slot.layer))
        with np.errstate(over="ignore"):  # said below, by name
            cast = np.ascontiguousarray(values).astype(forms[name].dtype, copy=False)
        if cast.dtype == np.float16 and not np.isfinite(cast).all() and np.isfinite(values).all():
            raise UserError(f"{name} has numbers that float16 cannot hold: take bfloat16")
        return cast

    widest = max((form.dtype for form in forms.values()), key=lambda d: d.itemsize)
    size = n_bytes(forms)
    with new_folder(out, size) as half:
        files = tensors.write(half, forms, produce, max_shard)
        run.stored.verify()
        _write_configs(half, run, widest.name)
        text = card.write(run.folder, run.architecture, run.stored.step, run.image_mode)
        (half / "README.md").write_text(text)
    say(f"written: {out} ({len(forms)} tensors, {human_bytes(size)} in {len(files)} files)")


def _write_configs(out: Path, run: Trained, dtype: str) -> None:
    config, tok = run.architecture, run.tokenizer
    tokens = {} if tok is None else {
        "bos": tok.bos_token_id, "eos": tok.eos_token_id, "pad": tok.pad_token_id
    }  # fmt: skip
    write_json(out / "config.json", hf_config.to_hf(config, dtype, tokens))
    ids = {f"{name}_token_id": number for name, number in tokens.items()}
    write_json(out / "generation_config.json", {"do_sample": False, **ids})
    picture = image_processor(config.vision.image_size, run.image_mode)
    if config.vision.patches == "inked":  # to which white is zero, and which is padded with white
        picture["image_mean"] = [1.0, 1.0, 1.0]
    write_json(out / "preprocessor_config.json", picture)
    # 5.x would nest the picture's settings here too; 4.x then fails, and 5.x reads both files.
    write_json(
        out / "processor_config.json",
        {
            "processor_class": "LlavaProcessor",
            "image_token": IMAGE,
            "patch_size": config.vision.patch_size,
            # One less than there are hidden states: "default" leaves CLS out, which is counted.
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        },
    )
    if tok is not None:
        hf_tokenizer.write(tok, out, run.template)


def image_processor(size: int, mode: str) -> dict[str, Any]:
    """`preprocessor_config.json`: `data.images.load` and `normalize` in transformers' terms.

    LLaVA's processor pads with the mean colour and knows no other; ours pads with white.  For
    square pictures, which is all that our datasets hold, that is the same, and others are laid on
    a white square first, as the card says.
    """
    return {
        "processor_class": "LlavaProcessor",
        # Without a type it is the model's own: LlavaImageProcessor in 4.57 and 5.  4.46 has none
        # that pads, and fails on a name that it does not know; it takes CLIP's.
        **({"do_pad": True} if mode == "pad" else {"image_processor_type": "CLIPImageProcessor"}),
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGE_MEAN),
        "image_std": list(IMAGE_STD),
    }


def parse_size(text: str) -> int:
    """ "5GB" → 5,000,000,000; decimal units, as transformers counts them."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB|)", text.strip().upper())
    if match is None or not float(match[1]):
        raise UserError(f"{text!r} is no size: write 5GB or 500MB")
    return int(float(match[1]) * {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}[match[2]])


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0, or 2 for a mistake."""
    parser = from_hf.command("conversion.to_hf", __doc__)
    parser.add_argument("--ckpt", type=Path, required=True, metavar="CKPT")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--max-shard-size", default="5GB", metavar="SIZE")
    args = parser.parse_args(argv)
    return exit_status(
        lambda: export(open_run(args.ckpt), args.out, args.dtype, parse_size(args.max_shard_size)),
        interrupted="nothing was left under the final name",
    )


if __name__ == "__main__":
    sys.exit(main())
