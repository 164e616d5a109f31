"""`Tune` → canonical ABC: one text for what a page shows."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from fractions import Fraction
from itertools import groupby

from nota_jax.notation.abc.decorations import decoration_text
from nota_jax.notation.abc.fields import (
    ACCIDENTALS,
    default_normal,
    is_ending_number,
    key_text,
    length_text,
)
from nota_jax.notation.abc.lyrics import lyrics_text
from nota_jax.notation.abc.text import field_text, quoted_text
from nota_jax.notation.tempo import Tempo
from nota_jax.notation.tune import Bar, Event, Grace, Item, Key, Meter, Note, Tune
from nota_jax.notation.walk import signatures, ties

UNITS = (Fraction(1, 4), Fraction(1, 8), Fraction(1, 16))


def unit_note_length(tune: Tune) -> Fraction:
    """The canonical `L:`: of 1/4, 1/8 and 1/16 the one with the shortest body, the longer on a tie.

    Only the lengths behind notes and rests depend on it, so only they are counted.
    """
    counts = Counter(event.duration for event in tune.events if not event.bar_rest)
    return min(
        UNITS,
        key=lambda unit: sum(len(length_text(d / unit)) * count for d, count in counts.items()),
    )


def unit_text(unit: Fraction) -> str:
    """ "1/8"."""
    return f"{unit.numerator}/{unit.denominator}"


def write(tune: Tune, *, breaks: bool = True, unit: Fraction | None = None) -> str:
    """Canonical ABC of a tune, header and body; ends with a newline.

    breaks: a line of text for each system (`Bar.line_break`), else the body is one line.
    unit: the unit note length; None for the canonical one.
    """
    return header(tune, unit) + write_body(tune, breaks=breaks, unit=unit) + "\n"


def header(tune: Tune, unit: Fraction | None = None) -> str:
    """The header lines; absent fields are left out.  unit: as in `write`."""
    unit = unit or unit_note_length(tune)
    lines = ["X:1"]
    lines += [f"T:{field_text(title)}" for title in tune.titles]
    lines += [f"C:{field_text(tune.composer)}"] if tune.composer else []
    lines += [f"M:{tune.meter.text}", f"L:{unit_text(unit)}"]
    lines += [f"Q:{_tempo_text(tune.tempo)}"] if tune.tempo else []
    lines += [f"K:{key_text(tune.key)}"]
    return "".join(line + "\n" for line in lines)


def _tempo_text(tempo: Tempo) -> str:
    return str(dataclasses.replace(tempo, words=quoted_text(tempo.words)))


def write_body(
    tune: Tune, bars: range | None = None, *, breaks: bool = True, unit: Fraction | None = None
) -> str:
    """The body of a tune, or of the region `bars` of it, without a newline at its end.

    A region is written in the tune's own unit note length, so it is a piece of the whole's text,
    unless `unit` gives another.
    """
    bars = range(len(tune.bars)) if bars is None else bars
    unit = unit or unit_note_length(tune)
    tuplets = Counter(event.tuplet.number for event in tune.events if event.tuplet)
    in_force, clefs = signatures(tune), _clefs(tune)
    held_in_part = _held_in_part(tune)
    lines: list[str] = []
    text, line_bars = "", list[Bar]()
    for i in bars:
        bar = tune.bars[i]
        text += _opening(bar, tune.bars[i - 1] if line_bars else None)
        text += _items_text(bar.items, unit, in_force[i].meter, clefs[i], tuplets, held_in_part[i])
        line_bars.append(bar)
        follows = i + 1 in bars
        joined = follows and not (breaks and bar.line_break)
        if not (joined and tune.bars[i + 1].repeat_start and bar.barline in _WITH_START):
            text += bar.barline
        if not joined:
            lines += [text, *_lyrics_lines(line_bars)]
            text, line_bars = "", []
    return "\n".join(lines)


# A barline that shares its sign with the start-repeat behind it.
_WITH_START = {"|": "|:", "||": "||:", ":|": "::"}


def _opening(bar: Bar, before: Bar | None) -> str:
    """What stands left of a bar's items, given the bar before it on the same line."""
    text = ""
    if bar.repeat_start:
        text = "|:" if before is None else _WITH_START.get(before.barline, "|:")
    if not bar.ending:
        return text
    if not is_ending_number(bar.ending):
        return f'{text}["{quoted_text(bar.ending)}" '
    short = before is not None and before.barline in ("|", ":|") and not bar.repeat_start
    return f"{text}{'' if short else '['}{bar.ending} "


def _clefs(tune: Tune) -> list[str]:
    """The clef in force at the left of every bar."""
    clef, found = tune.key.clef, []
    for bar in tune.bars:
        found.append(clef)
        clef = next((item.clef for item in bar.items[::-1] if isinstance(item, Key)), clef)
    return found


def _held_in_part(tune: Tune) -> defaultdict[int, set[int]]:
    """By bar, the events whose heads all have a tie, of which some lead nowhere (`[C-G-]G`).

    One tie behind such a chord would be read as those alone that lead somewhere.
    """
    found = defaultdict[int, set[int]](set)
    if any(len(e.notes) > 1 and all(note.tie for note in e.notes) for e in tune.events):
        for (bar, event), leaving in groupby(
            ties(tune), lambda tie: (tie.start.bar, tie.start.index)
        ):
            held = list(leaving)
            if len(held) == len(held[0].start.event.notes) and len({tie.joins for tie in held}) > 1:
                found[bar].add(event)
    return found


def _items_text(
    items: Iterable[Item],
    unit: Fraction,
    meter: Meter,
    clef: str,
    tuplets: Counter[int],
    held_in_part: Collection[int],
) -> str:
    """meter: at the first note; clef: at the left, which a key without one leaves as it is."""
    text, tuplet, event = "", None, 0
    for item in items:
        if isinstance(item, Key):
            back = " treble" if item.clef == "treble" != clef else ""
            text, clef = f"{text}[K:{key_text(item)}{back}] ", item.clef
        elif isinstance(item, Meter):
            meter = item
            text += f"[M:{item.text}] "
        else:
            if item.tuplet and item.tuplet != tuplet:
                actual, normal = item.tuplet.actual, item.tuplet.normal
                text += _tuplet_text(actual, normal, tuplets[item.tuplet.number], meter)
            tuplet = item.tuplet
            text += event_text(item, unit, event in held_in_part) + ("" if item.beam else " ")
            event += 1
    return text.rstrip(" ")


def _tuplet_text(actual: int, normal: int, count: int, meter: Meter) -> str:
    """`(3`, `(3:2:4`, `(3::2` …: the shortest that says it."""
    p = f"({actual}"
    q = "" if normal == default_normal(actual, meter) and actual < 10 else str(normal)
    if count != actual:
        return f"{p}:{q}:{count}"
    return f"{p}:{q}" if q else p


def event_text(event: Event, unit: Fraction, held_in_part: bool = False) -> str:
    """One note, chord or rest with what is attached to it, without its tuplet's mark."""
    text = "(" * event.slurs_open
    text += _grace_text(event.grace) if event.grace else ""
    texts = [event.chord_symbol] if event.chord_symbol else []
    text += "".join(f'"{quoted_text(words)}"' for words in [*texts, *event.annotations])
    text += "".join(decoration_text(name) for name in event.decorations)
    length = "" if event.bar_rest else length_text(event.duration / unit)
    if not event.notes:
        text += ("Z" if event.bar_rest else "z") + length
    elif len(event.notes) == 1:
        text += note_text(event.notes[0]) + length + ("-" if event.notes[0].tie else "")
    else:
        together = all(note.tie for note in event.notes) and not held_in_part
        heads = (note_text(n) + ("-" if n.tie and not together else "") for n in event.notes)
        text += f"[{''.join(heads)}]{length}" + ("-" if together else "")
    return text + ")" * event.slurs_close


def note_text(note: Note) -> str:
    """A head without length or tie: `^c'`."""
    mark = "" if note.accidental is None else ACCIDENTALS[note.accidental]
    if note.octave >= 5:
        return mark + note.step.lower() + "'" * (note.octave - 5)
    return mark + note.step + "," * (4 - note.octave)


def _grace_text(grace: Grace) -> str:
    """Grace lengths count eighths where one stands alone, else sixteenths, whatever `L:` is."""
    base = Fraction(1, 8) if len(grace.notes) == 1 else Fraction(1, 16)
    notes = (note_text(note) + length_text(duration / base) for note, duration in grace.notes)
    return "{" + ("/" if grace.slash else "") + "".join(notes) + "}"


def _lyrics_lines(bars: Iterable[Bar]) -> Iterator[str]:
    """The `w:` lines under a system."""
    events = [event for bar in bars for event in bar.events if event.notes]
    for verse in range(max((len(event.lyrics) for event in events), default=0)):
        entries = [(event.lyrics + ("",) * (verse + 1))[verse] for event in events]
        yield f"w:{lyrics_text(entries)}"
