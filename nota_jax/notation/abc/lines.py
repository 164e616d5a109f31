"""The lines of a tune as the reader takes them: without comments, text blocks, HTML, and joined."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from nota_jax.notation.abc.source import FieldError

MAX_LINE = 20_000  # characters; longer ones are no music, and would only cost time
_COMMENT = re.compile(r"(?<!\\)%.*")
_BLOCK = re.compile(r"%%\s*begin([A-Za-z]+)")
_BREAK_AT = re.compile(r"%%\s*linebreak\s+(.*)")
_CONTINUATION = re.compile(r"\s*\+:\s*(.*)")
_FIELD = re.compile(r"\s*[A-Za-z]:")
# Invisible at the beginning of a line: the mark of a UTF-8 file that was put behind another.
_MARKS = "\ufeff\u200b\u200e"

# `c<a>b` and `c<!trill!d` are music; these are not.
_TAG = re.compile(
    r"</[A-Za-z][^<>]*>|<!--|-->|<!DOCTYPE[^<>]*>?|<[A-Za-z]+\s+[A-Za-z-]+\s*=[^<>]*>"
    r"|<(?:html|head|body|pre|br|p|div|span|font|center|table|tr|td|th|ul|ol|li|em|strong|hr|h[1-6]"
    r"|title|style|script|code|tt|blockquote|small|big|sub|sup|img|link|meta)\s*/?>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:[A-Za-z]{2,8}|#[0-9]{1,5});")


class Line(NamedTuple):
    """A line of a field or of music, and its number in the file."""

    number: int
    text: str


class LineError(FieldError):
    """A line that is none of ABC's: reason, its number and column."""

    def __init__(self, reason: str, number: int, column: int = 1):
        super().__init__(reason)
        self.number, self.column = number, column


def logical(lines: Iterable[str], first: int) -> Iterator[Line]:
    """The lines that say something; `first` is the number of the first.

    Comments end where they do in the file, `%%begintext` … `%%endtext` (and PostScript, SVG …) are
    left out, and `+:` goes on with the field before it.  Raises `LineError`.
    """
    waiting: Line | None = None  # a field that `+:` may go on with
    block, begun = "", 0
    for number, raw in enumerate(lines, first):
        if block:
            block = "" if re.match(rf"%%\s*end{block}\b", raw) else block
            continue
        if len(raw) > MAX_LINE:
            raise LineError(f"the line is longer than {MAX_LINE} characters", number, 0)
        raw = raw.lstrip(_MARKS)
        if opened := _BLOCK.match(raw):
            block, begun = opened[1], number
            continue
        if at := _BREAK_AT.match(raw):
            raw = f"I:linebreak {at[1]}"
        text = _COMMENT.sub("", raw).rstrip()
        if not text.strip() or (_TAG.search(text) and not _TAG.sub("", text).strip()):
            continue
        more = _CONTINUATION.match(text)
        if more and waiting:
            waiting = Line(waiting.number, f"{waiting.text} {more[1]}")
            continue
        if waiting:
            yield waiting
        waiting = Line(number, text) if _FIELD.match(text) else None
        if not waiting:
            yield Line(number, text)
    if waiting:
        yield waiting
    if block:
        raise LineError(f"%%begin{block} without %%end{block}", begun)


def in_text_blocks(lines: Sequence[str]) -> set[int]:
    """The indices of the lines of text blocks, which hold no fields and no ends of tunes."""
    found: set[int] = set()
    begun: list[int] = []
    block = ""
    for i, line in enumerate(lines):
        opened = _BLOCK.match(line)
        if block:
            begun.append(i)
            if re.match(rf"%%\s*end{block}\b", line):
                found.update(begun)
                block = ""
        elif opened:
            block, begun = opened[1], [i]
    return found


def check_music(text: str) -> None:
    """Raises `LineError` (of line 0, the one being read) where a line of music holds HTML."""
    if found := _TAG.search(text) or _ENTITY.search(re.sub('"[^"]*"', _blank, text)):
        raise LineError(f"{found[0][:20]!r} is HTML, not ABC", 0, found.start() + 1)


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])
