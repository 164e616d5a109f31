"""What steps of the automaton are, and those that header and music share.

A state is a tuple: its kind, which names the function that knows what can come there, and that
function's arguments.  Each part has a table of its kinds; states name each other by kind, so that
no part has to import another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from nota_jax.notation.abc.fields import MOST_IN_TUPLET, key_text, read_meter
from nota_jax.notation.tune import MODES, Key

TICKS = 2880  # of a unit note: whole numbers for all that is written, tuplets included
END = "\0"  # the end of an answer
OTHER = "\1"  # a character that only texts may hold
MOST_SLURS = 4  # open at once

METERS = (
    "none", "C", "C|",
    *(f"{top}/{bottom}" for bottom in (1, 2, 4, 8, 16, 32) for top in range(1, 25)),
    "2+3/8", "3+2/8", "2+2+3/8", "3+2+2/8", "2+3+2/8", "3+3+2/8", "2+3/4", "3+2/4",
)  # fmt: skip
UNITS = ("1/4", "1/8", "1/16")
TUPLETS = (
    *((p, q, r) for p in range(2, 10) for q in range(1, 10) for r in range(1, 10)),
    *((p, q, p) for p in range(10, MOST_IN_TUPLET + 1) for q in range(1, MOST_IN_TUPLET + 1)),
)
_CLEFS = ("treble", "bass", "alto", "tenor", "treble-8", "treble+8", "bass-8")
_TONICS = tuple(step + sign for step in "CDEFGAB" for sign in ("", "#", "b"))
# Characters that mean something somewhere; of the others, one is like the next.
MUSICAL = (
    frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
    | frozenset(" \n|:[](){}<>,'/^_=-+!\"#.~%&\\")
)  # fmt: skip


@dataclass(frozen=True)
class What:
    """What a character means beside the next state.

    units: ticks that it adds to the event being written; events: 1 where it begins one; slurs: ±1;
    bar: 1 where it closes a bar, 2 with a section's bar line, 3 where it makes the bar line before
    it a section's; full: the event is as long as its bar; tuplet, meter, unit: number in `TUPLETS`,
    `METERS`, `UNITS` that is in force from here on, −1 for none; known: the tuplet is the one that
    has just begun, said more closely.
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


NOTHING = What()
Step = tuple[tuple, What]  # the next state, what the character means
Steps = Iterable[tuple[str, Step]]


def bar_ticks(meter: int, unit: int) -> int | None:
    """A full bar in ticks of the unit note; None where the meter is free."""
    duration = read_meter(METERS[meter]).duration
    return None if duration is None else int(TICKS * duration / Fraction(UNITS[unit]))


def text(then: tuple, stop: str, here: tuple) -> Steps:
    """Any characters but a line's end; `stop` leads on.  A comment's sign has a backslash."""
    for character in MUSICAL - {"\n", stop, "%", "\\"} | {OTHER}:
        yield character, (here, NOTHING)
    yield "\\", (("escaped", here), NOTHING)
    yield stop, (then, NOTHING)


def escaped(here: tuple) -> Steps:
    """Behind a backslash in a text."""
    for character in "%&\\":
        yield character, (here, NOTHING)


def exactly(rest: str, then: tuple) -> Steps:
    """One character after the other, and nothing else."""
    yield rest[0], (("exactly", rest[1:], then) if len(rest) > 1 else then, NOTHING)


def onward(written: str, values: Iterable[str]) -> set[str]:
    """The characters with which what is written can grow towards one of the values."""
    return {v[len(written)] for v in values if v.startswith(written) and v != written}


def number(field: str, written: str) -> Steps:
    """A meter or unit note length; field: "M", "L", or "[M" of a change in the music."""
    values = UNITS if field == "L" else METERS
    for character in onward(written, values):
        yield character, (("number", field, written + character), NOTHING)
    if written not in values:
        return
    if field == "M":
        yield "\n", (("head", 3), What(meter=METERS.index(written)))
    elif field == "L":
        yield "\n", (("head", 4), What(unit=UNITS.index(written)))
    else:
        yield "]", (("changed",), What(meter=METERS.index(written)))


def key(endings: frozenset[str], close: str, then: tuple) -> Steps:
    """A key that can go on in `endings`: one state for all that go on alike."""
    for character in {ending[0] for ending in endings if ending}:
        left = frozenset(ending[1:] for ending in endings if ending.startswith(character))
        yield character, (("key", left, close, then), NOTHING)
    if "" in endings:
        yield close, (then, NOTHING)


@cache
def keys() -> frozenset[str]:
    """The texts of all keys that a signature can be drawn for."""
    drawn = (Key(tonic, mode, (), clef) for tonic in _TONICS for mode in MODES for clef in _CLEFS)
    texts = {key_text(k) for k in drawn if abs(k.fifths) <= 7}
    return frozenset(texts | {key_text(Key("", clef=clef)) for clef in _CLEFS})


@cache
def changed_keys() -> frozenset[str]:
    """Those of changes in the music, which may lead back to the treble clef from another."""
    return keys() | {f"{text} treble" for text in keys() if " " not in text}


KINDS: dict[str, Callable[..., Steps]] = {
    "escaped": escaped, "exactly": exactly, "number": number, "key": key,
}  # fmt: skip
