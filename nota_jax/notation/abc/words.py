"""Words among the music code, `fine` or `and so on`: their letters a–g are no notes.

Every other letter may be a symbol that `U:` defines, and one that is not defined is left out.  But
a symbol stands before a note, alone, and inside a word letters do not.  (Ryan's Mammoth has
thousands of `k`, with and without blanks around the note; words hardly have any.)
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from nota_jax.notation.abc.decorations import DECORATIONS
from nota_jax.notation.abc.tokens import Token

_BEFORE_A_NOTE = ("decoration", "text", "grace", "slur_open", "tuplet", "ignored")
_EVENTS = ("note", "chord", "old_chord", "rest", "bar_rest")
_WORD = re.compile(r"(?<![^\s|])[A-Za-z]{3,}(?![^\s.,;:?|])")


def find(code: str, tokens: Sequence[Token], defined: Collection[str]) -> tuple[str, int] | None:
    """(word, column) of the first word in a line of music.

    defined: the letters that `U:` gives a meaning.
    """
    waiting: Token | None = None  # a letter without a meaning, whose note has not come yet
    for token in tokens:
        if _means_nothing(token, defined):
            if waiting or _inside_word(code, token.column - 1):
                return _around(code, token.column - 1)
            waiting = token
        elif token.kind in _EVENTS:
            waiting = None
        elif waiting and token.kind not in _BEFORE_A_NOTE:
            if waiting.text.islower():
                return _around(code, waiting.column - 1)
            waiting = None  # a capital, as in a bar line that was typed `I`
    small = waiting is not None and waiting.text.islower()
    return _around(code, waiting.column - 1) if waiting and small else None


def _means_nothing(token: Token, defined: Collection[str]) -> bool:
    single = token.kind == "decoration" and len(token.text) == 1
    return single and token.text not in DECORATIONS and token.text not in defined


def _inside_word(code: str, position: int) -> bool:
    """Whether a small letter stands behind a note's in a word; notes may lack their lengths."""
    words = (match for match in _WORD.finditer(code) if match.start() < position < match.end())
    small = code[position].islower() and code[position] not in "jkq"
    return small and code[position - 1] in "abcdefgABCDEFG" and any(words)


def _around(code: str, position: int) -> tuple[str, int]:
    """The letters around a place."""
    start = end = position
    while start and code[start - 1].isalpha():
        start -= 1
    while end < len(code) and code[end].isalpha():
        end += 1
    return code[start:end], start + 1
