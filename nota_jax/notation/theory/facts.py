"""What a tune is: range, contour, rhythm, mode, sections, form, cadences.

Everything here is computed from the `Tune`, so that sentences built from it are true
(`data/analysis.py`).  "Melody" means the highest head of every chord, ties joined, graces left
out, in written order (repeats not unfolded).
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TypeVar

from nota_jax.errors import UserError
from nota_jax.notation.theory.form import (
    Section,
    bar_numbers,
    meters,
    phrase_letters,
    playing_order,
    sections,
    starts_section,
)
from nota_jax.notation.tune import STEPS, Event, Key, Meter, Note, Tune

# Semitones of the major or perfect intervals above a note, unison to seventh.
_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_PERFECT = (0, 3, 4)
_ORDINALS = (
    "unison", "second", "third", "fourth", "fifth", "sixth", "seventh", "octave", "ninth",
    "tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth",
)  # fmt: skip


@dataclass(frozen=True)
class Tone:
    """A melody note, ties joined.

    onset: whole notes from the beginning of the tune; bar: index of the bar where it begins;
    in_bar: whole notes from the beginning of that bar; key: the one in force.
    """

    note: Note
    onset: Fraction
    duration: Fraction
    bar: int
    in_bar: Fraction
    key: Key


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
    sections, order: sections between repeat signs and double bars, and the order in which they are
      played (letters), see `form.playing_order`.
    phrases: letters of the groups of four bars ("aba'c"), see `form.phrase_letters`.
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
    order: str
    phrases: str
    section_ends: tuple[tuple[Note, int | None], ...]


def melody(tune: Tune) -> list[Tone]:
    """The melody's notes in written order; a tie joins heads of one pitch in successive events."""
    tones: list[Tone] = []
    now, tied, key = Fraction(0), None, tune.key
    for index, bar in enumerate(tune.bars):
        start = now
        for item in bar.items:
            if isinstance(item, Key):
                key = item
            if not isinstance(item, Event):
                continue
            top = max(item.notes, key=lambda note: note.midi, default=None)
            if top is not None and top.midi == tied:
                longer = tones[-1].duration + item.sounding
                tones[-1] = dataclasses.replace(tones[-1], duration=longer)
            elif top is not None:
                tones.append(Tone(top, now, item.sounding, index, now - start, key))
            tied = top.midi if top is not None and top.tie else None
            now += item.sounding
    return tones


def melody_hash(tune: Tune) -> str:
    """Sixteen hex digits, equal for one melody in any key and in any note values.

    Hashed are the pitch intervals between successive melody notes and the time from each onset to
    the next, divided by the greatest common divisor of all those times.  Halving or doubling every
    note value scales the divisor alike, so that neither the source's `L:` nor augmentation changes
    the hash.  Neither does a note shortened by a rest, nor the length of the last note, which
    sources write carelessly.  Written-out repeats do change it.
    """
    tones = melody(tune)
    waits = [after.onset - before.onset for before, after in pairwise(tones)]
    if waits:
        denominator = math.lcm(*(wait.denominator for wait in waits))
        counts = [int(wait * denominator) for wait in waits]
        divisor = math.gcd(*counts)
        moves = [after.note.midi - before.note.midi for before, after in pairwise(tones)]
        text = " ".join(
            f"{move}:{count // divisor}" for move, count in zip(moves, counts, strict=True)
        )
    else:
        text = f"{len(tones)} notes"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
    moves = [Leap(a.note, b.note, b.bar) for a, b in pairwise(tones)]
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
        last_key=tones[-1].key,
        key_changes=_changes(tune, tune.key),
        meter_changes=_changes(tune, tune.meter),
        final_degree=degree(tones[-1].note, tones[-1].key),
        pitch_classes=_pitch_classes([note for note, _ in heads], tune.key),
        pentatonic=_is_pentatonic({note.midi % 12 for note, _ in heads}),
        sections=parts,
        order=playing_order(tune, parts),
        phrases=phrase_letters(tune, parts),
        section_ends=_section_ends(tones, parts),
    )


def note_name(note: Note) -> str:
    """Scientific pitch: "F#4", "Bb3"."""
    return f"{pitch_class(note)}{note.octave}"


def pitch_class(note: Note) -> str:
    return note.step + "#" * max(note.alter, 0) + "b" * max(-note.alter, 0)


def interval_name(one: Note, other: Note) -> str:
    """As in "perfect fifth", "minor tenth"; beyond two octaves the number of semitones."""
    low, high = sorted((one, other), key=lambda note: (note.midi, note.diatonic))
    number, semitones = high.diatonic - low.diatonic, high.midi - low.midi
    if not 0 <= number < len(_ORDINALS):
        return f"interval of {semitones} semitones"
    octaves, simple = divmod(number, 7)
    excess = semitones - 12 * octaves - _MAJOR[simple]
    if simple in _PERFECT:
        qualities = {0: "perfect", 1: "augmented", -1: "diminished"}
    else:
        qualities = {0: "major", -1: "minor", 1: "augmented", -2: "diminished"}
    if excess not in qualities:
        return f"interval of {semitones} semitones"
    return f"{qualities[excess]} {_ORDINALS[number]}"


def degree(note: Note, key: Key) -> int | None:
    """Scale degree 1–7 of a note; None without a tonic or for a note altered against the key."""
    if not key.tonic or note.alter != key.alters[note.step]:
        return None
    return (STEPS.index(note.step) - STEPS.index(key.tonic[0])) % 7 + 1


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
        inside = [tone for tone in tones if part.first <= tone.bar <= part.last]
        if not inside:
            return ()
        last = inside[-1]
        ends.append((last.note, degree(last.note, last.key)))
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
    root = Note(key.tonic[0], 4, key.tonic.count("#") - key.tonic.count("b")) if key.tonic else None
    base = root.midi if root else 0
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
    for i, (bar, meter) in enumerate(zip(bars, meters(tune), strict=True)):
        full, pulse = meter.duration, beat(meter)
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
        into = (offsets[tone.bar] + tone.in_bar) % beats[tone.bar]
        count += into > 0 and into + tone.duration > beats[tone.bar]
    return count
