"""A tempo mark, as a page shows it: words, the note values of a beat, beats a minute."""

from __future__ import annotations

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

    def __str__(self) -> str:
        """As ABC writes it behind `Q:`."""
        parts = [f'"{self.words}"'] if self.words else []
        if self.rate is not None:
            beats = " ".join(f"{beat.numerator}/{beat.denominator}" for beat in self.beats)
            parts.append(f"{beats}={self.rate}")
        return " ".join(parts)
