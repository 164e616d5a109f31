"""Which characters of a canonical text write which bar and event: the inverse view of the writer.

    GA|B2    G is event 0 of bar 0, A event 1, | its bar line, B2 event 0 of bar 1

What stands before an event (slurs, grace notes, a chord symbol, a tuplet's mark) and the tie and
slurs behind it belong to it; inline fields, endings and line ends belong to nothing.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from nota_jax.notation.abc.tokens import TokenError, tokens

_HEADER_FIELD = re.compile(r"([A-Za-z]):")
_BODY_FIELD = re.compile(r"([A-Za-z]):(?![|:])")  # `A:|` is a note and a bar line
_BEFORE = {"slur_open", "grace", "text", "decoration", "tuplet"}
_EVENTS = {"note", "chord", "rest", "bar_rest"}
_BEHIND = {"slur_close", "tie"}


class Span(NamedTuple):
    """Characters `start` to `end` of a text, and what they write.

    kind: "event", "bar line", or "field" (a header line; `name` is its letter, and `start` where
      its value begins).
    bar, event: counted from 0; of a bar line, the bar that it ends and how many events that has,
      of one at the beginning of a line, the bar that it opens and 0.
    """

    start: int
    end: int
    kind: str
    bar: int = -1
    event: int = -1
    name: str = ""


def spans(text: str, bar: int = 0) -> Iterator[Span]:
    """The spans of a canonical text, header or none, whose first bar has the number `bar`.

    Of a line that is not ABC only what stands before the mistake is given.
    """
    start = event = 0
    header = _BODY_FIELD.match(text) is not None
    for line in text.split("\n"):
        if field := (_HEADER_FIELD if header else _BODY_FIELD).match(line):
            yield Span(start + 2, start + len(line), "field", name=field[1])
            header = header and field[1] != "K"
        begun, last = None, None  # where the coming event's text begins; the event just read
        for kind, first, end in [] if field else _tokens(line, start):
            if last is not None and kind in _BEHIND:
                last = last._replace(end=end)
                continue
            if last is not None:
                yield last
                event, last = event + 1, None
            if kind in _BEFORE and begun is None:
                begun = first
            elif kind in _EVENTS:
                last = Span(first if begun is None else begun, end, "event", bar, event)
                begun = None
            elif kind == "ending" and event:  # it begins inside a bar, which it parts in two
                bar, event = bar + 1, 0
            elif kind == "bar":
                yield Span(first, end, "bar line", bar, event)
                if first > start:  # at the beginning of a line one opens its bar
                    bar, event = bar + 1, 0
        if last is not None:
            yield last
            event += 1
        start += len(line) + 1


def bar_spans(text: str) -> list[tuple[int, int]]:
    """First character and end of every bar of a canonical text, its closing bar line included."""
    bars: dict[int, tuple[int, int]] = {}
    for span in spans(text):
        if span.kind != "field":
            start, end = bars.get(span.bar, (span.start, span.end))
            bars[span.bar] = min(start, span.start), max(end, span.end)
    return [bars[number] for number in sorted(bars)]


def _tokens(line: str, start: int) -> Iterator[tuple[str, int, int]]:
    """(kind, first character, end) of a line's tokens, the line beginning at character `start`."""
    with contextlib.suppress(TokenError):
        for token in tokens(line):
            first = start + token.column - 1
            yield token.kind, first, first + len(token.text)
