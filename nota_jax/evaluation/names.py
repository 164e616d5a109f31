"""What every figure is called on paper, in which unit it stands, and in what order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nota_jax.evaluation.extraction import SIX
from nota_jax.evaluation.failures import CONFUSED
from nota_jax.units import percent

_FIELDS = {"unit_note_length": "unit note length", "abc": "whole ABC"}
_EXTRACTION = [
    *(
        (f"{field}.{rule}", f"{_FIELDS.get(field, field)}, {rule}")
        for field in SIX
        for rule in ("strict", "lenient")
    ),
    ("fields.strict", "mean of the five fields, strict"),
    ("fields.lenient", "mean of the five fields, lenient"),
    ("six.strict", "mean with the whole ABC, strict"),
    ("six.lenient", "mean with the whole ABC, lenient"),
    ("key.signature", "key, same signature"),
    *(
        (f"composer.{kind}.{rule}", f"{words}, {rule}")
        for kind, words in (
            ("stated", "composer, where one is printed"),
            ("printed", "of these, the source's"),
            ("invented", "of these, invented by the build"),
            ("none", "no composer printed, and said so"),
        )
        for rule in ("strict", "lenient")
    ),
]
_TRANSCRIPTION = [
    ("distance", "Levenshtein, mean"), ("median_distance", "Levenshtein, median"),
    ("canonical_distance", "Levenshtein of canonical spelling, mean"),
    ("median_canonical_distance", "Levenshtein of canonical spelling, median"),
    ("normalised", "of the longer text wrong, mean over answers"),
    ("character_errors", "characters wrong, of all"),
    ("canonical_character_errors", "characters wrong in canonical spelling"),
    ("symbol_errors", "symbols wrong"), ("line_errors", "lines wrong"),
    ("exact", "no difference"), ("canonical_exact", "no difference in canonical spelling"),
    ("valid", "valid ABC"), ("note_precision", "notes: precision"),
    ("note_recall", "notes: recall"), ("note_f1", "notes: F1"),
    ("pitch_errors", "notes with a wrong pitch"), ("rhythm_errors", "notes with a wrong length"),
    ("notes_missing", "notes missing"), ("notes_invented", "notes invented, of those read"),
    ("bars_right", "bars right"), ("bars_missing", "bars missing"),
    ("bars_invented", "bars invented, of those read"), ("music_right", "all of the music right"),
    ("bars_off_meter", "bars that disagree with the meter"),
    ("true_bars_off_meter", "the same of the true ones"),
    ("omr_ned", "OMR-NED"), ("omr_ned_compared", "answers that musicdiff could compare"),
]  # fmt: skip
_WHERE = {"alignment": "highlighted bars", "abc": "whole page"}
_ANALYSIS = [
    ("facts.right", "facts right, of those that can be checked"),
    ("facts.wrong", "facts wrong, of those that can be checked"),
    ("facts.found", "facts of the true answer, said"),
    ("facts.missing", "facts of the true answer, missing"),
    ("facts.unchecked", "statements that cannot be checked"),
    ("analysis.lsa", "LSA similarity"), ("analysis.rouge1", "ROUGE-1, F1"),
    ("analysis.rougeL", "ROUGE-L, F1"), ("analysis.meteor", "METEOR"),
]  # fmt: skip
OUTCOMES = {
    "right": "right", "other": "answered with the {other}", "nothing": "“none is printed”",
    "else": "something else", "unanswered": "no answer",
}  # fmt: skip
_FAILURES = [
    *(
        (f"confusion.{field}.{outcome}", f"{field}: " + words.format(other=other))
        for field, other in (CONFUSED, CONFUSED[::-1])
        for outcome, words in OUTCOMES.items()
    ),
    ("hallucination.answers", "answers with any of what follows"),
    ("hallucination.notes", "notes that are not there, of those read"),
    ("hallucination.bars", "bars that are not there, of those read"),
    ("hallucination.fields", "fields named that are not printed"),
    ("hallucination.facts", "facts that the tune contradicts"),
]
SECTIONS: dict[str, list[tuple[str, str]]] = {
    "Extraction": _EXTRACTION,
    **{
        f"Transcription: {words}": [(f"{name}.{figure}", told) for figure, told in _TRANSCRIPTION]
        for name, words in _WHERE.items()
    },
    "Analysis": _ANALYSIS,
    "Failure modes": _FAILURES,
}
# What a line of a table of groups has.
HEADLINES = [
    ("fields.lenient", "five fields"), ("alignment.character_errors", "bars: characters wrong"),
    ("abc.character_errors", "page: characters wrong"), ("abc.note_f1", "page: notes F1"),
    ("facts.right", "facts right"), ("analysis.rougeL", "ROUGE-L"),
]  # fmt: skip
_IN_CHARACTERS = (
    "distance", "median_distance", "canonical_distance", "median_canonical_distance",
)  # fmt: skip
# Of these more is better, of all others less.
_GOOD = (
    "strict", "lenient", "signature", "exact", "canonical_exact", "valid", "note_precision",
    "note_recall", "note_f1", "bars_right", "music_right", "right", "found", "lsa", "rouge1",
    "rougeL", "meteor", "omr_ned_compared",
)  # fmt: skip


def rows(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(section, name, words) of every figure that is there, in the order of a page."""
    for section, names in SECTIONS.items():
        for name, words in names:
            if name in figures:
                yield section, name, words


def shown(name: str, value: float | None, signed: bool = False) -> str:
    """A figure as it stands on paper: per cent, or characters."""
    if value is None:
        return "–"
    text = f"{value:.1f}" if _in_characters(name) else percent(value)
    if text.startswith("-0.0"):
        return text[1:]
    return "+" * (signed and not text.startswith(("0.0", "-"))) + text


def _in_characters(name: str) -> bool:
    return name.rpartition(".")[2] in _IN_CHARACTERS


def more_is_better(name: str) -> bool:
    return name.rpartition(".")[2] in _GOOD
