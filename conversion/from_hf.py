"""Weights from Hugging Face's names into a checkpoint that training starts from.

    python -m conversion.from_hf --llava DIR --out CKPT [--layout NAME]
    python -m conversion.from_hf --clip DIR --mistral DIR --out CKPT

DIR holds config.json and safetensors (one file, or shards with their index).  A LLaVA of the
original repository without its vision tower takes `--clip DIR` beside `--llava`.  CKPT gets

    base/               the parameters, as `nota_jax.checkpoint.base` reads them
    architecture.json   what decides the model's numbers
    conversion.json     where everything came from, what was left out, what was initialised
    tokenizer files     with <image> and <pad>

Tensors stream: a model of 15 GB needs about 1 GB of memory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from transformers import PreTrainedTokenizerBase

import nota_jax
from conversion import fill, hf_config, kinds, names, tensors
from nota_jax.checkpoint import slices
from nota_jax.data.feed import tokenizer
from nota_jax.data.feed.chat import image_token_id
from nota_jax.data.feed.tokenizer import load_tokenizer, save_tokenizer
from nota_jax.environment import quiet
from nota_jax.errors import UserError, exit_status
from nota_jax.files import new_folder, write_json
from nota_jax.models.config import NotaGPTConfig
from nota_jax.params import count_params, n_bytes, unflatten
from nota_jax.units import human_bytes

Say = Callable[[str], None]

PROVENANCE = "conversion.json"


@dataclass(frozen=True)
class Reading:
    """What one or two Hugging Face directories mean to us; nothing large is in memory."""

    architecture: NotaGPTConfig
    plan: fill.Plan
    tokenizer: PreTrainedTokenizerBase | None
    sources: tuple[fill.Source, ...]


def read(
    llava: Path | None = None,
    clip: Path | None = None,
    mistral: Path | None = None,
    layout: str | None = None,
) -> Reading:
    """Reads headers and configurations and plans what becomes of every tensor.

    layout: of `llava`'s tensors; None to recognise it.

    Raises:
      UserError: anything that does not fit, as one list where there are several.
    """
    for folder in filter(None, (llava, clip, mistral)):
        kinds.require_model(folder)
    if llava is not None and mistral is None:
        home = llava
        found = tensors.open_directory(llava)
        kinds.require_llava(llava)
        layout = layout or names.recognise(found)
        if layout not in names.WHOLE:
            whole = ", ".join(names.WHOLE)
            raise UserError(
                f"{llava} holds tensors of the layout {layout}, which is a part of a model: give "
                f"--clip and --mistral, or force one of {whole}"
            )
        described = hf_config.of_llava(llava, layout, found, clip)
        # With a CLIP beside it, the vision tower always comes from there.
        parts = tuple(part for part in names.COMPONENTS if clip is None or part != "vision")
        sources = [fill.Source(llava, layout, found, parts)]
    elif mistral is not None and clip is not None and llava is None:
        home = mistral
        if layout is not None:
            raise UserError("--layout is for --llava; CLIP's and Mistral's are recognised")
        described = hf_config.of_clip_and_mistral(clip, mistral)
        sources = [_part(mistral, ("mistral",), ("text", "head"))]
    else:
        raise UserError("give either --llava DIR, or --clip DIR and --mistral DIR")
    if clip is not None:
        sources.append(_part(clip, ("clip", "clip-flat"), ("vision",)))

    tok = load_tokenizer(home) if tokenizer.find(home) else None
    config = hf_config.build(described, *_vocabulary(described, tok))
    plan = fill.plan(sources, config, described.vocab_size)
    return Reading(config, plan, tok, tuple(sources))


def _part(folder: Path, layouts: tuple[str, ...], components: tuple[str, ...]) -> fill.Source:
    found = tensors.open_directory(folder)
    layout = names.recognise(found)
    if layout not in layouts:
        raise UserError(f"{folder} holds tensors of the layout {layout}, expected: {layouts[0]}")
    return fill.Source(folder, layout, found, components)


def _vocabulary(
    described: hf_config.Described, tok: PreTrainedTokenizerBase | None
) -> tuple[int, int]:
    """(vocabulary size, image token), wide enough for <image> and <pad>."""
    old, image = described.vocab_size, described.image_token
    if tok is None:
        found, needed = (old, old + 2) if image is None else (image, image + 1)
    else:
        found, needed = image_token_id(tok), len(tok)
    if image is not None and found != image:
        raise UserError(
            f"{described.where} says that <image> is token {image}, the tokenizer says {found}"
        )
    return (old if needed <= old else tokenizer.vocabulary_size(needed)), found


def convert(reading: Reading, out: str | Path, say: Say = print) -> None:
    """Writes the checkpoint; the directory gets its name when all of it is there."""
    say(report(reading))
    with new_folder(out, n_bytes(reading.plan.shapes)) as half:
        slices.save_base(half, reading.plan.shapes, reading.plan.blocks())
        write_json(half / hf_config.FILE, hf_config.architecture(reading.architecture))
        write_json(half / PROVENANCE, _provenance(reading))
        if reading.tokenizer is not None:
            save_tokenizer(reading.tokenizer, half)
    say(f"written: {out}")


def load(
    folder: str | Path, wanted: NotaGPTConfig, shardings: Mapping[str, Any] | None, say: Say
) -> dict[str, Any]:
    """The parameters of a Hugging Face LLaVA, each device's part read straight to its place.

    wanted: the architecture of the run, which has to be that of the weights.
    shardings: by path; None gives numpy arrays.
    """
    reading = read(llava=Path(folder))
    hf_config.require_same(reading.architecture, wanted, folder)
    say(report(reading))
    return parameters(reading, shardings)


def parameters(reading: Reading, shardings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The parameters that were planned; shardings as in `load`."""
    planned = reading.plan.parameters
    if shardings is None:
        return unflatten({path: p.read() for path, p in planned.items()})
    return unflatten({path: fill.place(p, shardings[path]) for path, p in planned.items()})


def report(reading: Reading) -> str:
    """What was found, in lines for people."""
    done, shapes = reading.plan, reading.plan.shapes
    lines = [
        f"layout {source.layout}: {len(source.tensors)} tensors in {source.folder}"
        for source in reading.sources
    ]
    numbers, size = count_params(shapes), human_bytes(n_bytes(shapes))
    lines.append(f"{len(done.parameters)} parameters, {numbers:,} numbers, {size}")
    lines += [f"left out: {line}" for line in _grouped(done.left_out)]
    lines += [f"initialised: {line}" for line in _grouped(done.initialised)]
    if reading.tokenizer is None:
        lines.append("no tokenizer there: training needs config.tokenizer=FOLDER")
    return "\n".join(lines)


def _grouped(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """One line for each reason, with its first names."""
    reasons: dict[str, list[str]] = {}
    for name, why in pairs:
        reasons.setdefault(why, []).append(name)
    return [
        f"{', '.join(group[:2])}" + (f" and {len(group) - 2} more" if len(group) > 2 else "")
        + f" ({why})"
        for why, group in reasons.items()
    ]  # fmt: skip


def _provenance(reading: Reading) -> dict[str, Any]:
    return {
        "nota_jax": nota_jax.__version__,
        "sources": [
            {
                "directory": str(source.folder),
                "name": hf_config.read_json(source.folder / "config.json").get("_name_or_path")
                or source.folder.resolve().name,
                "layout": source.layout,
                "tensors": len(source.tensors),
            }
            for source in reading.sources
        ],
        "left_out": dict(reading.plan.left_out),
        "initialised": dict(reading.plan.initialised),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0, or 2 for a mistake."""
    parser = command("conversion.from_hf", __doc__)
    parser.add_argument("--llava", type=Path, metavar="DIR")
    parser.add_argument("--clip", type=Path, metavar="DIR")
    parser.add_argument("--mistral", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="CKPT")
    parser.add_argument("--layout", choices=names.WHOLE, help="force the layout of --llava")
    args = parser.parse_args(argv)
    return exit_status(
        lambda: convert(read(args.llava, args.clip, args.mistral, args.layout), args.out),
        interrupted="nothing was left under the final name",
    )


def command(name: str, text: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the module's docstring, on a terminal without third-party chatter."""
    quiet()
    # Numbers are moved, not computed: an accelerator would only be kept from others.
    jax.config.update("jax_platforms", "cpu")
    return argparse.ArgumentParser(
        name, description=(text or "").strip(), formatter_class=argparse.RawTextHelpFormatter
    )


if __name__ == "__main__":
    sys.exit(main())
