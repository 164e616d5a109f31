"""What music an answer writes: the ABC in it, read in its place on the page.

Models wrap ABC into prose and code fences, and spell one music in many ways; here is what is the
same for all transcriptions before anything is counted.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from nota_jax.notation import abc
from nota_jax.notation.checks import bar_lengths
from nota_jax.notation.tune import Bar, Tune
from nota_jax.notation.walk import signatures, sounding_notes

_FENCE = re.compile(r"```[^\n]*\n(.*?)(?:\n```|\Z)", re.DOTALL)
_MOST_CUTS = 30  # faults before which `before_fault` looks
_HEADER = re.compile(r"^[ \t]*[A-Z]:(?![|:])", re.MULTILINE)


@dataclass(frozen=True)
class Place:
    """Where a transcription stands.

    page: ABC of the whole page ("" unknown).  first: index of a fragment's first bar; None for a
    whole tune.
    """

    page: str
    first: int | None = None


@dataclass(frozen=True)
class Music:
    """A transcription as music.

    text: the ABC in the answer, line ends tidied.
    tune: None where it cannot be read.
    canonical: its one canonical text, in the unit note length of the page, so that the choice of
      another unit is no error; `text` where it cannot be read.
    notes: (MIDI pitch, duration in whole notes) of what sounds, ties joined, graces left out.
    bars: what sounds in each: pitches and duration of every note, chord and rest.
    repeats: of each bar, what is repeated and which ending it is.
    off_meter: bars that are too long or too short for the meter, see `off_meter`.
    """

    text: str
    tune: Tune | None
    canonical: str
    notes: tuple[tuple[int, Fraction], ...] = ()
    bars: tuple[Hashable, ...] = ()
    repeats: tuple[Hashable, ...] = ()
    off_meter: int = 0


@lru_cache(maxsize=16384)
def music(answer: str, place: Place, *, is_canonical: bool = False) -> Music:
    """The music that an answer writes; a fragment is read with the key and meter in force there.

    is_canonical: as a dataset's own answers are, which need not be written again.
    """
    text, source = _source(answer, place)
    try:
        tune = _parsed(source)
        canonical = text if is_canonical else _canonical(tune, place)
    except abc.AbcError:
        return Music(text, None, text)
    return _heard(text, tune, canonical, place)


def before_fault(answer: str, place: Place) -> tuple[str, Music | None]:
    """Why an answer is no ABC, and the music up to the last barline before the first fault.

    The scores count none of it; it is for looking at.  ("", None) where nothing is wrong.
    """
    text, source = _source(answer, place)
    reason = ""
    for _ in range(_MOST_CUTS):
        try:
            tune = _parsed(source)
        except abc.AbcError as error:
            reason = reason or error.message
            lines = source.split("\n")[: max(0, error.line - 1)]
            fault = sum(len(line) + 1 for line in lines) + max(0, error.column - 1)
            barline = source.rfind("|", 0, min(fault or len(source), len(source) - 1))
            if barline < 0:
                break
            source = source[: barline + 1]
        else:
            return reason, _heard(text, tune, text, place) if reason and tune.bars else None
    return reason, None


def _source(answer: str, place: Place) -> tuple[str, str]:
    """The ABC in an answer, and as it can be parsed."""
    whole = place.first is None
    text = _abc_in(answer, whole)
    if whole or re.search(r"^K:", text, re.MULTILINE):
        return text, text
    return text, _header(page_tune(place.page), place.first or 0) + text


def _canonical(tune: Tune, place: Place) -> str:
    page = page_tune(place.page)
    unit = abc.unit_note_length(page) if page else None
    return (abc.write if place.first is None else abc.write_body)(tune, unit=unit)


def _heard(text: str, tune: Tune, canonical: str, place: Place) -> Music:
    return Music(
        text,
        tune,
        canonical.strip(),
        tuple((note.midi, note.duration) for note in sounding_notes(tune)),
        tuple(map(_content, tune.bars)),
        tuple((bar.repeat_start, bar.ending, ":" in bar.barline) for bar in tune.bars),
        off_meter(tune, fragment=place.first is not None),
    )


@lru_cache(maxsize=4096)
def page_tune(text: str) -> Tune | None:
    """The tune of a page's own ABC; None where a dataset does not tell it."""
    return _parsed(tidy(text)) if text else None


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Tune:
    return abc.parse(text)


def off_meter(tune: Tune, fragment: bool) -> int:
    """How many bars disagree with the meter, where no pick-up, repeat or ending allows it.

    A fragment's last bar may be short: what completes it can lie outside.
    """
    found = [problem.bar for problem in bar_lengths(tune)]
    last = len(tune.bars) - 1
    if fragment and last in found:
        full = signatures(tune)[last].meter.duration
        if full is not None and tune.bars[last].duration < full:
            found.remove(last)
    return len(found)


def tidy(text: str) -> str:
    """Line ends, and blanks before them, do not matter."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _abc_in(answer: str, whole: bool) -> str:
    """The ABC: in a code fence if there is one, a tune from its first header field to a blank
    line."""
    text = tidy(answer)
    if fenced := _FENCE.search(text):
        text = tidy(fenced[1])
    if whole and (begins := _HEADER.search(text)):
        text = text[begins.start() :].split("\n\n")[0]
    return text


def _header(page: Tune | None, first: int) -> str:
    """What a fragment cannot say: the meter, unit note length and key in force where it begins."""
    if page is None or not page.bars:
        return "X:1\nM:none\nL:1/8\nK:C\n"
    at = signatures(page)[min(first, len(page.bars) - 1)]
    unit = abc.unit_text(abc.unit_note_length(page))
    return f"X:1\nM:{at.meter.text}\nL:{unit}\nK:{abc.key_text(at.key)}\n"


def _content(bar: Bar) -> Hashable:
    return tuple(
        (tuple(sorted(note.midi for note in event.notes)), event.sounding) for event in bar.events
    )
