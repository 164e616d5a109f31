"""By what pages are grouped: where they come from and how they were drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.reading import page_tune
from nota_jax.notation.engraving.fonts import TEST_MUSIC_FONT
from nota_jax.notation.walk import sounding_notes

# Of the notes of a page: up to so many, and more.
NOTE_BOUNDS = (50, 100, 150, 250)
_CONDITIONS = {"test_scan": "scanned", "test_style": "fonts never trained on"}


def of_answer(answer: Answer) -> dict[str, str]:
    """The groups of its page, and of an analysis what was asked about."""
    asked = {"analysis of": answer.subtask} if answer.task == "analysis" else {}
    return of_page(answer.about) | asked


def of_page(about: Mapping[str, Any]) -> dict[str, str]:
    """The page's group in every dimension, as far as the dataset tells it."""
    font = str(about.get("music_font", ""))
    clean = "clean" if about.get("abc") else ""  # of pictures from elsewhere nobody knows
    found = {
        "region": str(about.get("region", "")),
        "corpus": str(about.get("corpus", "")),
        "degradation": _CONDITIONS.get(str(about.get("split", "")), clean),
        "music font": font + " (never trained on)" * (font == TEST_MUSIC_FONT),
        "staff spacing": _spacing(float(about.get("staff_spacing", 0))),
        "notes": _notes(str(about.get("abc", ""))),
    }
    return {dimension: group for dimension, group in found.items() if group}


def _spacing(pixels: float) -> str:
    """Between two lines, to the pixel below."""
    return f"{math.floor(pixels):3d}–{math.floor(pixels) + 1} px" if pixels else ""


@lru_cache(maxsize=4096)
def count_notes(abc: str) -> int:
    """How many notes sound in a page's tune; 0 where a dataset does not tell it."""
    tune = page_tune(abc)
    return 0 if tune is None else len(sounding_notes(tune))


def _notes(abc: str) -> str:
    if not abc:
        return ""
    count, low = count_notes(abc), 1
    for bound in NOTE_BOUNDS:
        if count <= bound:
            return f"{low:3d}–{bound}"
        low = bound + 1
    return f"{low:3d} and more"
