"""What music21 holds, element by element, in our terms: heads, values, marks, texts, clefs, meters.

`where` names the bar, for what is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from nota_jax.errors import UserError
from nota_jax.notation.abc.decorations import DYNAMICS, FINGERINGS
from nota_jax.notation.abc.fields import FieldError, read_meter
from nota_jax.notation.chords import are_chords
from nota_jax.notation.musicxml.writer import ARTICULATIONS, CLEFS
from nota_jax.notation.tune import MODES, Key, Meter, Note

LONGEST_TEXT = 40  # characters of a text above the staff
_MARKS = {  # class → name of the decoration
    **{name: mark for mark, name in ARTICULATIONS.items()},
    "Fermata": "H", "Trill": "T", "Turn": "turn", "Mordent": "M", "InvertedMordent": "P",
    "ArpeggioMark": "arpeggio", "Segno": "segno", "Coda": "coda", "Fine": "fine",
    "DaCapo": "D.C.", "DalSegno": "D.S.",
}  # fmt: skip


class Refused(UserError):
    """What canonical ABC, or a page of one staff, cannot say."""


def key_of(fifths: int, mode: str, clef: str) -> Key:
    place = fifths - MODES[mode] + 1  # of the tonic, F being 0
    sharps, step = divmod(place, 7)
    return Key("FCGDAEB"[step] + ("#" * sharps if sharps > 0 else "b" * -sharps), mode, (), clef)


def in_order_of_time(measure: Any, where: str) -> list[Any]:
    """What stands in a bar, in order; signatures and marks ahead of the note they belong to."""
    voices = [v for v in measure.voices if any(not n.isRest for n in v.notesAndRests)]
    if len(voices) > 1:
        raise Refused(f"{where}: {len(voices)} voices on one staff")
    shown = voices or list(measure.voices)[:1]
    found = [e for e in measure if "Voice" not in e.classes]
    for voice in shown:
        found += list(voice)

    def order(item: tuple[int, Any]) -> tuple[Fraction, bool, bool, int]:
        number, element = item
        is_note = "GeneralNote" in element.classes and not {"ChordSymbol", "NoChord"} & set(
            element.classes
        )
        is_grace = is_note and element.duration.isGrace
        offset = fraction(element.getOffsetInHierarchy(measure))
        return offset, is_note, is_note and not is_grace, number

    return [element for _, element in sorted(enumerate(found), key=order)]


def takes_time(element: Any) -> bool:
    """Whether it is a note or rest that takes its time."""
    kinds = set(element.classes)
    is_note = "GeneralNote" in kinds and not kinds & {"ChordSymbol", "NoChord"}
    return is_note and not element.duration.isGrace


def heads_of(element: Any) -> list[Any]:
    if element.isRest:
        return []
    return list(element.notes) if element.isChord else [element]


def note_of(note: Any, where: str) -> Note:
    pitch = note.pitch
    sign = pitch.accidental
    alter = sign.alter if sign is not None else 0
    if alter != int(alter) or abs(alter) > 2:
        raise Refused(f"{where}: {pitch.fullName}, an accidental that ABC here does not have")
    shown = sign is not None and sign.displayStatus is True
    if not 0 <= (pitch.octave if pitch.octave is not None else -1) <= 9:
        raise Refused(f"{where}: a note in no octave")
    return Note(pitch.step, pitch.octave, int(alter), int(alter) if shown else None)


def notated(element: Any, where: str) -> Fraction:
    """As written, in whole notes, without a tuplet's scaling."""
    from music21.duration import typeToDuration

    of = element.duration
    if of.type not in typeToDuration or of.type == "zero" or of.dots > 2:
        raise Refused(f"{where}: a note of {of.fullName}, which no single note has")
    value = Fraction(typeToDuration[of.type]) / 4
    return value * (2 - Fraction(1, 2**of.dots))


def decorations_of(element: Any, where: str) -> Iterator[str]:
    for mark in (*element.articulations, *element.expressions):
        kinds = set(mark.classes)
        if "Tremolo" in kinds:
            raise Refused(f"{where}: a tremolo, which ABC here does not have")
        if "Fingering" in kinds and str(mark.fingerNumber) in FINGERINGS:
            yield str(mark.fingerNumber)
        elif type(mark).__name__ in _MARKS:
            yield _MARKS[type(mark).__name__]


def texts(waiting: Iterable[tuple[Any, Fraction]]) -> tuple[str, tuple[str, ...], list[str]]:
    """Chord symbols, annotations and marks among what stands ahead of an event."""
    symbols, annotations, marks = list[str](), list[str](), list[str]()
    at = max((offset for _, offset in waiting), default=None)
    for element, offset in waiting:
        kinds = set(element.classes)
        name = type(element).__name__
        if "NoChord" in kinds:
            annotations.append("^N.C.")
        elif "ChordSymbol" in kinds:
            text = element.figure.replace("-", "b")
            if offset == at and are_chords(text):  # one in the middle of a note has no event
                symbols.append(text)
        elif "Dynamic" in kinds and element.value in DYNAMICS:
            marks.append(element.value)
        elif name in _MARKS:
            marks.append(_MARKS[name])
        elif name == "TextExpression":
            text = line(element.content).replace('"', "").replace("\\", "")
            if text and len(text) <= LONGEST_TEXT:
                annotations.append(("_" if element.placement == "below" else "^") + text)
    return " ".join(dict.fromkeys(symbols)), tuple(annotations), marks


def lyrics_of(element: Any) -> tuple[str, ...]:
    verses: dict[int, str] = {}
    for lyric in element.lyrics:
        text = line(re.sub(r"[_*|]", "", lyric.text or "")).replace("-", "\u2011")
        hyphen = "-" if lyric.syllabic in ("begin", "middle") and text else ""
        verses[int(lyric.number)] = text + hyphen
    found = [verses.get(n, "") for n in range(1, max(verses, default=0) + 1)]
    return tuple(found) if any(found) and len(found) < 20 else ()


def beam_of(element: Any) -> bool:
    beams: list[Any] = element.beams.beamsList if hasattr(element, "beams") else []
    return bool(beams) and beams[0].type in ("start", "continue")


def clef_of(element: Any, where: str) -> str:
    name = {kind: ours for ours, kind in CLEFS.items()}.get(type(element).__name__)
    shift = element.octaveChange
    if name is None:
        name = next((ours for ours, kind in CLEFS.items() if kind in element.classes), None)
    if name is None or abs(shift) > 1:
        raise Refused(f"{where}: a {type(element).__name__}, which ABC here does not have")
    return name + {-1: "-8", 0: "", 1: "+8"}[shift]


def meter_of(element: Any, where: str) -> Meter:
    if "SenzaMisuraTimeSignature" in element.classes:
        return Meter("none")
    parts = [each.partition("/") for each in element.ratioString.split("+")]
    ratio = element.ratioString
    if len({bottom for _, _, bottom in parts}) == 1:
        ratio = f"{'+'.join(top for top, _, _ in parts)}/{parts[0][2]}"
    drawn = {"common": "C", "cut": "C|"}.get(element.symbol or "", ratio)
    try:
        return read_meter(drawn)
    except FieldError as error:
        raise Refused(f"{where}: a meter of {drawn}: {error}") from None


def fraction(quarters: Any) -> Fraction:
    """music21 counts in quarters, in floats where those are exact."""
    return Fraction(quarters).limit_denominator(65536)


def line(text: Any) -> str:
    return " ".join(str(text or "").split())
