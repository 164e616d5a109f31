"""What a dataset holds: pages, and the questions asked about each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

TASKS = ("alignment", "extraction", "analysis")
PLAIN = "plain"  # of pages on disk that extraction and analysis ask about, each stored once
OTHER = "other"  # the subtask of a question whose kind nobody told: it trains, and has no score


@dataclass(frozen=True)
class Turn:
    """One question about a picture, and its answer.

    task: one of `TASKS`; subtask: "alignment", one of the six fields that extraction asks for, or
    what an analysis question asks about ("form", "range", …); or `OTHER`.
    """

    task: str
    subtask: str
    question: str
    answer: str


@dataclass(frozen=True)
class Page:
    """One picture and everything asked about it: one example of the dataset on disk.

    task: that of its turns; or `PLAIN`, whose pages are read as one page for each of their tasks.
    png: the encoded picture.  metadata: where the tune comes from and how it was drawn (region,
    corpus, split, fonts, staff spacing, transposition, credits …; see data/build).  symbols: what
    is drawn where, in the picture's pixels (`notation.engraving.boxes.unpack`); b"" if unknown.
    """

    id: str
    task: str
    png: bytes
    turns: tuple[Turn, ...]
    metadata: dict[str, object] = field(default_factory=dict)
    symbols: bytes = b""


def with_ids(page: str, turns: Sequence[Turn]) -> Iterator[tuple[str, Turn]]:
    """The questions about a page, each behind its id."""
    return zip(question_ids(page, turns), turns, strict=True)


def question_ids(page: str, turns: Iterable[Turn]) -> list[str]:
    """The id of each question about a page: "PAGE:SUBTASK", of the second one of a subtask
    "PAGE:SUBTASK.2", and so on.

    turns: in the page's order; of any subtask all of them or the first ones.
    """
    asked: Counter[str] = Counter()
    ids = []
    for turn in turns:
        asked[turn.subtask] += 1
        n = asked[turn.subtask]
        ids.append(f"{page}:{turn.subtask}" + (f".{n}" if n > 1 else ""))
    return ids
