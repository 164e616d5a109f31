"""Hypothesis strategies for whole `Tune`s, as a parser would make them from canonical text.

Structure is drawn at random; what follows from it (sounding alterations, where endings stop) is
worked out here once more, by the rules of the page and not by the parser's code.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from hypothesis import strategies as st

from nota_jax.notation.abc.decorations import DECORATIONS, in_order
from nota_jax.notation.abc.fields import signature
from nota_jax.notation.abc.writer import unit_note_length
from nota_jax.notation.tempo import Tempo
from nota_jax.notation.tune import MODES, Bar, Event, Grace, Key, Meter, Note, Tune, Tuplet

VALUES = sorted(
    Fraction(dots) * Fraction(2) ** power
    for power in range(-6, 2)
    for dots in (1, Fraction(3, 2), Fraction(7, 4))
)
_words = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)
titles = st.lists(_words, min_size=1, max_size=3).map(" ".join)
_plain = st.text("abcXYZ12.'", min_size=1, max_size=5)
syllables = st.sampled_from(["", "la", "Hel-", "lo", "_", "-", "50%", "two words", "é"])

keys = st.builds(
    Key,
    tonic=st.sampled_from(["C", "G", "D", "A", "F", "Bb", "Eb", "E"]),
    mode=st.sampled_from(sorted(MODES)),
    accidentals=st.sampled_from([(), (), (("C", 0),), (("F", 1), ("B", -1))]),
    clef=st.sampled_from(["treble", "treble", "bass", "alto", "treble-8"]),
).filter(lambda key: abs(key.fifths) <= 7) | st.just(Key(""))
meters = st.sampled_from(["4/4", "C", "C|", "6/8", "3/4", "9/8", "2+3/8", "none"]).map(Meter)

tempos = st.sampled_from(
    [
        Tempo("", (Fraction(1, 4),), 120),
        Tempo("Slow", (Fraction(3, 8),), 60),
        Tempo("", (Fraction(1, 4), Fraction(1, 8)), 72),
        Tempo("Con moto"),
    ]
)


@st.composite
def notes(draw) -> Note:
    return Note(
        step=draw(st.sampled_from("CDEFGAB")),
        octave=draw(st.integers(2, 7)),
        accidental=draw(st.sampled_from([None, None, None, -2, -1, 0, 1, 2])),
        tie=draw(st.booleans()),
    )


@st.composite
def graces(draw) -> Grace:
    heads = draw(st.lists(notes(), min_size=1, max_size=3))
    base = Fraction(1, 8) if len(heads) == 1 else Fraction(1, 16)
    lengths = st.sampled_from([base, base * 2, base / 2, base * Fraction(3, 2)])
    pairs = tuple((dataclasses.replace(note, tie=False), draw(lengths)) for note in heads)
    return Grace(pairs, draw(st.booleans()))


@st.composite
def events(draw) -> Event:
    heads = draw(st.lists(notes(), max_size=3, unique_by=lambda note: note.diatonic))
    symbols = st.sampled_from(["", "", "", "Am", "D7/F#", "Bb"])
    marks = st.lists(st.sampled_from(sorted(DECORATIONS.values())), max_size=2)
    texts = st.builds("{}{}".format, st.sampled_from("^_<>@"), _plain)
    return Event(
        notes=tuple(sorted(heads, key=lambda note: note.diatonic)),
        duration=draw(st.sampled_from(VALUES)),
        beam=draw(st.booleans()),
        grace=draw(st.none() | graces()) if heads else None,
        decorations=in_order(draw(marks)),
        chord_symbol=draw(symbols),
        annotations=tuple(draw(st.lists(texts, max_size=2))),
        lyrics=_stripped(draw(st.lists(syllables, max_size=2))) if heads else (),
    )


def _stripped(entries: list[str]) -> tuple[str, ...]:
    while entries and not entries[-1]:
        entries = entries[:-1]
    return tuple(entries)


@st.composite
def bars(draw) -> Bar:
    items = draw(st.lists(events(), min_size=1, max_size=6))
    if draw(st.booleans()):
        change = draw(keys | meters)
        items.insert(draw(st.integers(0, len(items))), change)
    return Bar(
        items=tuple(items),
        repeat_start=draw(st.booleans()),
        ending=draw(st.sampled_from(["", "", "1", "2", "1,3", "1-3", "last time"])),
        barline=draw(st.sampled_from(["|", "|", "|", "||", "|]", "[|", ":|", ""])),
        line_break=draw(st.booleans()),
    )


@st.composite
def tunes(draw) -> Tune:
    tune = Tune(
        titles=tuple(draw(st.lists(titles, max_size=2))),
        composer=draw(st.just("") | titles),
        meter=draw(meters),
        key=draw(keys),
        tempo=draw(st.none() | tempos),
        bars=tuple(draw(st.lists(bars(), min_size=1, max_size=5))),
        unit=Fraction(1, 8),
    )
    tune = _with_tuplets(tune, draw)
    tune = _without_idle_changes(tune)
    tune = _with_slurs(tune, draw)
    tune = _with_barlines(tune)
    tune = _with_alters(_with_ties_and_beams(tune))
    return dataclasses.replace(tune, unit=unit_note_length(tune))


def _map_bars(tune: Tune, items: list[list]) -> Tune:
    new = (dataclasses.replace(b, items=tuple(i)) for b, i in zip(tune.bars, items, strict=True))
    return dataclasses.replace(tune, bars=tuple(new))


def _with_tuplets(tune: Tune, draw) -> Tune:
    """A run of events at the beginning of some bars is a tuplet."""
    number, result = 0, []
    for bar in tune.bars:
        items = list(bar.items)
        run = next((i for i, item in enumerate(items) if not isinstance(item, Event)), len(items))
        if run and draw(st.booleans()):
            tuplet = Tuplet(draw(st.integers(2, 9)), draw(st.integers(1, 9)), number)
            count = draw(st.integers(1, run))
            items[:count] = [dataclasses.replace(e, tuplet=tuplet) for e in items[:count]]
            number += 1
        result.append(items)
    return _map_bars(tune, result)


def _without_idle_changes(tune: Tune) -> Tune:
    """Changes to what is in force already, or before the first event, are none."""
    key, meter, begun, result = tune.key, tune.meter, False, []
    for bar in tune.bars:
        items = []
        for item in bar.items:
            if isinstance(item, Event):
                begun = True
            elif not begun:
                continue
            elif isinstance(item, Key):
                if signature(item) == signature(key):
                    continue
                key = item
            elif item == meter:
                continue
            else:
                meter = item
            items.append(item)
        result.append(items)
    return _map_bars(tune, result)


def _with_slurs(tune: Tune, draw) -> Tune:
    places = [
        (b, i)
        for b, bar in enumerate(tune.bars)
        for i, item in enumerate(bar.items)
        if isinstance(item, Event) and item.notes
    ]
    items = [list(bar.items) for bar in tune.bars]
    if len(places) > 1:
        ends = st.lists(st.integers(0, len(places) - 1), min_size=2, max_size=2, unique=True)
        for first, last in draw(st.lists(ends.map(sorted), max_size=3)):
            for (b, i), field in ((places[first], "slurs_open"), (places[last], "slurs_close")):
                event = items[b][i]
                items[b][i] = dataclasses.replace(event, **{field: getattr(event, field) + 1})
    return _map_bars(tune, items)


def _with_barlines(tune: Tune) -> Tune:
    """The last bar is closed; an ending stops at the next sign that is no plain barline.

    No line stands only where an ending begins inside a bar, which is not full there.
    """
    result, ending, meter = [], False, tune.meter
    for i, bar in enumerate(tune.bars):
        last = i == len(tune.bars) - 1
        following = None if last else tune.bars[i + 1]
        meter = next((item for item in bar.items[::-1] if isinstance(item, Meter)), meter)
        inside = not last and following.ending and not following.repeat_start
        barline = bar.barline or ("" if inside and bar.duration != meter.duration else "|")
        barline = "|]" if last and barline in ("|", "[|") else barline
        ending = ending or bar.ending != ""
        plain = barline in ("|", "")
        stop = ending and (not plain or following.repeat_start or following.ending != "")
        ending = ending and not stop
        result.append(
            dataclasses.replace(
                bar, barline=barline, ending_stop=stop, line_break=bar.line_break and not last
            )
        )
    return dataclasses.replace(tune, bars=tuple(result))


def _with_ties_and_beams(tune: Tune) -> Tune:
    """Ties only lead to an unmarked head on the same place, beams only join short notes."""
    flat = [event for bar in tune.bars for event in bar.events]
    result, n = [], 0
    for bar in tune.bars:
        items = list(bar.items)
        for i, event in enumerate(items):
            if not isinstance(event, Event):
                continue
            n += 1
            following = flat[n] if n < len(flat) else Event()
            free = {note.diatonic for note in following.notes if note.accidental is None}
            heads = tuple(
                dataclasses.replace(note, tie=note.tie and note.diatonic in free)
                for note in event.notes
            )
            after = items[i + 1] if i + 1 < len(items) else None
            beam = event.beam and isinstance(after, Event)
            beam = beam and all(e.notes and e.duration < Fraction(1, 4) for e in (event, after))
            items[i] = dataclasses.replace(event, notes=heads, beam=beam)
        result.append(items)
    return _map_bars(tune, result)


def _with_alters(tune: Tune) -> Tune:
    """Key, then the bar's accidentals (for every octave), then ties over the barline."""
    alters, tied, result = tune.key.alters, {}, []
    here: dict[str, int] = {}
    for i, bar in enumerate(tune.bars):
        before = tune.bars[i - 1] if i else None
        here = dict(here if before and not before.barline else alters)
        if before and before.ending_stop and bar.ending[:1] not in ("", "1"):
            tied = {}  # it leads back to where the repeat begins
        items = []
        for item in bar.items:
            if isinstance(item, Key):
                alters, here = item.alters, dict(item.alters)
            if not isinstance(item, Event):
                items.append(item)
                continue

            def sounded(note: Note, here=here) -> Note:
                if note.accidental is not None:
                    here[note.step] = note.accidental
                return dataclasses.replace(note, alter=here[note.step])

            grace = item.grace and dataclasses.replace(
                item.grace, notes=tuple((sounded(n), d) for n, d in item.grace.notes)
            )
            heads = tuple(sounded(note) for note in item.notes)
            heads = tuple(
                dataclasses.replace(n, alter=tied[n.diatonic])
                if n.diatonic in tied and n.accidental is None
                else n
                for n in heads
            )
            tied = {note.diatonic: note.alter for note in heads if note.tie}
            items.append(dataclasses.replace(item, notes=heads, grace=grace))
        result.append(items)
    return _map_bars(tune, result)
