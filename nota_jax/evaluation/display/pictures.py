"""An evaluation picture by picture: all questions about each, and how much of it is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.bootstrap import Marks
from nota_jax.evaluation.groups import count_notes
from nota_jax.evaluation.metrics import FIELDS
from nota_jax.evaluation.reading import page_tune
from nota_jax.evaluation.summary import Scored

# What pictures are asked about, the first that is there, and what is wrong of each: a mark, and
# whether that is of what is right.
KINDS = {
    "whole pages": ("abc.canonical_character_errors", False),
    "highlighted bars": ("alignment.canonical_character_errors", False),
    "analyses": ("facts.found", True),
    "header fields": ("lenient", True),
}

MEASURES = {
    "whole pages": "characters wrong in canonical spelling",
    "highlighted bars": "characters wrong in canonical spelling",
    "analyses": "facts of the true answer that are not said",
    "header fields": "fields that are wrong",
}


@dataclass(frozen=True)
class Picture:
    """One picture, the answers to its questions, and their marks.

    kind: one of `KINDS`.  error: share of it that is wrong, see there; more than 1 where a model
    goes on and on.
    """

    id: str
    answers: tuple[Answer, ...]
    marks: tuple[Marks, ...]
    kind: str
    error: float

    @property
    def title(self) -> str:
        tune = page_tune(str(self.answers[0].about.get("abc", "")))
        printed = next((a.truth for a in self.answers if a.subtask == "title"), "")
        return printed or (tune.title if tune else "") or self.id

    @property
    def spacing(self) -> float:
        """Pixels between staff lines, 0 where the dataset does not tell it."""
        found = self.answers[0].about.get("staff_spacing", 0)
        return float(found) if isinstance(found, (int, float)) else 0.0

    @property
    def notes(self) -> int:
        """How many sound in its tune, 0 where the dataset does not tell it."""
        return count_notes(str(self.answers[0].about.get("abc", "")))


def pictures(scored: Scored) -> list[Picture]:
    """All of them, in the order of the answers."""
    together: dict[str, list[int]] = {}
    for i, answer in enumerate(scored.answers):
        together.setdefault(answer.id.rpartition(":")[0], []).append(i)
    return [
        _picture(id, [scored.answers[i] for i in found], [scored.marks[i] for i in found])
        for id, found in together.items()
    ]


def _picture(id: str, answers: Sequence[Answer], marks: Sequence[Marks]) -> Picture:
    kind, error = "header fields", 0.0
    for name, (mark, good) in KINDS.items():
        pairs = list(_pairs(mark, marks))
        weight = sum(weight for _, weight in pairs)
        if weight:
            share = sum(total for total, _ in pairs) / weight
            kind, error = name, 1 - share if good else share
            break
    return Picture(id, tuple(answers), tuple(marks), kind, error)


def _pairs(mark: str, marks: Sequence[Marks]) -> Iterator[tuple[float, float]]:
    """Those of one mark; of "lenient" those of every field."""
    names = [f"{field}.lenient" for field in FIELDS] if mark == "lenient" else [mark]
    for some in marks:
        yield from (some[name] for name in names if name in some)
