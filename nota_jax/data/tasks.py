"""From a tune to the questions asked about its picture, and their answers.

Three tasks, as in the NOTA dataset (arXiv 2502.14893): cross-modal alignment, music information
extraction with six subtasks, and music notation analysis.  All functions are pure: the phrasing is
chosen by the `random.Random` that the caller seeds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from nota_jax.data.analysis import analyse
from nota_jax.data.phrasings import (
    ALIGNMENT_QUESTIONS,
    ANALYSIS_QUESTIONS,
    COMPOSERS,
    EXTRACTION_QUESTIONS,
    NO_COMPOSER,
    NO_TITLE,
)
from nota_jax.notation import abc
from nota_jax.notation.facts import Facts
from nota_jax.notation.tune import Tune

TASKS = ("alignment", "extraction", "analysis")
EXTRACTION_SUBTASKS = tuple(EXTRACTION_QUESTIONS)
ANALYSIS_SUBTASKS = tuple(ANALYSIS_QUESTIONS)

__all__ = [
    "ANALYSIS_SUBTASKS", "COMPOSERS", "EXTRACTION_SUBTASKS", "TASKS", "Page", "Turn",
    "alignment_turns", "analysis_turns", "extraction_turns",
]  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """One question about a picture, and its answer.

    task: one of `TASKS`; subtask: "alignment", one of `EXTRACTION_SUBTASKS`, or what an analysis
    question asks about ("form", "range", …).
    """

    task: str
    subtask: str
    question: str
    answer: str


@dataclass(frozen=True)
class Page:
    """One picture and everything asked about it: one example of the dataset on disk.

    png: the encoded picture.  metadata: where the tune comes from and how it was drawn (region,
    corpus, split, fonts, staff spacing, transposition, credits …; see `build.py`).
    """

    id: str
    task: str
    png: bytes
    turns: tuple[Turn, ...]
    metadata: dict[str, object] = field(default_factory=dict)


def alignment_turns(tune: Tune, highlight: tuple[int, int], rng: random.Random) -> tuple[Turn, ...]:
    """The one question about a highlighted region.

    highlight: indices of its first and last bar, both inside.  The answer is the region's ABC body
    in the unit note length of the whole tune.
    """
    first, last = highlight
    answer = abc.write_body(tune, range(first, last + 1))
    return (Turn("alignment", "alignment", rng.choice(ALIGNMENT_QUESTIONS), answer),)


def extraction_turns(tune: Tune, rng: random.Random) -> tuple[Turn, ...]:
    """The six extraction questions; each answer is what the page shows, in canonical spelling."""
    answers = {
        "title": tune.title or NO_TITLE,
        "key": abc.key_text(tune.key),
        "meter": tune.meter.text,
        "unit_note_length": abc.unit_text(abc.unit_note_length(tune)),
        "composer": tune.composer or NO_COMPOSER,
        "abc": abc.write(tune),
    }
    return tuple(
        Turn("extraction", subtask, rng.choice(questions), answers[subtask])
        for subtask, questions in EXTRACTION_QUESTIONS.items()
    )


def analysis_turns(facts: Facts, dance_type: str, rng: random.Random) -> tuple[Turn, ...]:
    """Questions about the music; every sentence of an answer is computed from the tune.

    dance_type: as the source names it ("Reel", "jig"), "" where it does not.  A question that has
    no answer for this tune (the form of one undivided section, say) is not asked.
    """
    answers = analyse(facts, dance_type, rng)
    return tuple(
        Turn("analysis", subtask, rng.choice(ANALYSIS_QUESTIONS[subtask]), answer)
        for subtask, answer in answers.items()
    )
