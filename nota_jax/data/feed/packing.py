"""Packing: every turn tokenised once, and which turns share a row.

As many turns as fit share a row, in the page's order; the rest go into a further row of the same
page.  The plan is made a few pages at a time and lies on disk, under a key made of everything that
it depends on; no process ever holds it whole.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from nota_jax import progress
from nota_jax.data.feed import chat, mapped
from nota_jax.data.feed.rows import RowPlan
from nota_jax.data.records import Page
from nota_jax.data.store.reader import PageReader
from nota_jax.errors import UserError

_FORMAT = 3  # raise it when the plan's arrays or the packing change
_PAGES_AT_ONCE = 512
_DTYPES: dict[str, Any] = {
    "prefix": np.int32, "tokens": np.int32, "char_starts": np.int16, "turn_starts": np.int64,
    "prompt_lengths": np.int32, "turn_pages": np.int32, "turn_numbers": np.int32,
    "row_starts": np.int64, "row_lengths": np.int32,
}  # fmt: skip
# Of these the fingerprint is made, in this order; checkpoints hold it.
_MARKED = (
    "prefix", "tokens", "turn_starts", "prompt_lengths", "turn_pages", "turn_numbers", "row_starts",
)  # fmt: skip
# Features by which pages may be grouped: those that have few values.
GROUPED = ("task", "region", "corpus", "composer_source", "music_font", "text_font")


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
    apart: subtasks that share no row with others: they are asked about another picture of the page.
    """

    n_image_tokens: int
    lengths: tuple[int, ...]
    template: str = "mistral_instruct"
    turns_per_row: int = 0
    subtasks: tuple[str, ...] = ()
    shares: tuple[tuple[str, float], ...] = ()
    apart: tuple[str, ...] = ()

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
    """Tokenises every turn of the pages and packs the turns into rows, or finds that on disk.

    Args:
      cache_dir: where the plan is kept; None for `row_plans` beside the shards.  Where it cannot be
        written, this process has one of its own among the temporary files.

    Raises:
      UserError: a subtask that no page has, or nothing left to train on.
    """
    folder = pages.directory / "row_plans" if cache_dir is None else Path(cache_dir)
    arrays, said, kept_in = mapped.kept(
        folder / _cache_key(pages, tok, settings), lambda work: _write(work, pages, tok, settings)
    )
    groups = {name: arrays[_group(name)] for name in GROUPED}
    plan = RowPlan(
        **{name: arrays[name] for name in _DTYPES},
        dropped=said["dropped"],
        fingerprint=said["fingerprint"],
        row_groups=groups,
        group_names=said["group_names"],
        folder=kept_in,
    )
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
    unknown = {name.removeprefix("-") for name in subtasks} - found
    if unknown:
        raise UserError(
            f"no question has the subtask {', '.join(sorted(unknown))}: "
            f"there are {', '.join(sorted(found))}"
        )
    return {name for name in found if _asked(name, subtasks)}


def _asked(subtask: str, subtasks: Sequence[str]) -> bool:
    """Whether a filter keeps a subtask."""
    kept = [name for name in subtasks if not name.startswith("-")]
    return (not kept or subtask in kept) and f"-{subtask}" not in subtasks


class _Turn(NamedTuple):
    """A question about a page, the `number`-th there, tokenised."""

    number: int
    subtask: str
    ids: list[int]
    n_prompt: int
    starts: list[int]


def _write(
    folder: Path, pages: PageReader, tok: PreTrainedTokenizerFast, settings: RowSettings
) -> None:
    """Writes the plan's arrays; see `RowPlan`."""
    prefix = chat.encode_prefix(tok, settings.template, settings.n_image_tokens)
    room = settings.max_length - len(prefix)
    most = settings.turns_per_row if chat.template(settings.template).asks else 1
    found, dropped = set[str](), collections.Counter[str]()
    values: dict[str, dict[str, int]] = {name: {} for name in GROUPED}
    columns = _DTYPES | {_group(name): np.int32 for name in GROUPED}
    n_tokens = n_turns = 0
    with mapped.growing(folder, columns) as arrays:
        arrays["prefix"].append(prefix)
        arrays["turn_starts"].append([0])
        arrays["row_starts"].append([0])
        for first, some in _tokenised(pages, tok, settings.template):
            found.update(turn.subtask for _, turns in some for turn in turns)
            kept = [_kept(turns, first + i, settings, room, dropped)
                    for i, (_, turns) in enumerate(some)]  # fmt: skip
            turns = [turn for of_page in kept for turn in of_page]
            lengths = [len(turn.ids) for turn in turns]
            arrays["tokens"].append(_joined([turn.ids for turn in turns]))
            starts = _joined([turn.starts for turn in turns])
            arrays["char_starts"].append(np.clip(starts, -(2**15), 2**15 - 1))
            arrays["turn_starts"].append(n_tokens + np.cumsum(lengths, dtype=np.int64))
            arrays["prompt_lengths"].append([turn.n_prompt for turn in turns])
            arrays["turn_numbers"].append([turn.number for turn in turns])
            arrays["turn_pages"].append(first + np.repeat(np.arange(len(kept)), [*map(len, kept)]))
            rows = [_rows(of_page, room, most, settings.apart) for of_page in kept]
            sizes = _joined(rows)
            ends = np.cumsum(sizes)
            of_rows = np.diff(np.cumsum([0, *lengths])[[0, *ends]])
            arrays["row_starts"].append(n_turns + ends)
            arrays["row_lengths"].append(len(prefix) + of_rows)
            for name, known in values.items():
                codes = [known.setdefault(_feature(page, name), len(known)) for page, _ in some]
                arrays[_group(name)].append(np.repeat(codes, [*map(len, rows)]))
            n_tokens += sum(lengths)
            n_turns += len(turns)
    for asked in (settings.subtasks, [name for name, _ in settings.shares]):
        wanted_subtasks(asked, found)  # they have to exist
    digest = hashlib.sha256()
    for name in _MARKED:
        whole = mapped.mapping(folder / name, arrays[name].dtype, arrays[name].length)
        for part in mapped.parts(whole):
            digest.update(part.tobytes())
    said = {
        "dropped": dict(sorted(dropped.items())),
        "group_names": {name: list(known) for name, known in values.items()},
        "fingerprint": digest.hexdigest(),
    }
    mapped.finish(folder, arrays, said)


def _group(feature: str) -> str:
    """What the array of a feature is called."""
    return f"group_{feature}"


def _feature(page: Page, name: str) -> str:
    return page.task if name == "task" else str(page.metadata.get(name, ""))


def _joined(lists: list[list[int]]) -> np.ndarray:
    return np.fromiter(itertools.chain.from_iterable(lists), np.int64)


def _kept(
    turns: list[_Turn],
    page: int,
    settings: RowSettings,
    room: int,
    dropped: collections.Counter[str],
) -> list[_Turn]:
    """Of a page the turns that are asked, those apart last; counts those that are too long."""
    shares, kept = dict(settings.shares), []
    for turn in turns:
        if not _asked(turn.subtask, settings.subtasks):
            continue
        if len(turn.ids) > room:
            dropped[turn.subtask] += 1
        elif _drawn(turn.subtask, page, shares.get(turn.subtask, 1.0)):
            kept.append(turn)
    return sorted(kept, key=lambda turn: turn.subtask in settings.apart)


def _tokenised(
    pages: PageReader, tok: PreTrainedTokenizerFast, template: str
) -> Iterator[tuple[int, list[tuple[Page, list[_Turn]]]]]:
    """Pages, in their order, with their turns, and the number of the first of them; many at once,
    which is how tokenizers are fast.
    """
    with progress.bar(total=len(pages), desc="tokenising", unit="page", delay=2) as said:
        for first in range(0, len(pages), _PAGES_AT_ONCE):
            here = [pages[i] for i in range(first, min(first + _PAGES_AT_ONCE, len(pages)))]
            asked = [turn for page in here for turn in page.turns]
            encoded = iter(
                chat.encode_turns(
                    tok,
                    template,
                    [turn.question for turn in asked],
                    [turn.answer for turn in asked],
                )
            )
            yield (
                first,
                [
                    (page, [_Turn(number, turn.subtask, *next(encoded))
                            for number, turn in enumerate(page.turns)])
                    for page in here
                ],
            )  # fmt: skip
            said.update(len(here))


def _drawn(subtask: str, page: int, share: float) -> bool:
    """Whether a page's question is in the share: by a hash, so that pages are spread evenly."""
    digest = hashlib.sha256(f"{subtask} {page}".encode()).digest()
    return int.from_bytes(digest[:4], "little") < share * 2**32


def _rows(turns: Sequence[_Turn], room: int, most: int, apart: Sequence[str]) -> list[int]:
    """Turns per row of a page, whose turns `apart` come last."""
    together: tuple[list[int], list[int]] = [], []
    for turn in turns:
        together[turn.subtask in apart].append(len(turn.ids))
    return [size for lengths in together for size in _pack(lengths, room, most)]


def _pack(lengths: Sequence[int], room: int, most: int) -> list[int]:
    """Turns per row when each row takes as many of the coming turns as fit; `most`: 0 for any."""
    sizes: list[int] = []
    used = 0
    for length in lengths:
        if not sizes or used + length > room or (most and sizes[-1] == most):
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
            "apart": settings.apart,
        },
        dataclasses.asdict(chat.template(settings.template)),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]
