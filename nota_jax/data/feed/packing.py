"""Packing: every turn tokenised once, and which turns share a row.

As many turns as fit share a row, in the page's order; the rest go into a further row of the same
page.  The plan is cached on disk under a key made of everything that it depends on.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import io
import itertools
import json
import logging
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from nota_jax.data.feed import chat
from nota_jax.data.feed.rows import RowPlan
from nota_jax.data.store.reader import PageReader
from nota_jax.errors import UserError
from nota_jax.files import write_atomic

_FORMAT = 2  # raise it when the plan's arrays or the packing change
_PAGES_AT_ONCE = 512


@dataclass(frozen=True, kw_only=True)
class RowSettings:
    """What a row looks like.

    template: a name in `chat.TEMPLATES`.
    n_image_tokens: image tokens in the prefix.
    lengths: the static lengths, any order, prefix included; a row takes the smallest that holds it,
      and turns that do not fit the largest even alone are dropped and counted.
    turns_per_row: at most so many turns share a row; 0 for as many as fit, 1 for LLaVA's rows.
    subtasks: names to keep, or names with a minus in front to leave out; () keeps all.
    shares: (subtask, share) for subtasks that only that share of their pages asks, the same pages
      in every epoch: a mixture.
    """

    n_image_tokens: int
    lengths: tuple[int, ...]
    template: str = "mistral_instruct"
    turns_per_row: int = 0
    subtasks: tuple[str, ...] = ()
    shares: tuple[tuple[str, float], ...] = ()

    @property
    def max_length(self) -> int:
        return max(self.lengths)


def plan_rows(
    pages: PageReader,
    tok: PreTrainedTokenizerFast,
    settings: RowSettings,
    *,
    cache_dir: str | Path | None = None,
) -> RowPlan:
    """Tokenises every turn of the pages and packs the turns into rows, or reads that from a cache.

    Args:
      cache_dir: where the plan is kept; None for `row_plans` beside the shards.  A folder that
        cannot be written costs the cache, not the run.

    Raises:
      UserError: a subtask that no page has, or nothing left to train on.
    """
    folder = pages.directory / "row_plans" if cache_dir is None else Path(cache_dir)
    path = folder / f"{_cache_key(pages, tok, settings)}.npz"
    plan = _read_cache(path)
    if plan is None:
        plan = _compute(pages, tok, settings)
        _write_cache(path, plan)
    if not plan.n_rows:
        lost = f", {sum(plan.dropped.values())} are longer than {settings.max_length} tokens"
        raise UserError(
            f"no question is left in {', '.join(pages.splits)} of {pages.directory} "
            f"({len(pages)} pages{lost if plan.dropped else ''}): "
            "check data.subtasks and data.lengths"
        )
    if plan.dropped:
        logging.warning(
            "left out questions that are longer than %d tokens: %s",
            settings.max_length,
            ", ".join(f"{n} {subtask}" for subtask, n in plan.dropped.items()),
        )
    return plan


def wanted_subtasks(subtasks: Sequence[str], found: Iterable[str]) -> set[str]:
    """Which of the subtasks found in the data a filter keeps (see `RowSettings.subtasks`).

    Raises:
      UserError: the filter names a subtask that the data does not have.
    """
    found = set(found)
    left_out = {name[1:] for name in subtasks if name.startswith("-")}
    kept = {name for name in subtasks if not name.startswith("-")}
    unknown = (left_out | kept) - found
    if unknown:
        raise UserError(
            f"no question has the subtask {', '.join(sorted(unknown))}: "
            f"there are {', '.join(sorted(found))}"
        )
    return (kept or found) - left_out


class _Turn(NamedTuple):
    """A question about a page (its index in the reader), the `number`-th there, tokenised."""

    page: int
    number: int
    subtask: str
    ids: np.ndarray
    n_prompt: int
    starts: np.ndarray


def _compute(pages: PageReader, tok: PreTrainedTokenizerFast, settings: RowSettings) -> RowPlan:
    prefix = chat.encode_prefix(tok, settings.template, settings.n_image_tokens)
    room = settings.max_length - len(prefix)
    turns = list(_tokenised(pages, tok, settings.template))
    subtasks = {turn.subtask for turn in turns}
    wanted = wanted_subtasks(settings.subtasks, subtasks)
    wanted_subtasks([name for name, _ in settings.shares], subtasks)  # they have to exist
    turns = [turn for turn in turns if turn.subtask in wanted]
    dropped = collections.Counter(turn.subtask for turn in turns if len(turn.ids) > room)
    shares = dict(settings.shares)
    kept = [
        turn
        for turn in turns
        if len(turn.ids) <= room and _drawn(turn.subtask, turn.page, shares.get(turn.subtask, 1.0))
    ]
    most = settings.turns_per_row or max(1, len(kept))
    if not chat.template(settings.template).asks:
        most = 1
    row_sizes: list[int] = []
    for _, of_page in itertools.groupby(kept, key=lambda turn: turn.page):
        row_sizes += _pack([len(turn.ids) for turn in of_page], room, most)
    return RowPlan(
        prefix=np.asarray(prefix, np.int32),
        tokens=np.concatenate([turn.ids for turn in kept] or [np.zeros(0, np.int32)]),
        char_starts=np.concatenate([turn.starts for turn in kept] or [np.zeros(0, np.int16)]),
        turn_starts=np.cumsum([0, *(len(turn.ids) for turn in kept)]),
        prompt_lengths=np.asarray([turn.n_prompt for turn in kept], np.int32),
        turn_pages=np.asarray([turn.page for turn in kept], np.int32),
        turn_numbers=np.asarray([turn.number for turn in kept], np.int32),
        row_starts=np.cumsum([0, *row_sizes]),
        dropped=dict(sorted(dropped.items())),
    )


def _tokenised(pages: PageReader, tok: PreTrainedTokenizerFast, template: str) -> Iterator[_Turn]:
    """Every turn of the pages, in their order; many at once, which is how tokenizers are fast."""
    with tqdm(total=len(pages), desc="tokenising", unit="page", delay=2) as progress:
        for first in range(0, len(pages), _PAGES_AT_ONCE):
            here = range(first, min(first + _PAGES_AT_ONCE, len(pages)))
            asked = [(page, number, turn) for page in here
                     for number, turn in enumerate(pages[page].turns)]  # fmt: skip
            encoded = chat.encode_turns(
                tok,
                template,
                [turn.question for _, _, turn in asked],
                [turn.answer for _, _, turn in asked],
            )
            for (page, number, turn), (ids, n_prompt, starts) in zip(asked, encoded, strict=True):
                arrays = np.asarray(ids, np.int32), n_prompt, np.asarray(starts, np.int16)
                yield _Turn(page, number, turn.subtask, *arrays)
            progress.update(len(here))


def _drawn(subtask: str, page: int, share: float) -> bool:
    """Whether a page's question is in the share: by a hash, so that pages are spread evenly."""
    digest = hashlib.sha256(f"{subtask} {page}".encode()).digest()
    return int.from_bytes(digest[:4], "little") < share * 2**32


def _pack(lengths: Sequence[int], room: int, most: int) -> list[int]:
    """Turns per row when each row takes as many of the coming turns as fit."""
    sizes: list[int] = []
    used = 0
    for length in lengths:
        if not sizes or used + length > room or sizes[-1] == most:
            sizes.append(0)
            used = 0
        sizes[-1] += 1
        used += length
    return sizes


def _cache_key(pages: PageReader, tok: PreTrainedTokenizerFast, settings: RowSettings) -> str:
    parts = [
        _FORMAT,
        pages.splits,
        pages.fingerprint(),
        tok.backend_tokenizer.to_str(),
        (tok.bos_token, tok.eos_token),
        {
            "template": settings.template,
            "n_image_tokens": settings.n_image_tokens,
            "max_length": settings.max_length,
            "turns_per_row": settings.turns_per_row,
            "subtasks": settings.subtasks,
            "shares": settings.shares,
        },
        dataclasses.asdict(chat.template(settings.template)),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def _read_cache(path: Path) -> RowPlan | None:
    try:
        with np.load(path) as arrays:
            values = dict(arrays)
        return RowPlan(**{**values, "dropped": json.loads(str(values["dropped"]))})
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # not there, or cut short: it is computed


def _write_cache(path: Path, plan: RowPlan) -> None:
    values = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    file = io.BytesIO()
    np.savez(file, **{**values, "dropped": np.asarray(json.dumps(plan.dropped))})
    try:
        write_atomic(path, file.getvalue())
    except (OSError, UserError) as error:
        logging.warning("the row plan is not kept for the next start: %s", error)
