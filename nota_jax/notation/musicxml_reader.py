"""MusicXML → `Tune`, through music21: what a page of one staff shows, and canonical ABC can say.

    musicxml_reader.read(Path("tune.mxl").read_bytes(), "tune.mxl")

What changes the music and cannot be said is refused by its name and bar: several parts, staves or
voices, drums, quarter tones, tuplets in tuplets, tremolos, octave lines.  What stands beside the
music (hairpins, pedals, figures, layout) is left out.  An ending lasts as long as ABC's do, to the
next sign that is no plain barline.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree

from nota_jax.errors import UserError
from nota_jax.notation import abc
from nota_jax.notation.abc.accidentals import Accidentals
from nota_jax.notation.abc.decorations import DYNAMICS, FINGERINGS, in_order
from nota_jax.notation.abc.fields import FieldError, is_ending_number, read_meter
from nota_jax.notation.chords import are_chords
from nota_jax.notation.musicxml import ARTICULATIONS, BAR_LINES, CLEFS
from nota_jax.notation.tempo import Tempo
from nota_jax.notation.tune import (
    MODES,
    Bar,
    Event,
    Grace,
    Item,
    Key,
    Meter,
    Note,
    Tune,
    Tuplet,
)

MOST_BYTES = 32 * 2**20  # of a file, unpacked: a long symphony's
ROUNDING = Fraction(1, 50)  # quarters by which a file's whole divisions may miss a tuplet
LONGEST_TEXT = 40  # characters of a text above the staff
_MARKS = {  # class → name of the decoration
    **{name: mark for mark, name in ARTICULATIONS.items()},
    "Fermata": "H", "Trill": "T", "Turn": "turn", "Mordent": "M", "InvertedMordent": "P",
    "ArpeggioMark": "arpeggio", "Segno": "segno", "Coda": "coda", "Fine": "fine",
    "DaCapo": "D.C.", "DalSegno": "D.S.",
}  # fmt: skip
_AT_THE_END = ("fine", "D.C.", "D.S.")
_LINES = {name: line for line, name in BAR_LINES.items() if line}


class Refused(UserError):
    """What canonical ABC, or a page of one staff, cannot say."""


def read(data: bytes, name: str, part: str = "") -> Tune:
    """The tune in a file's content, as a canonical text would give it.

    part: which of several, by its name or its number from 1; "" where there is one.

    Raises:
      Refused: it is no MusicXML, or holds what cannot be said; the file's name and the bar are in
        the text.
    """
    from music21.musicxml.xmlToM21 import MusicXMLImporter

    try:
        root = ElementTree.fromstring(_unpacked(data))
        importer = MusicXMLImporter()
        importer.xmlRootToScore(root, importer.stream)
        whole = importer.stream
    except Refused as error:
        raise Refused(f"{name}: {error}") from None
    except ElementTree.ParseError as error:
        raise Refused(f"{name}: it is no XML: {error}") from None
    except Exception as error:  # music21 raises whatever the file leads it to
        raise Refused(f"{name}: music21 cannot read it ({type(error).__name__}: {error})") from None
    try:
        tune = _tune(whole, root, part)
        return dataclasses.replace(abc.parse(abc.write(tune)), metadata=tune.metadata)
    except (Refused, abc.AbcError) as error:
        raise Refused(f"{name}: {error}") from None


def _unpacked(data: bytes) -> bytes:
    """The XML, out of its archive where it is packed (.mxl)."""
    if not data.startswith(b"PK"):
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            container = ElementTree.fromstring(_member(archive, "META-INF/container.xml"))
            places = [file.get("full-path", "") for file in container.iter("rootfile")]
            if not places:
                raise Refused("the archive names no score")
            return _member(archive, places[0])
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, OSError) as error:
        raise Refused(f"the archive cannot be read: {error}") from None


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        content = file.read(MOST_BYTES + 1)  # whatever the archive says of its size
    if len(content) > MOST_BYTES:
        raise Refused(f"{name} in it has more than {MOST_BYTES // 2**20} MB")
    return content


# ---- the whole


def _tune(whole: Any, root: ElementTree.Element, wanted: str) -> Tune:
    part = _part(whole, wanted)
    measures = list(part.getElementsByClass("Measure"))
    if not measures:
        raise Refused("there are no bars")
    for spanner in (*whole.recurse().getElementsByClass("Spanner"), *part.spannerBundle):
        if {"Ottava", "TremoloSpanner"} & set(spanner.classes):
            kind = "an octave line (8va)" if "Ottava" in spanner.classes else "a tremolo"
            raise Refused(f"{kind}, which ABC here does not have")
    reading = _Reading(beamed=_beams(part))
    bars = [reading.bar(number, measure) for number, measure in enumerate(measures, 1)]
    _left_signs(bars, measures)
    _endings(bars, measures, part)
    reading.slurs(part)
    finished = _finished(reading.events(bars))
    title, composer = _names(root)
    return Tune(
        titles=(title,) if title else (),
        composer=composer,
        meter=reading.first_meter,
        key=_with_mode(reading.first_key, reading, finished),
        tempo=_tempo(measures[0]),
        bars=finished,
    )


def _part(whole: Any, wanted: str) -> Any:
    parts = list(whole.parts)
    names = [str(part.partName or "") for part in parts]
    if not parts:
        raise Refused("there are no parts")
    if not wanted:
        if len(parts) > 1:
            told = ", ".join(f"{n} {name}".strip() for n, name in enumerate(names, 1))
            raise Refused(
                f"{len(parts)} parts or staves, where a page here has one staff: --part NUMBER or "
                f"NAME takes one of {told}"
            )
        return parts[0]
    if wanted.isdecimal() and 1 <= int(wanted) <= len(parts):
        return parts[int(wanted) - 1]
    found = [n for n, name in enumerate(names) if name.casefold() == wanted.casefold()]
    if len(found) != 1:
        there = ", ".join(f"{n} {name}".strip() for n, name in enumerate(names, 1))
        what = "several parts are" if found else "no part is"
        raise Refused(f"{what} {wanted!r}: it has {there}")
    return parts[found[0]]


def _beams(part: Any) -> bool:
    """Whether the file says what is beamed; where it does not, music21 beams by the meter."""
    from music21.exceptions21 import StreamException
    from music21.stream import makeNotation

    if any(note.beams.beamsList for note in part.recurse().notes if hasattr(note, "beams")):
        return True
    with contextlib.suppress(StreamException):
        makeNotation.makeBeams(part, inPlace=True)
    return False


def _names(root: ElementTree.Element) -> tuple[str, str]:
    """Title and composer, as they stand; music21 would put an article first."""
    credits = {
        credit.findtext("credit-type"): credit.findtext("credit-words")
        for credit in reversed(root.findall("credit"))
    }
    titles = (root.findtext("work/work-title"), root.findtext("movement-title"))
    creators = [c.text for c in root.iter("creator") if c.get("type") == "composer"]
    title = next(filter(None, map(_line, (*titles, credits.get("title")))), "")
    composer = next(filter(None, map(_line, (*creators, credits.get("composer")))), "")
    # What music21 writes where nobody is named.
    return "" if title == "Music21 Fragment" else title, "" if composer == "Music21" else composer


def _line(text: Any) -> str:
    return " ".join(str(text or "").split())


def _tempo(measure: Any) -> Tempo | None:
    """The mark above the first bar."""
    for mark in measure.recurse().getElementsByClass("TempoIndication"):
        told = "" if getattr(mark, "textImplicit", False) else getattr(mark, "text", "")
        words = _line(told).replace('"', "")
        rate, referent = getattr(mark, "number", None), getattr(mark, "referent", None)
        if rate and referent is not None and not getattr(mark, "numberImplicit", False):
            if rate == int(rate) and 0 < rate < 1000:
                return Tempo(words, (_fraction(referent.quarterLength) / 4,), int(rate))
        if words:
            return Tempo(words)
    return None


def _with_mode(key: Key, reading: _Reading, bars: tuple[Bar, ...]) -> Key:
    """The first key; where the file tells its signature alone, minor if the last note says so."""
    if reading.mode_told or not key.tonic:
        return key
    minor = _key_of(key.fifths, "minor", key.clef)
    last = next((e.notes[0] for b in reversed(bars) for e in reversed(b.events) if e.notes), None)
    if last is None:
        return key
    name = last.step + {1: "#", -1: "b"}.get(last.alter, "")
    return minor if name == minor.tonic else key


def _key_of(fifths: int, mode: str, clef: str) -> Key:
    place = fifths - MODES[mode] + 1  # of the tonic, F being 0
    sharps, step = divmod(place, 7)
    return Key("FCGDAEB"[step] + ("#" * sharps if sharps > 0 else "b" * -sharps), mode, (), clef)


# ---- bar by bar


@dataclass
class _Draft:
    """A bar in the making.  items: events that miss their slurs, and changes."""

    items: list[Any]
    repeat_start: bool = False
    ending: str = ""
    barline: str = "|"


@dataclass
class _Reading:
    """What is known at a place of the part; `bar` reads on.

    places: (bar, item) of every note of music21's, by its id.
    """

    beamed: bool
    first_key: Key = Key("")
    first_meter: Meter = Meter("none")
    mode_told: bool = False
    key: Key = Key("")
    begun: bool = False
    alone: bool = False  # one note or rest is all that the bar holds
    tuplets: int = 0
    tuplet: Tuplet | None = None
    left: Fraction = Fraction(0)  # of the tuplet that is open, as notated
    ends_by_sign: bool = False
    graces: list[tuple[Note, Fraction]] = field(default_factory=list)
    slash: bool = False
    tied: dict[int, int] = field(default_factory=dict)  # place on the staff → alter
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    opened: dict[tuple[int, int], int] = field(default_factory=dict)
    closed: dict[tuple[int, int], int] = field(default_factory=dict)

    def bar(self, number: int, measure: Any) -> _Draft:
        where = f"bar {number}"
        items: list[Any] = []
        waiting: list[Any] = []  # marks for the next event
        accidentals = Accidentals(self.key)
        onset = Fraction(0)
        elements = _elements(measure, where)
        self.alone = sum(_lasts(element) for element in elements) == 1
        for element in elements:
            kinds = set(element.classes)
            offset = _fraction(element.getOffsetInHierarchy(measure))
            if "GeneralNote" in kinds and not kinds & {"ChordSymbol", "NoChord"}:
                if "Unpitched" in kinds or "PercussionChord" in kinds:
                    raise Refused(f"{where}: a drum's note, which has no pitch")
                if element.duration.isGrace:
                    self._grace(element, accidentals, where)
                    self.places[id(element)] = number - 1, len(items)
                    continue
                if abs(offset - onset) > ROUNDING:
                    raise Refused(f"{where}: its notes leave a gap, or lie over each other")
                onset += _fraction(element.quarterLength)
                if element.style.hideObjectOnPrint:
                    continue
                self.places[id(element)] = number - 1, len(items)
                for member in getattr(element, "notes", ()):
                    self.places[id(member)] = number - 1, len(items)
                items.append(self._event(element, accidentals, waiting, where))
                waiting, self.begun = [], True
            elif change := self._change(element, kinds, where):
                if isinstance(change, Key):
                    accidentals.new_key(change)
                if self.begun:
                    items.append(change)
            else:
                waiting.append((element, offset))
        if not any(isinstance(item, Event) for item in items):
            raise Refused(f"{where} shows neither a note nor a rest")
        self._behind(items, waiting)
        right = measure.rightBarline
        line = "|" if right is None else _LINES.get(right.type, "|")
        repeats = right is not None and getattr(right, "direction", "") == "end"
        left = measure.leftBarline
        begins = left is not None and getattr(left, "direction", "") == "start"
        return _Draft(items, begins, "", ":|" if repeats else line)

    def _change(self, element: Any, kinds: set[str], where: str) -> Key | Meter | None:
        """What a signature or clef makes of what is in force; None for anything else."""
        if "TimeSignature" in kinds or "SenzaMisuraTimeSignature" in kinds:
            meter = _meter(element, where)
            self.first_meter = self.first_meter if self.begun else meter
            return meter
        if "Clef" in kinds:
            self.key = dataclasses.replace(self.key, clef=_clef(element, where))
        elif "KeySignature" in kinds:
            sharps, mode = element.sharps, getattr(element, "mode", None)
            if sharps is None or getattr(element, "isNonTraditional", False) or abs(sharps) > 7:
                raise Refused(f"{where}: a key signature that is no major or minor key's")
            told = str(mode) if mode in MODES else ""
            self.mode_told = self.mode_told if self.begun else bool(told)
            self.key = _key_of(sharps, told or "major", self.key.clef)
        else:
            return None
        self.first_key = self.first_key if self.begun else self.key
        return self.key

    def _event(self, element: Any, accidentals: Accidentals, waiting: list, where: str) -> Event:
        bar_rest = self.alone and element.isRest and element.fullMeasure in (True, "always")
        tuplet = self._tuplet(element, where)
        duration = _fraction(element.quarterLength) / 4 if bar_rest else _notated(element, where)
        heads = sorted(
            (self._head(note, accidentals, where) for note in _heads(element)),
            key=lambda note: (note.diatonic, note.alter),
        )
        self.tied = {note.diatonic: note.alter for note in heads if note.tie}
        grace = None
        if heads and self.graces:
            grace, self.graces = Grace(tuple(self.graces), self.slash), []
        symbols, annotations, marks = _texts(waiting)
        return Event(
            notes=tuple(heads),
            duration=duration,
            bar_rest=bar_rest,
            beam=_beam(element),
            tuplet=tuplet,
            grace=grace,
            decorations=in_order([*_decorations(element, where), *marks]) if heads else (),
            chord_symbol=symbols,
            annotations=annotations,
            lyrics=_lyrics(element) if heads else (),
        )

    def _head(self, note: Any, accidentals: Accidentals, where: str) -> Note:
        head = _note(note, where)
        tied = self.tied.get(head.diatonic) == head.alter and head.accidental is None
        head = head if tied else accidentals.drawn(head)
        starts = note.tie is not None and note.tie.type in ("start", "continue")
        return dataclasses.replace(head, tie=starts)

    def _grace(self, element: Any, accidentals: Accidentals, where: str) -> None:
        heads = _heads(element)
        if len(heads) != 1:
            raise Refused(f"{where}: a chord of grace notes")
        head = accidentals.drawn(_note(heads[0], where))
        self.slash = bool(element.duration.slash) if not self.graces else self.slash
        self.graces.append((head, _notated(element, where)))

    def _tuplet(self, element: Any, where: str) -> Tuplet | None:
        """The tuplet that an event belongs to; they end where the file says so, or are full."""
        of = element.duration.tuplets
        if not of:
            self.tuplet = None
            return None
        if len(of) > 1:
            raise Refused(f"{where}: a tuplet in a tuplet")
        (told,) = of
        ratio = told.numberNotesActual, told.numberNotesNormal
        new = self.tuplet is None or told.type in ("start", "startStop")
        if new or (self.tuplet.actual, self.tuplet.normal) != ratio:  # type: ignore[union-attr]
            self.tuplet = Tuplet(*ratio, self.tuplets)
            self.tuplets += 1
            unit = told.durationNormal
            value = _notated(element, where) if unit is None else _fraction(unit.quarterLength) / 4
            self.left = value * told.numberNotesActual
            self.ends_by_sign = told.type is not None
        found = self.tuplet
        self.left -= _notated(element, where)
        full = not self.ends_by_sign and self.left <= 0
        if full or told.type in ("stop", "startStop"):
            self.tuplet = None
        return found

    def _behind(self, items: list[Any], waiting: list) -> None:
        """Marks of the form that stand behind a bar's last note belong to it."""
        _, _, marks = _texts(waiting)
        if not marks:
            return
        last = max(i for i, item in enumerate(items) if isinstance(item, Event))
        event = items[last]
        if event.notes:
            both = in_order([*event.decorations, *(m for m in marks if m not in DYNAMICS)])
            items[last] = dataclasses.replace(event, decorations=both)

    def slurs(self, part: Any) -> None:
        for slur in part.recurse().getElementsByClass("Slur"):
            first, last = slur.getFirst(), slur.getLast()
            start, end = self.places.get(id(first)), self.places.get(id(last))
            if start is None or end is None or first is last or end < start:
                continue
            if start == end and not getattr(first.duration, "isGrace", False):
                continue
            self.opened[start] = self.opened.get(start, 0) + 1
            self.closed[end] = self.closed.get(end, 0) + 1

    def events(self, bars: list[_Draft]) -> list[_Draft]:
        """The bars, their events with their slurs."""
        for (bar, index), n in self.opened.items():
            bars[bar].items[index] = dataclasses.replace(bars[bar].items[index], slurs_open=n)
        for (bar, index), n in self.closed.items():
            bars[bar].items[index] = dataclasses.replace(bars[bar].items[index], slurs_close=n)
        return bars


def _elements(measure: Any, where: str) -> list[Any]:
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
        offset = _fraction(element.getOffsetInHierarchy(measure))
        return offset, is_note, is_note and not is_grace, number

    return [element for _, element in sorted(enumerate(found), key=order)]


def _lasts(element: Any) -> bool:
    """Whether it is a note or rest that takes its time."""
    kinds = set(element.classes)
    is_note = "GeneralNote" in kinds and not kinds & {"ChordSymbol", "NoChord"}
    return is_note and not element.duration.isGrace


def _heads(element: Any) -> list[Any]:
    if element.isRest:
        return []
    return list(element.notes) if element.isChord else [element]


def _note(note: Any, where: str) -> Note:
    pitch = note.pitch
    sign = pitch.accidental
    alter = sign.alter if sign is not None else 0
    if alter != int(alter) or abs(alter) > 2:
        raise Refused(f"{where}: {pitch.fullName}, an accidental that ABC here does not have")
    shown = sign is not None and sign.displayStatus is True
    if not 0 <= (pitch.octave if pitch.octave is not None else -1) <= 9:
        raise Refused(f"{where}: a note in no octave")
    return Note(pitch.step, pitch.octave, int(alter), int(alter) if shown else None)


def _notated(element: Any, where: str) -> Fraction:
    """As written, in whole notes, without a tuplet's scaling."""
    from music21.duration import typeToDuration

    of = element.duration
    if of.type not in typeToDuration or of.type == "zero" or of.dots > 2:
        raise Refused(f"{where}: a note of {of.fullName}, which no single note has")
    value = Fraction(typeToDuration[of.type]) / 4
    return value * (2 - Fraction(1, 2**of.dots))


def _decorations(element: Any, where: str) -> Iterator[str]:
    for mark in (*element.articulations, *element.expressions):
        kinds = set(mark.classes)
        if "Tremolo" in kinds:
            raise Refused(f"{where}: a tremolo, which ABC here does not have")
        if "Fingering" in kinds and str(mark.fingerNumber) in FINGERINGS:
            yield str(mark.fingerNumber)
        elif type(mark).__name__ in _MARKS:
            yield _MARKS[type(mark).__name__]


def _texts(waiting: Iterable[tuple[Any, Fraction]]) -> tuple[str, tuple[str, ...], list[str]]:
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
            text = _line(element.content).replace('"', "").replace("\\", "")
            if text and len(text) <= LONGEST_TEXT:
                annotations.append(("_" if element.placement == "below" else "^") + text)
    return " ".join(dict.fromkeys(symbols)), tuple(annotations), marks


def _lyrics(element: Any) -> tuple[str, ...]:
    verses: dict[int, str] = {}
    for lyric in element.lyrics:
        text = _line(re.sub(r"[_*|]", "", lyric.text or "")).replace("-", "\u2011")
        hyphen = "-" if lyric.syllabic in ("begin", "middle") and text else ""
        verses[int(lyric.number)] = text + hyphen
    found = [verses.get(n, "") for n in range(1, max(verses, default=0) + 1)]
    return tuple(found) if any(found) and len(found) < 20 else ()


def _beam(element: Any) -> bool:
    beams: list[Any] = element.beams.beamsList if hasattr(element, "beams") else []
    return bool(beams) and beams[0].type in ("start", "continue")


def _clef(element: Any, where: str) -> str:
    name = {kind: ours for ours, kind in CLEFS.items()}.get(type(element).__name__)
    shift = element.octaveChange
    if name is None:
        name = next((ours for ours, kind in CLEFS.items() if kind in element.classes), None)
    if name is None or abs(shift) > 1:
        raise Refused(f"{where}: a {type(element).__name__}, which ABC here does not have")
    return name + {-1: "-8", 0: "", 1: "+8"}[shift]


def _meter(element: Any, where: str) -> Meter:
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


def _fraction(quarters: Any) -> Fraction:
    """music21 counts in quarters, in floats where those are exact."""
    return Fraction(quarters).limit_denominator(65536)


# ---- what only the whole tells


def _left_signs(bars: list[_Draft], measures: list[Any]) -> None:
    """A double bar that is told of the bar behind it."""
    for before, measure in zip(bars, measures[1:], strict=False):
        left = measure.leftBarline
        if before.barline == "|" and left is not None and left.type == "double":
            before.barline = "||"


def _endings(bars: list[_Draft], measures: list[Any], part: Any) -> None:
    place = {id(measure): n for n, measure in enumerate(measures)}
    for bracket in part.recurse().getElementsByClass("RepeatBracket"):
        first = bracket.getFirst()
        if id(first) in place:
            text = bracket.overrideDisplay or ",".join(map(str, bracket.numberRange))
            text = text.rstrip(".").replace(" ", "") if text[:1].isdigit() else text
            bars[place[id(first)]].ending = text if is_ending_number(text) else _line(text)


def _finished(drafts: list[_Draft]) -> tuple[Bar, ...]:
    """Ties that lead to a note of their pitch alone, beams between short notes, barlines' ends."""
    events = [item for draft in drafts for item in draft.items if isinstance(item, Event)]
    following = {id(a): b for a, b in zip(events, events[1:], strict=False)}
    bars, open_ending = [], False
    for n, draft in enumerate(drafts):
        last = n == len(drafts) - 1
        behind = None if last else drafts[n + 1]
        line = "|]" if last and draft.barline in ("|", "[|") else draft.barline
        open_ending = open_ending or bool(draft.ending)
        stop = open_ending and (
            line != "|" or behind is None or behind.repeat_start or behind.ending != ""
        )
        items: list[Item] = []
        for i, item in enumerate(draft.items):
            if isinstance(item, Event):
                after = draft.items[i + 1] if i + 1 < len(draft.items) else None
                item = _joined(item, following.get(id(item)), after)
            items.append(item)
        bars.append(Bar(tuple(items), draft.repeat_start, draft.ending, stop, line))
        open_ending = open_ending and not stop
    return tuple(bars)


def _joined(event: Event, following: Event | None, after: Any) -> Event:
    free = {(n.diatonic, n.alter) for n in (following.notes if following else ())}
    heads = tuple(
        dataclasses.replace(n, tie=n.tie and (n.diatonic, n.alter) in free) for n in event.notes
    )
    short = isinstance(after, Event) and all(
        e.notes and e.duration < Fraction(1, 4) for e in (event, after)
    )
    return dataclasses.replace(event, notes=heads, beam=event.beam and short)
