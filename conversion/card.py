"""The model card: what an exported model is made of, read from the directories it came from."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

from conversion import hf_config
from nota_jax import history, places, tables
from nota_jax.checkpoint import scores
from nota_jax.models import ink
from nota_jax.models.config import NotaGPTConfig

HEAD = """---
library_name: transformers
pipeline_tag: image-text-to-text
tags: [sheet-music, abc-notation, notagpt, llava]
---

# NotaGPT ({name})

Reads a picture of sheet music and answers in text: title, key, meter, ABC notation, analysis.
Made with nota_jax, an open reimplementation of NotaGPT (arXiv 2502.14893); exported with
`conversion.to_hf` as a `LlavaForConditionalGeneration` with transformers' legacy tensor names.
"""

USE = """
## Use

```python
import numpy as np
from PIL import Image, ImageOps
from transformers import AutoProcessor, LlavaForConditionalGeneration

FOLDER = "."  # where this file lies
model = LlavaForConditionalGeneration.from_pretrained(FOLDER)
processor = AutoProcessor.from_pretrained(FOLDER)

score = ImageOps.exif_transpose(Image.open("score.png"))
if score.mode.startswith("I;16"):  # Pillow would cut 16 bits off at 255
    score = Image.fromarray((np.asarray(score) >> 8).astype(np.uint8))
score = score.convert("RGBA")
PAGE
question = {"type": "text", "text": "What is the key of this tune?"}
messages = [{"role": "user", "content": [{"type": "image"}, question]}]
text = processor.apply_chat_template(messages, add_generation_prompt=True)
inputs = processor(images=page.convert("RGB"), text=text, return_tensors="pt")
answer = model.generate(**inputs, max_new_tokens=64)[0, inputs["input_ids"].shape[1]:]
print(processor.decode(answer, skip_special_tokens=True))
```

The model was trained with the pages that these lines make: upright, transparent places white. A
picture of floats or of 32-bit integers has to be made one of 8 bits first.

The prompt begins with the beginning-of-sequence token, which the chat template writes and the
tokenizer does not add: a prompt that is written by hand needs it too. Several questions at once
(`padding=True`) are padded on the left and answered as one by one.
"""
SQUARE = """\
side = max(score.size)  # by itself LLaVA's processor pads with grey, or cuts
page = Image.new("RGBA", (side, side), "white")
page.alpha_composite(score, ((side - score.width) // 2, (side - score.height) // 2))
"""
AS_IT_IS = """\
page = Image.new("RGBA", score.size, "white")
page.alpha_composite(score)
"""

PARTS = """
**Parts to start from, as CLIP and Mistral are for the paper**: the tower sees and the decoder
writes, and the connector between them is still random. It reads when phase 1 has trained that.
"""

ESSEN = "essenFolksong"
MOST_PHASES = 9  # a chain of runs that is longer runs in a circle


def write(folder: Path, config: NotaGPTConfig, step: int | None, image_mode: str = "pad") -> str:
    """README.md of the export of `folder`, a run's or a conversion's directory.

    image_mode: of `data.images`, as the model was trained.
    """
    chain = _chain(folder)
    parts = [HEAD.format(name=chain[0][1].get("size", "converted") if chain else "converted")]
    parts += [] if not chain or chain[0][1].get("phase") else [PARTS]
    parts += ["\n## Architecture\n", *_architecture(config)]
    parts += ["\n## Base models\n", *_bases(chain[-1] if chain else (folder, {}))]
    if chain:
        parts += ["\n## Training\n", *_phases(chain, step), "\n## Data\n", *_data(chain)]
        parts += ["\n## Evaluation\n", *_evaluation(folder, step)]
    return "\n".join(parts) + "\n" + use(image_mode)


def use(image_mode: str = "pad") -> str:
    """How the model is asked about a picture, in lines that run where the card lies."""
    return USE.replace("PAGE\n", SQUARE if image_mode == "pad" else AS_IT_IS)


def _chain(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The run and those before it, newest first, as far as they are still there."""
    chain: list[tuple[Path, dict[str, Any]]] = []
    while (folder / "config.json").is_file() and len(chain) < MOST_PHASES:
        chain.append((folder, hf_config.read_json(folder / "config.json")))
        folder = places.folder_of(chain[-1][1].get("previous") or "-")
    return chain


def _architecture(config: NotaGPTConfig) -> list[str]:
    v, t = config.vision, config.text
    inked = [
        f"- **it looks at {v.most_patches} of a page's {v.num_patches} patches**: those with most "
        f"inked pixels (darker than {ink.DARK:.0%} of white in every channel), in the order in "
        "which they lie, each with the position embedding of its place; white paper is 0. A plain "
        "LLaVA client computes all patches: it shows the decoder more image tokens than it was "
        "trained with, and reads much worse (figures: docs/evaluation.md of nota_jax). nota_jax "
        "has the rule."
    ]
    heading = [
        "- **title and composer are read from a second picture**: the heading of the page, "
        "enlarged (`nota_jax.data.feed.heading` makes it, and says how); about the whole page "
        "they were never asked, and in a transcription the answers stand in their place"
    ]
    return [
        f"- vision: CLIP ViT, {v.num_hidden_layers} layers of width {v.hidden_size}, "
        f"{v.image_size} px, patches of {v.patch_size} px, features of layer {v.feature_layer}",
        *(inked if v.patches == "inked" else []),
        *(heading if v.heading == "enlarged" else []),
        "- connector: linear, GELU, linear",
        f"- decoder: Mistral, {t.num_hidden_layers} layers of width {t.hidden_size}, "
        f"{t.num_attention_heads} heads ({t.num_key_value_heads} for keys and values), "
        f"rotary base {t.rope_theta:g}, sliding window {t.sliding_window or 'none'}, "
        f"vocabulary {t.vocab_size}",
    ]


def _bases(oldest: tuple[Path, dict[str, Any]]) -> list[str]:
    folder, config = oldest
    start = places.folder_of(config["init_from"]) if config.get("init_from") else folder
    if (start / "conversion.json").is_file():
        made = hf_config.read_json(start / "conversion.json")
        lines = [f"- {source['name']} (layout {source['layout']})" for source in made["sources"]]
        return lines + [f"- made new: {what}: {why}" for what, why in made["initialised"].items()]
    if config.get("init_from"):
        return [f"- {config['init_from']}"]
    if config.get("parts"):
        return [_part(expression, run) for expression, run in config["parts"]]
    random = f"random weights, seed {config.get('seed', 0)}"
    if previous := config.get("previous"):
        return [f"- {previous}, if it was there when training began (it is not now); else {random}"]
    return [f"- none: {random}"]


def _part(expression: str, place: str) -> str:
    """A part that a run of ours trained before the phases."""
    run, line = places.folder_of(place), f"- `{expression}`: trained from random weights by {place}"
    if not (run / "config.json").is_file():
        return line
    config = hf_config.read_json(run / "config.json")
    return (
        f"{line}: objective {config['objective']}, {config['steps']} steps of "
        f"{config['data']['batch_size']} questions, config digest `{digest(config)}`"
    )


def _trains(config: dict[str, Any]) -> str:
    """Which parameters a phase trains, as its table says it."""
    on = " ".join(f"`{rule}`" for rule, trains in config["trainable"] if trains)
    off = " ".join(f"`{rule}`" for rule, trains in config["trainable"] if not trains)
    return f"{on} without {off}" if off and config["trainable"][-1][1] else on


def _phases(chain: list[tuple[Path, dict[str, Any]]], step: int | None) -> list[str]:
    headers = (
        "phase", "steps", "tasks", "trains", "learning rate", "questions per step", "config digest",
    )  # fmt: skip
    left = {chain[0][0]: step} | {
        before: _began(folder) for (folder, _), (before, _) in itertools.pairwise(chain)
    }
    rows = [
        (
            _name(config),
            _steps(folder, left[folder]),
            ", ".join(config["data"]["tasks"]),
            _trains(config),
            f"{config['optim']['learning_rate']:g}",
            str(config["data"]["batch_size"]),
            f"`{digest(config)}`",
        )
        for folder, config in reversed(chain)
    ]
    changes = [
        f"- {_name(config)}, behind step {behind}: {key} {then} → {now}"
        for folder, config in reversed(chain)
        for behind, changed in history.changes(folder)
        for key, (then, now) in changed.items()
    ]
    return [
        tables.markdown(headers, rows, left=4),
        *(["\nChanged on the way (the table has what was set in the end):\n"] if changes else []),
        *changes,
        f"\nCheckpoint of step {step} of the last phase. The digest is the SHA-256 of the resolved "
        "configuration (`config.json` of the run, keys sorted).",
    ]


def _name(config: dict[str, Any]) -> str:
    return str(config["phase"] or config["objective"])


def _began(folder: Path) -> int | None:
    """Which step of the phase before it a run began from; None: the newest, as it was then."""
    state = history.read(folder)
    _, which = places.split(state.marks.get("began", "") if state else "")
    return int(which) if which else None


def _steps(folder: Path, step: int | None) -> str:
    """How far a run came: of a phase that others started from, its newest checkpoint."""
    done = history.latest_step(folder) if step is None else step
    state = history.read(folder)
    planned = state.total_steps if state else 0
    return f"{done:,} of {planned:,}" if done < planned else f"{done:,}"


def digest(config: dict[str, Any]) -> str:
    """SHA-256 of a resolved configuration, keys sorted; its first 16 digits."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def _data(chain: list[tuple[Path, dict[str, Any]]]) -> list[str]:
    lines, essen = [], False
    parts = [places.folder_of(run) / "config.json" for _, run in chain[-1][1].get("parts", ())]
    configs = [hf_config.read_json(path) for path in parts if path.is_file()]
    configs += [config for _, config in reversed(chain)]
    for folder in dict.fromkeys(config["data"]["dir"] for config in configs):
        report = Path(folder) / "build_report.json"
        arguments = hf_config.read_json(report).get("arguments", {}) if report.is_file() else {}
        corpora = arguments.get("corpora") or []
        essen = essen or not corpora or ESSEN in corpora
        shown = ", ".join(corpora) or "the ABC collections inside music21"
        lines.append(f"- `{folder}`: pictures engraved by nota_jax from {shown}")
    with_it = "part of music21's collections (Essen) is for non-commercial use"
    return [*lines, f"- {with_it if essen else 'without Essen, which is for non-commercial use'}"]


def _asked(settings: dict[str, Any]) -> str:
    """How the questions were asked, where it was not simply that."""
    views, heat = settings.get("views", 1), settings.get("temperature", 0)
    said = [f"{views} views of each page"] if views > 1 else []
    said += ["decoding under the grammar of ABC"] if settings.get("grammar") else []
    said += [f"temperature {heat:g}"] if heat else []
    return "".join(f"; {what}" for what in said)


def _which(evaluation: str) -> str:
    """Of which step an evaluation's folder tells, "" for the newest: evaluation_test@800."""
    return evaluation.partition(places.MARK)[2].partition("_")[0]


def _evaluation(folder: Path, step: int | None) -> list[str]:
    """What the run's own evaluations of this checkpoint found; those of others are not told."""
    score = scores.read(folder / "checkpoints" / str(step))
    lines = [f"A sample of validation pages, asked while it trained: {score}.\n"] if score else []
    newest = step in (None, history.latest_step(folder))
    found = [
        path for path in sorted(folder.glob("evaluation_*/evaluation.json"))
        if _which(path.parent.name) == ("" if newest else str(step))
    ]  # fmt: skip
    if not found:
        return lines or ["Not evaluated yet."]
    for path in found:
        figures = hf_config.read_json(path)
        asked = figures.get("all", {}).get("questions", 0)
        settings = figures.get("settings", {})
        which = "its newest checkpoint" if newest else "this checkpoint"
        lines.append(
            f"Measured by the run itself, with {which}, on {asked} held-out "
            f"questions ({', '.join(settings.get('splits', []))}{_asked(settings)}):\n"
        )
        table = path.with_suffix(".md")
        if table.is_file():
            section = table.read_text().split("\n## ")[0].split("\n", 1)[-1].strip()
            # A table of two lines is a head without rows: nothing of these tasks is scored.
            lines.append(section if section.count("\n") > 1 else "no figure for these tasks")
    return lines
