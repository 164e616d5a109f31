"""Scores of predictions: extraction rate, Levenshtein distance, confusion, per region.

Every figure comes with how many questions it counts and how many of them were answered.  A
question without an answer (`prediction=None`) counts as wrong, and as an empty transcription.

The paper (arXiv 2502.14893) names the extraction rate and the Levenshtein distance but not their
normalisation; ours is `normalise`, and comparing our figures with the paper's needs that said.
"""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import Levenshtein

# The header fields whose rates make the average; a whole ABC text is scored by its distance.
FIELDS = {"title": "T", "key": "K", "meter": "M", "unit_note_length": "L", "composer": "C"}
TRANSCRIPTIONS = ("abc", "alignment")

_MODES = {
    "": "major", "maj": "major", "ion": "major", "m": "minor", "min": "minor", "aeo": "minor",
    "dor": "dorian", "phr": "phrygian", "lyd": "lydian", "mix": "mixolydian", "loc": "locrian",
}  # fmt: skip
_KEY = re.compile(r"([A-Ga-g])\s*(#|b|♯|♭|-?sharp\b|-?flat\b)?\s*([A-Za-z]*)\s*(.*)")


@dataclass(frozen=True)
class Prediction:
    """One question about a held-out picture, and what a model answered (None: nothing).

    confusable: for a title question the composer that the page prints, for a composer question
    its title; "" where none is printed.
    """

    id: str
    subtask: str
    region: str
    answer: str
    prediction: str | None
    confusable: str = ""


@dataclass(frozen=True)
class Rate:
    """correct of asked; answered says how many of them had an answer at all."""

    correct: int
    asked: int
    answered: int

    @property
    def value(self) -> float | None:
        """Between 0 and 1; None where nothing was asked."""
        return self.correct / self.asked if self.asked else None


@dataclass(frozen=True)
class Distance:
    """Levenshtein distances in characters (insert, delete, replace cost 1 each).

    mean, median: characters.  normalised: mean of distance / length of the longer text, 0 … 1.
    exact: share of texts without a difference.  mean_length: of the true texts, which is the
    distance that an empty answer would have.
    """

    mean: float
    median: float
    normalised: float
    exact: float
    mean_length: float
    asked: int
    answered: int


def normalise(subtask: str, text: str) -> Hashable:
    """What two answers are compared by; equal values are the same answer.

    All: Unicode NFKC, space at the ends dropped, and the field's own letter ("K: Em") dropped.
    title, composer: case and runs of spaces do not matter.
    key: tonic and mode, so that "Em", "E minor" and "e min" are one; a major key and its relative
      minor are two.  C ionian is C major, A aeolian A minor.
    meter, unit_note_length: spaces do not matter.  "C" and "4/4" sound alike but are drawn
      differently, so they are two.
    transcriptions: only line ends and spaces at line ends do not matter.
    """
    text = unicodedata.normalize("NFKC", text).strip()
    if subtask in FIELDS:
        text = text.removeprefix(FIELDS[subtask] + ":").strip()
    if subtask in ("title", "composer"):
        return " ".join(text.casefold().split())
    if subtask == "key":
        return _normalise_key(text)
    if subtask in ("meter", "unit_note_length"):
        return "".join(text.upper().split())
    return _clean(text)


def matches(item: Prediction) -> bool:
    """Whether the answer is right."""
    if item.prediction is None:
        return False
    return normalise(item.subtask, item.prediction) == normalise(item.subtask, item.answer)


def rate(items: Sequence[Prediction]) -> Rate:
    return Rate(sum(map(matches, items)), len(items), _answered(items))


def extraction_rates(items: Iterable[Prediction]) -> dict[str, Rate]:
    """Normalised exact match of each header field that was asked for, in the order of `FIELDS`."""
    groups = _by(items, "subtask")
    return {field: rate(groups[field]) for field in FIELDS if field in groups}


def average(rates: dict[str, Rate]) -> float | None:
    """Mean over the fields, each counting the same, as in the paper's table."""
    values = [r.value for r in rates.values() if r.value is not None]
    return statistics.fmean(values) if values else None


def distances(items: Iterable[Prediction]) -> dict[str, Distance]:
    """Levenshtein distances of the whole texts ("abc") and of the regions ("alignment")."""
    groups = _by(items, "subtask")
    return {name: _distance(groups[name]) for name in TRANSCRIPTIONS if name in groups}


def majority_answers(answers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The commonest answer to each header field among (subtask, answer) pairs of training.

    Answers are counted as `normalise` compares them; on a tie the one met first wins.
    """
    counts: dict[str, Counter] = defaultdict(Counter)
    spelled: dict[tuple[str, Hashable], str] = {}
    for subtask, answer in answers:
        if subtask in FIELDS:
            value = normalise(subtask, answer)
            counts[subtask][value] += 1
            spelled.setdefault((subtask, value), answer)
    return {
        subtask: spelled[subtask, counter.most_common(1)[0][0]]
        for subtask, counter in counts.items()
    }


def baseline_rates(items: Iterable[Prediction], majority: dict[str, str]) -> dict[str, Rate]:
    """Extraction rates of a model that gives the majority answer without looking."""
    guesses = [
        Prediction(item.id, item.subtask, item.region, item.answer, majority.get(item.subtask))
        for item in items
    ]
    return extraction_rates(guesses)


def confusion(items: Iterable[Prediction]) -> dict[str, Rate]:
    """How often the title is answered with the composer, and the composer with the title.

    This is the paper's first failure.  Asked are questions whose page prints both, with different
    texts; `Rate.correct` counts the confused answers, so that a low value is good.
    """
    groups, rates = _by(items, "subtask"), {}
    for subtask in ("title", "composer"):
        asked = [
            item
            for item in groups.get(subtask, [])
            if item.confusable
            and normalise(subtask, item.confusable) != normalise(subtask, item.answer)
        ]
        confused = sum(
            item.prediction is not None
            and normalise(subtask, item.prediction) == normalise(subtask, item.confusable)
            for item in asked
        )
        if asked:
            rates[subtask] = Rate(confused, len(asked), _answered(asked))
    return rates


def summarise(items: Sequence[Prediction], majority: dict[str, str]) -> dict:
    """All figures as plain numbers: {"all": …, "regions": {region: …}}, ready for JSON."""
    regions = _by(items, "region")
    return {
        "all": _figures(items, majority),
        "regions": {name: _figures(regions[name], majority) for name in sorted(regions)},
    }


def _figures(items: Sequence[Prediction], majority: dict[str, str]) -> dict:
    rates, baseline = extraction_rates(items), baseline_rates(items, majority)
    return {
        "questions": len(items),
        "answered": _answered(items),
        "extraction_rate": {name: _plain(r) for name, r in rates.items()},
        "extraction_rate_average": average(rates),
        "majority_rate": {name: _plain(r) for name, r in baseline.items()},
        "majority_rate_average": average(baseline),
        "levenshtein": {name: vars(d).copy() for name, d in distances(items).items()},
        "confusion": {name: _plain(r) for name, r in confusion(items).items()},
    }


def _distance(items: Sequence[Prediction]) -> Distance:
    pairs = [(_clean(item.answer), _clean(item.prediction or "")) for item in items]
    characters = [Levenshtein.distance(*pair) for pair in pairs]
    longest = [max(map(len, pair)) for pair in pairs]
    return Distance(
        mean=statistics.fmean(characters),
        median=statistics.median(characters),
        normalised=statistics.fmean(
            distance / length if length else 0.0
            for distance, length in zip(characters, longest, strict=True)
        ),
        exact=characters.count(0) / len(characters),
        mean_length=statistics.fmean(len(answer) for answer, _ in pairs),
        asked=len(items),
        answered=_answered(items),
    )


def _clean(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _normalise_key(text: str) -> Hashable:
    """(tonic, mode, rest in lower case), or the folded text where it is no key."""
    match = _KEY.fullmatch(text)
    if match:
        step, sign, word, rest = match.groups(default="")
        sign = {"♯": "#", "♭": "b", "sharp": "#", "flat": "b"}.get(sign.lstrip("-"), sign)
        # A lone capital M is major; otherwise the first three letters name the mode.
        mode = "major" if word == "M" else _MODES.get(word.lower()[:3])
        if mode:
            return step.upper() + sign, mode, " ".join(rest.casefold().split())
    return " ".join(text.casefold().split())


def _answered(items: Iterable[Prediction]) -> int:
    return sum(item.prediction is not None for item in items)


def _by(items: Iterable[Prediction], attribute: str) -> dict[str, list[Prediction]]:
    groups: dict[str, list[Prediction]] = defaultdict(list)
    for item in items:
        groups[getattr(item, attribute)].append(item)
    return groups


def _plain(r: Rate) -> dict:
    return {"value": r.value, "correct": r.correct, "asked": r.asked, "answered": r.answered}
