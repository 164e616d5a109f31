"""The states of the music: bars, events and what stands before and behind them, up to the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from fractions import Fraction

from nota_jax.notation.abc.decorations import DECORATIONS, decoration_text
from nota_jax.notation.abc.fields import MOST_IN_TUPLET, default_normal, length_text
from nota_jax.notation.abc.grammar.steps import (
    END,
    NOTHING,
    TICKS,
    TUPLETS,
    Steps,
    What,
    changed_keys,
    onward,
    text,
)
from nota_jax.notation.tune import Meter

MOST_MARKS = 5  # decorations and texts of one event
# Lengths that single notes have whatever the unit note is.
LENGTHS = tuple(
    sorted(
        {
            length_text(Fraction(2) ** power * dots)
            for power in range(-4, 6)
            for dots in (Fraction(1), Fraction(3, 2), Fraction(7, 4))
        }
        - {"7/64"}  # of a sixteenth is nothing that is drawn
    )
)
_GRACE_LENGTHS = ("", "2", "3", "4", "/", "3/", "/4")
_BAR_LINES = ("|", "||", "|]", "[|", ":|", "::", "|:", "||:")
_OPENS = ("|:", "::", "||:")  # bar lines behind which a repeat begins

_ALL = {decoration_text(name) for name in DECORATIONS.values()}
_SHORT = sorted(mark for mark in _ALL if len(mark) == 1)
_NAMES = frozenset(mark.strip("!") for mark in _ALL if len(mark) > 1)


def _first_line() -> Steps:
    """The beginning of the music."""
    yield "|", (("opening",), NOTHING)
    yield from _bar_start()


def _line() -> Steps:
    """The beginning of a further line, or the end."""
    yield from _first_line()
    yield " ", (("done",), NOTHING)
    yield END, (("end",), NOTHING)


def _opening() -> Steps:
    yield ":", (("begun",), NOTHING)


def _begun() -> Steps:
    return _bar_start()


def _bar_start() -> Steps:
    """A bar that holds nothing yet."""
    yield from _prefix(False, False)
    yield "Z", (("bar rest",), What(events=1, full=True))
    yield "[", (("bracket", "start"), NOTHING)


def _changed() -> Steps:
    """Behind a change of key or meter."""
    yield " ", (("item",), NOTHING)
    yield "[", (("bracket", "event"), NOTHING)
    yield "\n", (("parted",), What(bar=2))
    yield from _bar_rest()


def _item() -> Steps:
    """Behind a space in a bar."""
    yield from _prefix(False, False)
    yield "[", (("bracket", "item"), NOTHING)


def _prefix(needs_note: bool, in_tuplet: bool, marks: int = 0) -> Steps:
    """What stands before an event, or the event; marks: decorations and texts so far."""
    yield "(", (("slur or tuplet", needs_note, in_tuplet, marks), What(slurs=1))
    yield "{", (("grace", "", False), NOTHING)
    if marks < MOST_MARKS:
        then = ("prefix", needs_note, in_tuplet, marks + 1)
        yield '"', (("quoted", then), NOTHING)
        yield "!", (("named", "", then), NOTHING)
        for name in _SHORT:
            yield name, (then, NOTHING)
    for character, state in _note_begins("note"):
        yield character, (state, What(TICKS, 1) if state[0] == "head of note" else NOTHING)
    if not needs_note:
        yield "z", (("length", "", False), What(TICKS, 1))


def _in_prefix(needs_note: bool, in_tuplet: bool, marks: int = 0) -> Steps:
    yield from _prefix(needs_note, in_tuplet, marks)
    yield "[", (("chord", 0, ""), NOTHING)


def _slur_or_tuplet(needs_note: bool, in_tuplet: bool, marks: int) -> Steps:
    """Behind "(": a digit makes it a tuplet's, and no slur."""
    if not in_tuplet:
        for digit in "23456789":
            mark = dataclasses.replace(_tuplet_mark(int(digit)), slurs=-1)
            yield digit, (("tuplet", int(digit), 0, 0, ""), mark)
        yield "1", (("long tuplet", "1"), What(slurs=-1))
    yield from _in_prefix(True, in_tuplet, marks)


def _tuplet_mark(p: int, q: int = 0, r: int = 0, *, known: bool = False) -> What:
    mark = TUPLETS.index((p, q or default_normal(p, Meter("4/4")), r or p))
    return What(tuplet=mark, known=known)


def _tuplet(p: int, q: int, r: int, part: str) -> Steps:
    """`(3`, `(3:2`, `(3:2:4`, `(3::4`; part: "" behind p, ":" and "::" where q and r come."""
    if part == "" or (part == ":" and q) or (part == "::" and r):
        yield from _in_prefix(False, True)
    if part == "":
        yield ":", (("tuplet", p, 0, 0, ":"), NOTHING)
        yield from _long_tuplet(str(p))
    elif part == ":" and not q:
        for digit in "123456789":
            step = _tuplet_mark(p, int(digit), known=True)
            yield digit, (("tuplet", p, int(digit), 0, ":"), step)
    if part == ":":
        yield ":", (("tuplet", p, q, 0, "::"), NOTHING)
    elif part == "::" and not r:
        for digit in "123456789":
            step = _tuplet_mark(p, q, int(digit), known=True)
            yield digit, (("tuplet", p, q, int(digit), "::"), step)


def _long_tuplet(p: str, q: str = "") -> Steps:
    """`(11:8`, of ten notes and more; p, q: as much as is written of them."""
    if not p.endswith(":"):
        grown = {p + digit for digit in "0123456789"} if len(p) == 1 else {p + ":"}
        for further in grown & _LONG:
            yield further[-1], (("long tuplet", further), NOTHING)
        return
    for digit in "0123456789" if q else "123456789":
        more = q + digit
        if int(more) <= MOST_IN_TUPLET:
            mark = TUPLETS.index((int(p[:-1]), int(more), int(p[:-1])))
            goes_on = int(more + "0") <= MOST_IN_TUPLET
            then = ("long tuplet", p, more) if goes_on else ("prefix", False, True, 0)
            # Of `(2` and `(3` a mark was given that this one says more closely.
            yield digit, (then, What(tuplet=mark, known=bool(q) or p[0] != "1"))
    if q:
        yield from _in_prefix(False, True)


_LONG = {f"{p}{end}" for p in range(10, MOST_IN_TUPLET + 1) for end in ("", ":")}


def _note_begins(kind: str, accidental: str = "") -> Iterable[tuple[str, tuple]]:
    """An accidental or a letter; kind: "note", or whose notes they are."""
    if accidental in ("", "^", "_"):
        for mark in "^_=" if not accidental else accidental:
            yield mark, ("accidental", kind, accidental + mark)
    for letter in "CDEFGAB":
        yield letter, (f"head of {kind}", ",", 0)
        yield letter.lower(), (f"head of {kind}", "'", 0)


def _accidental(kind: str, written: str) -> Steps:
    begins = What(TICKS, 1) if kind == "note" else NOTHING
    for character, state in _note_begins(kind, written):
        yield character, (state, begins if state[0].startswith("head") else NOTHING)


def _octave(kind: str, mark: str, marks: int) -> Steps:
    if marks < 3:
        yield mark, ((f"head of {kind}", mark, marks + 1), NOTHING)


def _head_of_note(mark: str, marks: int) -> Steps:
    yield from _octave("note", mark, marks)
    yield from _length("", True)


def _length(written: str, is_note: bool) -> Steps:
    """Behind a note, chord or rest, and as much of its length as is written."""
    for character in onward(written, LENGTHS):
        more = _ticks(written + character) - _ticks(written)
        yield character, (("length", written + character, is_note), What(units=more))
    if written in LENGTHS:
        yield from _behind_event(is_note, is_note)


def _ticks(written: str) -> int:
    """Of a length; of one that is not finished, of the last of its beginnings that is one."""
    while written not in LENGTHS:
        written = written[:-1]
    top, slash, bottom = written.partition("/")
    return int(TICKS * Fraction(int(top or 1), int(bottom or 2) if slash else 1))


def _behind_event(is_note: bool, may_tie: bool) -> Steps:
    """Where an event is complete: ties, slurs' ends, a space, the next event, a bar line."""
    yield from _prefix(False, False)
    yield "[", (("bracket", "event"), NOTHING)
    if is_note:
        yield ")", (("behind", True, False), What(slurs=-1))
    if may_tie:
        yield "-", (("behind", True, False), NOTHING)
    yield " ", (("item",), NOTHING)
    yield "|", (("bar line", "|"), What(bar=1))
    yield ":", (("bar line", ":"), What(bar=2))
    yield "\n", (("parted",), What(bar=2))


def _bar_rest() -> Steps:
    yield "|", (("bar line", "|"), What(bar=1))
    yield ":", (("bar line", ":"), What(bar=2))


def _bar_line(written: str) -> Steps:
    for character in onward(written, _BAR_LINES):
        yield character, (("bar line", written + character), What(bar=3))
    if written not in _BAR_LINES:
        return
    yield from _bar_start()
    if written not in _OPENS:
        yield "\n", (("line",), NOTHING)
        yield " ", (("done",), NOTHING)
        yield END, (("end",), NOTHING)
    if written in ("|]", "[|"):
        yield "|", (("opening",), NOTHING)
    if written in ("|", ":|"):
        for digit in "123456789":
            yield digit, (("ending", False), What(bar=3))


def _ending(listed: bool) -> Steps:
    """A digit of an ending is written."""
    yield " ", (("begun",), NOTHING)
    if not listed:
        for sign in ",-":
            yield sign, (("more endings",), NOTHING)


def _more_endings() -> Steps:
    for digit in "123456789":
        yield digit, (("ending", True), NOTHING)


def _bracket(place: str) -> Steps:
    """Behind "[": a chord; where a bar starts an ending; but for beamed notes a change."""
    yield from _chord(0, "")
    if place == "event":
        yield "|", (("bar line", "[|"), What(bar=2))
        # An ending that begins inside the bar: what it parts may be short on both sides.
        yield from _ending_begins(What(bar=2))
    if place == "start":
        yield from _ending_begins(NOTHING)
    if place in ("start", "item"):
        yield "M", (("exactly", ":", ("number", "[M", "")), NOTHING)
        yield "K", (("exactly", ":", ("key", changed_keys(), "]", ("changed",))), NOTHING)


def _parted() -> Steps:
    """A line's end inside a bar, which it ends as a bar line would: an ending begins the next."""
    yield "[", (("parting",), NOTHING)


def _parting() -> Steps:
    yield from _ending_begins(NOTHING)


def _ending_begins(what: What) -> Steps:
    """An ending's text or first digit."""
    yield '"', (("quoted", ("ending", True)), what)
    for digit in "123456789":
        yield digit, (("ending", False), what)


def _chord(heads: int, written: str) -> Steps:
    for character, state in _note_begins("chord", written):
        yield character, ((*state, heads) if state[0].startswith("head") else
                          ("chord", heads, state[2]), NOTHING)  # fmt: skip


def _head_of_chord(mark: str, marks: int, heads: int) -> Steps:
    if marks < 3:
        yield mark, (("head of chord", mark, marks + 1, heads), NOTHING)
    yield "-", (("tied head", heads), NOTHING)
    yield from _tied_head(heads)


def _tied_head(heads: int) -> Steps:
    yield from _chord(1, "")
    if heads:
        yield "]", (("length", "", True), What(TICKS, 1))


def _grace(written: str, some: bool) -> Steps:
    """Inside "{": written: the accidental so far."""
    if not some and not written:
        yield "/", (("grace notes", "", False), NOTHING)
    yield from _grace_notes(written, some)


def _grace_notes(written: str, some: bool) -> Steps:
    for character, state in _note_begins("grace", written):
        yield character, (state if state[0].startswith("head") else
                          ("grace notes", state[2], some), NOTHING)  # fmt: skip


def _head_of_grace(mark: str, marks: int) -> Steps:
    yield from _octave("grace", mark, marks)
    yield from _grace_length("")


def _grace_length(written: str) -> Steps:
    for character in onward(written, _GRACE_LENGTHS):
        yield character, (("grace length", written + character), NOTHING)
    if written in _GRACE_LENGTHS:
        yield from _grace_notes("", True)
        yield "}", (("prefix", True, False, 0), NOTHING)


def _quoted(then: tuple) -> Steps:
    return text(then, '"', ("quoted", then))


def _named(written: str, then: tuple) -> Steps:
    for character in onward(written, _NAMES):
        yield character, (("named", written + character, then), NOTHING)
    if written in _NAMES:
        yield "!", (then, NOTHING)


def _done() -> Steps:
    yield END, (("end",), NOTHING)


KINDS: dict[str, Callable[..., Steps]] = {
    "first line": _first_line, "line": _line, "opening": _opening, "begun": _begun, "item": _item,
    "changed": _changed, "prefix": _in_prefix, "slur or tuplet": _slur_or_tuplet, "tuplet": _tuplet,
    "long tuplet": _long_tuplet,
    "accidental": _accidental, "head of note": _head_of_note, "length": _length,
    "behind": _behind_event, "bar rest": _bar_rest, "bar line": _bar_line, "ending": _ending,
    "more endings": _more_endings, "bracket": _bracket, "parted": _parted, "parting": _parting,
    "chord": _chord,
    "head of chord": _head_of_chord, "tied head": _tied_head, "grace": _grace,
    "grace notes": _grace_notes, "head of grace": _head_of_grace, "grace length": _grace_length,
    "quoted": _quoted, "named": _named, "done": _done, "end": lambda: (),
}  # fmt: skip
