"""A sample of held-out questions, asked again and again while a model trains.

The pages are drawn once, by a seed, and kept; every evaluation asks all of their questions with the
parameters of the moment.  All batches have the same shapes, so that decoding is compiled at the
first evaluation and never again.

One number decides what is best, less is better.  It is the first of `ERRORS` that the questions of
the sample have anything of: a mean over unlike things would have no unit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax.sharding import Mesh
from rapidfuzz.distance import Levenshtein
from transformers import PreTrainedTokenizerFast

from nota_jax import progress
from nota_jax.checkpoint.scores import Ask, Score
from nota_jax.data.feed.evaluation import EvalPage
from nota_jax.data.records import Turn, with_ids
from nota_jax.evaluation import bootstrap, extraction, facts, kept, names, predict, transcription
from nota_jax.evaluation.answers import Answer, to_turn
from nota_jax.evaluation.bootstrap import Marks
from nota_jax.evaluation.metrics import FIELDS, TRANSCRIPTIONS
from nota_jax.evaluation.reading import tidy
from nota_jax.models.notagpt import NotaGPT
from nota_jax.parallel import processes
from nota_jax.params import AIDS

Question = tuple[str, EvalPage, Turn]  # with its id

# What the error is a share of, in the order of preference.
ERRORS = (
    "characters of the transcriptions", "header fields", "facts of the analyses",
    "characters of the analyses",
)  # fmt: skip


def asking(
    model: NotaGPT,
    tokenizer: PreTrainedTokenizerFast,
    settings: predict.Settings,
    mesh: Mesh,
    *,
    pages: int,
    seed: int,
    say: Callable[[str], None] = print,
) -> Ask:
    """What asks the sample: (parameters, whether to break off) → the score; None: broken off.

    Args:
      settings: how it is asked; `questions` is passed over, for pages are asked whole.
      mesh: that the parameters will lie on.
      pages: of each split.  seed: by which they are drawn.

    Raises:
      UserError: the pages cannot be read; none of them has a question that is to be asked.
    """
    settings = dataclasses.replace(settings, questions=0)
    shown = list(predict.asked_pages(model, tokenizer, settings, pages=pages, seed=seed))
    rows = predict.pages_at_once(settings, mesh)
    turns = questions(shown)
    asked = mark(turns, settings)
    say(
        f"evaluation while training: {len(turns)} questions about {len(shown)} pages of "
        f"{', '.join(settings.splits)}"
    )

    def ask(params: Any, stopped: Callable[[], object]) -> Score | None:
        params = {name: part for name, part in params.items() if name != AIDS}  # none answers
        found: list[tuple[str, bool]] = []
        main = processes.is_main()
        with progress.bar(
            total=len(turns), unit="question", desc="validate", leave=False, disable=not main
        ) as bar:
            for batch in predict.in_batches(shown, rows):
                if stopped():
                    return None
                said = predict.answer(
                    model, params, tokenizer, settings, batch, rows, mesh, among=shown
                )
                found += said
                bar.update(len(said))
        # One process scores for all, so that all agree on what is best.
        scored = processes.share(lambda: vars(score(turns, found, asked)))
        return Score(**scored)

    return ask


def questions(pages: Sequence[EvalPage]) -> list[Question]:
    return [(id, page, turn) for page in pages for id, turn in with_ids(page.id, page.turns)]


def mark(turns: Sequence[Question], settings: predict.Settings) -> str:
    """Changes when a question, its right answer or the way of asking does; not with the place of
    the dataset, nor with how many pages are asked at once."""
    how = kept.as_json(settings)
    for key in ("dataset", "pages_per_batch"):
        del how[key]
    what = [(id, turn.question, turn.answer) for id, _, turn in turns]
    return kept.digest(how, what)


def score(turns: Sequence[Question], said: Sequence[tuple[str, bool]], asked: str = "") -> Score:
    """The score of answers to a sample's questions, each (text, whether it was cut off)."""
    answers = [
        to_turn(id, page, turn, text, cut)
        for (id, page, turn), (text, cut) in zip(turns, said, strict=True)
    ]
    marks = [_marks(answer) for answer in answers]
    pages = [answer.page for answer in answers]
    figures = bootstrap.estimates(
        bootstrap.gather(zip(pages, marks, strict=True)), extraction.MEANS, draws=0
    )
    of = next(name for name in ERRORS if name in figures)
    error = figures[of].value
    told = {name: figures[name].value for name, _ in names.HEADLINES if name in figures}
    cut_off = sum(cut for _, cut in said)
    return Score(error, of, asked, {"error": error, **told, "cut": float(cut_off)})


def _marks(answer: Answer) -> Marks:
    """The marks of an answer, with what it adds to each of `ERRORS`."""
    found = {**extraction.marks(answer), **transcription.marks(answer), **facts.marks(answer)}
    return {**found, **_errors(answer, found)}


def _errors(answer: Answer, marks: Mapping[str, tuple[float, float]]) -> Marks:
    of_transcriptions, of_fields, of_facts, of_analyses = ERRORS
    if answer.subtask in TRANSCRIPTIONS:
        return {of_transcriptions: marks[f"{answer.subtask}.character_errors"]}
    if answer.subtask in FIELDS:
        right, one = marks[f"{answer.subtask}.lenient"]
        return {of_fields: (one - right, one)}
    right, wanted = marks.get("facts.found", (0.0, 0.0))
    wrong = Levenshtein.distance(tidy(answer.truth), tidy(answer.said or ""))
    return {
        of_facts: (wanted - right, wanted),
        of_analyses: (float(wrong), float(len(tidy(answer.truth)))),
    }
