"""ABC music code cut into tokens: one table of regular expressions, first match wins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from nota_jax.notation.abc.decorations import DECORATIONS
from nota_jax.notation.abc.source import FieldError

_LENGTH = r"[0-9]*(?:/+[0-9]*)?"
# `1`, `1,3`, `1-3`, and as people write it: `1.`, `1st`, `1., 2.`.
_NTH = r"[0-9]{1,2}(?:\.|(?:st|nd|rd|th)(?![A-Za-z]))?"
_ENDING = rf"{_NTH}(?:(?:[,-] ?|(?<=\.)){_NTH})*"
_BARLINE = r"\[\|(?!\])|\|\]|\|"
_LONE = r"\](?=[\s|]|\Z)"  # ABC 2.1, 4.8 would have us be liberal: a thick bar line
# A blank in it, `| :A` and `A: |`, but not between two bar lines.
_APART = r"(?<=:)[ \t]+(?=\|(?![|\]:]))|(?<=\|)[ \t]+(?=:(?![|:\]]))"
_PITCH = r"(?:\^\^|\^|__|_|=)?[A-Ga-g][,']*"

_TABLE = {
    "space": r"[ \t\f\v\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+",
    # ABC 2.1, 8.1: reserved characters are ignored; a back quote only pleases the eye.
    "ignored": r"[`*;?@#$\u00ad\u200b-\u200f\u2060\ufeff]+|y[0-9]*",
    "text": r'"(?:\\"(?=[AEIOUYaeiouy][^"]*")|[^"])*"',  # `\"u` in it is an umlaut
    "ending": rf'\[(?:{_ENDING}|"[^"]*"(?![^\]|\[]*\]))',
    "inline": r"\[[A-Za-z]:[^\]]*\]",
    "invisible_bar": rf"\[\|\](?:\s*\[\|\])*(?:{_ENDING})?",
    "bar": rf"(?:{_BARLINE}|:(?=[:|\]]|[ \t]+\|)|\A:|\[(?=:)|{_LONE})"
    rf"(?:{_BARLINE}|:|\[(?=:)|(?<=:)\]|{_LONE}|{_APART})*"
    rf"(?:(?<=[|\]]){_ENDING})?",
    "tuplet": r"\((?:[2-9]|[1-9][0-9])(?::[0-9]*(?::[0-9]*)?)?(?![0-9])",
    "chord": rf"\[[^\]|:\[]*\]{_LENGTH}",
    # ABC before 1.7 writes `+CE+`; a blank between its notes is none of the music's.
    "old_chord": rf"\+(?:[ \t]*{_PITCH}{_LENGTH}-?[ \t]*){{2,}}\+{_LENGTH}",
    # Dotted and placed curves are curves: `.(` `.-` `('`.
    "slur_open": r"\.\((?![0-9])|\([,']?",
    "tie": r"\.?-[,']?",
    "exclamation": r"!",  # begins a decoration, or is the line break of ABC 1.6: see `_marked`
    "decoration": r"D\.[CS]\.(?=[\s|:\]]|\Z)"  # `D.C.` without its quotes
    r"|\+[A-Za-z0-9.()<>]+\+|[~.HLMOPSTuv]|[h-tw]|[I-KNQRU-W]",
    "grace": r"\{[^}]*\}",
    "note": rf"{_PITCH}{_LENGTH}",
    "bar_rest": r"[ZX][0-9]*",
    "rest": rf"[zx]{_LENGTH}",
    "slur_close": r"\)",
    "broken": r">+|<+",
    "overlay": r"&",
}
_TOKEN = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _TABLE.items()))
_FIELD = re.compile(r"\s*[A-Za-z+]:(?![|:])")
_FIELD_BEHIND_BREAK = re.compile(r"\s*(M:\s*C\||[H-Zh-z]:(?![|:])[^!|]*)")
_QUARTER_TONE = re.compile(r"(?:\^\^?|__?)(?:[0-9]+/[0-9]*|/[0-9]*)(?=[A-Ga-g])")
_MUSICAL = frozenset(("bar", "chord", "old_chord", "tuplet", "broken", "grace", "bar_rest"))
_SOUNDING = frozenset(("note", "rest", "chord", "old_chord", "bar_rest"))
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
        found = _tokens_at(code, position)
        if not found:
            raise TokenError(_what(code, position), position + 1)
        yield from found
        position = found[-1].column - 1 + len(found[-1].text)


def _tokens_at(code: str, position: int) -> list[Token]:
    """The token that begins there, and a field behind it where `!` begins one; [] for none."""
    match = _TOKEN.match(code, position)
    if match is None or match.end() == position:
        return []
    if match.lastgroup == "exclamation":
        return _marked(code, position)
    return [Token(match.lastgroup or "", match[0], position + 1)]


def _marked(code: str, position: int) -> list[Token]:
    """What an exclamation mark begins: `!trill!`, or a line break and perhaps a field behind it.

    Between two marks stands a decoration, known or not, unless it can only be music: collections
    of ABC 1.6 have two line breaks on one line, as in `c4|!d4|!`.
    """
    begun = Token("old_line_break", "!", position + 1)
    end = code.find("!", position + 1)
    inside = code[position + 1 : end] if end > 0 else ""
    known = inside.strip() in DECORATIONS or inside.strip().lower() in DECORATIONS
    if not known and (field := _FIELD_BEHIND_BREAK.match(code, position + 1)):
        return [begun, Token("field", field[1], field.start(1) + 1)]
    if not inside.strip() or (not known and (re.search(r'[|"{}]', inside) or is_music(inside))):
        return [begun]
    return [Token("decoration", code[position : end + 1], position + 1)]


def is_music(code: str) -> bool:
    """Whether a text is music code and no words: it has lengths, chords or bar lines.

    "a bad age" could be either, and is words.
    """
    try:
        found = list(tokens(code))
    except (TokenError, FieldError):
        return False
    if any(t.kind == "decoration" and t.text not in DECORATIONS for t in found):
        return False
    sure = any(t.kind in _MUSICAL or (t.kind == "note" and len(t.text) > 1) for t in found)
    return sure and any(t.kind in _SOUNDING for t in found)


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
            here = _tokens_at(line, position)
            texts = [token.text for token in here] or [line[position]]
            position = here[-1].column - 1 + len(texts[-1]) if here else position + 1
            found += [text for text in texts if text.strip()]
    return found


def _what(code: str, position: int) -> str:
    """Why no token begins with this character, as far as it can be told."""
    character = code[position]
    if character.isdigit() or character == "/":
        return "a length that belongs to no note"
    if match := _QUARTER_TONE.match(code, position):
        return f"a quarter tone ({match[0]!r}) is not supported"
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
    written = re.split("[0-9]", text, maxsplit=1)[0]
    signs, ending = "".join(written.split()), ending_text(text[len(written) :])
    repeat_start = signs.endswith(":")
    core = signs.rstrip(":")
    if ":" in core or not core:
        return ":|", repeat_start, ending
    for barline in ("|]", "[|"):
        if barline in core:
            return barline, repeat_start, ending
    if "]" in core:
        return "|]", repeat_start, ending
    return ("||" if core.count("|") > 1 else "|"), repeat_start, ending


def ending_text(written: str) -> str:
    """An ending's numbers without what people put behind them: `1., 2nd` is "1,2"."""
    return re.sub(r"\.(?=[0-9])", ",", re.sub(r"[A-Za-z ]+|\.(?![0-9])", "", written))
