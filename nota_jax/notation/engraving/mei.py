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
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from xml.sax.saxutils import escape

from nota_jax.errors import UserError
from nota_jax.notation.tune import Event, Item, Key, Meter, Note, Tune
from nota_jax.notation.walk import Place, Slur, Tie, places, slurs, split_changes, ties

ACCIDENTALS = {-2: "ff", -1: "f", 0: "n", 1: "s", 2: "x"}

# Clef name (ABC) → MEI's shape and line; "+8" or "-8" may follow the name.
CLEFS = {"treble": ("G", 2), "bass": ("F", 4), "alto": ("C", 3), "tenor": ("C", 4)}

# Bar line closing a bar → MEI's measure@right.
BARLINES = {"|": "single", "||": "dbl", "|]": "end", ":|": "rptend"}

# Decoration → articulation, which is part of the note.
ARTICULATIONS = {
    ".": "stacc", "wedge": "stacciss", "tenuto": "ten", "accent": "acc", "marcato": "marc",
    "u": "upbow", "v": "dnbow", "open": "open", "snap": "snap",
}  # fmt: skip

# Decoration → an element of its own beside the note, as (tag, attributes, text).
_DYNAMICS = ("pppp", "ppp", "pp", "p", "mp", "mf", "f", "ff", "fff", "ffff", "sf", "sfz", "fz")
ORNAMENTS = {
    "T": ("trill", "", ""),
    "M": ("mordent", 'form="lower"', ""),
    "P": ("mordent", 'form="upper"', ""),
    "turn": ("turn", 'form="upper"', ""),
    "H": ("fermata", "", ""),
    "~": ("ornam", "", "~"),
    "arpeggio": ("arpeg", "", ""),
    "breath": ("breath", "", ""),
    "segno": ("repeatMark", 'func="segno"', ""),
    "coda": ("repeatMark", 'func="coda"', ""),
    "fine": ("repeatMark", 'func="fine"', "Fine"),
    "D.C.": ("repeatMark", 'func="daCapo"', "D.C."),
    "D.S.": ("repeatMark", 'func="dalSegno"', "D.S."),
    **{name: ("fing", "", name) for name in "012345"},
    **{name: ("dynam", "", name) for name in _DYNAMICS},
}  # fmt: skip
_PLACED = ("trill", "mordent", "turn", "fermata", "ornam", "repeatMark", "fing", "dynam", "breath")


class EngraveError(UserError):
    """This tune cannot be drawn (or not legibly); the text says what and in which bar."""


def to_mei(tune: Tune) -> str:
    """MEI 5 of one tune: one staff, one layer, ids as described above.

    Title, composer and tempo are no part of it: `engrave.py` draws them, with the same fonts
    and at the size the page needs.

    Raises:
      EngraveError: something in the tune has no notation here (a duration that is no single
        note, an unknown decoration …); the text names the bar, counted from 1.
    """
    if not any(bar.events for bar in tune.bars):
        raise EngraveError("the tune has no notes to draw")
    spans = _Spans(tune)
    body: list[str] = []
    ending_open = False
    for i, bar in enumerate(tune.bars):
        if bar.ending:
            if ending_open:
                body.append("</ending>")
            body.append(f'<ending xml:id="v{i}" n="{escape(bar.ending)}">')
            ending_open = True
        changes, items = split_changes(bar)
        if changes:
            signs = "".join(map(spans.change, changes))
            body.append(
                f'<scoreDef><staffGrp><staffDef n="1">{signs}</staffDef></staffGrp></scoreDef>'
            )
        body.append(_measure(tune, i, _numbered(items), spans))
        if ending_open and bar.ending_stop:
            body.append("</ending>")
            ending_open = False
    if ending_open:
        body.append("</ending>")
    staff = _clef(tune.key) + _signature(tune.key) + _signature(tune.meter)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="5.0">'
        "<meiHead><fileDesc><titleStmt><title/></titleStmt><pubStmt/></fileDesc></meiHead>"
        "<music><body><mdiv><score>"
        f'<scoreDef><staffGrp><staffDef n="1" lines="5">{staff}</staffDef></staffGrp></scoreDef>'
        f"<section>{''.join(body)}</section>"
        "</score></mdiv></body></music></mei>"
    )


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


def _clef(key: Key) -> str:
    shape, line, octave = split_clef(key.clef)
    displaced = f' dis="8" dis.place="{"above" if octave > 0 else "below"}"' if octave else ""
    return f'<clef shape="{shape}" line="{line}"{displaced}/>'


def _signature(item: Key | Meter) -> str:
    if isinstance(item, Key):
        if abs(item.fifths) > 7:
            raise EngraveError(f"a key signature of {abs(item.fifths)} accidentals is not drawn")
        if item.accidentals:
            signs = "".join(
                f'<keyAccid pname="{step.lower()}" accid="{ACCIDENTALS[alter]}"/>'
                for step, alter in drawn_key(item)
            )
            return f"<keySig>{signs}</keySig>"
        letter = "s" if item.fifths > 0 else "f"
        return f'<keySig sig="{abs(item.fifths)}{letter if item.fifths else ""}"/>'
    if item.text == "none":
        return ""
    if item.text in ("C", "C|"):
        return f'<meterSig sym="{"common" if item.text == "C" else "cut"}"/>'
    count, unit = item.text.rsplit("/", 1)
    return f'<meterSig count="{count.strip("()")}" unit="{unit}"/>'


def _numbered(items: Sequence[Item]) -> list[tuple[int, Item]]:
    """The items of a bar with the number of each event in it, −1 for a change."""
    numbers = itertools.count()
    return [(next(numbers) if isinstance(item, Event) else -1, item) for item in items]


# ------------------------------------------------------------------ a bar


def _measure(tune: Tune, i: int, items: list, spans: _Spans) -> str:
    bar = tune.bars[i]
    if bar.barline not in BARLINES:
        raise EngraveError(f"bar {i + 1}: the bar line {bar.barline!r} is not drawn")
    layer, controls = _layer(i, items, spans), "".join(spans.controls(i))
    left = ""
    if bar.repeat_start and i and tune.bars[i - 1].barline not in ("|", ":|"):
        # As the bar's own left line, Verovio would draw it instead of the `|]` or `||` before it.
        layer = f'<barLine form="rptstart"/>{layer}'
    elif bar.repeat_start:
        left = ' left="rptstart"'
    return (
        f'<measure xml:id="b{i}"{left} right="{BARLINES[bar.barline]}" metcon="false">'
        f'<staff n="1"><layer n="1">{layer}</layer></staff>{controls}</measure>'
    )


def _layer(i: int, items: list, spans: _Spans) -> str:
    """Events wrapped in their beams and tuplets, which must nest."""
    groups = _groups(i, items)
    out: list[str] = []
    for position, (index, item) in enumerate(items):
        # Grace notes stand before the beam: inside, Verovio would beam them to the main notes.
        out.append(_graces(f"b{i}e{index}", i, item) if isinstance(item, Event) else "")
        out += [tag for start, _, tag in groups if start == position]
        if isinstance(item, Event):
            out.append(_event(f"b{i}e{index}", i, item, spans))
        else:
            out.append(spans.change(item))
        closing = [tag for _, end, tag in groups if end == position]
        out += [f"</{tag[1:].split()[0].rstrip('>')}>" for tag in reversed(closing)]
    return "".join(out)


def _groups(i: int, items: list) -> list[tuple[int, int, str]]:
    """Beams and tuplets of a bar as (first, last position, opening tag), outer ones first."""
    groups: list[tuple[int, int, str]] = []
    beam_start = tuplet_start = None
    for position, (_, item) in enumerate(items):
        if not isinstance(item, Event):
            continue
        following = [e for _, e in items[position + 1 :] if isinstance(e, Event)]
        if item.beam and following and beam_start is None:
            beam_start = position
        elif beam_start is not None and not (item.beam and following):
            groups.append((beam_start, position, "<beam>"))
            beam_start = None
        if item.tuplet and tuplet_start is None:
            tuplet_start = position
        same = following and following[0].tuplet == item.tuplet
        if item.tuplet and not same:
            tag = f'<tuplet num="{item.tuplet.actual}" numbase="{item.tuplet.normal}"'
            bracket = all(e.beam for _, e in items[tuplet_start:position] if isinstance(e, Event))
            tag += f' bracket.visible="{"false" if bracket else "true"}">'
            groups.append((tuplet_start, position, tag))
            tuplet_start = None
    groups.sort(key=lambda g: (g[0], -g[1], g[2] == "<beam>"))
    for a, b, _ in groups:
        for c, d, _ in groups:
            if a < c <= b < d:
                raise EngraveError(f"bar {i + 1}: a beam crosses the edge of a tuplet")
    return groups


# ------------------------------------------------------------------ an event


def _event(eid: str, i: int, event: Event, spans: _Spans) -> str:
    if event.bar_rest:
        # Alone in its bar it would be squeezed between the bar lines.
        return f'<space dur="4"/><mRest xml:id="{eid}"/><space dur="4"/>'
    value = _duration(event.duration, i)
    if not event.notes:
        if any(name in ARTICULATIONS for name in event.decorations):
            raise EngraveError(f"bar {i + 1}: an articulation on a rest is not drawn")
        return f'<rest xml:id="{eid}" {value}/>'
    inner = _articulations(eid, i, event) + spans.verses.get(eid, "")
    if len(event.notes) == 1:
        return _note(eid, event.notes[0], value, inner)
    notes = "".join(_note(f"{eid}n{n}", note) for n, note in enumerate(event.notes))
    return f'<chord xml:id="{eid}" {value}>{notes}{inner}</chord>'


def _note(nid: str, note: Note, value: str = "", inner: str = "") -> str:
    accid = ""
    if note.accidental is not None:
        accid = f'<accid xml:id="{nid}x" accid="{ACCIDENTALS[note.accidental]}"/>'
    pitch = f'pname="{note.step.lower()}" oct="{note.octave}"'
    return f'<note xml:id="{nid}" {pitch} {value}>{accid}{inner}</note>'


def _duration(duration: Fraction, i: int) -> str:
    base, dots = split_duration(duration, f"bar {i + 1}: ")
    name = {2: "breve", 4: "long"}.get(base) or str(1 / base)
    return f'dur="{name}"' + (f' dots="{dots}"' if dots else "")


def split_duration(duration: Fraction, where: str = "") -> tuple[Fraction, int]:
    """A duration as one note head: (undotted value in whole notes, number of dots, ≤ 3)."""
    for dots in range(4):
        base = duration / (2 - Fraction(1, 2**dots))
        top, bottom = base.numerator, base.denominator
        if (top == 1 and bottom & (bottom - 1) == 0 and bottom <= 256) or base in (2, 4):
            return base, dots
    raise EngraveError(f"{where}the duration {duration} of a whole note is no single note")


def _graces(eid: str, i: int, event: Event) -> str:
    """Grace notes, small before the event; beamed where there are several shorter than 1/4."""
    if event.grace is None:
        return ""
    notes = event.grace.notes
    beamed = len(notes) > 1 and all(duration < Fraction(1, 4) for _, duration in notes)
    if event.grace.slash and beamed:
        raise EngraveError(f"bar {i + 1}: a slash through several grace notes is not drawn")
    kind = "unacc" if event.grace.slash else "acc"  # Verovio draws the former with a slash
    text = "".join(
        _note(f"{eid}g{n}", note, f'grace="{kind}" {_duration(duration, i)}')
        for n, (note, duration) in enumerate(notes)
    )
    return f"<graceGrp><beam>{text}</beam></graceGrp>" if beamed else f"<graceGrp>{text}</graceGrp>"


def _articulations(eid: str, i: int, event: Event) -> str:
    out = []
    for n, name in enumerate(event.decorations):
        if name in ARTICULATIONS:
            out.append(f'<artic xml:id="{eid}d{n}" artic="{ARTICULATIONS[name]}"/>')
        elif name not in ORNAMENTS:
            raise EngraveError(f"bar {i + 1}: the decoration {name!r} is not drawn")
    return "".join(out)


# ------------------------------------------------------------------ what spans events


@dataclass
class _Spans:
    """Ties, slurs, lyrics and the marks beside notes, gathered in one walk through the tune."""

    tune: Tune
    by_bar: dict[int, list[str]] = field(default_factory=dict)
    verses: dict[str, str] = field(default_factory=dict)
    clef: str = ""

    def __post_init__(self) -> None:
        self.clef = self.tune.key.clef
        walk = places(self.tune)
        tied: dict[str, list[Tie]] = defaultdict(list)  # by the event where they begin
        for tie in ties(self.tune):
            tied[event_id(tie.start)].append(tie)
        slurred: dict[str, list[Slur]] = defaultdict(list)  # by the event where they end
        for slur in slurs(self.tune):
            slurred[event_id(_whole(slur).end)].append(slur)
        for place in walk:
            eid = event_id(place)
            for text in (*_marks(eid, place.event), *map(_tie, tied[eid])):
                self._add(place.bar, text)
            for slur in slurred[eid]:
                start = event_id(slur.start)
                first = f"{eid}g0" if start == eid else start  # `({g}a)`: from the grace note
                name = f"{start}s{slur.number}"
                text = f'<slur xml:id="{name}" startid="#{first}" endid="#{eid}"/>'
                self._add(slur.start.bar, text)
        self.verses = dict(_verses([(event_id(place), place.event) for place in walk]))

    def _add(self, bar: int, text: str) -> None:
        self.by_bar.setdefault(bar, []).append(text)

    def change(self, item: Key | Meter) -> str:
        """A change of key (with its clef, where that is another one) or meter."""
        clef = ""
        if isinstance(item, Key) and item.clef != self.clef:
            self.clef, clef = item.clef, _clef(item)
        return clef + _signature(item)

    def controls(self, bar: int) -> list[str]:
        return self.by_bar.get(bar, [])


def _marks(eid: str, event: Event) -> Iterator[str]:
    """Chord symbol, annotations and the decorations that are no articulation."""
    if event.chord_symbol:
        text = escape(event.chord_symbol)
        yield f'<harm xml:id="{eid}h" place="above" startid="#{eid}">{text}</harm>'
    for n, text in enumerate(event.annotations):
        place, words = split_annotation(text)
        yield f'<dir xml:id="{eid}a{n}" place="{place}" startid="#{eid}">{escape(words)}</dir>'
    for n, name in enumerate(event.decorations):
        if name in ORNAMENTS:
            tag, attributes, words = ORNAMENTS[name]
            if tag in _PLACED:
                attributes += f' place="{"below" if tag == "dynam" else "above"}"'
            yield f'<{tag} xml:id="{eid}d{n}" {attributes} startid="#{eid}">{words}</{tag}>'


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


def _tie(tie: Tie) -> str:
    """A tie to the same line or space in the next event."""
    if tie.end is None:
        raise EngraveError(f"bar {tie.start.bar + 1}: a tie leads to no note of its pitch")
    eid = event_id(tie.start)
    start = head_id(eid, tie.start.event, tie.head)
    end = head_id(event_id(tie.end), tie.end.event, tie.end_head)
    return f'<tie xml:id="{eid}t{tie.head}" startid="#{start}" endid="#{end}"/>'


def _whole(slur: Slur) -> Slur:
    """The slur, if it can be drawn."""
    if slur.start is None:
        raise EngraveError(f"bar {slur.end.bar + 1}: a slur ends that never began")
    if slur.end is None:
        raise EngraveError(f"bar {slur.start.bar + 1}: a slur begins that never ends")
    if slur.start == slur.end and slur.end.event.grace is None:
        raise EngraveError(f"bar {slur.end.bar + 1}: a slur begins and ends on the same note")
    return slur


def lyric_text(entry: str) -> str:
    """What is drawn under the note: the syllable without its hyphen, "" where none begins."""
    return "" if entry in ("_", "-") else entry.removesuffix("-")


def _verses(walk: list[tuple[str, Event]]) -> Iterator[tuple[str, str]]:
    """Lyric syllables by event id; a trailing "-" joins syllables, "_" holds one."""
    n_verses = max((len(event.lyrics) for _, event in walk), default=0)
    texts: dict[str, str] = {}
    for v in range(n_verses):
        line = [(eid, event.lyrics[v] if v < len(event.lyrics) else "") for eid, event in walk]
        inside = False
        for (eid, text), (_, following) in zip(line, [*line[1:], ("", "")], strict=True):
            if not lyric_text(text):
                continue
            joined = text.endswith("-")
            position = ("m" if inside else "i") if joined else ("t" if inside else "s")
            held = ' con="u"' if following == "_" and not joined else ""
            con = ' con="d"' if joined else held
            words = escape(lyric_text(text))
            texts[eid] = texts.get(eid, "") + (
                f'<verse n="{v + 1}"><syl xml:id="{eid}y{v}" wordpos="{position}"{con}>'
                f"{words}</syl></verse>"
            )
            inside = joined
    yield from texts.items()
