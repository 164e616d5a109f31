"""What a tune is: frozen dataclasses that hold everything a page shows, and nothing else.

The parser (`abc`) makes a `Tune`; the writer, the engraver (`engraving`) and the facts (`theory`)
read it, and `walk.py` says what is in force where.  Durations are exact `Fraction`s of a whole
note; pitches keep both what sounds (`alter`) and what is drawn (`accidental`), because a model is
asked to read the drawing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from nota_jax.notation.tempo import Tempo

STEPS = "CDEFGAB"
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
SHARPS = "FCGDAEB"  # the order in which a key signature adds sharps; flats come from the other end

# Fifths of each mode's signature relative to the major key on the same tonic.
MODES = {
    "major": 0, "minor": -3, "ionian": 0, "dorian": -2, "phrygian": -4,
    "lydian": 1, "mixolydian": -1, "aeolian": -3, "locrian": -5,
}  # fmt: skip
MODE_SUFFIX = {
    "major": "", "minor": "m", "ionian": "ion", "dorian": "dor", "phrygian": "phr",
    "lydian": "lyd", "mixolydian": "mix", "aeolian": "aeo", "locrian": "loc",
}  # fmt: skip


@dataclass(frozen=True)
class Key:
    """A key signature as the source states it.

    tonic: "C", "F#", "Bb", …; "" where the source says `K:none` (or `K:` alone).
    mode: one of `MODES`.
    accidentals: explicit ones that the source adds to the signature, as (step, alter) pairs,
      e.g. (("F", 1),) for `K:D =c exp` style keys; drawn beside the signature.
    clef: "treble" unless stated ("bass", "alto", "tenor", "treble-8", …).
    """

    tonic: str = "C"
    mode: str = "major"
    accidentals: tuple[tuple[str, int], ...] = ()
    clef: str = "treble"

    @property
    def fifths(self) -> int:
        """Sharps (positive) or flats (negative) of the tonic and mode, −7 … 7 for usual keys."""
        if not self.tonic:
            return 0
        sharps = SHARPS.index(self.tonic[0]) - 1
        sharps += 7 * (self.tonic.count("#") - self.tonic.count("b"))
        return sharps + MODES[self.mode]

    @property
    def alters(self) -> dict[str, int]:
        """Alteration of each of the seven steps under this signature, semitones."""
        n = self.fifths
        alters = {step: 0 for step in STEPS}
        for step in SHARPS[: max(n, 0)]:
            alters[step] = 1
        for step in SHARPS[::-1][: max(-n, 0)]:
            alters[step] = -1
        alters.update(self.accidentals)
        return alters


@dataclass(frozen=True)
class Meter:
    """A time signature as drawn: text is "4/4", "C", "C|", "6/8", "2+3/8" or "none"."""

    text: str = "4/4"

    @property
    def duration(self) -> Fraction | None:
        """Length of a full bar in whole notes; None where the meter is free."""
        if self.text == "none":
            return None
        if self.text in ("C", "C|"):
            return Fraction(1)
        top, bottom = self.text.rsplit("/", 1)
        return Fraction(sum(int(n) for n in top.strip("()").split("+")), int(bottom))


@dataclass(frozen=True)
class Note:
    """One notehead: scientific octave (C4 = middle C).

    alter: semitones that sound (key signature, bar's accidentals and ties included).
    accidental: what is drawn before the head, in semitones (−2 … 2), None for nothing.
    tie: a tie leads from this head to the next one of the same pitch.
    """

    step: str
    octave: int
    alter: int = 0
    accidental: int | None = None
    tie: bool = False

    @property
    def midi(self) -> int:
        return 12 * (self.octave + 1) + SEMITONES[self.step] + self.alter

    @property
    def diatonic(self) -> int:
        """Staff position: 7 · octave + step, so that C4 is 28; used for contour and range."""
        return 7 * self.octave + STEPS.index(self.step)


@dataclass(frozen=True)
class Tuplet:
    """`actual` notes in the time of `normal`; events with the same `number` belong together.

    Numbers count from 0 through the tune in order of appearance.
    """

    actual: int
    normal: int
    number: int


@dataclass(frozen=True)
class Grace:
    """Grace notes before an event; each (note, duration in whole notes as written)."""

    notes: tuple[tuple[Note, Fraction], ...]
    slash: bool = False  # acciaccatura, `{/g}`


@dataclass(frozen=True)
class Event:
    """A note, a chord (several `notes`) or a rest (none), with what is attached to it.

    duration: as notated, in whole notes, before a tuplet's scaling (see `sounding`).
    bar_rest: a whole-bar rest `Z`, drawn centred; its duration is the bar's.
    beam: beamed to the next event of the bar.
    slurs_open / slurs_close: how many slurs begin before / end after this event.
    decorations: canonical names, e.g. ".", "~", "T", "u", "v", "H", "!trill!"-style "fermata".
    chord_symbol: text of `"Am"`; annotations: texts of `"^above"` (with their placement mark).
    lyrics: one entry a verse; a syllable, with a trailing "-" inside a word, "_" for a held
      one, "" for none.
    """

    notes: tuple[Note, ...] = ()
    duration: Fraction = Fraction(1, 8)
    bar_rest: bool = False
    beam: bool = False
    tuplet: Tuplet | None = None
    grace: Grace | None = None
    slurs_open: int = 0
    slurs_close: int = 0
    decorations: tuple[str, ...] = ()
    chord_symbol: str = ""
    annotations: tuple[str, ...] = ()
    lyrics: tuple[str, ...] = ()

    @property
    def sounding(self) -> Fraction:
        """Duration that sounds, in whole notes."""
        if self.tuplet is None:
            return self.duration
        return self.duration * self.tuplet.normal / self.tuplet.actual


# What a bar holds, in order: events, and key or meter changes drawn between them.
Item = Event | Key | Meter


@dataclass(frozen=True)
class Bar:
    """One bar.

    repeat_start: a start-repeat `|:` at its left.
    ending: text of the volta bracket that begins here ("1", "2", "1,3"), "" for none.
    ending_stop: the bracket that is open ends with this bar.
    barline: what closes it: "|", "||", "|]", "[|", ":|" ("::" is ":|" and the next bar's
      repeat_start); "" where nothing is drawn, because the next ending begins inside the bar.
    line_break: a system ends after this bar (a layout fact; set from the engraver's layout where
      the text labels an image).
    """

    items: tuple[Item, ...]
    repeat_start: bool = False
    ending: str = ""
    ending_stop: bool = False
    barline: str = "|"
    line_break: bool = False

    @property
    def events(self) -> tuple[Event, ...]:
        return tuple(item for item in self.items if isinstance(item, Event))

    @property
    def duration(self) -> Fraction:
        return sum((event.sounding for event in self.events), Fraction(0))


@dataclass(frozen=True)
class Tune:
    """A single-staff tune: what is drawn (header and bars), and the source's own metadata.

    unit: the source's `L:` in whole notes (the canonical one is derived, see `abc.writer`).
    metadata: (field letter, text) of every header line that is not drawn, in source order.
    """

    titles: tuple[str, ...] = ()
    composer: str = ""
    meter: Meter = Meter()
    key: Key = Key()
    tempo: Tempo | None = None
    bars: tuple[Bar, ...] = ()
    unit: Fraction = Fraction(1, 8)
    reference: str = "1"
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        return self.titles[0] if self.titles else ""

    @property
    def items(self) -> Iterator[Item]:
        return (item for bar in self.bars for item in bar.items)

    @property
    def events(self) -> Iterator[Event]:
        return (event for bar in self.bars for event in bar.events)

    @property
    def line_breaks(self) -> tuple[int, ...]:
        """Indices of the bars that end a system."""
        return tuple(i for i, bar in enumerate(self.bars) if bar.line_break)


def with_items(tune: Tune, change: Callable[[Item], Item]) -> Tune:
    """The tune with what `change` makes of everything that its bars hold."""
    bars = (
        dataclasses.replace(bar, items=tuple(change(item) for item in bar.items))
        for bar in tune.bars
    )
    return dataclasses.replace(tune, bars=tuple(bars))


def with_line_breaks(tune: Tune, breaks: tuple[int, ...] | set[int]) -> Tune:
    """The tune with systems that end after exactly the bars `breaks` (the last one excepted)."""
    last = len(tune.bars) - 1
    bars = tuple(
        dataclasses.replace(bar, line_break=i in breaks and i != last)
        for i, bar in enumerate(tune.bars)
    )
    return dataclasses.replace(tune, bars=bars)
