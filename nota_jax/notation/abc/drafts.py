"""Bars and events in the making, and what freezes them into the `Tune`'s.

Freezing settles what only the whole tells: beams, where endings stop, and how a duration that no
single note has is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache

from nota_jax.notation.abc.decorations import in_order
from nota_jax.notation.abc.tokens import TokenError
from nota_jax.notation.tune import Bar, Event, Grace, Key, Meter, Note, Tuplet

SHORTEST, LONGEST = Fraction(1, 256), Fraction(2)  # undotted note values that are drawn
_DOTTED = (Fraction(7, 4), Fraction(3, 2), Fraction(1))


@dataclass
class Draft:
    """An event in the making; line, column and bar say where it stands."""

    line: int
    column: int
    bar: int
    duration: Fraction
    notes: list[Note] = field(default_factory=list)
    tied_whole: bool = False  # a tie stands behind it, not behind one of its heads
    bar_rest: bool = False
    joined: bool = False  # no space before the next event
    tuplet: Tuplet | None = None
    grace: Grace | None = None
    slurs_open: int = 0
    slurs_close: int = 0
    decorations: list[str] = field(default_factory=list)
    chord_symbol: str = ""
    annotations: list[str] = field(default_factory=list)
    lyrics: list[str] = field(default_factory=list)

    def tie(self) -> None:
        """A tie from all of its heads."""
        self.notes = [replace(note, tie=True) for note in self.notes]
        self.tied_whole = True

    @property
    def sounding(self) -> Fraction:
        tuplet = self.tuplet
        return self.duration * tuplet.normal / tuplet.actual if tuplet else self.duration


@dataclass
class BarDraft:
    items: list[Draft | Key | Meter] = field(default_factory=list)
    repeat_start: bool = False
    ending: str = ""
    barline: str = ""
    line_break: bool = False

    def drop_changes(self, kind: type[Key] | type[Meter]) -> None:
        """Take away the changes of one kind that stand behind the last event."""
        end = max(
            (i + 1 for i, item in enumerate(self.items) if isinstance(item, Draft)), default=0
        )
        self.items[end:] = [item for item in self.items[end:] if not isinstance(item, kind)]

    @property
    def events(self) -> list[Draft]:
        return [item for item in self.items if isinstance(item, Draft)]

    @property
    def last(self) -> Draft | None:
        """The last event; found from behind, for it is asked for at every note."""
        return next((x for x in reversed(self.items) if isinstance(x, Draft)), None)

    @property
    def duration(self) -> Fraction:
        """What it holds so far, in whole notes."""
        return sum((draft.sounding for draft in self.events), Fraction(0))


def in_ending(bars: Sequence[BarDraft]) -> bool:
    """Whether the last of some bars lies under a bracket."""
    for i, bar in enumerate(reversed(bars)):
        if i and bar.barline not in ("|", ""):
            return False
        if bar.ending or bar.repeat_start:  # a repeat that begins ends the bracket before it
            return bar.ending != ""
    return False


@lru_cache(maxsize=4096)
def note_values(duration: Fraction) -> tuple[Fraction, ...]:
    """The drawn values, longest first, of at most two dots each, that add up to a duration.

    5/8 is 1/2 and 1/8; empty where it cannot be drawn without a tuplet.
    """
    values: list[Fraction] = []
    rest = duration
    while rest:
        value = LONGEST
        while value >= SHORTEST and value > rest:
            value /= 2
        if value < SHORTEST or len(values) == 8:
            return ()
        values.append(next(value * dots for dots in _DOTTED if value * dots <= rest))
        rest -= values[-1]
    return tuple(values)


def freeze(drafts: Sequence[BarDraft]) -> tuple[Bar, ...]:
    """The bars of a tune; `TokenError` where a duration cannot be drawn."""
    bars = []
    ending = False
    for i, draft in enumerate(drafts):
        following = drafts[i + 1] if i + 1 < len(drafts) else None
        barline = draft.barline
        if following is None and barline in ("|", "[|", ""):
            barline = "|]"
        ending = ending or bool(draft.ending)
        # ABC 2.1, 4.10: an ending lasts to the next one or to a barline other than a plain one.
        stop = ending and (
            barline not in ("|", "")
            or following is None
            or following.repeat_start
            or following.ending != ""
        )
        bars.append(
            Bar(
                items=tuple(_items(draft.items)),
                repeat_start=draft.repeat_start,
                ending=draft.ending,
                ending_stop=stop,
                barline=barline,
                line_break=draft.line_break and following is not None,
            )
        )
        ending = ending and not stop
    return tuple(bars)


def _items(drafts: Sequence[Draft | Key | Meter]) -> Iterable[Event | Key | Meter]:
    for i, draft in enumerate(drafts):
        if not isinstance(draft, Draft):
            yield draft
            continue
        events = _events(draft)
        following = drafts[i + 1] if i + 1 < len(drafts) else None
        beam = (
            draft.joined
            and isinstance(following, Draft)
            and _beamable(draft.notes, events[-1].duration)
            and _beamable(following.notes, _values(following)[0])
        )
        yield from events[:-1]
        yield replace(events[-1], beam=True) if beam else events[-1]


def _beamable(notes: Sequence[Note], duration: Fraction) -> bool:
    """Rests break a beam: what is left of one beside a rest cannot be seen."""
    return bool(notes) and duration < Fraction(1, 4)


def _values(draft: Draft) -> tuple[Fraction, ...]:
    if draft.bar_rest:
        return (draft.duration,)
    values = note_values(draft.duration)
    if not values:
        reason = f"a note of {draft.duration} of a whole cannot be drawn without a tuplet"
        raise TokenError(reason, draft.column, draft.line)
    return values


def _events(draft: Draft) -> list[Event]:
    """The events of a draft: one, or several tied ones where no single note has the duration."""
    if draft.grace is not None and any(len(note_values(d)) != 1 for _, d in draft.grace.notes):
        reason = "a grace note of a length that no single note has"
        raise TokenError(reason, draft.column, draft.line)
    values = _values(draft)
    lyrics = list(draft.lyrics)
    while lyrics and not lyrics[-1]:
        lyrics.pop()
    events = []
    for i, value in enumerate(values):
        first, last = i == 0, i == len(values) - 1
        notes = draft.notes if last else [replace(note, tie=True) for note in draft.notes]
        notes = notes if first else [replace(note, accidental=None) for note in notes]
        events.append(
            Event(
                notes=tuple(notes),
                duration=value,
                bar_rest=draft.bar_rest,
                tuplet=draft.tuplet,
                grace=draft.grace if first else None,
                slurs_open=draft.slurs_open if first else 0,
                slurs_close=draft.slurs_close if last else 0,
                decorations=in_order(draft.decorations) if first else (),
                chord_symbol=draft.chord_symbol if first else "",
                annotations=tuple(draft.annotations) if first else (),
                lyrics=tuple(lyrics) if first else (),
            )
        )
    return events
