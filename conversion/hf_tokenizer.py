"""Tokenizer and conversation as an export has them: every way to a prompt gives training's tokens.

Training puts BOS in front of a prompt as an id.  An export has it in one place, at the head of the
chat template, and its tokenizer adds none by itself: servers tokenise the rendered text without
special tokens, scripts with them, and both get one BOS.  Prompts are padded on the left, because
an answer goes on from a prompt's last token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from conversion.hf_config import read_json
from nota_jax.data.feed.chat import chat_template, jinja
from nota_jax.data.feed.tokenizer import SENTENCEPIECE, save_tokenizer
from nota_jax.files import write_json

ADDED = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")


def write(tok: PreTrainedTokenizerBase, out: Path, template: str) -> None:
    """Tokenizer files and chat template.

    template: name of the one that training used (`data.chat.TEMPLATES`).

    Raises:
      UserError: there is no such template, or none that fits the tokenizer.
    """
    save_tokenizer(tok, out)
    state = _plain(json.loads((out / "tokenizer.json").read_text()))
    write_json(out / "tokenizer.json", state)
    written = chat_template(tok, template)
    # Where each generation of transformers looks for it.
    (out / "chat_template.jinja").write_text(written)
    write_json(out / "chat_template.json", {"chat_template": written})
    settings = read_json(out / "tokenizer_config.json") | {
        "chat_template": written,
        "processor_class": "LlavaProcessor",
        "padding_side": "left",
        "add_bos_token": False,
        "add_eos_token": False,
        # 4.x would hand out token_type_ids as well, which `generate` refuses.
        "model_input_names": ["input_ids", "attention_mask"],
        # 4.x reads them from tokenizer.json, GGUF's converter only here.
        "added_tokens_decoder": {
            str(entry["id"]): {key: entry[key] for key in ADDED} for entry in state["added_tokens"]
        },
    }
    if (out / SENTENCEPIECE).is_file():
        # To GGUF: whether a text that begins behind a special token gets SentencePiece's space.
        settings["add_prefix_space"] = written == jinja(template)
    write_json(out / "tokenizer_config.json", settings)


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """`tokenizer.json` that adds, cuts and pads nothing by itself."""
    after = state["post_processor"] or {}
    kept = [rule for rule in after.get("processors", [after]) if rule.get("type") == "ByteLevel"]
    return state | {
        "post_processor": kept[0] if kept else None,
        "padding": None,
        "truncation": None,
    }
