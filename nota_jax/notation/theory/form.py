"""How a tune is built: bar numbers, sections between repeat signs and double bars, their letters.

Two stretches of music get one letter if all their bars sound alike, a primed letter (A') if at
least half of their bars do, and a new letter otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from nota_jax.notation.tune import Bar, Tune
from nota_jax.notation.walk import signatures

_JUMPS = re.compile(r"d\.?\s?[cs]\b|da ?c|dacapo|dacoda|segno|coda|fine", re.IGNORECASE)


@dataclass(frozen=True)
class Section:
    """Bars between two section marks: repeat signs, double bars, the tune's ends.

    first, last: bar indices, both inside.  n_bars: bars written, a leading incomplete bar not
    counted.  endings: it has first and second endings.  letter: "A", "A'", "B" ….
    """

    first: int
    last: int
    n_bars: int
    endings: bool
    letter: str


def bar_numbers(tune: Tune) -> tuple[tuple[int, ...], Fraction]:
    """The number of every bar, and the length of the pick-up in whole notes (0 for none).

    The pick-up has number 0.  An incomplete bar whose predecessor is its complement (the halves of
    a bar that a repeat sign or a double bar cuts) shares the predecessor's number.
    """
    full = [at.meter.duration for at in signatures(tune)]
    lengths = [bar.duration for bar in tune.bars]

    def completes(i: int) -> bool:
        """Whether bars i − 1 and i are the parts of one bar that a section mark cuts."""
        if not tune.bars[i - 1].barline:  # an ending begins inside the bar
            return True
        parts = lengths[i - 1], lengths[i]
        return (
            min(parts) > 0
            and sum(parts) == full[i]
            and starts_section(tune.bars[i - 1], tune.bars[i])
        )

    short = len(lengths) > 1 and full[0] is not None and 0 < lengths[0] < full[0]
    pickup = lengths[0] if short and not completes(1) else Fraction(0)
    numbers = [0 if pickup else 1]
    for i in range(1, len(lengths)):
        whole = numbers[-1] == 0 or numbers[-1:] == numbers[-2:-1]  # what nothing can complete
        numbers.append(numbers[-1] + (whole or not completes(i)))
    return tuple(numbers), pickup


def starts_section(before: Bar, bar: Bar) -> bool:
    """Whether a section begins with `bar`; another ending belongs to the section before it."""
    if bar.repeat_start:
        return True
    return not bar.ending and (before.barline != "|" or before.ending_stop)


def sections(tune: Tune) -> tuple[Section, ...]:
    """The tune cut at its section marks, with letters."""
    bars, spans, first = tune.bars, [], 0
    for i in range(len(bars)):
        if i == len(bars) - 1 or starts_section(bars[i], bars[i + 1]):
            spans.append((first, i))
            first = i + 1
    contents = [_contents(tune, first, last) for first, last in spans]
    return tuple(
        Section(
            first,
            last,
            n_bars=len(content),
            endings=any(bar.ending for bar in bars[first : last + 1]),
            letter=letter,
        )
        for (first, last), content, letter in zip(spans, contents, _letters(contents), strict=True)
    )


def playing_order(tune: Tune, parts: tuple[Section, ...]) -> tuple[str, ...]:
    """Letters of the sections as they are played: A A B B.

    () for a lone section without a repeat, and where the order is unsure: jumps (D.C., D.S.), more
    repeat signs than endings, or an end-repeat behind several sections without a start-repeat.
    """
    words = (
        word
        for event in tune.events
        for word in (*event.decorations, *event.annotations, event.chord_symbol)
    )
    if any(map(_JUMPS.search, words)):
        return ()
    order: list[str] = []
    begin = 0  # index into parts of where a repeat goes back to
    for i, part in enumerate(parts):
        bars = tune.bars[part.first : part.last + 1]
        if bars[0].repeat_start:
            begin = i
        order.append(part.letter)
        repeats, times = sum(bar.barline == ":|" for bar in bars), _times(bars)
        unsure = begin < i and not tune.bars[parts[begin].first].repeat_start
        if repeats >= times or (repeats and unsure):
            return ()
        if repeats:
            order.extend([p.letter for p in parts[begin : i + 1]] * (times - 1))
            begin = i + 1
    return tuple(order) if len(order) > 1 else ()


def phrase_letters(tune: Tune, parts: tuple[Section, ...], size: int = 4) -> tuple[str, ...]:
    """Small letters of the groups of four bars: a b a' c; pick-ups are left aside.

    Groups do not reach over section marks: () where a section cannot be divided into them, has
    endings, or where there is only one group.
    """
    if any(part.endings or part.n_bars % size for part in parts):
        return ()
    contents = [_contents(tune, part.first, part.last) for part in parts]
    groups = [bars[i : i + size] for bars in contents for i in range(0, len(bars), size)]
    return tuple(letter.lower() for letter in _letters(groups)) if len(groups) > 1 else ()


def _contents(tune: Tune, first: int, last: int) -> list[tuple]:
    """What sounds in each bar of a section: pitches and duration of every event.

    An incomplete bar at its beginning is a pick-up, which belongs to no group of bars.
    """
    full = signatures(tune)[first].meter.duration
    if first < last and full is not None and tune.bars[first].duration < full:
        first += 1
    return [
        tuple((sorted(note.midi for note in event.notes), event.sounding) for event in bar.events)
        for bar in tune.bars[first : last + 1]
    ]


def _times(bars: tuple[Bar, ...]) -> int:
    """How often a repeated section is played: as its endings say, otherwise twice."""
    numbers = [int(n) for bar in bars for n in re.findall(r"\d+", bar.ending)]
    return max(numbers, default=2)


def _letters(contents: list[list[tuple]]) -> list[str]:
    """A letter for each stretch, by comparing it with the first of every earlier letter."""
    letters: list[str] = []
    models: list[tuple[str, list[tuple]]] = []  # every distinct stretch, primed ones too
    bases = 0
    for content in contents:
        same = next((letter for letter, model in models if model == content), None)
        if same is None:
            like = next((n for n, m in models if "'" not in n and _alike(m, content)), None)
            if like is not None:
                primes = sum(name.rstrip("'") == like for name, _ in models)
                same = like + "'" * primes
            else:
                same = _letter(bases)
                bases += 1
            models.append((same, content))
        letters.append(same)
    return letters


def _alike(one: list[tuple], other: list[tuple]) -> bool:
    same = sum(a == b for a, b in zip(one, other, strict=False))
    return 2 * same >= max(len(one), len(other))


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"Z{index - 24}"
