"""What MEI says beside the notes or under them: marks, ties, slurs and lyrics, as elements.

Their ids, and those of the notes that they refer to, are explained in `mei.py`.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from nota_jax.notation.engraving.errors import EngraveError
from nota_jax.notation.engraving.glyphs import MARKS
from nota_jax.notation.tune import Event, Tune
from nota_jax.notation.walk import Place, Slur, Tie, places, slurs, ties

ID = "{http://www.w3.org/XML/1998/namespace}id"


class Spans:
    """What is gathered before the bars are written, because it spans events.

    beside_notes: by bar, the elements that follow its staff: ties, slurs, chord symbols,
      annotations and the decorations that are no articulation.
    verses: by event id, the syllables under it.
    """

    def __init__(self, tune: Tune):
        self.beside_notes: dict[int, list[ET.Element]] = defaultdict(list)
        walk = places(tune)
        self.verses = _verses(walk)
        tied: dict[str, list[Tie]] = defaultdict(list)  # by the event where they begin
        for tie in ties(tune):
            tied[event_id(tie.start)].append(tie)
        slurred: dict[str, list[tuple[Place, ET.Element]]] = defaultdict(list)  # where they end
        for slur in slurs(tune):
            start, end = _ends(slur)
            slurred[event_id(end)].append((start, _slur(start, end, slur.number)))
        for place in walk:
            eid = event_id(place)
            self.beside_notes[place.bar] += [*_marks(eid, place.event), *map(_tie, tied[eid])]
            for start, element in slurred[eid]:
                self.beside_notes[start.bar].append(element)


def _marks(eid: str, event: Event) -> Iterator[ET.Element]:
    """Chord symbol, annotations and the decorations that are no articulation."""

    def mark(tag: str, name: str, attributes: Mapping[str, str], text: str) -> ET.Element:
        element = ET.Element(tag, {ID: name} | dict(attributes) | {"startid": f"#{eid}"})
        element.text = text
        return element

    if event.chord_symbol:
        yield mark("harm", f"{eid}h", {"place": "above"}, event.chord_symbol)
    for n, text in enumerate(event.annotations):
        place, words = split_annotation(text)
        yield mark("dir", f"{eid}a{n}", {"place": place}, words)
    for n, name in enumerate(event.decorations):
        drawn = MARKS.get(name)
        if drawn is not None and drawn.tag != "artic":
            yield mark(drawn.tag, f"{eid}d{n}", drawn.attributes, drawn.text)


def split_annotation(text: str) -> tuple[str, str]:
    """An annotation with its placement mark → (above or below, words)."""
    if text[:1] in ("^", "_", "<", ">", "@"):
        return ("below" if text[0] == "_" else "above"), text[1:]
    return "above", text


def event_id(place: Place) -> str:
    return f"b{place.bar}e{place.index}"


def head_id(eid: str, event: Event, n: int) -> str:
    """The id of the event's n-th note head: a single note is its event."""
    return eid if len(event.notes) == 1 else f"{eid}n{n}"


def _tie(tie: Tie) -> ET.Element:
    """A tie to the same line or space in the next event, or to the end of its bar."""
    eid = event_id(tie.start)
    start = head_id(eid, tie.start.event, tie.head)
    name = {ID: f"{eid}t{tie.head}", "startid": f"#{start}"}
    if tie.leads_back:
        unit = int(tie.start.meter.text.rpartition("/")[2]) if "/" in tie.start.meter.text else 4
        beat = float((tie.start.in_bar + tie.start.event.sounding) * unit + 1)
        return ET.Element("lv", name | {"tstamp2": f"0m+{beat:g}"})
    if tie.end is None:
        raise EngraveError(f"bar {tie.start.bar + 1}: a tie leads to no note of its pitch")
    end = head_id(event_id(tie.end), tie.end.event, tie.end_head)
    return ET.Element("tie", name | {"endid": f"#{end}"})


def _slur(start: Place, end: Place, number: int) -> ET.Element:
    first = f"{event_id(end)}g0" if start == end else event_id(start)  # `({g}a)`: from the grace
    name = f"{event_id(start)}s{number}"
    return ET.Element("slur", {ID: name, "startid": f"#{first}", "endid": f"#{event_id(end)}"})


def _ends(slur: Slur) -> tuple[Place, Place]:
    """Where a slur begins and ends, if it can be drawn."""
    start, end = slur.start, slur.end
    if start and end:
        if start == end and end.event.grace is None:
            raise EngraveError(f"bar {end.bar + 1}: a slur begins and ends on the same note")
        return start, end
    if end:
        raise EngraveError(f"bar {end.bar + 1}: a slur ends that never began")
    assert start is not None  # every slur has one end at least
    raise EngraveError(f"bar {start.bar + 1}: a slur begins that never ends")


def lyric_text(entry: str) -> str:
    """What is drawn under the note: the syllable without its hyphen, "" where none begins."""
    return "" if entry in ("_", "-") else entry.removesuffix("-")


def _verses(walk: Sequence[Place]) -> dict[str, list[ET.Element]]:
    """Lyric syllables by event id; a trailing "-" joins syllables, "_" holds one."""
    verses: dict[str, list[ET.Element]] = defaultdict(list)
    for v in range(max((len(place.event.lyrics) for place in walk), default=0)):
        line = [place.event.lyrics[v] if v < len(place.event.lyrics) else "" for place in walk]
        inside_word = False
        for place, text, following in zip(walk, line, [*line[1:], ""], strict=True):
            if not lyric_text(text):
                continue
            joined = text.endswith("-")
            if joined:
                attributes = {"wordpos": "m" if inside_word else "i", "con": "d"}
            else:
                attributes = {"wordpos": "t" if inside_word else "s"}
                attributes |= {"con": "u"} if following == "_" else {}
            verse = ET.Element("verse", n=str(v + 1))
            syllable = {ID: f"{event_id(place)}y{v}"} | attributes
            ET.SubElement(verse, "syl", syllable).text = lyric_text(text)
            verses[event_id(place)].append(verse)
            inside_word = joined
    return verses
