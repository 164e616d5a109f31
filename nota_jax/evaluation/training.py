"""What training's answers tell without a look at any page: the commonest answer to each question.

At most `MOST` pages of a split are read, evenly spaced, and their pictures are never decoded: the
commonest key of four thousand pages is that of a million.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nota_jax.data.store.reader import PageReader, split_sizes
from nota_jax.evaluation.matching import value_of
from nota_jax.evaluation.metrics import FIELDS, TRANSCRIPTIONS

MOST = 4000  # pages of each split


@dataclass(frozen=True)
class Training:
    """answers: (subtask, answer) of training.  pages: how many were read, of how many."""

    answers: tuple[tuple[str, str], ...]
    pages: tuple[int, int]


def training(dataset: str | Path, splits: Sequence[str], most: int = MOST) -> Training:
    """Reads the answers of those of the splits that are there."""
    there = split_sizes(dataset)
    answers, read, total = [], 0, 0
    for split in splits:
        if split not in there:
            continue
        reader = PageReader(dataset, [split])
        count = min(len(reader), most)
        for i in range(count):
            page = reader[i * len(reader) // count]
            answers += [(turn.subtask, turn.answer) for turn in page.turns]
        read, total = read + count, total + len(reader)
    return Training(tuple(answers), (read, total))


def trivial_answers(answers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What somebody would answer to each kind of question who sees no page.

    To a header field and to a question for an analysis the commonest answer of training (fields are
    counted as `matching.value_of` compares them; on a tie the one met first wins), to a
    transcription nothing.
    """
    counts: dict[str, Counter[Hashable]] = {}
    spelled: dict[tuple[str, Hashable], str] = {}
    for subtask, answer in answers:
        if subtask in TRANSCRIPTIONS:
            continue
        value = value_of(subtask, answer) if subtask in FIELDS else answer
        counts.setdefault(subtask, Counter())[value] += 1
        spelled.setdefault((subtask, value), answer)
    return dict.fromkeys(TRANSCRIPTIONS, "") | {
        subtask: spelled[subtask, counter.most_common(1)[0][0]]
        for subtask, counter in counts.items()
    }
