"""Two texts with their differences marked, as many characters as Levenshtein's distance counts."""

from __future__ import annotations

import re
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

MOST = 6000  # characters of a text that are shown

# What no browser shows, or what would turn round what stands behind it.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


class Piece(NamedTuple):
    """A stretch of a text; wrong: it is not so in the other one."""

    text: str
    wrong: bool


class Sides(NamedTuple):
    """The pieces of both texts, and how many characters of each are left out at its end."""

    truth: tuple[Piece, ...]
    said: tuple[Piece, ...]
    truth_left: int
    said_left: int


def visible(text: str) -> str:
    """What cannot be shown is shown as "�"; anything may be in an answer."""
    return _UNSEEN.sub("\ufffd", text)


def sides(truth: str, said: str, most: int = MOST) -> Sides:
    """By Levenshtein's distance over characters; each of the texts up to `most` of them."""
    of_truth, of_said = visible(truth)[:most], visible(said)[:most]
    left, right = list[Piece](), list[Piece]()
    for step in Levenshtein.opcodes(of_truth, of_said):
        wrong = step.tag != "equal"
        for pieces, text in (
            (left, of_truth[step.src_start : step.src_end]),
            (right, of_said[step.dest_start : step.dest_end]),
        ):
            text = _with_ends(text) if wrong else text
            if pieces and pieces[-1].wrong == wrong:
                pieces[-1] = Piece(pieces[-1].text + text, wrong)
            elif text:
                pieces.append(Piece(text, wrong))
    left_out = len(truth) - len(of_truth), len(said) - len(of_said)
    return Sides(tuple(left), tuple(right), *left_out)


def _with_ends(text: str) -> str:
    """A line's end that is wrong is seen."""
    return text.replace("\n", "↵\n")
