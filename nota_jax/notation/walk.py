"""A walk through a tune: the key and meter in force at every note, and what ties and slurs join.

A `Tune` says where a change is drawn and where a tie or slur begins; what follows from that for
the notes behind it is worked out here, for the checks, the engraver and the facts alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import zip_longest

from nota_jax.notation.tune import Bar, Event, Item, Key, Meter, Note, Tune

# --- What is in force -------------------------------------------------------------------------


@dataclass(frozen=True)
class Signatures:
    """The key and the meter in force."""

    key: Key
    meter: Meter

    def after(self, item: Item) -> Signatures:
        """What is in force behind an item of a bar."""
        if isinstance(item, Key):
            return Signatures(item, self.meter)
        if isinstance(item, Meter):
            return Signatures(self.key, item)
        return self


def split_changes(bar: Bar) -> tuple[tuple[Key | Meter, ...], tuple[Item, ...]]:
    """The changes before the bar's first event, and its items from that event on."""
    changes: list[Key | Meter] = []
    for i, item in enumerate(bar.items):
        if isinstance(item, Event):
            return tuple(changes), bar.items[i:]
        changes.append(item)
    return tuple(changes), ()


def signatures(tune: Tune) -> list[Signatures]:
    """What is in force at the first note of every bar: changes before that note count already."""
    now, found = Signatures(tune.key, tune.meter), []
    for bar in tune.bars:
        changes, rest = split_changes(bar)
        for change in changes:
            now = now.after(change)
        found.append(now)
        for item in rest:
            now = now.after(item)
    return found


@dataclass(frozen=True)
class Place:
    """An event and where it stands.

    bar: index of its bar.  index: of the event among the bar's events.
    in_bar, onset: whole notes from the beginning of the bar and of the tune (repeats not unfolded).
    """

    event: Event
    bar: int
    index: int
    in_bar: Fraction
    onset: Fraction
    key: Key
    meter: Meter


def places(tune: Tune) -> list[Place]:
    """Every event of the tune in written order."""
    now, onset, found = Signatures(tune.key, tune.meter), Fraction(0), []
    for i, bar in enumerate(tune.bars):
        index, in_bar = 0, Fraction(0)
        for item in bar.items:
            now = now.after(item)
            if isinstance(item, Event):
                found.append(Place(item, i, index, in_bar, onset, now.key, now.meter))
                index += 1
                in_bar += item.sounding
                onset += item.sounding
    return found


# --- What joins notes -------------------------------------------------------------------------


@dataclass(frozen=True)
class Tie:
    """A tie from a head to the one on the same line or space in the next event.

    head, end_head: indices into the events' notes; end is None where the next event has no such
    head, or where there is no next event.  leads_back: the next event is another ending's, so that
    the tie leads to the repeat's start.
    """

    start: Place
    head: int
    end: Place | None
    end_head: int = 0
    leads_back: bool = False

    @property
    def note(self) -> Note:
        return self.start.event.notes[self.head]

    @property
    def joins(self) -> bool:
        """Whether the two are one pitch, which then sounds once."""
        return self.end is not None and self.end.event.notes[self.end_head].midi == self.note.midi


def ties(tune: Tune, walk: Sequence[Place] = ()) -> Iterator[Tie]:
    """Every tie of the tune, in the order of their first heads.

    walk: the tune's `places`, where they are known already.
    """
    walk = walk or places(tune)
    for place, following in zip_longest(walk, walk[1:]):
        back = following is not None and leads_back(tune, place.bar, following.bar)
        for head, note in enumerate(place.event.notes):
            if not note.tie:
                continue
            if back:
                yield Tie(place, head, None, leads_back=True)
                continue
            heads = following.event.notes if following else ()
            ends = [m for m, other in enumerate(heads) if other.diatonic == note.diatonic]
            if following is None or not ends:
                yield Tie(place, head, None)
                continue
            # Two heads may share a line (`[c^c]`): the one of the same pitch is meant.
            same = [m for m in ends if heads[m].alter == note.alter]
            yield Tie(place, head, following, (same or ends)[0])


def leads_back(tune: Tune, bar: int, following: int) -> bool:
    """Whether the music goes back behind a bar: it ends an ending, and the next begins another."""
    ending = tune.bars[following].ending
    return following > bar and tune.bars[bar].ending_stop and ending[:1] not in ("", "1")


@dataclass(frozen=True)
class Slur:
    """A slur; start or end is None where the tune leaves it open.

    number: which of the slurs that begin at its start.
    """

    start: Place | None
    end: Place | None
    number: int = 0


def slurs(tune: Tune) -> Iterator[Slur]:
    """Every slur in the order of their ends; those that never end come last.

    A note may both end a slur and begin one, as `c` does in `(ab(c)de)`: the older slur ends
    there.  Only where there is no older one does a slur end where it began: `({g}a)` reaches from
    the grace note to its note.
    """
    begun: list[tuple[Place, int]] = []
    for place in places(tune):
        older = min(place.event.slurs_close, len(begun))
        ended = [begun.pop() for _ in range(older)]
        begun += [(place, number) for number in range(place.event.slurs_open)]
        for _ in range(place.event.slurs_close - older):
            if begun:
                ended.append(begun.pop())
            else:
                yield Slur(None, place)
        yield from (Slur(start, place, number) for start, number in ended)
    yield from (Slur(start, None, number) for start, number in begun)


# --- What sounds ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sounding:
    """A note that sounds once, ties joined: onset and duration in whole notes from the start.

    heads: what is drawn for it, as (bar, index of the event, index of the note in it).
    """

    onset: Fraction
    duration: Fraction
    midi: int
    heads: tuple[tuple[int, int, int], ...] = field(default=(), compare=False)


def sounding_notes(tune: Tune) -> list[Sounding]:
    """Every sounding note in written order (repeats not unfolded, graces left out), ties joined.

    A tie that leads to no note of its pitch ends where it is; `checks.check` reports it.
    """
    walk = places(tune)
    continued = {
        (tie.end.bar, tie.end.index, tie.end_head): (tie.start.bar, tie.start.index, tie.head)
        for tie in ties(tune, walk)
        if tie.end is not None and tie.joins
    }
    done: list[Sounding] = []
    sounds_as: dict[tuple[int, int, int], int] = {}  # head → index into done
    for place in walk:
        for n, note in enumerate(place.event.notes):
            head, length = (place.bar, place.index, n), place.event.sounding
            if head in continued:
                i = sounds_as[head] = sounds_as[continued[head]]
                longer, heads = done[i].duration + length, (*done[i].heads, head)
                done[i] = dataclasses.replace(done[i], duration=longer, heads=heads)
            else:
                sounds_as[head] = len(done)
                done.append(Sounding(place.onset, length, note.midi, (head,)))
    return done
