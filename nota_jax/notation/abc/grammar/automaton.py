"""The automaton, put together from the states of header and music."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from nota_jax.notation.abc.grammar import header, music, steps
from nota_jax.notation.abc.grammar.steps import END, MUSICAL, OTHER, Step, What

_KINDS = steps.KINDS | header.KINDS | music.KINDS


@dataclass(frozen=True)
class Automaton:
    """steps: state → character → (state, what it means); states are numbered from 0, `start`."""

    steps: tuple[Mapping[str, tuple[int, What]], ...]
    start: int = 0

    def step(self, state: int, character: str) -> tuple[int, What] | None:
        """The next state, None where the character cannot come here."""
        here = self.steps[state]
        other = character not in MUSICAL and character != END
        return here.get(OTHER if other else character)


@cache
def build(fragment: bool = False, blank: bool = False) -> Automaton:
    """The automaton of whole tunes, or of a region's bars: without header, slurs cut anywhere.

    blank: one may stand ahead of the text, as chat templates have it in front of an answer.
    """
    first = ("first line",) if fragment else ("begin",)
    start = ("ahead", first) if blank else first
    numbers, made, pending = {start: 0}, list[Mapping[str, tuple[int, What]]](), [start]
    while pending:
        found: dict[str, tuple[int, What]] = {}
        for character, (state, what) in _leaving(pending.pop(0)).items():
            if state not in numbers:
                numbers[state] = len(numbers)
                pending.append(state)
            if fragment:
                what = dataclasses.replace(what, slurs=0)
            found[character] = numbers[state], what
        made.append(found)
    return Automaton(tuple(made))


def closed(text: str) -> str:
    """A text that the automaton takes, without the slurs that begin in it and end nowhere."""
    loose = loose_slurs(text)
    return "".join(character for place, character in enumerate(text) if place not in loose)


def loose_slurs(text: str) -> list[int]:
    """Where slurs begin that end nowhere.

    A decoder cannot take a slur back when the tune is at its end, and one that may not end the
    tune before the slur does goes on writing music that is not there.
    """
    automaton, opened = build(), list[int]()
    state = automaton.start
    for place, character in enumerate(text):
        found = automaton.step(state, character)
        if found is None:
            return []  # no text of the grammar: it is left as it is
        state, what = found
        if what.slurs > 0:
            opened.append(place)
        elif what.slurs < 0:
            opened.pop()
    return opened


def _leaving(state: tuple) -> dict[str, Step]:
    """Every character that can come in a state."""
    if state[0] == "ahead":
        return {**_leaving(state[1]), " ": (state[1], steps.NOTHING)}
    return dict(_KINDS[state[0]](*state[1:]))


def characters() -> list[str]:
    """All that steps tell apart; whatever else there is counts as `OTHER`."""
    return sorted(MUSICAL | {OTHER, END})
