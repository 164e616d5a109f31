"""Tune → MEI, the text that the engraver (Verovio) reads.

Every drawn element carries an `xml:id` that says what it is, so that the drawing can be traced
back to the tune: bar 3 is `b3`, its third event `b3e2`, that event's second chord note `b3e2n1`,
its first grace note `b3e2g0`, its chord symbol `b3e2h`; with a count, `a` is an annotation, `d` a
decoration, `s` a slur and `t` a tie that begin there, `y` a syllable.  A volta is `v` and its bar.
Verovio's own ABC importer is not used: it ends the process on some real tunes, and drops volta
brackets, mid-tune key changes and unclosed last bars (Verovio 6.4.1).
"""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from nota_jax.notation.engraving.errors import EngraveError
from nota_jax.notation.engraving.glyphs import MARKS
from nota_jax.notation.engraving.spans import ID, Spans
from nota_jax.notation.tune import Event, Item, Key, Meter, Note, Tune
from nota_jax.notation.walk import split_changes

ACCIDENTALS = {-2: "ff", -1: "f", 0: "n", 1: "s", 2: "x"}

# Clef name (ABC) → MEI's shape and line; "+8" or "-8" may follow the name.
CLEFS = {"treble": ("G", 2), "bass": ("F", 4), "alto": ("C", 3), "tenor": ("C", 4)}

# Bar line closing a bar → MEI's measure@right; none is drawn where an ending begins inside a bar.
BARLINES = {"": "invis", "|": "single", "||": "dbl", "|]": "end", ":|": "rptend"}


def to_mei(tune: Tune) -> str:
    """MEI 5 of one tune: one staff, one layer, ids as described above.

    Title, composer and tempo are no part of it: `page.py` draws them, with the same fonts
    and at the size the page needs.

    Raises:
      EngraveError: something in the tune has no notation here (a duration that is no single
        note, an unknown decoration …); the text names the bar, counted from 1.
    """
    if not any(bar.events for bar in tune.bars):
        raise EngraveError("the tune has no notes to draw")
    mei = ET.Element("mei", xmlns="http://www.music-encoding.org/ns/mei", meiversion="5.0")
    description = _add(_add(mei, "meiHead"), "fileDesc")
    _add(_add(description, "titleStmt"), "title")
    _add(description, "pubStmt")
    score = _add(_add(_add(_add(mei, "music"), "body"), "mdiv"), "score")
    staff = _add_staff_definition(score, lines="5")
    _add_clef(staff, tune.key)
    _add_signature(staff, tune.key)
    _add_signature(staff, tune.meter)
    _add_bars(_add(score, "section"), tune)
    return '<?xml version="1.0" encoding="UTF-8"?>' + ET.tostring(mei, encoding="unicode")


def _add(
    parent: ET.Element, tag: str, attributes: Mapping[str, str] | None = None, text: str = ""
) -> ET.Element:
    element = ET.SubElement(parent, tag, dict(attributes or {}))
    element.text = text or None
    return element


def _add_staff_definition(parent: ET.Element, **attributes: str) -> ET.Element:
    return _add(_add(_add(parent, "scoreDef"), "staffGrp"), "staffDef", {"n": "1"} | attributes)


# ------------------------------------------------------------------ signatures


def drawn_key(key: Key) -> list[tuple[str, int]]:
    """The signature as drawn, in drawing order: (step, alter), explicit accidentals last."""
    explicit = {step for step, _ in key.accidentals}
    order = "FCGDAEB" if key.fifths > 0 else "BEADGCF"
    sign = 1 if key.fifths > 0 else -1
    regular = [(step, sign) for step in order[: abs(key.fifths)] if step not in explicit]
    return regular + list(key.accidentals)


def split_clef(clef: str) -> tuple[str, int, int]:
    """A clef's shape, line and octave displacement: "treble-8" → ("G", 2, -1)."""
    name = clef.removesuffix("+8").removesuffix("-8")
    if name not in CLEFS:
        raise EngraveError(f"the clef {clef!r} is not drawn; known ones: {', '.join(CLEFS)}")
    return *CLEFS[name], {"+8": 1, "-8": -1}.get(clef[len(name) :], 0)


def _add_clef(parent: ET.Element, key: Key) -> None:
    shape, line, octave = split_clef(key.clef)
    attributes = {"shape": shape, "line": str(line)}
    if octave:
        attributes |= {"dis": "8", "dis.place": "above" if octave > 0 else "below"}
    _add(parent, "clef", attributes)


def _add_signature(parent: ET.Element, item: Key | Meter) -> None:
    if isinstance(item, Meter):
        _add_meter(parent, item)
        return
    if abs(item.fifths) > 7:
        raise EngraveError(f"a key signature of {abs(item.fifths)} accidentals is not drawn")
    if not item.accidentals:
        letter = ("s" if item.fifths > 0 else "f") if item.fifths else ""
        _add(parent, "keySig", {"sig": f"{abs(item.fifths)}{letter}"})
        return
    signature = _add(parent, "keySig")
    for step, alter in drawn_key(item):
        _add(signature, "keyAccid", {"pname": step.lower(), "accid": ACCIDENTALS[alter]})


def _add_meter(parent: ET.Element, meter: Meter) -> None:
    if meter.text == "none":
        return
    if meter.text in ("C", "C|"):
        _add(parent, "meterSig", {"sym": "common" if meter.text == "C" else "cut"})
        return
    count, unit = meter.text.rsplit("/", 1)
    _add(parent, "meterSig", {"count": count.strip("()"), "unit": unit})


def _add_change(parent: ET.Element, item: Key | Meter, clef: str) -> str:
    """A change of key or meter; a key brings its clef, where that is not `clef`, the one in force.

    Returns the clef in force behind it.
    """
    if isinstance(item, Key) and item.clef != clef:
        _add_clef(parent, item)
        clef = item.clef
    _add_signature(parent, item)
    return clef


# ------------------------------------------------------------------ bars


def _add_bars(section: ET.Element, tune: Tune) -> None:
    """Every bar, in its <ending> where a volta bracket is over it."""
    spans, clef, parent = Spans(tune), tune.key.clef, section
    for i, bar in enumerate(tune.bars):
        if bar.ending:
            parent = _add(section, "ending", {ID: f"v{i}", "n": bar.ending})
        changes, items = split_changes(bar)
        if changes:
            staff = _add_staff_definition(parent)
            for change in changes:
                clef = _add_change(staff, change, clef)
        clef = _add_bar(parent, tune, i, items, spans, clef)
        if bar.ending_stop:
            parent = section


def _add_bar(
    parent: ET.Element, tune: Tune, i: int, items: Sequence[Item], spans: Spans, clef: str
) -> str:
    """One <measure>; returns the clef in force behind it."""
    bar = tune.bars[i]
    if bar.barline not in BARLINES:
        raise EngraveError(f"bar {i + 1}: the bar line {bar.barline!r} is not drawn")
    measure = _add(parent, "measure", {ID: f"b{i}"})
    layer = _add(_add(measure, "staff", {"n": "1"}), "layer", {"n": "1"})
    if bar.repeat_start and i and tune.bars[i - 1].barline not in ("|", ":|"):
        # As the bar's own left line, Verovio would draw it instead of the `|]` or `||` before it.
        _add(layer, "barLine", {"form": "rptstart"})
    elif bar.repeat_start:
        measure.set("left", "rptstart")
    measure.set("right", BARLINES[bar.barline])
    measure.set("metcon", "false")  # a bar may be shorter or longer than its meter
    clef = _fill_layer(layer, i, items, spans, clef)
    measure.extend(spans.beside_notes[i])
    return clef


def _fill_layer(layer: ET.Element, i: int, items: Sequence[Item], spans: Spans, clef: str) -> str:
    """Events and changes, in their beams and tuplets; returns the clef in force behind them."""
    groups = _groups(i, items)
    numbers = itertools.count()
    inside = [layer]  # the elements that are open, innermost last
    for position, item in enumerate(items):
        eid = f"b{i}e{next(numbers)}" if isinstance(item, Event) else ""
        if isinstance(item, Event):
            # Before the beam that begins here: inside, Verovio would beam them to the main notes.
            _add_graces(inside[-1], eid, i, item)
        for group in groups:
            if group.first == position:
                inside.append(_add(inside[-1], group.tag, group.attributes))
        if isinstance(item, Event):
            _add_event(inside[-1], eid, i, item, spans)
        else:
            clef = _add_change(inside[-1], item, clef)
        n_ended = sum(group.last == position for group in groups)
        del inside[len(inside) - n_ended :]
    return clef


@dataclass(frozen=True)
class _Group:
    """A beam or tuplet over the items from `first` to `last` of a bar."""

    first: int
    last: int
    tag: str
    attributes: Mapping[str, str] = field(default_factory=dict)


def _groups(i: int, items: Sequence[Item]) -> list[_Group]:
    """The beams and tuplets of a bar, outer ones first.

    Raises `EngraveError` where they do not nest.
    """
    events = [(n, item) for n, item in enumerate(items) if isinstance(item, Event)]
    groups = [*_beams(events), *_tuplets(events)]
    groups.sort(key=lambda group: (group.first, -group.last, group.tag == "beam"))
    for a, b in itertools.combinations(groups, 2):
        if a.first < b.first <= a.last < b.last:
            raise EngraveError(f"bar {i + 1}: a beam crosses the edge of a tuplet")
    return groups


def _beams(events: list[tuple[int, Event]]) -> Iterator[_Group]:
    start = None
    for n, (position, event) in enumerate(events):
        goes_on = event.beam and n + 1 < len(events)
        if goes_on and start is None:
            start = position
        elif start is not None and not goes_on:
            yield _Group(start, position, "beam")
            start = None


def _tuplets(events: list[tuple[int, Event]]) -> Iterator[_Group]:
    """A bracket is drawn where the notes are not all under one beam."""
    for tuplet, members in itertools.groupby(events, key=lambda entry: entry[1].tuplet):
        if tuplet is None:
            continue
        positions, under = zip(*members, strict=True)
        beamed = all(event.beam for event in under[:-1])
        attributes = {
            "num": str(tuplet.actual),
            "numbase": str(tuplet.normal),
            "bracket.visible": "false" if beamed else "true",
        }
        yield _Group(positions[0], positions[-1], "tuplet", attributes)


# ------------------------------------------------------------------ an event


def _add_event(parent: ET.Element, eid: str, i: int, event: Event, spans: Spans) -> None:
    if event.bar_rest:
        # Alone in its bar it would be squeezed between the bar lines.
        _add(parent, "space", {"dur": "4"})
        _add(parent, "mRest", {ID: eid})
        _add(parent, "space", {"dur": "4"})
        return
    value = _duration(event.duration, i)
    articulations = _articulations(eid, i, event)
    if not event.notes:
        if articulations:
            raise EngraveError(f"bar {i + 1}: an articulation on a rest is not drawn")
        _add(parent, "rest", {ID: eid} | value)
        return
    if len(event.notes) == 1:
        element = _add_note(parent, eid, event.notes[0], value)
    else:
        element = _add(parent, "chord", {ID: eid} | value)
        for n, note in enumerate(event.notes):
            _add_note(element, f"{eid}n{n}", note)
    element.extend(articulations)
    element.extend(spans.verses[eid])


def _add_note(
    parent: ET.Element, nid: str, note: Note, attributes: Mapping[str, str] | None = None
) -> ET.Element:
    pitch = {ID: nid, "pname": note.step.lower(), "oct": str(note.octave)}
    element = _add(parent, "note", pitch | dict(attributes or {}))
    if note.accidental is not None:
        _add(element, "accid", {ID: f"{nid}x", "accid": ACCIDENTALS[note.accidental]})
    return element


_LONG_NOTES = {Fraction(2): "breve", Fraction(4): "long"}


def _duration(duration: Fraction, i: int) -> dict[str, str]:
    base, dots = split_duration(duration, f"bar {i + 1}: ")
    name = _LONG_NOTES.get(base) or str(1 / base)
    return {"dur": name} | ({"dots": str(dots)} if dots else {})


def split_duration(duration: Fraction, where: str = "") -> tuple[Fraction, int]:
    """A duration as one note head: (undotted value in whole notes, number of dots, ≤ 3)."""
    for dots in range(4):
        base = duration / (2 - Fraction(1, 2**dots))
        top, bottom = base.numerator, base.denominator
        if (top == 1 and bottom & (bottom - 1) == 0 and bottom <= 256) or base in (2, 4):
            return base, dots
    raise EngraveError(f"{where}the duration {duration} of a whole note is no single note")


def _add_graces(parent: ET.Element, eid: str, i: int, event: Event) -> None:
    """Grace notes, small before the event; beamed where there are several shorter than 1/4."""
    if event.grace is None:
        return
    notes = event.grace.notes
    beamed = len(notes) > 1 and all(duration < Fraction(1, 4) for _, duration in notes)
    if event.grace.slash and beamed:
        raise EngraveError(f"bar {i + 1}: a slash through several grace notes is not drawn")
    kind = "unacc" if event.grace.slash else "acc"  # Verovio draws the former with a slash
    group = _add(parent, "graceGrp")
    if beamed:
        group = _add(group, "beam")
    for n, (note, duration) in enumerate(notes):
        _add_note(group, f"{eid}g{n}", note, {"grace": kind} | _duration(duration, i))


def _articulations(eid: str, i: int, event: Event) -> list[ET.Element]:
    """The decorations that are a part of the note; raises `EngraveError` for an unknown one."""
    found = []
    for n, name in enumerate(event.decorations):
        if name not in MARKS:
            raise EngraveError(f"bar {i + 1}: the decoration {name!r} is not drawn")
        if MARKS[name].tag == "artic":
            found.append(ET.Element("artic", {ID: f"{eid}d{n}"} | dict(MARKS[name].attributes)))
    return found
