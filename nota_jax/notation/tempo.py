"""A tempo mark, as a page shows it: words, the note values of a beat, beats a minute."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Tempo:
    """`"Slow" 3/8=60`; either part may be absent, not both.

    words: "" for none.
    beats: what lasts a beat, in whole notes, usually a single note value.
    rate: beats a minute; None where there are words only.
    """

    words: str = ""
    beats: tuple[Fraction, ...] = ()
    rate: int | None = None

    def counted_in(self, unit: Fraction) -> Tempo:
        """The tempo whose beat, where it names none (`Q:80`), is the unit note."""
        if self.rate is None or self.beats:
            return self
        return dataclasses.replace(self, beats=(unit,))

    def __str__(self) -> str:
        """As ABC writes it behind `Q:`."""
        parts = [f'"{self.words}"'] if self.words else []
        if self.rate is not None:
            beats = " ".join(f"{beat.numerator}/{beat.denominator}" for beat in self.beats)
            parts.append(f"{beats}={self.rate}")
        return " ".join(parts)
