"""From a tune to the questions asked about its picture, and their answers.

Three tasks, as in the NOTA dataset (arXiv 2502.14893): cross-modal alignment, music information
extraction with six subtasks, and music notation analysis.  All functions are pure: the phrasing is
chosen by the `random.Random` that the caller seeds.
"""

from __future__ import annotations

import random

from nota_jax.data.build.phrasings import (
    ALIGNMENT_QUESTIONS,
    ANALYSIS_QUESTIONS,
    EXTRACTION_QUESTIONS,
    NO_COMPOSER,
    NO_TITLE,
)
from nota_jax.data.build.prose import analyse
from nota_jax.data.records import Turn
from nota_jax.notation import abc
from nota_jax.notation.theory.facts import Facts
from nota_jax.notation.tune import Tune

EXTRACTION_SUBTASKS = tuple(EXTRACTION_QUESTIONS)
ANALYSIS_SUBTASKS = tuple(ANALYSIS_QUESTIONS)


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
