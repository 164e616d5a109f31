"""A checkpoint that is asked about pictures: questions in, answers out, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from transformers import PreTrainedTokenizerFast

import nota_jax
from conversion import from_hf, hf_config, tensors
from nota_jax import places
from nota_jax.checkpoint import steps
from nota_jax.data.build.phrasings import EXTRACTION_QUESTIONS
from nota_jax.data.feed import chat, heading, images, tokenizer
from nota_jax.errors import UserError
from nota_jax.evaluation.metrics import FIELDS
from nota_jax.evaluation.rules import abc_rules
from nota_jax.models import decode, grammar, ink
from nota_jax.models.attention import turn_mask
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.notagpt import NotaGPT, param_shapes
from nota_jax.notation.abc.grammar import closed, loose_slurs
from nota_jax.parallel import hardware
from nota_jax.pixels import normalize

TEMPLATE = "mistral_instruct"
SHORT, LONG = 64, 512  # tokens of a header field's and of a page's answer
LENGTHS = (128, 256, LONG)  # of the answers that are looked at again: few shapes are compiled
PAGES = (1, 4)  # of a batch
VIEWS = 4
SHIPPED = Path(nota_jax.__file__).parent.parent / "checkpoints" / "small"


@dataclass(frozen=True)
class Asked:
    """A model with its weights.

    name: of the checkpoint, for people; rules: those of ABC, None to write without; views: of a
    picture, moved by a few pixels each, that it is read from together.
    """

    model: NotaGPT
    params: Any
    tokenizer: PreTrainedTokenizerFast
    name: str
    rules: grammar.Tables | None = None
    views: int = 1

    @property
    def size(self) -> int:
        """Side of the square that it sees, pixels."""
        return self.model.config.vision.image_size


@dataclass(frozen=True)
class Answer:
    """text: outer whitespace removed; whole: False where it was cut off at the limit of tokens.

    starts: the character at which each token begins; sure: each token's probability; looks: the
    patch of the picture that the token was written from, and the share of attention there.
    """

    text: str
    whole: bool
    starts: np.ndarray
    sure: np.ndarray
    looks: np.ndarray
    attention: np.ndarray


def load(checkpoint: str | Path | None = None, *, rules: bool = True, views: int = VIEWS) -> Asked:
    """A model to ask.

    checkpoint: a run (as `places` spells it), a conversion or a Hugging Face export; None for the
    shipped one.
    rules: write nothing but valid ABC.
    views: of each picture, 1 to 8; more take longer and err less.

    Raises:
      UserError: there is no such checkpoint, or it is no NotaGPT; no such number of views.
    """
    if not 1 <= views <= len(images.VIEWS):
        raise UserError(f"views is {views}: a page is read from 1 to {len(images.VIEWS)}")
    place = SHIPPED if checkpoint is None else checkpoint
    folder = places.folder_of(place)
    if not folder.is_dir():
        where = "the shipped checkpoint" if checkpoint is None else "--ckpt"
        raise UserError(f"{where} {folder} is not there: name a run or an export with --ckpt")
    tok = tokenizer.load_tokenizer(folder)
    ours = (folder / "base").exists() or (folder / hf_config.FILE).is_file()
    if not ours and not tensors.is_checkpoint(folder):
        raise UserError(
            f"{folder} is neither a run nor a Hugging Face model: it has no base/, and no "
            "config.json with safetensors"
        )
    if ours:
        vocab = tokenizer.vocabulary_size(len(tok))
        config = _computed(hf_config.of_directory(folder, vocab, chat.image_token_id(tok)))
        params = steps.load_params(place, param_shapes(config))
    else:
        reading = from_hf.read(llava=folder)
        config, params = _computed(reading.architecture), from_hf.parameters(reading)
    params = jax.tree.map(lambda x: jnp.asarray(x, config.param_dtype), params)
    of_abc = abc_rules(tok, config.text.vocab_size) if rules else None
    return Asked(NotaGPT(config), params, tok, str(place), of_abc, views)


def _computed(config: NotaGPTConfig) -> NotaGPTConfig:
    """How it is computed here."""
    platform = jax.default_backend()
    dtype = "float32" if platform == "cpu" else "bfloat16"
    return replace(
        config, dtype=dtype, param_dtype=dtype, platform=platform, remat="none",
        operands=hardware.operands(platform),
    )  # fmt: skip


def header(asked: Asked, image: np.ndarray) -> dict[str, str]:
    """The header fields of a picture uint8 [S, S, 3], by subtask."""
    apart = heading.subtasks(asked.model.config.vision.heading)
    answers = dict[str, str]()
    for names in (apart, [name for name in FIELDS if name not in apart]):
        if names:
            shown = heading.enlarged(image)[0] if names is apart else image
            questions = [EXTRACTION_QUESTIONS[name][0] for name in names]
            (found,) = _generate(asked, [shown], questions, SHORT)
            texts = (chat.decode_answer(asked.tokenizer, ids) for ids in found)
            answers |= dict(zip(names, texts, strict=True))
    return {name: answers[name] for name in FIELDS}


def transcribe(asked: Asked, pictures: Sequence[np.ndarray]) -> list[Answer]:
    """The ABC of pictures uint8 [S, S, 3]."""
    question, answers = EXTRACTION_QUESTIONS["abc"][0], []
    for start in range(0, len(pictures), PAGES[-1]):
        part = pictures[start : start + PAGES[-1]]
        for picture, (ids,) in zip(
            part, _generate(asked, part, [question], LONG, asked.rules), strict=True
        ):
            answers.append(_examined(asked, picture, question, ids))
    return answers


def _generate(
    asked: Asked,
    pictures: Sequence[np.ndarray],
    questions: Sequence[str],
    limit: int,
    rules: grammar.Tables | None = None,
) -> list[list[list[int]]]:
    """Tokens of the answer to every question about every picture of a batch."""
    tok, model = asked.tokenizer, asked.model
    prompts = chat.encode_prompts(tok, TEMPLATE, questions)
    prefix = chat.encode_prefix(tok, TEMPLATE, model.config.num_image_tokens)
    turns = np.full((len(prompts), max(map(len, prompts))), tok.pad_token_id, np.int32)
    for i, ids in enumerate(prompts):
        turns[i, : len(ids)] = ids
    rows = next(n for n in PAGES if n >= len(pictures))
    pixels = np.full((rows, asked.views, asked.size, asked.size, 3), 255, np.uint8)
    pixels[: len(pictures)] = [images.views(picture, asked.views) for picture in pictures]
    lengths = np.tile(np.array(list(map(len, prompts)), np.int32), (rows, 1))
    lengths[len(pictures) :] = 0
    out = decode.generate(
        model, asked.params, normalize(pixels.reshape(-1, *pixels.shape[2:])),
        np.tile(np.array(prefix, np.int32), (rows, 1)), np.tile(turns, (rows, 1, 1)), lengths,
        max_new_tokens=limit, eos_ids=(tok.eos_token_id,), rules=rules, views=asked.views,
    )  # fmt: skip
    return [
        [out.tokens[row, q, : out.lengths[row, q]].tolist() for q in range(len(prompts))]
        for row in range(len(pictures))
    ]


def _examined(asked: Asked, picture: np.ndarray, question: str, ids: list[int]) -> Answer:
    """An answer read once more: how probable each token was, and where it was looked for."""
    tok, model = asked.tokenizer, asked.model
    prefix = chat.encode_prefix(tok, TEMPLATE, model.config.num_image_tokens)
    (prompt,) = chat.encode_prompts(tok, TEMPLATE, [question])
    room = next(n for n in LENGTHS if n >= len(ids))
    answer = np.full(room, tok.pad_token_id, np.int32)
    answer[: len(ids)] = ids
    tokens = np.concatenate([np.array(prefix + prompt, np.int32), answer])
    turn = np.ones(len(tokens), np.int32)
    turn[: len(prefix)] = 0
    turn[len(prefix) + len(prompt) + len(ids) :] = -1
    first = len(prefix) + len(prompt) - 1  # predicts the answer's first token
    sure, looks, attention = _look(
        model, asked.params, normalize(images.views(picture, asked.views)),
        np.tile(tokens, (asked.views, 1)), np.tile(turn, (asked.views, 1)), first, room,
    )  # fmt: skip
    written = [len(tok.decode(ids[:n], skip_special_tokens=False)) for n in range(len(ids))]
    whole = str(tok.decode(ids, skip_special_tokens=False))
    ahead = len(whole) - len(whole.lstrip())
    n, text = len(ids), whole.strip()
    starts = np.maximum(np.array(written, np.int32) - ahead, 0)
    if asked.rules is not None:
        starts -= np.searchsorted(loose_slurs(text), starts).astype(np.int32)
        text = closed(text)
    return Answer(
        text=text,
        whole=n < LONG,
        starts=starts,
        sure=np.asarray(sure)[:n],
        looks=np.asarray(looks)[:n],
        attention=np.asarray(attention)[:n],
    )


@partial(jax.jit, static_argnames=("model", "first", "room"))
def _look(model, params, pixels, tokens, turn_ids, first, room):
    """Of `room` tokens behind position `first`: the probability that all views give it together,
    the patch looked at in the first of them, attention there.
    """
    config = model.config
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    features = model.apply({"params": params}, pixels, method="encode_images")
    hidden, (queries, keys) = model.apply(
        {"params": params}, tokens, turn_ids, positions, features, keep="qk", method="hidden"
    )
    predicting = slice(first, first + room)
    logits = model.apply({"params": params}, hidden[:, predicting], method="logits")
    together = jax.nn.log_softmax(logits.astype(jnp.float32)).mean(0)
    answer = jnp.append(tokens[0], 0)[first + 1 : first + 1 + room]
    sure = jax.nn.softmax(together)[jnp.arange(room), answer]
    q, k = queries[-1, 0, predicting, 0], keys[-1, 0, :, 0]
    visible = turn_mask(turn_ids[:1], positions[:1], config.text.sliding_window)[0, 0, predicting]
    scores = jnp.where(visible, q @ k.T * q.shape[-1] ** -0.5, -jnp.inf)
    attention = jax.nn.softmax(scores.astype(jnp.float32))
    start = jnp.argmax(tokens[0] == config.image_token_id)
    there = jax.lax.dynamic_slice_in_dim(attention, start, features.shape[1], axis=1)
    chosen = ink.choose(pixels, config.vision)[0]
    return sure, chosen[jnp.argmax(there, axis=1)], jnp.max(there, axis=1)


def center(asked: Asked, patch: int) -> tuple[float, float]:
    """Where a patch lies: right and down, pixels of the square."""
    vision = asked.model.config.vision
    n = vision.image_size // vision.patch_size
    return (patch % n + 0.5) * vision.patch_size, (patch // n + 0.5) * vision.patch_size
