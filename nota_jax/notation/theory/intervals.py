"""Names of notes, intervals and degrees, as musicians say them."""

from __future__ import annotations

from nota_jax.notation.tune import STEPS, Key, Note

# Semitones of the major or perfect intervals above a note, unison to seventh.
_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_PERFECT = (0, 3, 4)
_ORDINALS = (
    "unison", "second", "third", "fourth", "fifth", "sixth", "seventh", "octave", "ninth",
    "tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth",
)  # fmt: skip


def pitch_class(note: Note) -> str:
    """The name without its octave: "F#", "Bb"."""
    return note.step + "#" * max(note.alter, 0) + "b" * max(-note.alter, 0)


def note_name(note: Note) -> str:
    """Scientific pitch: "F#4", "Bb3"."""
    return f"{pitch_class(note)}{note.octave}"


def note_called(name: str, octave: int = 4) -> Note:
    """The note of a pitch class: "F#" → F sharp."""
    return Note(name[0], octave, name.count("#") - name.count("b"))


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
