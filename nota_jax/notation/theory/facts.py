"""What a tune is: range, contour, rhythm, mode, sections, form, cadences.

Everything here is computed from the `Tune`, so that sentences built from it are true
(`data/build/prose.py`); what counts as the melody is said in `melody.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TypeVar

from nota_jax.errors import UserError
from nota_jax.notation.theory.form import (
    Section,
    bar_numbers,
    phrase_letters,
    playing_order,
    sections,
    starts_section,
)
from nota_jax.notation.theory.intervals import degree, note_called, pitch_class
from nota_jax.notation.theory.melody import Tone, melody
from nota_jax.notation.tune import Event, Key, Meter, Note, Tune
from nota_jax.notation.walk import signatures


@dataclass(frozen=True)
class Leap:
    """A melodic interval; bar: index of the bar of its second note."""

    first: Note
    second: Note
    bar: int

    @property
    def semitones(self) -> int:
        """Upwards positive."""
        return self.second.midi - self.first.midi


@dataclass(frozen=True)
class Facts:
    """What `facts` computes; bars are indices into `Tune.bars`, `numbers` gives their numbers.

    lowest, highest, pitch_classes, drawn_accidentals: of all heads, grace notes too.
    pickup: length of the pick-up in whole notes, 0 for none or where the meter is free.
    n_bars: bars in number, the pick-up not counted, two parts of one bar counted once.
    repeated, steps, leaps: melodic intervals that stay, move by a second, move further.
    first, last: of the melody.
    contour: Huron's type ("convex", "ascending", …; see `_contour`).
    durations: notated lengths of notes and chords, commonest first, with their counts.
    tuplets: (notes in the tuplet, how many of these), by size.
    syncopations: melody notes that begin off the beat and sound over the next beat; None where
      the meter has no regular beat.
    sections: between repeat signs and double bars.
    order: their letters as they are played, () where unsure, see `form.playing_order`.
    phrases: letters of the groups of four bars, see `form.phrase_letters`.
    section_ends: the last melody note of every section and its degree; empty where one has none.
    final_degree: 1–7, of the last melody note above the tonic of the key in force there; None
      without a tonic, or where the note is no degree of that scale.
    pitch_classes: names of the distinct notes, in scale order from the tonic (or from C).
    pentatonic: they are the five of an anhemitonic scale (C D E G A in some transposition).
    """

    n_bars: int
    numbers: tuple[int, ...]
    pickup: Fraction
    n_notes: int
    n_rests: int
    lowest: Note
    highest: Note
    first: Note
    last: Note
    highest_bar: int
    lowest_bar: int
    contour: str
    repeated: int
    steps: int
    leaps: int
    widest: Leap | None
    durations: tuple[tuple[Fraction, int], ...]
    tuplets: tuple[tuple[int, int], ...]
    n_graces: int
    syncopations: int | None
    drawn_accidentals: int
    meter: Meter
    key: Key
    last_key: Key
    key_changes: tuple[tuple[int, Key], ...]
    meter_changes: tuple[tuple[int, Meter], ...]
    final_degree: int | None
    pitch_classes: tuple[str, ...]
    pentatonic: bool
    sections: tuple[Section, ...]
    order: tuple[str, ...]
    phrases: tuple[str, ...]
    section_ends: tuple[tuple[Note, int | None], ...]


def facts(tune: Tune) -> Facts:
    """Everything that an analysis says about a tune.  Raises `UserError` where it has no notes."""
    tones = melody(tune)
    if not tones:
        raise UserError(f"tune {tune.reference} ({tune.title or 'untitled'}) has no notes")
    heads = [
        (note, index)
        for index, bar in enumerate(tune.bars)
        for event in bar.events
        for note in (*_grace_notes(event), *event.notes)
    ]
    lowest, lowest_bar = min(heads, key=lambda head: head[0].midi)
    highest, highest_bar = max(heads, key=lambda head: head[0].midi)
    moves = [Leap(a.note, b.note, b.place.bar) for a, b in pairwise(tones)]
    moving = [move for move in moves if move.semitones]
    leaps = sum(abs(move.second.diatonic - move.first.diatonic) > 1 for move in moving)
    events = [event for event in tune.events if event.notes]
    tuplets = {e.tuplet.number: e.tuplet.actual for e in tune.events if e.tuplet is not None}
    numbers, pickup = bar_numbers(tune)
    parts = sections(tune)
    return Facts(
        n_bars=len(set(numbers)) - (pickup > 0),
        numbers=numbers,
        pickup=pickup,
        n_notes=len(tones),
        n_rests=sum(not event.notes for event in tune.events),
        lowest=lowest,
        highest=highest,
        first=tones[0].note,
        last=tones[-1].note,
        highest_bar=highest_bar,
        lowest_bar=lowest_bar,
        contour=_contour([tone.note.midi for tone in tones]),
        repeated=len(moves) - len(moving),
        steps=len(moving) - leaps,
        leaps=leaps,
        widest=max(moving, key=lambda move: abs(move.semitones), default=None),
        durations=tuple(Counter(event.duration for event in events).most_common()),
        tuplets=tuple(sorted(Counter(tuplets.values()).items())),
        n_graces=sum(len(_grace_notes(event)) for event in tune.events),
        syncopations=_syncopations(tune, tones, has_pickup=pickup > 0),
        drawn_accidentals=sum(note.accidental is not None for note, _ in heads),
        meter=tune.meter,
        key=tune.key,
        last_key=tones[-1].place.key,
        key_changes=_changes(tune, tune.key),
        meter_changes=_changes(tune, tune.meter),
        final_degree=degree(tones[-1].note, tones[-1].place.key),
        pitch_classes=_pitch_classes([note for note, _ in heads], tune.key),
        pentatonic=_is_pentatonic({note.midi % 12 for note, _ in heads}),
        sections=parts,
        order=playing_order(tune, parts),
        phrases=phrase_letters(tune, parts),
        section_ends=_section_ends(tones, parts),
    )


def beat(meter: Meter) -> Fraction | None:
    """Length of a beat: three eighths make one in 6/8, 9/8, 12/8; None where beats are unequal."""
    if meter.text == "C":
        return Fraction(1, 4)
    if meter.text == "C|":
        return Fraction(1, 2)
    top, _, bottom = meter.text.partition("/")
    if not (top.isdigit() and bottom.isdigit()):
        return None
    compound = int(top) > 3 and int(top) % 3 == 0 and int(bottom) >= 8
    return Fraction(3 if compound else 1, int(bottom))


def _grace_notes(event: Event) -> tuple[Note, ...]:
    return tuple(note for note, _ in event.grace.notes) if event.grace else ()


def _section_ends(
    tones: list[Tone], parts: tuple[Section, ...]
) -> tuple[tuple[Note, int | None], ...]:
    """The last melody note of each section and its degree; () where a section has none."""
    ends = []
    for part in parts:
        inside = [tone for tone in tones if part.first <= tone.place.bar <= part.last]
        if not inside:
            return ()
        last = inside[-1]
        ends.append((last.note, degree(last.note, last.place.key)))
    return tuple(ends)


_Change = TypeVar("_Change", Key, Meter)


def _changes(tune: Tune, now: _Change) -> tuple[tuple[int, _Change], ...]:
    """(bar index, new key or meter) of every change after `now`, the one of the header.

    A change that is drawn behind a bar's last note counts for the next bar.
    """
    changes = []
    for index, bar in enumerate(tune.bars):
        for i, item in enumerate(bar.items):
            if isinstance(item, type(now)) and item != now:
                now = item
                ends_bar = bool(bar.events) and not any(
                    isinstance(later, Event) for later in bar.items[i:]
                )
                changes.append((min(index + ends_bar, len(tune.bars) - 1), item))
    return tuple(changes)


def _contour(pitches: list[int]) -> str:
    """Huron's contour type (The Melodic Arch in Western Folksongs, 1996).

    The first pitch, the mean of those between, and the last are compared.
    """
    first, last = pitches[0], pitches[-1]
    middle = Fraction(sum(pitches[1:-1]), len(pitches) - 2) if len(pitches) > 2 else first
    rise, fall = (middle > first) - (middle < first), (last > middle) - (last < middle)
    return {
        (1, 1): "ascending", (1, 0): "ascending-horizontal", (1, -1): "convex",
        (0, 1): "horizontal-ascending", (0, 0): "horizontal", (0, -1): "horizontal-descending",
        (-1, 1): "concave", (-1, 0): "descending-horizontal", (-1, -1): "descending",
    }[rise, fall]  # fmt: skip


def _pitch_classes(notes: list[Note], key: Key) -> tuple[str, ...]:
    """Names of the distinct pitch classes, upwards from the tonic (from C where there is none)."""
    base = note_called(key.tonic or "C").midi
    names: dict[int, str] = {}
    for note in sorted(notes, key=lambda note: abs(note.alter)):
        names.setdefault((note.midi - base) % 12, pitch_class(note))
    return tuple(names[i] for i in sorted(names))


def _is_pentatonic(pitch_classes: set[int]) -> bool:
    """Whether these are five successive fifths."""
    return any({(root + 7 * i) % 12 for i in range(5)} == pitch_classes for root in range(12))


def _syncopations(tune: Tune, tones: list[Tone], has_pickup: bool) -> int | None:
    """How many melody notes begin off the beat and sound over the next beat.

    None where any meter lacks a regular beat, a bar is longer than its meter, or one is shorter
    without standing at a section's beginning or end: then nobody can say where the beats are.
    """
    bars, offsets, beats = tune.bars, [], []
    for i, (bar, at) in enumerate(zip(bars, signatures(tune), strict=True)):
        full, pulse = at.meter.duration, beat(at.meter)
        if full is None or pulse is None or bar.duration > full:
            return None
        begins = starts_section(bars[i - 1], bar) if i else has_pickup
        ends = i == len(bars) - 1 or starts_section(bar, bars[i + 1]) or bars[i + 1].ending
        missing = full - bar.duration
        if missing and not (begins or ends):
            return None
        # An incomplete bar at a beginning counts its beats from its end.
        offsets.append(missing if begins else Fraction(0))
        beats.append(pulse)
    count = 0
    for tone in tones:
        place, pulse = tone.place, beats[tone.place.bar]
        into = (offsets[place.bar] + place.in_bar) % pulse
        count += into > 0 and into + tone.duration > pulse
    return count
