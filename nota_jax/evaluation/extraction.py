"""Scores of the header fields: strictly and leniently right, and what a page cannot tell apart."""

from __future__ import annotations

from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.bootstrap import Marks
from nota_jax.evaluation.matching import (
    NOTHING,
    lenient,
    readings,
    same_signature,
    strict,
    value_of,
)
from nota_jax.evaluation.metrics import FIELDS
from nota_jax.evaluation.reading import music, tidy
from nota_jax.evaluation.transcription import place_of

# The paper's six subtasks; a mean over others is none of them.
SIX = (*FIELDS, "abc")
MEANS = {
    f"{group}.{rule}": tuple(f"{field}.{rule}" for field in fields)
    for group, fields in (("fields", tuple(FIELDS)), ("six", SIX))
    for rule in ("strict", "lenient")
}


def marks(answer: Answer) -> Marks:
    """(sum, weight) of every figure; {} for what extraction does not ask."""
    if answer.subtask == "abc":
        right = _whole_text(answer)
    elif answer.subtask in FIELDS:
        right = _field(answer)
    else:
        return {}
    return {f"{answer.subtask}.{name}": (float(good), 1.0) for name, good in right.items()}


def _whole_text(answer: Answer) -> dict[str, bool]:
    """Strict: the text itself.  Lenient: the same in canonical spelling."""
    if answer.said is None:
        return {"strict": False, "lenient": False}
    place = place_of(answer)
    truth, read = music(answer.truth, place, is_canonical=True), music(answer.said, place)
    return {
        "strict": tidy(answer.said) == tidy(answer.truth),
        "lenient": read.canonical == truth.canonical,
    }


def _field(answer: Answer) -> dict[str, bool]:
    field, truth, said = answer.subtask, answer.truth, answer.said
    given = said is not None
    found = {
        "strict": given and strict(field, truth, said or ""),
        "lenient": given and lenient(field, truth, said or ""),
    }
    if field == "key":
        found["signature"] = given and same_signature(truth, said or "")
    if field == "composer":
        kind = composer_kind(answer)
        for group in (kind,) if kind == "none" else ("stated", kind):
            found |= {f"{group}.{rule}": found[rule] for rule in ("strict", "lenient")}
    return found


def composer_kind(answer: Answer) -> str:
    """ "none" where no composer is printed, "invented" where the build made the name up, else
    "printed", as the source has it."""
    if value_of("composer", answer.truth) == NOTHING:
        return "none"
    return "invented" if answer.about.get("composer_source") == "synthetic" else "printed"


def is_not_printed(answer: Answer) -> bool:
    """The page has nothing of what is asked for: no title, composer, key or meter."""
    truth = value_of(answer.subtask, answer.truth)
    return (
        truth == NOTHING
        or truth == value_of(answer.subtask, "none")
        and (answer.subtask in ("key", "meter"))
    )


def asserts(field: str, said: str) -> bool:
    """The answer names something that is not there: it is neither empty nor says "none"."""
    return (
        bool(said.strip())
        and value_of(field, "none") not in readings(field, said)
        and (NOTHING not in readings(field, said))
    )
