"""All figures of an evaluation, as plain numbers ready for JSON.

    {"counts": …, "figures": {name: {value, low, high, count, pages, trivial}},
     "groups": {dimension: {group: {"counts": …, "figures": …}}}, "packages": …}

`trivial` is the same figure of answers that look at no page (`training.trivial_answers`).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from nota_jax import workers
from nota_jax.evaluation import (
    bootstrap,
    extraction,
    facts,
    failures,
    groups,
    similarity,
    transcription,
)
from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.bootstrap import Estimate, Marks
from nota_jax.evaluation.metrics import TRANSCRIPTIONS

Row = tuple[Answer, str | None]  # an answer, and the trivial one to its question
Both = tuple[Marks, Marks]
T = TypeVar("T")

MEANS = extraction.MEANS
MEDIANS = ("distance", "canonical_distance")  # of transcriptions
MOST_ALONE = 2000  # answers that one process scores before others would have begun
CHUNK = 100


@dataclasses.dataclass(frozen=True)
class Scored:
    """Answers with their marks, and the marks of the trivial answers to the same questions."""

    answers: tuple[Answer, ...]
    marks: tuple[Marks, ...]
    trivial: tuple[Marks, ...]


def score(
    answers: Sequence[Answer], trivial: Mapping[str, str], analyses: Sequence[str] = ()
) -> Scored:
    """trivial: what to answer to each subtask without looking; {} for no such marks.

    analyses: training's answers, for `similarity.lsa`; () leaves that out.
    """
    rows = [(answer, trivial.get(answer.subtask)) for answer in answers]
    alike = partial(_lsa, rows, analyses)
    if len(rows) > MOST_ALONE:
        found, lsa = _in_parallel(rows, alike)
    else:
        found, lsa = list(map(_both, rows)), alike()
    own, unseen = (
        tuple({**m, **more} for m, more in zip(some, of_some, strict=True))
        for some, of_some in zip(zip(*found, strict=True), lsa, strict=True)
    )
    return Scored(tuple(answers), own, unseen if trivial else ({},) * len(own))


def _lsa(rows: Sequence[Row], analyses: Sequence[str]) -> tuple[list[Marks], list[Marks]]:
    """What `similarity.lsa` adds to the marks of the answers, and of the trivial ones."""
    told = [i for i, (answer, _) in enumerate(rows) if answer.task == "analysis"]
    if not told or not analyses or similarity.missing():
        return [{} for _ in rows], [{} for _ in rows]
    said = [(rows[i][0].truth, rows[i][0].said or "") for i in told]
    unseen = [(rows[i][0].truth, rows[i][1] or "") for i in told]
    found = similarity.lsa(said + unseen, analyses)
    halves = found[: len(told)], found[len(told) :]
    own, trivial = (dict(zip(told, half, strict=True)) for half in halves)
    return _under("analysis.lsa", own, len(rows)), _under("analysis.lsa", trivial, len(rows))


def _under(name: str, values: Mapping[int, float], rows: int) -> list[Marks]:
    return [{name: (values[i], 1.0)} if i in values else {} for i in range(rows)]


def _both(row: Row) -> Both:
    """The marks of an answer, and of the trivial one."""
    answer, trivial = row
    return marks(answer), marks(dataclasses.replace(answer, said=trivial))


def _in_parallel(rows: Sequence[Row], meanwhile: Callable[[], T]) -> tuple[list[Both], T]:
    """Each process takes all answers about a tune, so that it is parsed once.  Meanwhile this one
    does something else.
    """
    order = sorted(range(len(rows)), key=lambda i: rows[i][0].page)
    with workers.fresh() as pool:
        found = pool.map(_both, [rows[i] for i in order], chunksize=CHUNK)
        done = meanwhile()
        by_row = dict(zip(order, found, strict=True))
    return [by_row[i] for i in range(len(rows))], done


def marks(answer: Answer) -> Marks:
    """(sum, weight) of every figure that the answer adds to, `similarity.lsa` aside."""
    found = {**extraction.marks(answer), **transcription.marks(answer), **facts.marks(answer)}
    if answer.task == "analysis":
        found |= similarity.marks(answer.truth, answer.said or "")
    return {**found, **failures.marks(answer, found)}


def with_marks(scored: Scored, more: Sequence[Marks]) -> Scored:
    """The same with further marks of each answer."""
    both = tuple({**m, **x} for m, x in zip(scored.marks, more, strict=True))
    return dataclasses.replace(scored, marks=both)


def summarise(scored: Scored, packages: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Everything, of all pages and of each group.

    packages: with what some scores were computed, beside those of `similarity`.
    """
    dimensions: dict[str, dict[str, list[int]]] = {}
    for i, answer in enumerate(scored.answers):
        for dimension, group in groups.of_answer(answer).items():
            dimensions.setdefault(dimension, {}).setdefault(group, []).append(i)
    analyses = any(answer.task == "analysis" for answer in scored.answers)
    remarks = [similarity.missing()] if analyses and similarity.missing() else []
    unscored = sum(not found for found in scored.marks)
    if unscored:
        remarks.append(f"{unscored} answers are to questions of no kind that has a score")
    return {
        **_figures(scored),
        "packages": {
            **(similarity.about() if analyses and not similarity.missing() else {}),
            **(packages or {}),
        },
        "remarks": remarks,
        "groups": {
            dimension: {group: _figures(_part(scored, found[group])) for group in sorted(found)}
            for dimension, found in dimensions.items()
        },
    }


def counts(answers: Sequence[Answer]) -> dict[str, int | None]:
    """How many questions there are, of how many tunes, and what became of them.

    cut: answers ended by the limit of new tokens; None where the file does not say.
    """
    told = [answer.cut for answer in answers if answer.cut is not None]
    return {
        "questions": len(answers),
        "pages": len({answer.page for answer in answers}),
        "answered": sum(answer.said is not None for answer in answers),
        "cut": sum(told) if told else None,
        "too_long": sum(answer.too_long for answer in answers),
    }


def _figures(scored: Scored) -> dict[str, Any]:
    pages = [answer.page for answer in scored.answers]
    own, unseen = (
        bootstrap.estimates(bootstrap.gather(zip(pages, marks, strict=True)), MEANS, draws)
        | medians(pages, marks, draws)
        for marks, draws in ((scored.marks, bootstrap.DRAWS), (scored.trivial, 0))
    )
    return {
        "counts": counts(scored.answers),
        "figures": {name: _plain(figure, unseen.get(name)) for name, figure in own.items()},
    }


def medians(pages: Sequence[str], marks: Sequence[Marks], draws: int) -> dict[str, Estimate]:
    """Of the transcriptions' distances: no sum over a weight, so they stand apart."""
    found = {}
    for subtask, name in itertools.product(TRANSCRIPTIONS, MEDIANS):
        key = f"{subtask}.{name}"
        asked = [(of[key][0], page) for page, of in zip(pages, marks, strict=True) if key in of]
        figure = bootstrap.median([x for x, _ in asked], [page for _, page in asked], draws)
        if figure is not None:
            found[f"{subtask}.median_{name}"] = figure
    return found


def _part(scored: Scored, indices: Sequence[int]) -> Scored:
    def pick(items: Sequence) -> tuple:
        return tuple(items[i] for i in indices)

    return Scored(pick(scored.answers), pick(scored.marks), pick(scored.trivial))


def _plain(figure: Estimate, trivial: Estimate | None) -> dict[str, Any]:
    return {**dataclasses.asdict(figure), "trivial": None if trivial is None else trivial.value}
