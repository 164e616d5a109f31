"""What a dataset holds: pages, and the questions asked about each."""

from __future__ import annotations

from dataclasses import dataclass, field

TASKS = ("alignment", "extraction", "analysis")


@dataclass(frozen=True)
class Turn:
    """One question about a picture, and its answer.

    task: one of `TASKS`; subtask: "alignment", one of the six fields that extraction asks for, or
    what an analysis question asks about ("form", "range", …).
    """

    task: str
    subtask: str
    question: str
    answer: str


@dataclass(frozen=True)
class Page:
    """One picture and everything asked about it: one example of the dataset on disk.

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
