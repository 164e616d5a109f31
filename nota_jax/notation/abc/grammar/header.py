"""The states of a tune's header, up to the line end behind its key."""

from __future__ import annotations

from collections.abc import Callable

from nota_jax.notation.abc.grammar.steps import NOTHING, Steps, keys, text


def _begin() -> Steps:
    yield " ", (("begin",), NOTHING)
    yield "X", (("exactly", ":1\n", ("head", 0)), NOTHING)


def _head(stage: int) -> Steps:
    """The beginning of a header line; stage: how many kinds of lines can no longer come."""
    for number, letter in enumerate("TCMLQK"):
        if number < stage or (number > 2 and stage < number - (number == 5)):
            continue  # M, L and K have to be there, T, C and Q need not
        behind: dict[str, tuple] = {
            "M": ("number", "M", ""), "L": ("number", "L", ""), "Q": ("tempo", ""),
            "K": ("key", keys(), "\n", ("first line",)),
        }  # fmt: skip
        value = behind.get(letter, ("title", number))
        yield letter, (("exactly", ":", value), NOTHING)


def _title(number: int) -> Steps:
    """The first character of a title or composer."""
    for character, step in _rest_of_line(number):
        if character not in ("\n", " "):
            yield character, step


def _rest_of_line(number: int) -> Steps:
    return text(("head", number), "\n", ("rest of line", number))


def _tempo(written: str) -> Steps:
    """`"Words" 1/4 1/8=100`; written: its shape so far, digits as d, texts as t."""
    last = written[-1:]
    if not written:
        yield '"', (("tempo text",), NOTHING)
    if last == "t":
        yield "\n", (("head", 5), NOTHING)
        yield " ", (("tempo", "s"), NOTHING)
    if written in ("", "s", "b "):  # a beat's first number
        for digit in "123456789":
            yield digit, (("tempo", "n"), NOTHING)
    if written == "n":
        yield "/", (("tempo", "n/"), NOTHING)
    if written == "n/":
        for unit in ("1", "2", "4", "8", "16"):
            yield unit[0], (("tempo", "b" if len(unit) == 1 and unit != "1" else "b1"), NOTHING)
    if written == "b1":
        yield "6", (("tempo", "b"), NOTHING)
    if written in ("b", "b1"):
        yield " ", (("tempo", "b "), NOTHING)
        yield "=", (("tempo", "="), NOTHING)
    if written == "=":
        for digit in "123456789":
            yield digit, (("tempo", "=d"), NOTHING)
    if written in ("=d", "=dd", "=ddd"):
        yield "\n", (("head", 5), NOTHING)
        if written != "=ddd":
            for digit in "0123456789":
                yield digit, (("tempo", written + "d"), NOTHING)


def _tempo_text() -> Steps:
    return text(("tempo", "t"), '"', ("tempo text",))


KINDS: dict[str, Callable[..., Steps]] = {
    "begin": _begin, "head": _head, "title": _title, "rest of line": _rest_of_line, "tempo": _tempo,
    "tempo text": _tempo_text,
}  # fmt: skip
