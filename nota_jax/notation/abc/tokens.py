"""ABC music code cut into tokens: one table of regular expressions, first match wins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from nota_jax.notation.abc.fields import FieldError

_LENGTH = r"[0-9]*(?:/+[0-9]*)?"
_ENDING = r"[0-9]{1,2}(?:[,-][0-9]{1,2})*"
_BARLINE = r"\[\|(?!\])|\|\]|\|"
_PITCH = r"(?:\^\^|\^|__|_|=)?[A-Ga-g][,']*"

_TABLE = {
    "space": r"[ \t]+",
    # ABC 2.1, 8.1: reserved characters are ignored; a back quote only pleases the eye.
    "ignored": r"[`*;?@#$]+|y[0-9]*",
    "text": r'"[^"]*"',
    "ending": rf'\[(?:{_ENDING}|"[^"]*"(?![^\]|\[]*\]))',
    "inline": r"\[[A-Za-z]:[^\]]*\]",
    "invisible_bar": r"\[\|\](?:\s*\[\|\])*",
    "bar": rf"(?:{_BARLINE}|:(?=[:|])|\A:)(?:{_BARLINE}|:)*(?:(?<=\|){_ENDING})?",
    "tuplet": r"\([2-9](?::[0-9]*(?::[0-9]*)?)?(?![0-9])",
    "chord": rf"\[[^\]|:\[]*\]{_LENGTH}",
    "old_chord": rf"\+(?:{_PITCH}{_LENGTH}){{2,}}\+{_LENGTH}",
    "decoration": r"![A-Za-z0-9.:()<>+]+!|\+[A-Za-z0-9.()<>]+\+|[~.HLMOPSTuv]|[h-tw]|[I-KNQRU-W]",
    "grace": r"\{[^}]*\}",
    "note": rf"{_PITCH}{_LENGTH}",
    "bar_rest": r"[ZX][0-9]*",
    "rest": rf"[zx]{_LENGTH}",
    "slur_open": r"\(",
    "slur_close": r"\)",
    "tie": r"-",
    "broken": r">+|<+",
    "old_line_break": r"!",
    "overlay": r"&",
}
_TOKEN = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _TABLE.items()))
_FIELD = re.compile(r"\s*[A-Za-z+]:(?![|:])")
_NOTE = re.compile(rf"(\^\^|\^|__|_|=)?([A-Ga-g])([,']*)({_LENGTH})")


class Token(NamedTuple):
    """kind (a key of the table), text as it stands, column in its line (from 1)."""

    kind: str
    text: str
    column: int


class TokenError(ValueError):
    """Music code that is no ABC: reason, column, and line where it is not the one being read."""

    def __init__(self, reason: str, column: int, line: int = 0):
        super().__init__(reason)
        self.column, self.line = column, line


def tokens(code: str) -> Iterator[Token]:
    """The tokens of one line of music code."""
    position = 0
    while position < len(code):
        match = _TOKEN.match(code, position)
        if match is None or match.end() == position:
            raise TokenError(_what(code[position]), position + 1)
        yield Token(match.lastgroup or "", match[0], position + 1)
        position = match.end()


def symbols(text: str) -> list[str]:
    """The symbols of any text of ABC, right or wrong, blanks left out.

    A header or body field is one symbol, music code gives its tokens, and a character that begins
    no token is a symbol by itself.
    """
    found: list[str] = []
    for line in text.splitlines():
        if _FIELD.match(line):
            found.append(line.strip())
            continue
        position = 0
        while position < len(line):
            match = _TOKEN.match(line, position)
            known = match is not None and match.end() > position
            symbol = match[0] if match and known else line[position]
            position += len(symbol)
            if symbol.strip():
                found.append(symbol)
    return found


def _what(character: str) -> str:
    """Why no token begins with this character, as far as it can be told."""
    if character.isdigit() or character == "/":
        return "a length that belongs to no note"
    if character in "^_=":
        return f"an accidental {character!r} that belongs to no note"
    open_ones = {'"': "text", "[": "chord", "{": "grace notes"}
    if character in open_ones:
        return f"the {open_ones[character]} that {character!r} begins is not closed on this line"
    if character in "]}:":
        return f"{character!r} closes nothing here"
    return f"{character!r} is not ABC music code"


@lru_cache(maxsize=4096)
def length(text: str) -> Fraction:
    """A length in units: "" 1, "2" 2, "/" 1/2, "//" 1/4, "3/4" 3/4."""
    top, slash, bottom = text.partition("/")
    slashes = len(slash) + len(bottom) - len(bottom.lstrip("/"))
    digits = bottom.lstrip("/")
    if len(top) > 3 or len(digits) > 3 or slashes > 6:
        raise FieldError(f"a length of {text!r} cannot be drawn")
    numerator = int(top or 1)
    denominator = int(digits) * 2 ** max(slashes - 1, 0) if digits else 2**slashes
    if not numerator or not denominator:
        raise FieldError(f"a length of {text!r} is no length")
    return Fraction(numerator, denominator)


class Pitch(NamedTuple):
    """A note as written: accidental mark or "", step, octave (C4 = middle C), length in units."""

    mark: str
    step: str
    octave: int
    length: Fraction


@lru_cache(maxsize=16384)
def pitch(text: str) -> Pitch:
    """The parts of a note token, `^c'3/2`."""
    match = _NOTE.fullmatch(text)
    if match is None:
        raise FieldError(f"{text!r} is no note")
    mark, letter, marks, length_ = match.groups()
    octave = (5 if letter.islower() else 4) + marks.count("'") - marks.count(",")
    if not 0 <= octave <= 9:
        raise FieldError(f"the note {text!r} lies outside any instrument's range")
    return Pitch(mark or "", letter.upper(), octave, length(length_))


def bar_parts(text: str) -> tuple[str, bool, str]:
    """(barline that closes, whether a repeat starts behind it, ending text) of a bar token.

    The closing barline of a bare start-repeat is "|".  `|:|`, which some collections write for
    the end of a repeat, is ":|"; a ":" alone, at the start of a line, is the repeat's dots behind
    the barline that ends the line before.
    """
    if text == ":":
        return "|", True, ""
    signs = text.rstrip("0123456789,-")
    ending = text[len(signs) :]
    repeat_start = signs.endswith(":")
    core = signs.rstrip(":")
    if ":" in core or not core:
        return ":|", repeat_start, ending
    for barline in ("|]", "[|"):
        if barline in core:
            return barline, repeat_start, ending
    return ("||" if core.count("|") > 1 else "|"), repeat_start, ending
