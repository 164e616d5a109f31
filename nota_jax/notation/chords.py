"""Chord symbols, the `Am7` or `B♭/d` above a note: which texts are some, and how they move.

A symbol is understood (its note names are known, so that it can be transposed), or only looks
like one (`Cfoo7`): then it is drawn as it stands, and nothing moves it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_SIGN = "##|bb|[#b♯♭]"
_ROOT = f"[A-G](?:{_SIGN})?"
_KIND = "major|minor|maj|min|ma|mi|dim|aug|sus|dom|Maj|Min|Ma|Mi|MAJ|MIN|[mMo°ºøØΔ△+^−-]"
_DEGREE = r"(?:add|sus|omit|no|maj|Maj|MAJ|dim|ma|[mM°ºøØΔ△^+−-]|[#b♯♭]{1,2})*[0-9]{1,2}"
_MORE = rf"{_DEGREE}|/[0-9]{{1,2}}|maj|dim|aug|sus|add|alt|[°øΔ+−-]|[(),]"
_PLAIN = f"{_ROOT}(?:{_KIND})?(?:{_MORE})*"
# A bass may be written small, and its sharp as a plus: `D/f+`.
_CHORD = rf"{_PLAIN}(?:/(?:{_PLAIN}|[a-g](?:{_SIGN}|\+)?))*"
_UNDERSTOOD = re.compile(rf"\({_CHORD}\)|{_CHORD}(?:\({_CHORD}\))?")  # `G(Em)` names a choice
# No note name but these has a capital A–G, or stands behind a stroke.
_NAME = re.compile(rf"([A-G]|(?<=/)[a-g])({_SIGN}|(?<=/[a-g])\+)?")

# What begins like a chord and has a digit or sign that words have not, and is short of a word.
_LONGEST = 24  # characters of a symbol
_SUSPECT = re.compile(r"\(?[A-G](?![.:'])(?=.*[0-9#♯♭°ºøØΔ△+/])(?!.*[A-Za-z]{4}).*")

_ALTERS = {"": 0, "#": 1, "♯": 1, "+": 1, "##": 2, "b": -1, "♭": -1, "bb": -2}


def is_understood(word: str) -> bool:
    """Whether the note names of a chord symbol are known."""
    return len(word) <= _LONGEST and _UNDERSTOOD.fullmatch(word) is not None


def looks_like_chord(word: str) -> bool:
    """Whether a word is a chord symbol, understood or not; "Fine" and "D.C." are none."""
    suspect = len(word) <= _LONGEST and _SUSPECT.fullmatch(word) is not None
    return suspect or is_understood(word)


def are_chords(text: str) -> bool:
    """Whether a text is a chord symbol, or several with spaces between them."""
    words = text.split()
    return bool(words) and all(map(looks_like_chord, words))


def map_names(word: str, move: Callable[[str, int], tuple[str, int]]) -> str:
    """A chord symbol that is understood, with each of its note names moved.

    move: (step, alter) → (step, alter).  Sharps and flats stay of one kind, `♭` or `b`, and a
    small bass stays small.
    """
    sharp, flat = ("♯", "♭") if "♯" in word or "♭" in word else ("#", "b")

    def moved(match: re.Match[str]) -> str:
        step, alter = move(match[1].upper(), _ALTERS[match[2] or ""])
        step = step.lower() if match[1].islower() else step
        return step + sharp * max(alter, 0) + flat * max(-alter, 0)

    return _NAME.sub(moved, word)
