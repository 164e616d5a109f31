"""Proof that a picture shows its tune: what was read back from the drawing equals the tune.

`drawn(tune, …)` says in the vocabulary of `readback.py` what a page of this tune has to show; the
two are compared bar by bar, and the first difference is told in words.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

from nota_jax.notation.engraving.errors import MismatchError
from nota_jax.notation.engraving.mei import drawn_key, split_clef
from nota_jax.notation.engraving.readback import DrawnBar, DrawnEvent, Head, LaidOut, Sign
from nota_jax.notation.engraving.spans import lyric_text, split_annotation
from nota_jax.notation.tune import Event, Item, Key, Meter, Note, Tune
from nota_jax.notation.walk import Signatures, leads_back, slurs, split_changes


def proof(tune: Tune, laid_out: LaidOut) -> tuple[int, ...]:
    """The bars that end a system of the layout, once everything drawn equals the tune.

    Compared are titles, composer, tempo, bars and their lines, repeats, volta brackets, clefs,
    keys and meters (with what each system repeats), and of every event the heads' heights,
    accidentals, durations, beams, tuplets, grace notes, ties, slurs, decorations, chord symbols,
    annotations and syllables; and that the pitches which the drawing implies are those that sound.

    Raises `MismatchError`.
    """
    texts = (("titles", tuple(" ".join(t.split()) for t in tune.titles), laid_out.titles),
             ("the composer", " ".join(tune.composer.split()), laid_out.composer),
             ("the tempo", tune.tempo, laid_out.tempo))  # fmt: skip
    for what, expected, found in texts:
        if expected != found:
            raise MismatchError(f"{what}: the tune has {expected!r}, the page {found!r}")
    if len(laid_out.bars) != len(tune.bars):
        raise MismatchError(f"the tune has {len(tune.bars)} bars, the page {len(laid_out.bars)}")
    systems = [place.system for place in laid_out.places]
    starts = {i for i, system in enumerate(systems) if i == 0 or systems[i - 1] != system}
    for i, (bar, shown) in enumerate(zip(drawn(tune, starts), laid_out.bars, strict=True)):
        if bar != shown:
            raise MismatchError(f"bar {i + 1}: {_difference(bar, shown)}")
    _check_pitches(tune, laid_out, starts)
    return tuple(i - 1 for i in sorted(starts) if i)


# ------------------------------------------------------------------ what a tune has to show


def drawn(tune: Tune, system_starts: set[int]) -> list[DrawnBar]:
    """Every bar of the tune as a page has to show it whose systems begin at `system_starts`."""
    slur_ends = _slur_ends(tune)
    now = Signatures(tune.key, tune.meter)
    bars: list[DrawnBar] = []
    volta: str | None = None
    for i, bar in enumerate(tune.bars):
        if bar.ending:
            volta = bar.ending
        items: list[Sign | DrawnEvent] = []
        changes, rest = split_changes(bar)
        before = now
        for change in changes:
            now = now.after(change)
        signs = _change_signs(before, now, changes)
        if i in system_starts:
            items += [("clef", split_clef(now.key.clef)), *_key_sign(now.key)]
            if i == 0 or any(isinstance(change, Meter) for change in changes):
                items += _meter_sign(now.meter)
            if bars and signs:
                bars[-1] = dataclasses.replace(bars[-1], courtesies=tuple(signs))
        else:
            items += signs
        items += _inner(bar.events, rest, now, {n: slur_ends[i, n] for n in range(len(bar.events))})
        for item in rest:
            now = now.after(item)
        bars.append(
            DrawnBar(
                items=tuple(items), courtesies=(), repeat_start=bar.repeat_start,
                barline=bar.barline, volta=volta, volta_start=bool(bar.ending),
            )
        )  # fmt: skip
        if bar.ending_stop:
            volta = None
    return bars


def _change_signs(before: Signatures, now: Signatures, changes: Sequence[Item]) -> list[Sign]:
    """What is drawn where `changes` lead from one key and meter to others."""
    signs: list[Sign] = []
    if before.key.clef != now.key.clef:
        signs.append(("clef", split_clef(now.key.clef)))
    if any(isinstance(change, Key) for change in changes):
        naturals = tuple((step, 0) for step, alter in drawn_key(before.key) if alter)
        signs += _key_sign(now.key) or ([("key", naturals)] if naturals else [])
    if any(isinstance(change, Meter) for change in changes):
        signs += _meter_sign(now.meter)
    return signs


def _key_sign(key: Key) -> list[Sign]:
    return [("key", tuple(drawn_key(key)))] if drawn_key(key) else []


def _meter_sign(meter: Meter) -> list[Sign]:
    return [] if meter.text == "none" else [("meter", meter.text.replace("(", "").replace(")", ""))]


def _inner(
    events: tuple[Event, ...],
    items: Sequence[Item],
    now: Signatures,
    slur_ends: dict[int, list[tuple[int, int]]],
) -> list[Sign | DrawnEvent]:
    """Events of the bar, and changes between them; `now` is in force at the first."""
    shown: list[Sign | DrawnEvent] = []
    groups = _beam_groups(events)
    numbers: dict[int, int] = {}
    n = 0
    for item in items:
        if isinstance(item, Event):
            shown.append(_drawn_event(item, groups[n], numbers, slur_ends[n]))
            n += 1
        else:
            shown += _change_signs(now, now.after(item), [item])
            now = now.after(item)
    return shown


def _beam_groups(events: tuple[Event, ...]) -> list[int | None]:
    """Number of the beam that each event lies under, None for none."""
    groups: list[int | None] = [None] * len(events)
    n = -1
    for e in range(len(events) - 1):
        if events[e].beam:
            if groups[e] is None:
                n += 1
            groups[e] = groups[e + 1] = n
    return groups


def _drawn_event(
    event: Event, group: int | None, numbers: dict[int, int], slurs: list[tuple[int, int]]
) -> DrawnEvent:
    tuplet = None
    if event.tuplet is not None:
        number = numbers.setdefault(event.tuplet.number, len(numbers))
        tuplet = (number, str(event.tuplet.actual))
    marks = [("decoration", name) for name in event.decorations]
    marks += [("chord symbol", event.chord_symbol)] if event.chord_symbol else []
    for text in event.annotations:
        place, words = split_annotation(text)
        marks.append(("annotation", ("^" if place == "above" else "_") + words))
    for v, text in enumerate(event.lyrics):
        if lyric_text(text):
            marks.append((f"lyric {v + 1}", lyric_text(text)))
    grace = event.grace
    return DrawnEvent(
        heads=tuple(_head(note) for note in sorted(event.notes, key=lambda n: n.diatonic)),
        duration=Fraction(0) if event.bar_rest else event.duration,
        group=group, tuplet=tuplet,
        graces=tuple((_head(note), duration) for note, duration in grace.notes) if grace else (),
        slash=bool(grace and grace.slash), marks=tuple(sorted(marks)), slurs=tuple(sorted(slurs)),
    )  # fmt: skip


def _head(note: Note) -> Head:
    return Head(note.diatonic, note.accidental, note.tie)


def _slur_ends(tune: Tune) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """(bar, event) → where the slurs end that begin there."""
    ends: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for slur in slurs(tune):
        if slur.start is not None and slur.end is not None:
            ends[slur.start.bar, slur.start.index].append((slur.end.bar, slur.end.index))
    return ends


# ------------------------------------------------------------------ telling what differs


def _difference(expected: DrawnBar, found: DrawnBar) -> str:
    if len(expected.events) != len(found.events):
        return f"the tune has {len(expected.events)} events, the page {len(found.events)}"
    number = 0
    for a, b in zip(expected.items, found.items, strict=False):
        number += isinstance(a, DrawnEvent)
        if a == b:
            continue
        if isinstance(a, DrawnEvent) and isinstance(b, DrawnEvent):
            return f"event {number}, {_first_difference(a, b)}"
        return f"the tune has {a}, the page {b}"
    return _first_difference(expected, found)


def _first_difference(expected: DrawnBar | DrawnEvent, found: DrawnBar | DrawnEvent) -> str:
    """The first field in which two values of one dataclass differ."""
    for field in dataclasses.fields(expected):
        ours, theirs = getattr(expected, field.name), getattr(found, field.name)
        if ours != theirs:
            return f"{field.name.replace('_', ' ')}: the tune has {ours}, the page {theirs}"
    raise ValueError("there is no difference")


def _check_pitches(tune: Tune, laid_out: LaidOut, starts: set[int]) -> None:
    """The alterations that follow from the drawing (key, accidentals, ties) are the sounding ones.

    An accidental holds for its step in every octave to the end of the bar (ABC 2.1's default),
    and over a tie for the note tied to.  A bar ends at a line that is drawn, and a tie does not
    lead from one ending to the next.
    """
    key: dict[str, int] = {}
    tied: dict[int, int] = {}
    altered: dict[str, int] = {}
    for i, (bar, shown) in enumerate(zip(tune.bars, laid_out.bars, strict=True)):
        if i and laid_out.bars[i - 1].barline:
            altered = {}
        if i and leads_back(tune, i - 1, i):
            tied = {}
        events = iter(bar.events)
        if i in starts:
            key = {}  # every system states its signature anew
        for item in shown.items:
            if not isinstance(item, DrawnEvent):
                if item[0] == "key":
                    key, altered = dict(item[1]), {}
                continue
            held, tied = tied, {}
            notes = sorted(next(events).notes, key=lambda note: note.diatonic)
            altered |= {h.step: h.accidental for h, _ in item.graces if h.accidental is not None}
            for head, note in zip(item.heads, notes, strict=True):
                if head.accidental is not None:
                    altered[head.step] = head.accidental
                alter = altered.get(head.step, key.get(head.step, 0))
                if head.accidental is None and head.position in held:
                    alter = held[head.position]
                if alter != note.alter:
                    raise MismatchError(
                        f"bar {i + 1}: {note.step}{note.octave} sounds altered by {note.alter}, "
                        f"but is drawn as altered by {alter}"
                    )
                if head.tie:
                    tied[head.position] = alter
