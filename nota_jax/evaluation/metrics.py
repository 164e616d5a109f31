"""What is asked, and what a model answered."""

from __future__ import annotations

from dataclasses import dataclass

# The header fields, by the letter that ABC gives them.
FIELDS = {"title": "T", "key": "K", "meter": "M", "unit_note_length": "L", "composer": "C"}
TRANSCRIPTIONS = ("abc", "alignment")
SHORT_ANSWER = 96  # tokens: what a header field is cut at


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
