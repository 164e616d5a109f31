"""Rows: one image prefix with turns about that image behind it (design decision 5).

    tokens     <s> [INST] <image>×N | \\n Q [/INST] A </s> | \\n Q [/INST] A </s> | <pad> …
    turn_ids      0 0 0 … 0         |        1 …           |        2 …           |  −1 …
    positions     0 1 2 … P−1       |        P, P+1 …      |        P, P+1 …      |   0 …

`packing` says which turns share a row.  A plan of rows holds their tokens in flat arrays, mapped
from disk, so that training never tokenises and a process does not grow with the data; a row is
written out when its batch is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class RowPlan:
    """Turns and rows as flat arrays; turns of one row are neighbours.

    prefix: int32 [P], tokens in front of every row's turns.
    tokens: int32, all turns' tokens; turn i has tokens[turn_starts[i] : turn_starts[i + 1]], of
      which the first prompt_lengths[i] are not supervised.
    char_starts: int16, for each of `tokens` the character of the answer at which it begins.
    turn_pages: index of each turn's page; turn_numbers: its index in `page.turns`.
    row_starts: int64 [rows + 1]; row r has the turns row_starts[r] … row_starts[r + 1] − 1.
    row_lengths: int32 [rows], tokens in each row, prefix included.
    dropped: subtask → turns that are longer than a row may be.
    fingerprint: digest of what the rows hold: the same data, tokenizer and settings give the same.
    row_groups: a feature of pages ("region") → of each row the number of its page's value among
      group_names[feature].
    folder: where the arrays lie on disk; None where they are in memory.
    """

    prefix: np.ndarray
    tokens: np.ndarray
    char_starts: np.ndarray
    turn_starts: np.ndarray
    prompt_lengths: np.ndarray
    turn_pages: np.ndarray
    turn_numbers: np.ndarray
    row_starts: np.ndarray
    row_lengths: np.ndarray
    dropped: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""
    row_groups: Mapping[str, np.ndarray] = field(default_factory=dict)
    group_names: Mapping[str, list[str]] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def n_rows(self) -> int:
        return len(self.row_lengths)

    @property
    def n_turns(self) -> int:
        return len(self.prompt_lengths)

    def turns(self, row: int) -> range:
        return range(int(self.row_starts[row]), int(self.row_starts[row + 1]))


def answers(plan: RowPlan, row: int) -> Iterator[tuple[int, slice, slice]]:
    """Of each turn of a row its answer, all that is supervised: (turn, where in the plan's flat
    tokens it lies, at which positions of the row its tokens are predicted).

    Position t predicts token t + 1.  Without a prompt (template "plain") the first token of an
    answer is predicted from the last image token.
    """
    start = len(plan.prefix)
    for turn in plan.turns(row):
        first, end = int(plan.turn_starts[turn]), int(plan.turn_starts[turn + 1])
        given = int(plan.prompt_lengths[turn])
        yield turn, slice(first + given, end), slice(start + given - 1, start + end - first - 1)
        start += end - first


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
        end = start + len(ids)
        out["tokens"][start:end] = ids
        out["turn_ids"][start:end] = number
        out["positions"][start:end] = len(plan.prefix) + np.arange(len(ids))
        start = end
    for _, answer, predicted in answers(plan, row):
        out["targets"][predicted] = plan.tokens[answer]
        out["weights"][predicted] = 1


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
