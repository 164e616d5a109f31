"""The accidentals of the bar that is being read: what the source means, and what the page shows."""

from __future__ import annotations

import dataclasses

from nota_jax.notation.abc.fields import ALTERS
from nota_jax.notation.tune import Key, Note


class Accidentals:
    """An accidental holds to the bar's end, for every octave (the default of ABC 2.1).

    The two kinds differ where a barline or a grace note is drawn elsewhere than it is written:
    then a head needs a sign on the page that the source does not give.
    """

    def __init__(self, key: Key):
        self._meant: dict[str, int] = {}  # step → alter
        self._shown: dict[str, int] = {}
        self.new_key(key)

    def new_key(self, key: Key) -> None:
        """What was meant is over; what the page shows, once a new signature stands on it."""
        self._alters = key.alters
        self._meant = {}

    def new_signature(self) -> None:
        self._shown = {}

    def new_bar(self, *, as_drawn: bool = False) -> None:
        """as_drawn: the bar begins on the page only, and what the source means holds on."""
        self._shown = {}
        if not as_drawn:
            self._meant = {}

    def meant(self, mark: str, step: str, octave: int) -> Note:
        """A head as the source means it."""
        if not mark:
            return Note(step, octave, self._meant.get(step, self._alters[step]))
        self._meant[step] = ALTERS[mark]
        return Note(step, octave, ALTERS[mark], ALTERS[mark])

    def drawn(self, note: Note) -> Note:
        """The head with the accidental that the page needs."""
        if note.accidental is None:
            if self._shown.get(note.step, self._alters[note.step]) == note.alter:
                return note
            note = dataclasses.replace(note, accidental=note.alter)
        self._shown[note.step] = note.alter
        return note
