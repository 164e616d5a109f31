"""The row plan: every turn tokenised once, and which turns share a row.

A row is one image prefix with turns about that image behind it (design decision 5):

    tokens     <s> [INST] <image>×N | \\n Q [/INST] A </s> | \\n Q [/INST] A </s> | <pad> …
    turn_ids      0 0 0 … 0         |        1 …           |        2 …           |  −1 …
    positions     0 1 2 … P−1       |        P, P+1 …      |        P, P+1 …      |   0 …

As many turns as fit share a row, in the page's order; the rest go into a further row of the same
page.  The plan holds the tokens, so that training never tokenises, and is cached on disk under a
key made of everything that it depends on.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import logging
import os
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from nota_jax.data.feed import chat
from nota_jax.data.store.reader import PageReader
from nota_jax.errors import UserError

_FORMAT = 1  # raise it when the plan's arrays or the packing change
_PAGES_AT_ONCE = 512


@dataclass(frozen=True)
class RowSettings:
    """What a row looks like.

    template: a name in `chat.TEMPLATES`.
    n_image_tokens: image positions in the prefix.
    max_length: tokens in a row, prefix included; turns that do not fit even alone are dropped.
    turns_per_row: at most so many turns share a row; 0 for as many as fit, 1 for LLaVA's rows.
    subtasks: names to keep, or names with a minus in front to leave out; () keeps all.
    shares: (subtask, share) for subtasks that only that share of their pages asks, the same pages
      in every epoch: a mixture.
    """

    template: str
    n_image_tokens: int
    max_length: int
    turns_per_row: int = 0
    subtasks: tuple[str, ...] = ()
    shares: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class RowPlan:
    """Turns and rows as flat arrays; turns of one row are neighbours.

    prefix: int32 [P], tokens in front of every row's turns.
    tokens: int32, all turns' tokens; turn i has tokens[turn_starts[i] : turn_starts[i + 1]], of
      which the first prompt_lengths[i] are not supervised.
    turn_pages: index of each turn's page; turn_numbers: its index in `page.turns`.
    row_starts: int64 [rows + 1]; row r has the turns row_starts[r] … row_starts[r + 1] − 1.
    dropped: subtask → turns that are longer than a row may be.
    """

    prefix: np.ndarray
    tokens: np.ndarray
    turn_starts: np.ndarray
    prompt_lengths: np.ndarray
    turn_pages: np.ndarray
    turn_numbers: np.ndarray
    row_starts: np.ndarray
    dropped: dict[str, int]

    @property
    def n_rows(self) -> int:
        return len(self.row_starts) - 1

    @property
    def n_turns(self) -> int:
        return len(self.prompt_lengths)

    @functools.cached_property
    def row_lengths(self) -> np.ndarray:
        """Tokens in each row, prefix included: int64 [rows]."""
        ends = self.turn_starts[self.row_starts]
        return len(self.prefix) + np.diff(ends)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of what the rows hold: the same data, tokenizer and settings give the same."""
        digest = hashlib.sha256()
        for field in dataclasses.fields(self):
            if field.name != "dropped":
                digest.update(np.ascontiguousarray(getattr(self, field.name)).tobytes())
        return digest.hexdigest()

    def turns(self, row: int) -> range:
        return range(int(self.row_starts[row]), int(self.row_starts[row + 1]))


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


def fill_row(plan: RowPlan, row: int, out: dict[str, np.ndarray]) -> None:
    """Writes one row into arrays of static length T that hold padding already.

    Args:
      out: views [T] of tokens, turn_ids, positions, targets (int32) and weights (float32);
        targets[t] is the token to predict at t, where weights[t] is 1.
    """
    start = len(plan.prefix)
    out["tokens"][:start] = plan.prefix
    out["turn_ids"][:start] = 0
    out["positions"][:start] = np.arange(start)
    for number, turn in enumerate(plan.turns(row), 1):
        ids = plan.tokens[plan.turn_starts[turn] : plan.turn_starts[turn + 1]]
        given, end = int(plan.prompt_lengths[turn]), start + len(ids)
        out["tokens"][start:end] = ids
        out["turn_ids"][start:end] = number
        out["positions"][start:end] = len(plan.prefix) + np.arange(len(ids))
        # Position t predicts token t + 1.  Without a prompt (template "plain") the first answer
        # token is predicted from the last image token: start is then the prefix's end.
        first = start + given
        out["targets"][first - 1 : end - 1] = ids[given:]
        out["weights"][first - 1 : end - 1] = 1
        start = end


def empty_batch(rows: int, length: int, pad_id: int) -> dict[str, np.ndarray]:
    """The token arrays of a batch, all padding: [rows, length] each."""
    shape = (rows, length)
    return {
        "tokens": np.full(shape, pad_id, np.int32),
        "turn_ids": np.full(shape, -1, np.int32),
        "positions": np.zeros(shape, np.int32),
        "targets": np.zeros(shape, np.int32),
        "weights": np.zeros(shape, np.float32),
    }


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


def _compute(pages: PageReader, tok: PreTrainedTokenizerFast, settings: RowSettings) -> RowPlan:
    prefix = chat.encode_prefix(tok, settings.template, settings.n_image_tokens)
    room = settings.max_length - len(prefix)
    tokens: list[np.ndarray] = []
    lengths, prompts, turn_pages, turn_numbers, row_sizes = [], [], [], [], []
    subtasks: list[str] = []
    progress = tqdm(total=len(pages), desc="tokenising", unit="page", delay=2)
    for first in range(0, len(pages), _PAGES_AT_ONCE):
        here = range(first, min(first + _PAGES_AT_ONCE, len(pages)))
        asked = [
            (page, number, turn) for page in here for number, turn in enumerate(pages[page].turns)
        ]
        encoded = chat.encode_turns(
            tok,
            settings.template,
            [turn.question for _, _, turn in asked],
            [turn.answer for _, _, turn in asked],
        )
        for (page, number, turn), ids in zip(asked, encoded, strict=True):
            tokens.append(np.asarray(ids.ids, np.int32))
            lengths.append(len(ids.ids))
            prompts.append(ids.n_prompt)
            turn_pages.append(page)
            turn_numbers.append(number)
            subtasks.append(turn.subtask)
        progress.update(len(here))
    progress.close()

    wanted = wanted_subtasks(settings.subtasks, subtasks)
    dropped = collections.Counter(
        name for name, n in zip(subtasks, lengths, strict=True) if name in wanted and n > room
    )
    wanted_subtasks([name for name, _ in settings.shares], subtasks)  # they have to exist
    shares = dict(settings.shares)
    kept = [
        i for i, (name, n) in enumerate(zip(subtasks, lengths, strict=True))
        if name in wanted and n <= room and _drawn(name, turn_pages[i], shares.get(name, 1.0))
    ]  # fmt: skip
    most = settings.turns_per_row or len(subtasks)
    if not chat.template(settings.template).asks:
        most = 1
    for _, turns in itertools.groupby(kept, key=turn_pages.__getitem__):
        row_sizes += _pack([lengths[i] for i in turns], room, most)

    def column(values: list[int], dtype: type) -> np.ndarray:
        return np.asarray([values[i] for i in kept], dtype)

    return RowPlan(
        prefix=np.asarray(prefix, np.int32),
        tokens=np.concatenate([tokens[i] for i in kept] or [np.zeros(0, np.int32)]),
        turn_starts=np.cumsum([0, *column(lengths, np.int64)]),
        prompt_lengths=column(prompts, np.int32),
        turn_pages=column(turn_pages, np.int32),
        turn_numbers=column(turn_numbers, np.int32),
        row_starts=np.cumsum([0, *row_sizes]),
        dropped=dict(sorted(dropped.items())),
    )


def _drawn(subtask: str, page: int, share: float) -> bool:
    """Whether a page's question is in the share: by a hash, so that pages are spread evenly."""
    digest = hashlib.sha256(f"{subtask} {page}".encode()).digest()
    return int.from_bytes(digest[:4], "little") < share * 2**32


def _pack(lengths: Sequence[int], room: int, most: int) -> list[int]:
    """Turns per row when each row takes as many of the coming turns as fit."""
    sizes, used = [], 0
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
        dataclasses.asdict(settings),
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
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(unfinished, "wb") as file:
            np.savez(file, **{**values, "dropped": np.asarray(json.dumps(plan.dropped))})
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        logging.warning("the row plan is not kept for the next start: %s", error)
