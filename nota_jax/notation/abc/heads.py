"""The heads of a note, a chord or grace notes: what is written, what sounds, what is drawn."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from nota_jax.notation.abc.accidentals import Accidentals
from nota_jax.notation.abc.drafts import Draft
from nota_jax.notation.abc.source import FieldError
from nota_jax.notation.abc.tokens import Pitch, Token, TokenError, length, pitch, tokens
from nota_jax.notation.tune import Note

_PASSED_OVER = ("space", "ignored", "text", "slur_open", "slur_close")


class Heads(NamedTuple):
    """As written: the pitches, which of them a tie leaves, their length in units, and marks."""

    pitches: list[Pitch]
    ties: list[bool]
    length: Fraction
    decorations: list[str]


def of_note(text: str) -> Heads:
    read = pitch(text)
    return Heads([read], [False], read.length, [])


def of_chord(text: str) -> Heads:
    """`[CE-G]2`; `FieldError` where something else than notes stands in it."""
    inner, _, outer = text[1:].rpartition("]")
    read = Heads([], [], length(outer), [])
    for kind, written, _ in _inner(inner):
        if kind == "note":
            read.pitches.append(pitch(written))
            read.ties.append(False)
        elif kind == "tie" and read.pitches:
            read.ties[-1] = True
        elif kind == "decoration":
            read.decorations.append(written)
        elif kind not in _PASSED_OVER:
            raise FieldError(f"{written!r} inside a chord")
    if not read.pitches:
        raise FieldError("a chord without notes")
    # ABC 2.1, 4.17: the chord lasts as long as its first note.
    return read._replace(length=read.pitches[0].length * read.length)


def of_graces(text: str) -> list[Pitch]:
    """`{/gab}`; `FieldError` where there is no note, or a chord, which a grace note here is not."""
    found = list(_inner(text[1:-1].removeprefix("/")))
    if any(token.kind in ("chord", "old_chord") for token in found):
        raise FieldError("a chord as grace note ({[…]}) is not supported")
    pitches = [pitch(token.text) for token in found if token.kind == "note"]
    if not pitches:
        raise FieldError("grace notes {} without a note")
    return pitches


def _inner(code: str) -> Iterator[Token]:
    try:
        yield from tokens(code)
    except TokenError as fault:  # its column is none of the line's
        raise FieldError(str(fault)) from None


def moved(pitches: Sequence[Pitch], octaves: int) -> list[Pitch]:
    """Pitches as `K:… octave=` means them."""
    if octaves:
        pitches = [read._replace(octave=read.octave + octaves) for read in pitches]
    if any(not 0 <= read.octave <= 9 for read in pitches):
        raise FieldError("with octave= a note lies outside any instrument's range")
    return list(pitches)


def put_on(draft: Draft, read: Heads, accidentals: Accidentals, before: Draft | None) -> None:
    """Gives a draft its heads, and the event `before`, whose ties lead here, those that do.

    A tie joins equal pitches: one behind a chord those that have one here.  Where none has, the
    curve turns out to be a slur.
    """
    tied = [note for note in before.notes if note.tie] if before else []
    places: dict[tuple[str, int], list[int]] = {}
    for note in tied:
        places.setdefault((note.step, note.octave), []).append(note.alter)
    meant = _as_meant(read, accidentals, places)
    # Which signs the page needs follows from the order in which it shows the heads.
    for note in meant:
        alters = places.get((note.step, note.octave), [])
        if note.alter not in alters or note.accidental is not None:
            note = accidentals.drawn(note)
        elif not _told_apart(alters, [n for n in meant if n.diatonic == note.diatonic]):
            note = accidentals.drawn(dataclasses.replace(note, accidental=note.alter))
        draft.notes.append(note)
    if before is None or not tied:
        return
    joined = {(n.diatonic, n.alter) for n in tied} & {(n.diatonic, n.alter) for n in meant}
    if before.tied_whole or not joined:
        before.notes = [
            dataclasses.replace(n, tie=n.tie and (n.diatonic, n.alter) in joined)
            for n in before.notes
        ]
    if not joined:
        before.slurs_open += 1
        draft.slurs_close += 1


def _as_meant(
    read: Heads, accidentals: Accidentals, places: Mapping[tuple[str, int], Sequence[int]]
) -> list[Note]:
    """The heads from the lowest on; `places`: the alters that ties lead to, by step and octave.

    As many heads without signs as ties lead to one step are held in their order (`[_C=C]-[CC]`).
    """
    unmarked = Counter((p.step, p.octave) for p in read.pitches if places and not p.mark)
    left = {place: iter(to) for place, to in places.items() if len(to) == unmarked[place]}
    meant: list[Note] = []
    for (mark, step, octave, _), tie in zip(read.pitches, read.ties, strict=True):
        if (place := (step, octave)) in places and not mark:
            note = Note(step, octave, next(left[place]) if place in left else places[place][-1])
        else:
            note = accidentals.meant(mark, step, octave)
        meant.append(dataclasses.replace(note, tie=True) if tie else note)
    return sorted(meant, key=lambda note: (note.diatonic, note.alter))


def _told_apart(tied: Sequence[int], here: Sequence[Note]) -> bool:
    """Whether heads on one step, without signs, are known by the alters that ties lead here."""
    if len(here) == 1 or len({*tied, *(note.alter for note in here)}) == 1:
        return True
    return [note.alter for note in here if note.accidental is None] == list(tied)
