"""OMR-NED: the edit distance between two drawn scores, over the symbols of both.

`musicdiff` computes it (P. Torras, S. Biswas and A. Fornés proposed the edits; G. Chapman's package
normalises them); it needs the extra `[omr-ned]`.  Figures move by tens of points with what turns a
text into a score and with the level of detail, so both are said beside the number, and how many
answers could be compared at all.  Half a second a page: `score --omr-ned` asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module, metadata
from multiprocessing import get_context
from typing import Any

from nota_jax.errors import UserError
from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.bootstrap import Marks
from nota_jax.evaluation.reading import music
from nota_jax.evaluation.transcription import place_of
from nota_jax.notation import musicxml
from nota_jax.notation.tune import Tune

MOST_ALONE = 8  # pages that one process compares before others would have begun
MOST_PROCESSES = 8


def needed() -> None:
    """Raises a `UserError` where musicdiff is not installed."""
    try:
        import_module("musicdiff")
    except ImportError:
        raise UserError(
            "OMR-NED needs musicdiff, which is not installed: pip install 'nota_jax[omr-ned]'"
        ) from None


def about() -> str:
    versions = ", ".join(f"{p} {metadata.version(p)}" for p in ("musicdiff", "music21"))
    return (
        f"{versions}, detail Default; ABC read by nota_jax and handed over as a music21 score, "
        "without beams; what cannot be read counts as an empty score"
    )


def marks(answers: Sequence[Answer]) -> list[Marks]:
    """Of each answer that is a whole page; {} for others.  Sums are edits, weights symbols."""
    asked = [i for i, answer in enumerate(answers) if answer.subtask == "abc"]
    found: list[Marks] = [{} for _ in answers]
    if len(asked) <= MOST_ALONE:
        of_pages = [mark(answers[i]) for i in asked]
    else:
        workers = min(os.cpu_count() or 1, MOST_PROCESSES)
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            of_pages = list(pool.map(mark, [answers[i] for i in asked], chunksize=4))
    for i, of_page in zip(asked, of_pages, strict=True):
        found[i] = of_page
    return found


def mark(answer: Answer) -> Marks:
    place = place_of(answer)
    truth, read = music(answer.truth, place, is_canonical=True), music(answer.said or "", place)
    try:
        there = _annotated(truth.tune)
        size = there.notation_size()
        if read.tune is None or not read.tune.bars:
            return {"abc.omr_ned": (size, size), "abc.omr_ned_compared": (1, 1)}
        found = _annotated(read.tune)
        _, edits = import_module("musicdiff").Comparison.annotated_scores_diff(found, there)
        size += found.notation_size()
    except Exception:  # whatever another program makes of music that a model invented
        return {"abc.omr_ned_compared": (0, 1)}
    return {"abc.omr_ned": (edits, size), "abc.omr_ned_compared": (1, 1)}


def _annotated(tune: Tune | None) -> Any:
    assert tune is not None, "the true answer of a dataset can be read"
    return import_module("musicdiff").AnnScore(musicxml.score(tune))
