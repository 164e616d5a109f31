"""The same tune in another key: every note keeps its function, every drawn sign its place.

An interval moves each note by so many staff positions and so many semitones, so the key signature
moves along the circle of fifths and an accidental is drawn exactly where one was drawn before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from nota_jax.errors import UserError
from nota_jax.notation import chords
from nota_jax.notation.tune import (
    SEMITONES,
    STEPS,
    Bar,
    Event,
    Grace,
    Item,
    Key,
    Note,
    Tune,
    with_items,
)

# Signatures that `transpositions` offers, and those that can be drawn at all.
USUAL_FIFTHS, MOST_FIFTHS = 5, 7
# Staff positions above and below the middle line: two ledger lines, A3 … C6 in the treble clef.
USUAL_REACH = 8
# `Note.diatonic` of the middle line of the staff.
_MIDDLE_LINES = {"treble": 34, "alto": 28, "tenor": 26, "bass": 22}


class TransposeError(UserError):
    """The tune cannot be written that way; the text says what stands against it."""


@dataclass(frozen=True)
class Interval:
    """Upwards positive; `Interval(2, 4)` is a major third.

    steps: staff positions.  semitones: what sounds.
    """

    steps: int
    semitones: int

    @property
    def fifths(self) -> int:
        """By how many sharps a key signature moves: 1 for (4, 7), −2 for (−1, −2)."""
        return 7 * self.semitones - 12 * self.steps

    def __neg__(self) -> Interval:
        return Interval(-self.steps, -self.semitones)


UNISON = Interval(0, 0)


def transpose(tune: Tune, interval: Interval) -> Tune:
    """The tune moved by an interval: notes, graces, keys, drawn accidentals, chord symbols.

    Titles and annotations are text and stay.  `transpose(transpose(t, i), -i) == t` (but for how
    a chord symbol spells its sharps), and the melody's hash does not change.  Raises
    `TransposeError` where a signature would need more than seven sharps or flats or a note more
    than two, and where `K:none` leaves no signature or a chord symbol no names to move (by octaves
    such tunes move all the same).
    """
    moved = dataclasses.replace(tune, key=_move_key(tune.key, interval))
    return with_items(moved, lambda item: _move_item(item, interval))


def transpositions(tune: Tune) -> tuple[Interval, ...]:
    """Intervals up to an octave that give a page a musician would print; the unison comes first.

    Every signature has at most five sharps or flats, all notes lie within two ledger lines of the
    staff, no double accidental appears that the tune does not have, and every chord symbol moves
    along (one that is not understood leaves the octaves).  The rest is ordered by size, down
    before up.
    """
    digest = _digest(tune)
    notes = list(_notes(digest))
    if not notes:
        return (UNISON,)
    keys = [tune.key, *(item for item in digest.items if isinstance(item, Key))]
    lowest = min(note.diatonic for note in notes)
    highest = max(note.diatonic for note in notes)
    middle = _middle_line(tune.key.clef)
    most_altered = max(1, *(abs(note.alter) for note in notes))
    choices = []
    for semitones in sorted(range(-12, 13), key=lambda n: (abs(n), n)):
        for fifths in range(-2 * USUAL_FIFTHS, 2 * USUAL_FIFTHS + 1):
            steps, remainder = divmod(7 * semitones - fifths, 12)
            if remainder or (steps, semitones) == (0, 0):
                continue
            if any(abs(key.fifths + fifths) > USUAL_FIFTHS for key in keys):
                continue
            if lowest + steps < middle - USUAL_REACH or highest + steps > middle + USUAL_REACH:
                continue
            interval = Interval(steps, semitones)
            try:
                moved = transpose(digest, interval)
            except TransposeError:
                continue
            if all(abs(note.alter) <= most_altered for note in _notes(moved)):
                choices.append(interval)
    return (UNISON, *choices)


def _digest(tune: Tune) -> Tune:
    """One bar with everything of the tune that an interval moves, each kind once."""
    keys = dict.fromkeys(item for item in tune.items if isinstance(item, Key))
    heads = dict.fromkeys(dataclasses.replace(note, tie=False) for note in _notes(tune))
    symbols = dict.fromkeys(event.chord_symbol for event in tune.events)
    events = [Event(tuple(heads)), *(Event(chord_symbol=symbol) for symbol in symbols)]
    return Tune(key=tune.key, bars=(Bar((*keys, *events)),))


def _move_note(note: Note, interval: Interval) -> Note:
    octave, index = divmod(note.diatonic + interval.steps, 7)
    step = STEPS[index]
    alter = note.midi + interval.semitones - (12 * (octave + 1) + SEMITONES[step])
    if abs(alter) > 2:
        raise TransposeError(f"{step}{octave} would need {abs(alter)} accidentals")
    accidental = None
    if note.accidental is not None:
        accidental = note.accidental + alter - note.alter
        if abs(accidental) > 2:
            raise TransposeError(f"{step}{octave} would be drawn with {abs(accidental)} signs")
    return dataclasses.replace(note, step=step, octave=octave, alter=alter, accidental=accidental)


def _move_key(key: Key, interval: Interval) -> Key:
    if not key.tonic:
        if interval.fifths:
            raise TransposeError("without a key signature (K:none) a tune moves by octaves only")
        moved = key
    else:
        step, sign = key.tonic[0], key.tonic[1:]
        step, alter = _move_name(step, sign.count("#") - sign.count("b"), interval)
        tonic = step + "#" * max(alter, 0) + "b" * max(-alter, 0)
        moved = dataclasses.replace(key, tonic=tonic)
        if abs(moved.fifths) > MOST_FIFTHS:
            raise TransposeError(
                f"{tonic} {key.mode} would need {abs(moved.fifths)} sharps or flats"
            )
    accidentals = []
    for step, alter in key.accidentals:
        accidentals.append(_move_name(step, alter, interval))
    return dataclasses.replace(moved, accidentals=tuple(accidentals))


def _move_item(item: Item, interval: Interval) -> Item:
    if isinstance(item, Key):
        return _move_key(item, interval)
    if not isinstance(item, Event):
        return item
    grace = item.grace and Grace(
        tuple((_move_note(note, interval), length) for note, length in item.grace.notes),
        item.grace.slash,
    )
    return dataclasses.replace(
        item,
        notes=tuple(_move_note(note, interval) for note in item.notes),
        grace=grace,
        chord_symbol=move_chord_symbol(item.chord_symbol, interval),
    )


def move_chord_symbol(symbol: str, interval: Interval) -> str:
    """The transposition of "F#m7/C#" or "C Am"; a word that is no chord symbol ("Fine") stays."""
    words = []
    for word in symbol.split():
        if chords.is_understood(word):
            word = chords.map_names(word, lambda step, alter: _move_name(step, alter, interval))
        elif interval.fifths and chords.looks_like_chord(word):
            raise TransposeError(f"the chord symbol {word!r} is not understood, so it cannot move")
        words.append(word)
    return " ".join(words)


def _move_name(step: str, alter: int, interval: Interval) -> tuple[str, int]:
    """A note name without octave, as step and alteration."""
    note = _move_note(Note(step, 4, alter), interval)
    return note.step, note.alter


def _notes(tune: Tune) -> Iterator[Note]:
    """Every drawn head, grace notes too."""
    for event in tune.events:
        yield from event.notes
        if event.grace:
            yield from (note for note, _ in event.grace.notes)


def _middle_line(clef: str) -> int:
    """`Note.diatonic` of the middle line; "treble-8" sounds an octave lower, "treble+8" higher."""
    name = clef.partition("+")[0].partition("-")[0]
    octaves = ("+8" in clef) - ("-8" in clef)
    return _MIDDLE_LINES.get(name, _MIDDLE_LINES["treble"]) + 7 * octaves
