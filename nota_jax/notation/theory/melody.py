"""The melody of a tune: the highest head of every chord, ties joined, graces left out.

It stands in written order, repeats not unfolded.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from nota_jax.notation.tune import Note, Tune
from nota_jax.notation.walk import Place, places, ties


@dataclass(frozen=True)
class Tone:
    """A melody note.

    place: where it begins, with the key in force there.
    duration: in whole notes, tied heads included.
    """

    note: Note
    place: Place
    duration: Fraction


def melody(tune: Tune) -> list[Tone]:
    """The melody's notes.

    A head that a tie joins to the one before lengthens the melody's note of its pitch.  Where that
    note was hidden below a higher one, as the C of `[C-E]C`, nothing new sounds, and the melody
    gains no note.
    """
    walk = places(tune)
    joined = {
        (tie.end.bar, tie.end.index, tie.end_head)
        for tie in ties(tune, walk)
        if tie.end is not None and tie.joins
    }
    tones: list[Tone] = []
    for place in walk:
        notes = place.event.notes
        if not notes:
            continue
        head = max(range(len(notes)), key=lambda n: notes[n].midi)
        if (place.bar, place.index, head) not in joined:
            tones.append(Tone(notes[head], place, place.event.sounding))
        elif tones[-1].note.midi == notes[head].midi:
            tones[-1] = replace(tones[-1], duration=tones[-1].duration + place.event.sounding)
    return tones


def melody_hash(tune: Tune) -> str:
    """Of its melody, see `hash_of`."""
    return hash_of(melody(tune))


def hash_of(tones: Sequence[Tone]) -> str:
    """Sixteen hex digits, equal for one melody in any key and in any note values.

    Hashed are the pitch intervals between successive melody notes and the time from each onset to
    the next, divided by the greatest common divisor of all those times.  Halving or doubling every
    note value scales the divisor alike, so that neither the source's `L:` nor augmentation changes
    the hash.  Neither does a note shortened by a rest, nor the length of the last note, which
    sources write carelessly.  Written-out repeats do change it.
    """
    waits = [after.place.onset - before.place.onset for before, after in pairwise(tones)]
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
