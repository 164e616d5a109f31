"""Where the paper's model fails: the composer taken for the title, and what is not on the page.

Asked about confusion are pages that print a title and a composer, with different texts: a page
without a composer cannot be confused.  Hallucination is what was put there, not what was misread:
a note with the wrong pitch is an error, a note in no one's place is invented.
"""

from __future__ import annotations

from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.bootstrap import Marks
from nota_jax.evaluation.extraction import asserts, is_not_printed
from nota_jax.evaluation.matching import NOTHING, readings, value_of
from nota_jax.evaluation.metrics import FIELDS, TRANSCRIPTIONS
from nota_jax.evaluation.reading import page_tune

OUTCOMES = ("right", "other", "nothing", "else", "unanswered")
CONFUSED = ("title", "composer")
HALLUCINATIONS = tuple(f"hallucination.{what}" for what in ("notes", "bars", "fields", "facts"))


def marks(answer: Answer, scored: Marks) -> Marks:
    """(sum, weight) of every figure.  scored: the answer's other marks."""
    found = {}
    if answer.subtask in CONFUSED and (outcome := confusion(answer)):
        found = {
            f"confusion.{answer.subtask}.{name}": (float(name == outcome), 1.0) for name in OUTCOMES
        }
    if answer.subtask in FIELDS and is_not_printed(answer):
        said = answer.said or ""
        found["hallucination.fields"] = (float(asserts(answer.subtask, said)), 1.0)
    for what in ("notes", "bars"):
        invented = f"{answer.subtask}.{what}_invented"
        if answer.subtask in TRANSCRIPTIONS and invented in scored:
            found[f"hallucination.{what}"] = scored[invented]
    if "facts.wrong" in scored:
        found["hallucination.facts"] = scored["facts.wrong"]
    put_there = [found[name] for name in HALLUCINATIONS if name in found]
    if put_there:
        found["hallucination.answers"] = (float(any(total for total, _ in put_there)), 1.0)
    return found


def confusion(answer: Answer) -> str:
    """One of `OUTCOMES`; "" where the page does not print two different texts."""
    tune = page_tune(str(answer.about.get("abc", "")))
    if tune is None:
        return ""
    printed = {"title": tune.title, "composer": tune.composer}
    own = value_of(answer.subtask, answer.truth)
    other_field = "composer" if answer.subtask == "title" else "title"
    other = value_of(other_field, printed[other_field])
    if NOTHING in (own, other) or own == other:
        return ""
    if answer.said is None or not answer.said.strip():
        return "unanswered"
    read = readings(answer.subtask, answer.said)
    if own in read:
        return "right"
    if other in read or other in readings(other_field, answer.said):
        return "other"
    return "nothing" if NOTHING in read else "else"
