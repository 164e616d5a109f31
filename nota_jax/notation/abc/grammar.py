"""The canonical ABC as an automaton over characters, for decoders that can only write valid text.

    automaton = build()                     # of a whole tune; build(fragment=True) of a few bars
    state = automaton.start
    state, what = automaton.step(state, "X")

A finite automaton cannot count, so what has to be counted comes out of the steps as `What`, for
registers: duration in a bar, notes of a tuplet, open slurs.  Whoever keeps them (`Registers` here,
one character at a time; `models.grammar`, a token at a time in a compiled program) refuses a step
that they do not allow.

Lyrics (`w:` lines) are not in it: whether a verse fits its notes only the whole line tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from nota_jax.notation.abc.decorations import DECORATIONS, decoration_text
from nota_jax.notation.abc.fields import default_normal, key_text, length_text, read_meter
from nota_jax.notation.tune import MODES, Key, Meter

TICKS = 2880  # of a unit note: whole numbers for all that is written, tuplets included
END = "\0"  # the end of an answer
OTHER = "\1"  # a character that only texts may hold
MOST_SLURS = 4
MOST_MARKS = 5  # decorations and texts of one event

METERS = (
    "none", "C", "C|",
    *(f"{top}/{bottom}" for bottom in (1, 2, 4, 8, 16, 32) for top in range(1, 25)),
    "2+3/8", "3+2/8", "2+2+3/8", "3+2+2/8", "2+3+2/8", "3+3+2/8", "2+3/4", "3+2/4",
)  # fmt: skip
UNITS = ("1/4", "1/8", "1/16")
_CLEFS = ("treble", "bass", "alto", "tenor", "treble-8", "treble+8", "bass-8")
_TONICS = tuple(step + sign for step in "CDEFGAB" for sign in ("", "#", "b"))
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
TUPLETS = tuple((p, q, r) for p in range(2, 10) for q in range(1, 10) for r in range(1, 10))


@dataclass(frozen=True)
class What:
    """What a character means beside the next state.

    units: ticks that it adds to the event being written; events: 1 where it begins one; slurs: ±1;
    bar: 1 where it closes a bar, 2 with a section's bar line, 3 where it makes the bar line before
    it a section's; full: the event is
    as long as its bar; tuplet, meter, unit: number in `TUPLETS`, `METERS`, `UNITS` that is in force
    from here on, −1 for none; known: the tuplet is the one that has just begun, said more closely;
    ends: nothing comes behind it but the end, so that no slur may be open.
    """

    units: int = 0
    events: int = 0
    slurs: int = 0
    bar: int = 0
    full: bool = False
    tuplet: int = -1
    meter: int = -1
    unit: int = -1
    known: bool = False
    ends: bool = False


NOTHING = What()
ENDS = What(ends=True)
_Step = tuple[tuple, What]


@dataclass(frozen=True)
class Automaton:
    """steps: state → character → (state, what it means); states are numbered from 0, `start`."""

    steps: tuple[Mapping[str, tuple[int, What]], ...]
    start: int = 0

    def step(self, state: int, character: str) -> tuple[int, What] | None:
        """The next state, None where the character cannot come here."""
        here = self.steps[state]
        other = character not in _MUSICAL and character != END
        return here.get(OTHER if other else character)


@cache
def build(fragment: bool = False) -> Automaton:
    """The automaton of whole tunes, or of a region's bars: without header, slurs cut anywhere."""
    first = ("first line",) if fragment else ("begin",)
    numbers, steps, pending = {first: 0}, list[Mapping[str, tuple[int, What]]](), [first]
    while pending:
        found: dict[str, tuple[int, What]] = {}
        for character, (state, what) in _leaving(pending.pop(0)).items():
            if state not in numbers:
                numbers[state] = len(numbers)
                pending.append(state)
            if fragment:
                what = dataclasses.replace(what, slurs=0)
            found[character] = numbers[state], what
        steps.append(found)
    return Automaton(tuple(steps))


def characters() -> list[str]:
    """All that steps tell apart; whatever else there is counts as `OTHER`."""
    return sorted(_MUSICAL | {OTHER, END})


# ------------------------------------------------------------------ steps


def _leaving(state: tuple) -> dict[str, _Step]:
    """Every character that can come in a state."""
    return dict(_KINDS[state[0]](*state[1:]))


def _text(then: tuple, stop: str, here: tuple) -> Iterable[tuple[str, _Step]]:
    """Any characters but a line's end; `stop` leads on.  A comment's sign has a backslash."""
    for character in _MUSICAL - {"\n", stop, "%", "\\"} | {OTHER}:
        yield character, (here, NOTHING)
    yield "\\", (("escaped", here), NOTHING)
    yield stop, (then, NOTHING)


def _escaped(here: tuple) -> Iterable[tuple[str, _Step]]:
    for character in "%&\\":
        yield character, (here, NOTHING)


def _begin() -> Iterable[tuple[str, _Step]]:
    yield " ", (("begin",), NOTHING)
    yield "X", (("exactly", ":1\n", ("head", 0)), NOTHING)


def _exactly(rest: str, then: tuple) -> Iterable[tuple[str, _Step]]:
    yield rest[0], (("exactly", rest[1:], then) if len(rest) > 1 else then, NOTHING)


def _head(stage: int) -> Iterable[tuple[str, _Step]]:
    """The beginning of a header line; stage: how many kinds of lines can no longer come."""
    for number, letter in enumerate("TCMLQK"):
        if number < stage or (number > 2 and stage < number - (number == 5)):
            continue  # M, L and K have to be there, T, C and Q need not
        behind: dict[str, tuple] = {
            "M": ("number", "M", ""), "L": ("number", "L", ""), "Q": ("tempo", ""),
            "K": ("key", _keys(), "\n", ("first line",)),
        }  # fmt: skip
        value = behind.get(letter, ("title", number))
        yield letter, (("exactly", ":", value), NOTHING)


def _title(number: int) -> Iterable[tuple[str, _Step]]:
    """The first character of a title or composer."""
    for character, step in _rest_of_line(number):
        if character not in ("\n", " "):
            yield character, step


def _rest_of_line(number: int) -> Iterable[tuple[str, _Step]]:
    return _text(("head", number), "\n", ("rest of line", number))


def _number(field: str, written: str) -> Iterable[tuple[str, _Step]]:
    """A meter or unit note length; field: "M", "L", or "[M" of a change in the music."""
    values = UNITS if field == "L" else METERS
    for character in _onward(written, values):
        yield character, (("number", field, written + character), NOTHING)
    if written not in values:
        return
    if field == "M":
        yield "\n", (("head", 3), What(meter=METERS.index(written)))
    elif field == "L":
        yield "\n", (("head", 4), What(unit=UNITS.index(written)))
    else:
        yield "]", (("changed",), What(meter=METERS.index(written)))


def _key(endings: frozenset[str], close: str, then: tuple) -> Iterable[tuple[str, _Step]]:
    """A key that can go on in `endings`: one state for all that go on alike."""
    for character in {ending[0] for ending in endings if ending}:
        left = frozenset(ending[1:] for ending in endings if ending.startswith(character))
        yield character, (("key", left, close, then), NOTHING)
    if "" in endings:
        yield close, (then, NOTHING)


def _tempo(written: str) -> Iterable[tuple[str, _Step]]:
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
        for text in ("1", "2", "4", "8", "16"):
            yield text[0], (("tempo", "b" if len(text) == 1 and text != "1" else "b1"), NOTHING)
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


def _tempo_text() -> Iterable[tuple[str, _Step]]:
    return _text(("tempo", "t"), '"', ("tempo text",))


def _first_line() -> Iterable[tuple[str, _Step]]:
    """The beginning of the music."""
    yield "|", (("opening",), NOTHING)
    yield from _bar_start()


def _line() -> Iterable[tuple[str, _Step]]:
    """The beginning of a further line, or the end."""
    yield from _first_line()
    yield " ", (("done",), ENDS)
    yield END, (("end",), ENDS)


def _opening() -> Iterable[tuple[str, _Step]]:
    yield ":", (("begun",), NOTHING)


def _begun() -> Iterable[tuple[str, _Step]]:
    return _bar_start()


def _bar_start() -> Iterable[tuple[str, _Step]]:
    """A bar that holds nothing yet."""
    yield from _prefix(False, False)
    yield "Z", (("bar rest",), What(events=1, full=True))
    yield "[", (("bracket", "start"), NOTHING)


def _changed() -> Iterable[tuple[str, _Step]]:
    """Behind a change of key or meter."""
    yield " ", (("item",), NOTHING)
    yield "[", (("bracket", "event"), NOTHING)
    yield from _bar_rest()


def _item() -> Iterable[tuple[str, _Step]]:
    """Behind a space in a bar."""
    yield from _prefix(False, False)
    yield "[", (("bracket", "item"), NOTHING)


def _prefix(needs_note: bool, in_tuplet: bool, marks: int = 0) -> Iterable[tuple[str, _Step]]:
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


def _in_prefix(needs_note: bool, in_tuplet: bool, marks: int = 0) -> Iterable[tuple[str, _Step]]:
    yield from _prefix(needs_note, in_tuplet, marks)
    yield "[", (("chord", 0, ""), NOTHING)


def _slur_or_tuplet(needs_note: bool, in_tuplet: bool, marks: int) -> Iterable[tuple[str, _Step]]:
    """Behind "(": a digit makes it a tuplet's, and no slur."""
    if not in_tuplet:
        for digit in "23456789":
            mark = dataclasses.replace(_tuplet_mark(int(digit)), slurs=-1)
            yield digit, (("tuplet", int(digit), 0, 0, ""), mark)
    yield from _in_prefix(True, in_tuplet, marks)


def _tuplet_mark(p: int, q: int = 0, r: int = 0, *, known: bool = False) -> What:
    mark = TUPLETS.index((p, q or default_normal(p, Meter("4/4")), r or p))
    return What(tuplet=mark, known=known)


def _tuplet(p: int, q: int, r: int, part: str) -> Iterable[tuple[str, _Step]]:
    """`(3`, `(3:2`, `(3:2:4`, `(3::4`; part: "" behind p, ":" and "::" where q and r come."""
    if part == "" or (part == ":" and q) or (part == "::" and r):
        yield from _in_prefix(False, True)
    if part == "":
        yield ":", (("tuplet", p, 0, 0, ":"), NOTHING)
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


def _onward(written: str, values: Iterable[str]) -> set[str]:
    """The characters with which what is written can grow towards one of the values."""
    return {v[len(written)] for v in values if v.startswith(written) and v != written}


def _note_begins(kind: str, accidental: str = "") -> Iterable[tuple[str, tuple]]:
    """An accidental or a letter; kind: "note", or whose notes they are."""
    if accidental in ("", "^", "_"):
        for mark in "^_=" if not accidental else accidental:
            yield mark, ("accidental", kind, accidental + mark)
    for letter in "CDEFGAB":
        yield letter, (f"head of {kind}", ",", 0)
        yield letter.lower(), (f"head of {kind}", "'", 0)


def _accidental(kind: str, written: str) -> Iterable[tuple[str, _Step]]:
    begins = What(TICKS, 1) if kind == "note" else NOTHING
    for character, state in _note_begins(kind, written):
        yield character, (state, begins if state[0].startswith("head") else NOTHING)


def _octave(kind: str, mark: str, marks: int) -> Iterable[tuple[str, _Step]]:
    if marks < 3:
        yield mark, ((f"head of {kind}", mark, marks + 1), NOTHING)


def _head_of_note(mark: str, marks: int) -> Iterable[tuple[str, _Step]]:
    yield from _octave("note", mark, marks)
    yield from _length("", True)


def _length(written: str, is_note: bool) -> Iterable[tuple[str, _Step]]:
    """Behind a note, chord or rest, and as much of its length as is written."""
    for character in _onward(written, LENGTHS):
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


def _behind_event(is_note: bool, may_tie: bool) -> Iterable[tuple[str, _Step]]:
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


def _bar_rest() -> Iterable[tuple[str, _Step]]:
    yield "|", (("bar line", "|"), What(bar=1))
    yield ":", (("bar line", ":"), What(bar=2))


def _bar_line(written: str) -> Iterable[tuple[str, _Step]]:
    for character in _onward(written, _BAR_LINES):
        yield character, (("bar line", written + character), What(bar=3))
    if written not in _BAR_LINES:
        return
    yield from _bar_start()
    if written not in _OPENS:
        yield "\n", (("line",), NOTHING)
        yield " ", (("done",), ENDS)
        yield END, (("end",), ENDS)
    if written in ("|]", "[|"):
        yield "|", (("opening",), NOTHING)
    if written in ("|", ":|"):
        for digit in "123456789":
            yield digit, (("ending", False), What(bar=3))


def _ending(listed: bool) -> Iterable[tuple[str, _Step]]:
    """A digit of an ending is written."""
    yield " ", (("begun",), NOTHING)
    if not listed:
        for sign in ",-":
            yield sign, (("more endings",), NOTHING)


def _more_endings() -> Iterable[tuple[str, _Step]]:
    for digit in "123456789":
        yield digit, (("ending", True), NOTHING)


def _bracket(place: str) -> Iterable[tuple[str, _Step]]:
    """Behind "[": a chord; where a bar starts an ending; but for beamed notes a change."""
    yield from _chord(0, "")
    if place == "event":
        yield "|", (("bar line", "[|"), What(bar=2))
    if place == "start":
        yield '"', (("quoted", ("ending", True)), NOTHING)
        for digit in "123456789":
            yield digit, (("ending", False), NOTHING)
    if place in ("start", "item"):
        yield "M", (("exactly", ":", ("number", "[M", "")), NOTHING)
        yield "K", (("exactly", ":", ("key", _keys(), "]", ("changed",))), NOTHING)


def _chord(heads: int, written: str) -> Iterable[tuple[str, _Step]]:
    for character, state in _note_begins("chord", written):
        yield character, ((*state, heads) if state[0].startswith("head") else
                          ("chord", heads, state[2]), NOTHING)  # fmt: skip


def _head_of_chord(mark: str, marks: int, heads: int) -> Iterable[tuple[str, _Step]]:
    if marks < 3:
        yield mark, (("head of chord", mark, marks + 1, heads), NOTHING)
    yield "-", (("tied head", heads), NOTHING)
    yield from _tied_head(heads)


def _tied_head(heads: int) -> Iterable[tuple[str, _Step]]:
    yield from _chord(1, "")
    if heads:
        yield "]", (("length", "", True), What(TICKS, 1))


def _grace(written: str, some: bool) -> Iterable[tuple[str, _Step]]:
    """Inside "{": written: the accidental so far."""
    if not some and not written:
        yield "/", (("grace notes", "", False), NOTHING)
    yield from _grace_notes(written, some)


def _grace_notes(written: str, some: bool) -> Iterable[tuple[str, _Step]]:
    for character, state in _note_begins("grace", written):
        yield character, (state if state[0].startswith("head") else
                          ("grace notes", state[2], some), NOTHING)  # fmt: skip


def _head_of_grace(mark: str, marks: int) -> Iterable[tuple[str, _Step]]:
    yield from _octave("grace", mark, marks)
    yield from _grace_length("")


def _grace_length(written: str) -> Iterable[tuple[str, _Step]]:
    for character in _onward(written, _GRACE_LENGTHS):
        yield character, (("grace length", written + character), NOTHING)
    if written in _GRACE_LENGTHS:
        yield from _grace_notes("", True)
        yield "}", (("prefix", True, False, 0), NOTHING)


def _quoted(then: tuple) -> Iterable[tuple[str, _Step]]:
    return _text(then, '"', ("quoted", then))


def _named(written: str, then: tuple) -> Iterable[tuple[str, _Step]]:
    for character in _onward(written, _NAMES):
        yield character, (("named", written + character, then), NOTHING)
    if written in _NAMES:
        yield "!", (then, NOTHING)


def _done() -> Iterable[tuple[str, _Step]]:
    yield END, (("end",), ENDS)


@cache
def _keys() -> frozenset[str]:
    keys = (Key(tonic, mode, (), clef) for tonic in _TONICS for mode in MODES for clef in _CLEFS)
    texts = {key_text(key) for key in keys if abs(key.fifths) <= 7}
    return frozenset(texts | {key_text(Key("", clef=clef)) for clef in _CLEFS})


_ALL = {decoration_text(name) for name in DECORATIONS.values()}
_SHORT = sorted(text for text in _ALL if len(text) == 1)
_NAMES = frozenset(text.strip("!") for text in _ALL if len(text) > 1)
_MUSICAL = (
    frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
    | frozenset(" \n|:[](){}<>,'/^_=-+!\"#.~%&\\")
)  # fmt: skip

_KINDS: dict[str, Callable[..., Iterable[tuple[str, _Step]]]] = {
    "begin": _begin, "exactly": _exactly, "head": _head, "title": _title,
    "rest of line": _rest_of_line, "number": _number, "key": _key, "tempo": _tempo,
    "tempo text": _tempo_text, "escaped": _escaped,
    "first line": _first_line, "line": _line, "opening": _opening, "begun": _begun,
    "item": _item, "changed": _changed, "prefix": _in_prefix,
    "slur or tuplet": _slur_or_tuplet, "tuplet": _tuplet, "accidental": _accidental,
    "head of note": _head_of_note, "length": _length, "behind": _behind_event,
    "bar rest": _bar_rest, "bar line": _bar_line, "ending": _ending,
    "more endings": _more_endings, "bracket": _bracket, "chord": _chord,
    "head of chord": _head_of_chord, "tied head": _tied_head, "grace": _grace,
    "grace notes": _grace_notes, "head of grace": _head_of_grace, "grace length": _grace_length,
    "quoted": _quoted, "named": _named, "done": _done, "end": lambda: (),
}  # fmt: skip


def bar_ticks(meter: int, unit: int) -> int | None:
    """A full bar in ticks of the unit note; None where the meter is free."""
    duration = read_meter(METERS[meter]).duration
    return None if duration is None else int(TICKS * duration / Fraction(UNITS[unit]))
