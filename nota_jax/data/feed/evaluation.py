"""Evaluation's pages: held-out pictures with their questions, ready to be answered."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from nota_jax.data.feed import chat, images
from nota_jax.data.feed.packing import wanted_subtasks
from nota_jax.data.records import Page, Turn
from nota_jax.data.store.reader import PageReader


@dataclass(frozen=True)
class EvalPage:
    """One picture with its questions, ready to be answered.

    image: uint8 [S, S, 3]; prefix: tokens up to the last image token, shared by the questions;
    prompts: tokens behind it, one list a turn; turns: subtask, question and expected answer.
    """

    id: str
    image: np.ndarray
    prefix: tuple[int, ...]
    prompts: tuple[tuple[int, ...], ...]
    turns: tuple[Turn, ...]
    metadata: dict[str, Any]


def eval_questions(
    dataset_dir: str | Path,
    splits: Sequence[str],
    tok: PreTrainedTokenizerFast,
    *,
    n_image_tokens: int,
    image_size: int,
    limit: int = 0,
    subtasks: Sequence[str] = (),
    pages: int = 0,
    seed: int = 0,
    template: str = "mistral_instruct",
    image_mode: str = "pad",
) -> Iterator[EvalPage]:
    """Pages of the splits with their questions, as `sampled` gives them, ready to be answered."""
    prefix = tuple(chat.encode_prefix(tok, template, n_image_tokens))
    for page in sampled(dataset_dir, splits, limit, subtasks, pages, seed):
        prompts = chat.encode_prompts(tok, template, [turn.question for turn in page.turns])
        yield EvalPage(
            id=page.id,
            image=images.load(page.png, image_size, image_mode, name=page.id),
            prefix=prefix,
            prompts=tuple(map(tuple, prompts)),
            turns=page.turns,
            metadata=page.metadata,
        )


def sampled(
    dataset_dir: str | Path,
    splits: Sequence[str],
    limit: int = 0,
    subtasks: Sequence[str] = (),
    pages: int = 0,
    seed: int = 0,
) -> Iterator[Page]:
    """Pages of the splits, one after the other, with their questions, in a fixed random order.

    The order does not depend on anything but a split's size and the seed, so that `limit` questions
    of each (0: all) are a fair and repeatable sample of it; its last page may be cut to meet the
    limit.  `pages` of each (0: all) are whole ones.

    Raises:
      UserError: `subtasks` (see `packing.RowSettings`) names one that none of the splits has.
    """
    readers = [PageReader(dataset_dir, [split]) for split in splits]
    all_pages = itertools.chain.from_iterable(readers) if subtasks else ()
    wanted = wanted_subtasks(subtasks, {turn.subtask for page in all_pages for turn in page.turns})
    for reader in readers:
        asked = shown = 0
        for index in np.random.default_rng(seed).permutation(len(reader)):
            page = reader[int(index)]
            turns = tuple(turn for turn in page.turns if not subtasks or turn.subtask in wanted)
            turns = turns[: limit - asked] if limit else turns
            if turns:
                yield dataclasses.replace(page, turns=turns)
            asked, shown = asked + len(turns), shown + bool(turns)
            if (limit and asked >= limit) or (pages and shown >= pages):
                break
