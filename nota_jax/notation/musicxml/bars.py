"""A part of music21's, bar by bar, as drafts of our bars.

What only the whole tells, endings and where a tie leads, `reader` adds.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from nota_jax.notation.abc.accidentals import Accidentals
from nota_jax.notation.abc.decorations import DYNAMICS, in_order
from nota_jax.notation.musicxml.elements import (
    Refused,
    beam_of,
    clef_of,
    decorations_of,
    fraction,
    heads_of,
    in_order_of_time,
    key_of,
    lyrics_of,
    meter_of,
    notated,
    note_of,
    takes_time,
    texts,
)
from nota_jax.notation.musicxml.writer import BAR_LINES
from nota_jax.notation.tune import MODES, Event, Grace, Key, Meter, Note, Tuplet

ROUNDING = Fraction(1, 50)  # quarters by which a file's whole divisions may miss a tuplet
_LINES = {name: line for line, name in BAR_LINES.items() if line}


@dataclass
class Draft:
    """A bar in the making.  items: events that miss their slurs, and changes."""

    items: list[Any]
    repeat_start: bool = False
    ending: str = ""
    barline: str = "|"


@dataclass
class Reading:
    """What is known at a place of the part; `bar` reads on.

    places: (bar, item) of every note of music21's, by its id.
    """

    beamed: bool
    first_key: Key = Key("")
    first_meter: Meter = Meter("none")
    mode_told: bool = False
    key: Key = Key("")
    begun: bool = False
    alone: bool = False  # one note or rest is all that the bar holds
    tuplets: int = 0
    tuplet: Tuplet | None = None
    left: Fraction = Fraction(0)  # of the tuplet that is open, as notated
    ends_by_sign: bool = False
    graces: list[tuple[Note, Fraction]] = field(default_factory=list)
    slash: bool = False
    tied: dict[int, int] = field(default_factory=dict)  # place on the staff → alter
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    opened: dict[tuple[int, int], int] = field(default_factory=dict)
    closed: dict[tuple[int, int], int] = field(default_factory=dict)

    def bar(self, number: int, measure: Any) -> Draft:
        where = f"bar {number}"
        items: list[Any] = []
        waiting: list[Any] = []  # marks for the next event
        accidentals = Accidentals(self.key)
        onset = Fraction(0)
        elements = in_order_of_time(measure, where)
        self.alone = sum(takes_time(element) for element in elements) == 1
        for element in elements:
            kinds = set(element.classes)
            offset = fraction(element.getOffsetInHierarchy(measure))
            if "GeneralNote" in kinds and not kinds & {"ChordSymbol", "NoChord"}:
                if "Unpitched" in kinds or "PercussionChord" in kinds:
                    raise Refused(f"{where}: a drum's note, which has no pitch")
                if element.duration.isGrace:
                    self._grace(element, accidentals, where)
                    self.places[id(element)] = number - 1, len(items)
                    continue
                if abs(offset - onset) > ROUNDING:
                    raise Refused(f"{where}: its notes leave a gap, or lie over each other")
                onset += fraction(element.quarterLength)
                if element.style.hideObjectOnPrint:
                    continue
                self.places[id(element)] = number - 1, len(items)
                for member in getattr(element, "notes", ()):
                    self.places[id(member)] = number - 1, len(items)
                items.append(self._event(element, accidentals, waiting, where))
                waiting, self.begun = [], True
            elif change := self._change(element, kinds, where):
                if isinstance(change, Key):
                    accidentals.new_key(change)
                if self.begun:
                    items.append(change)
            else:
                waiting.append((element, offset))
        if not any(isinstance(item, Event) for item in items):
            raise Refused(f"{where} shows neither a note nor a rest")
        self._behind(items, waiting)
        right = measure.rightBarline
        line = "|" if right is None else _LINES.get(right.type, "|")
        repeats = right is not None and getattr(right, "direction", "") == "end"
        left = measure.leftBarline
        begins = left is not None and getattr(left, "direction", "") == "start"
        return Draft(items, begins, "", ":|" if repeats else line)

    def _change(self, element: Any, kinds: set[str], where: str) -> Key | Meter | None:
        """What a signature or clef makes of what is in force; None for anything else."""
        if "TimeSignature" in kinds or "SenzaMisuraTimeSignature" in kinds:
            meter = meter_of(element, where)
            self.first_meter = self.first_meter if self.begun else meter
            return meter
        if "Clef" in kinds:
            self.key = dataclasses.replace(self.key, clef=clef_of(element, where))
        elif "KeySignature" in kinds:
            sharps, mode = element.sharps, getattr(element, "mode", None)
            if sharps is None or getattr(element, "isNonTraditional", False) or abs(sharps) > 7:
                raise Refused(f"{where}: a key signature that is no major or minor key's")
            told = str(mode) if mode in MODES else ""
            self.mode_told = self.mode_told if self.begun else bool(told)
            self.key = key_of(sharps, told or "major", self.key.clef)
        else:
            return None
        self.first_key = self.first_key if self.begun else self.key
        return self.key

    def _event(self, element: Any, accidentals: Accidentals, waiting: list, where: str) -> Event:
        bar_rest = self.alone and element.isRest and element.fullMeasure in (True, "always")
        tuplet = self._tuplet(element, where)
        duration = fraction(element.quarterLength) / 4 if bar_rest else notated(element, where)
        heads = sorted(
            (self._head(note, accidentals, where) for note in heads_of(element)),
            key=lambda note: (note.diatonic, note.alter),
        )
        self.tied = {note.diatonic: note.alter for note in heads if note.tie}
        grace = None
        if heads and self.graces:
            grace, self.graces = Grace(tuple(self.graces), self.slash), []
        symbols, annotations, marks = texts(waiting)
        return Event(
            notes=tuple(heads),
            duration=duration,
            bar_rest=bar_rest,
            beam=beam_of(element),
            tuplet=tuplet,
            grace=grace,
            decorations=in_order([*decorations_of(element, where), *marks]) if heads else (),
            chord_symbol=symbols,
            annotations=annotations,
            lyrics=lyrics_of(element) if heads else (),
        )

    def _head(self, note: Any, accidentals: Accidentals, where: str) -> Note:
        head = note_of(note, where)
        tied = self.tied.get(head.diatonic) == head.alter and head.accidental is None
        head = head if tied else accidentals.drawn(head)
        starts = note.tie is not None and note.tie.type in ("start", "continue")
        return dataclasses.replace(head, tie=starts)

    def _grace(self, element: Any, accidentals: Accidentals, where: str) -> None:
        heads = heads_of(element)
        if len(heads) != 1:
            raise Refused(f"{where}: a chord of grace notes")
        head = accidentals.drawn(note_of(heads[0], where))
        self.slash = bool(element.duration.slash) if not self.graces else self.slash
        self.graces.append((head, notated(element, where)))

    def _tuplet(self, element: Any, where: str) -> Tuplet | None:
        """The tuplet that an event belongs to; they end where the file says so, or are full."""
        of = element.duration.tuplets
        if not of:
            self.tuplet = None
            return None
        if len(of) > 1:
            raise Refused(f"{where}: a tuplet in a tuplet")
        (told,) = of
        ratio = told.numberNotesActual, told.numberNotesNormal
        new = self.tuplet is None or told.type in ("start", "startStop")
        if new or (self.tuplet.actual, self.tuplet.normal) != ratio:  # type: ignore[union-attr]
            self.tuplet = Tuplet(*ratio, self.tuplets)
            self.tuplets += 1
            unit = told.durationNormal
            value = notated(element, where) if unit is None else fraction(unit.quarterLength) / 4
            self.left = value * told.numberNotesActual
            self.ends_by_sign = told.type is not None
        found = self.tuplet
        self.left -= notated(element, where)
        full = not self.ends_by_sign and self.left <= 0
        if full or told.type in ("stop", "startStop"):
            self.tuplet = None
        return found

    def _behind(self, items: list[Any], waiting: list) -> None:
        """Marks of the form that stand behind a bar's last note belong to it."""
        _, _, marks = texts(waiting)
        if not marks:
            return
        last = max(i for i, item in enumerate(items) if isinstance(item, Event))
        event = items[last]
        if event.notes:
            both = in_order([*event.decorations, *(m for m in marks if m not in DYNAMICS)])
            items[last] = dataclasses.replace(event, decorations=both)

    def slurs(self, part: Any) -> None:
        for slur in part.recurse().getElementsByClass("Slur"):
            first, last = slur.getFirst(), slur.getLast()
            start, end = self.places.get(id(first)), self.places.get(id(last))
            if start is None or end is None or first is last or end < start:
                continue
            if start == end and not getattr(first.duration, "isGrace", False):
                continue
            self.opened[start] = self.opened.get(start, 0) + 1
            self.closed[end] = self.closed.get(end, 0) + 1

    def events(self, bars: list[Draft]) -> list[Draft]:
        """The bars, their events with their slurs."""
        for (bar, index), n in self.opened.items():
            bars[bar].items[index] = dataclasses.replace(bars[bar].items[index], slurs_open=n)
        for (bar, index), n in self.closed.items():
            bars[bar].items[index] = dataclasses.replace(bars[bar].items[index], slurs_close=n)
        return bars
