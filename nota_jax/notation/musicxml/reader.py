"""MusicXML → `Tune`, through music21: what a page of one staff shows, and canonical ABC can say.

    musicxml.read(Path("tune.mxl").read_bytes(), "tune.mxl")

What changes the music and cannot be said is refused by its name and bar: several parts, staves or
voices, drums, quarter tones, tuplets in tuplets, tremolos, octave lines.  What stands beside the
music (hairpins, pedals, figures, layout) is left out.  An ending lasts as long as ABC's do, to the
next sign that is no plain barline.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import zipfile
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree

from nota_jax.notation import abc
from nota_jax.notation.abc.fields import is_ending_number
from nota_jax.notation.musicxml.bars import Draft, Reading
from nota_jax.notation.musicxml.elements import Refused, fraction, key_of, line
from nota_jax.notation.tempo import Tempo
from nota_jax.notation.tune import Bar, Event, Item, Key, Tune

MOST_BYTES = 32 * 2**20  # of a file, unpacked: a long symphony's


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
    reading = Reading(beamed=_beams(part))
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
    title = next(filter(None, map(line, (*titles, credits.get("title")))), "")
    composer = next(filter(None, map(line, (*creators, credits.get("composer")))), "")
    # What music21 writes where nobody is named.
    return "" if title == "Music21 Fragment" else title, "" if composer == "Music21" else composer


def _tempo(measure: Any) -> Tempo | None:
    """The mark above the first bar."""
    for mark in measure.recurse().getElementsByClass("TempoIndication"):
        told = "" if getattr(mark, "textImplicit", False) else getattr(mark, "text", "")
        words = line(told).replace('"', "")
        rate, referent = getattr(mark, "number", None), getattr(mark, "referent", None)
        if rate and referent is not None and not getattr(mark, "numberImplicit", False):
            if rate == int(rate) and 0 < rate < 1000:
                return Tempo(words, (fraction(referent.quarterLength) / 4,), int(rate))
        if words:
            return Tempo(words)
    return None


def _with_mode(key: Key, reading: Reading, bars: tuple[Bar, ...]) -> Key:
    """The first key; where the file tells its signature alone, minor if the last note says so."""
    if reading.mode_told or not key.tonic:
        return key
    minor = key_of(key.fifths, "minor", key.clef)
    last = next((e.notes[0] for b in reversed(bars) for e in reversed(b.events) if e.notes), None)
    if last is None:
        return key
    name = last.step + {1: "#", -1: "b"}.get(last.alter, "")
    return minor if name == minor.tonic else key


# ---- what only the whole tells


def _left_signs(bars: list[Draft], measures: list[Any]) -> None:
    """A double bar that is told of the bar behind it."""
    for before, measure in zip(bars, measures[1:], strict=False):
        left = measure.leftBarline
        if before.barline == "|" and left is not None and left.type == "double":
            before.barline = "||"


def _endings(bars: list[Draft], measures: list[Any], part: Any) -> None:
    place = {id(measure): n for n, measure in enumerate(measures)}
    for bracket in part.recurse().getElementsByClass("RepeatBracket"):
        first = bracket.getFirst()
        if id(first) in place:
            text = bracket.overrideDisplay or ",".join(map(str, bracket.numberRange))
            text = text.rstrip(".").replace(" ", "") if text[:1].isdigit() else text
            bars[place[id(first)]].ending = text if is_ending_number(text) else line(text)


def _finished(drafts: list[Draft]) -> tuple[Bar, ...]:
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
