"""`w:` lines: syllables laid under the notes of the music line before them, and back to text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nota_jax.notation.abc.fields import FieldError
from nota_jax.notation.abc.text import text_of

_SYLLABLE = re.compile(r"(?:\\-|[^\s\-_*|])+")
# A literal hyphen inside a syllable is kept as a non-breaking one: "-" ends a syllable.
_HYPHEN = "\u2011"


def syllables(field: str) -> list[str]:
    """The entries of a `w:` line: syllables ("Hel-", "lo"), "_" held, "" none, "|" next bar."""
    entries: list[str] = []
    position, joined = 0, False  # joined: the entry before takes a hyphen that follows at once
    while position < len(field):
        character = field[position]
        if match := _SYLLABLE.match(field, position):
            entries.append(text_of(match[0].replace(r"\-", _HYPHEN).replace("~", " ")))
            position, joined = match.end(), True
            continue
        if character == "-":
            if joined:
                entries[-1] += "-"
            else:
                entries.append("-")
        elif character in "_*|":
            entries.append({"_": "_", "*": "", "|": "|"}[character])
        joined = False
        position += 1
    return entries


def count(field: str) -> int:
    """How many notes a `w:` line is laid under."""
    return sum(entry != "|" for entry in syllables(field))


def align(field: str, bars: Sequence[int]) -> list[str]:
    """One entry for each note of a line; `bars[i]` is the bar of note i.

    Notes behind the last syllable have none.  Raises `FieldError` where syllables are left over.
    """
    laid: list[str] = []
    for entry in syllables(field):
        if entry == "|":
            if laid and len(laid) < len(bars):
                here = bars[len(laid) - 1]
                while len(laid) < len(bars) and bars[len(laid)] == here:
                    laid.append("")
        elif len(laid) == len(bars):
            raise FieldError(f"w: has more syllables than its line has notes ({len(bars)})")
        else:
            laid.append(entry)
    return laid + [""] * (len(bars) - len(laid))


def lyrics_text(entries: Sequence[str]) -> str:
    """The `w:` text of one verse of a line; trailing notes without syllables are left out."""
    last = max((i for i, entry in enumerate(entries) if entry), default=-1)
    shown = entries[: last + 1]
    text = ""
    for before, entry in zip(("-", *shown), shown, strict=False):
        joint = "" if before.endswith("-") or entry == "_" else " "
        text += joint + _entry_text(entry)
    return text


def _entry_text(entry: str) -> str:
    if entry in ("", "_", "-"):
        return entry or "*"
    hyphen = "-" if entry.endswith("-") else ""
    body = entry.removesuffix("-")
    body = re.sub(r"([\\%&])", r"\\\1", body).replace(_HYPHEN, r"\-").replace(" ", "~")
    return body + hyphen
