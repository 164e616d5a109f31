"""Analysis in prose: sentences that are true because each is computed from the tune.

Every function takes the facts and a seeded `random.Random` that picks among wordings of the same
statement, and returns sentences; what cannot be said of a tune is left out.
"""

from __future__ import annotations

import random
from fractions import Fraction

from nota_jax.notation.theory.facts import Facts, Leap
from nota_jax.notation.theory.form import Section
from nota_jax.notation.theory.intervals import interval_name, note_name, pitch_class
from nota_jax.notation.tune import Key, Meter, Note

DEGREES = ("tonic", "second degree", "third degree", "fourth degree", "fifth degree",
            "sixth degree", "seventh degree")  # fmt: skip
VALUES = {
    Fraction(2): "double whole", Fraction(1): "whole", Fraction(1, 2): "half",
    Fraction(1, 4): "quarter", Fraction(1, 8): "eighth", Fraction(1, 16): "sixteenth",
    Fraction(1, 32): "thirty-second", Fraction(1, 64): "sixty-fourth",
}  # fmt: skip
DOTS = ((1, ""), (Fraction(3, 2), "dotted "), (Fraction(7, 4), "double-dotted "))
TUPLETS = {2: "duplet", 3: "triplet", 4: "quadruplet", 5: "quintuplet", 6: "sextuplet"}
# By Huron's type: what the line does, and where its inner notes lie.
CONTOURS = {
    "ascending": ("ascends", "above its first note and below its last"),
    "ascending-horizontal": ("ascends and stays high", "above its first note and level with its "
                             "last"),
    "convex": ("forms an arch", "above its first and its last note"),
    "horizontal-ascending": ("stays level and ascends", "level with its first note and below its "
                             "last"),
    "horizontal": ("stays level", "level with its first and its last note"),
    "horizontal-descending": ("stays level and descends", "level with its first note and above "
                              "its last"),
    "concave": ("forms a bowl", "below its first and its last note"),
    "descending-horizontal": ("descends and stays low", "below its first note and level with its "
                              "last"),
    "descending": ("descends", "below its first note and above its last"),
}  # fmt: skip
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
            "eleven", "twelve")  # fmt: skip


def analyse(facts: Facts, dance_type: str, rng: random.Random) -> dict[str, str]:
    """Answers by subtask; a subtask about which nothing can be said is absent."""
    parts = {
        "form": _form(facts, rng),
        "range": _range(facts, rng),
        "contour": _contour(facts, rng),
        "intervals": _intervals(facts, rng),
        "rhythm": _rhythm(facts, rng),
        "mode": _mode(facts, rng),
        "ending": _ending(facts, rng),
        "cadences": _cadences(facts, rng),
        "dance_type": _dance(facts, dance_type, rng),
    }
    # Of each aspect the first sentence says the most.
    overview = ("mode", "rhythm", "form", "range", "contour", "ending", "dance_type")
    parts["overview"] = [parts[name][0] for name in overview if parts[name]]
    return {name: " ".join(sentences) for name, sentences in parts.items() if sentences}


def _form(facts: Facts, rng: random.Random) -> list[str]:
    sections, sentences = facts.sections, []
    order, phrases = "".join(facts.order), "".join(facts.phrases)
    if len(sections) > 1:
        many = _number(len(sections))
        sentences.append(rng.choice((
            f"The tune is written in {many} sections.",
            f"Repeat signs or double bars divide the piece into {many} sections.",
            f"The piece falls into {many} written sections.",
        )))  # fmt: skip
        lengths = [f"{s.letter} of {_bars(s)}" for s in sections]
        sentences.append(f"They are {_join(lengths)}.")
    if order and len(sections) == 1:
        sentences.append(
            f"It is a single section of {_bars(sections[0])}, which is repeated: {order}."
        )
    elif len(facts.order) > len(sections):
        sentences.append(rng.choice((
            f"Played with its repeats, its form is {order}.",
            f"With the repeats the sections sound in the order {order}.",
        )))  # fmt: skip
    elif order:
        sentences.append(f"No section is repeated by a sign, so its form is {order}.")
    if phrases:
        sentences.append(rng.choice((
            f"Taken in groups of four bars, the music runs {phrases}.",
            f"Its groups of four bars follow the pattern {phrases}.",
        )))  # fmt: skip
    if not sentences:
        return []
    if "'" in phrases + "".join(section.letter for section in sections):
        sentences.append("A prime marks a variant that shares at least half of its bars.")
    pickup = "the pick-up not counted" if facts.pickup else "and begins without a pick-up"
    if facts.meter.duration is not None:
        joint = ", " if facts.pickup else " "
        sentences.append(f"It is written in {_count(facts.n_bars, 'bar')}{joint}{pickup}.")
    return sentences


def _range(facts: Facts, rng: random.Random) -> list[str]:
    low, high = note_name(facts.lowest), note_name(facts.highest)
    if low == high:
        return [f"All notes are {low}."]
    interval = _article(interval_name(facts.lowest, facts.highest))
    semitones = facts.highest.midi - facts.lowest.midi
    sentences = [rng.choice((
        f"The range is {interval}, from {low} to {high}.",
        f"The notes span {interval}, from {low} up to {high}.",
        f"The lowest note is {low} and the highest is {high}, {interval} apart.",
    ))]  # fmt: skip
    if "semitones" not in interval:
        sentences.append(f"That is {_count(semitones, 'semitone')}.")
    sentences.append(
        f"The highest note first appears in {_bar(facts, facts.highest_bar)}, "
        f"the lowest in {_bar(facts, facts.lowest_bar)}."
    )
    return sentences


def _contour(facts: Facts, rng: random.Random) -> list[str]:
    if facts.n_notes < 3:
        return []
    first, last = note_name(facts.first), note_name(facts.last)
    motion, place = CONTOURS[facts.contour]
    sentences = [rng.choice((
        f"Seen as a whole, the melody {motion}: its inner notes lie on average {place}.",
        f"As one line the melody {motion}; on average its inner notes lie {place}.",
    ))]  # fmt: skip
    if facts.first.midi == facts.last.midi:
        sentences.append(f"It begins and ends on {first}.")
    else:
        where = "higher" if facts.last.midi > facts.first.midi else "lower"
        interval = _article(interval_name(facts.first, facts.last))
        sentences.append(f"It begins on {first} and ends {where}, on {last}, {interval} away.")
    return sentences


def _intervals(facts: Facts, rng: random.Random) -> list[str]:
    total = facts.repeated + facts.steps + facts.leaps
    if total < 2:
        return []
    shares = _join([
        f"{_share(facts.steps, total)} are steps",
        f"{_share(facts.leaps, total)} are thirds or wider",
        f"{_share(facts.repeated, total)} repeat the note",
    ])  # fmt: skip
    sentences = [rng.choice((
        f"Of the {total} melodic intervals, {shares}.",
        f"The melody makes {total} moves from note to note: {shares}.",
    ))]  # fmt: skip
    if facts.steps > facts.leaps:
        sentences.append("Stepwise motion outweighs leaps.")
    elif facts.steps < facts.leaps:
        sentences.append("Leaps outweigh stepwise motion.")
    if facts.widest is not None:
        sentences.append(_widest(facts.widest, facts))
    return sentences


def _widest(leap: Leap, facts: Facts) -> str:
    way = "upwards" if leap.second.midi > leap.first.midi else "downwards"
    interval = _article(interval_name(leap.first, leap.second))
    return (
        f"The widest melodic interval is {interval} {way}, from {note_name(leap.first)} to "
        f"{note_name(leap.second)}, reached first in {_bar(facts, leap.bar)}."
    )


def _rhythm(facts: Facts, rng: random.Random) -> list[str]:
    text = facts.meter.text
    where = "The music is in free meter" if text == "none" else f"The meter is {text}"
    if facts.meter_changes:
        where += " at the beginning"
    total = sum(count for _, count in facts.durations)
    value, count = facts.durations[0]
    common, share = value_name(value, 2), _share(count, total)
    sentences = []
    if len(facts.durations) > 1 and facts.durations[1][1] == count:
        other = value_name(facts.durations[1][0], 2)
        sentences.append(f"{where}; {common} and {other} are equally common, with "
                         f"{_count(count, 'note')} each.")  # fmt: skip
    else:
        sentences.append(rng.choice((
            f"{where}; the commonest note value is the {value_name(value)}: {share} of the notes.",
            f"{where}, and {share} of the notes are {common}, the commonest value.",
        )) if count < total else f"{where}, and all notes are {common}.")  # fmt: skip
    if len(facts.durations) > 1:
        values = [value for value, _ in facts.durations]
        sentences.append(f"The values range from the {value_name(min(values))} to the "
                         f"{value_name(max(values))}.")  # fmt: skip
    if facts.pickup:
        sentences.append(f"It begins with a pick-up as long as {_length(facts.pickup)}.")
    for size, many in facts.tuplets:
        sentences.append(f"There {_is(many)} {_count(many, TUPLETS.get(size, f'{size}-tuplet'))}.")
    if facts.syncopations == 1:
        sentences.append(
            "There is one syncopation: a note begins off the beat and lasts over the next beat."
        )
    elif facts.syncopations:
        sentences.append(f"There are {_number(facts.syncopations)} syncopations: notes that begin "
                         "off the beat and last over the next beat.")  # fmt: skip
    elif facts.syncopations == 0:
        sentences.append("No note that begins off the beat lasts over the next beat.")
    for many, noun in ((facts.n_rests, "rest"), (facts.n_graces, "grace note")):
        if many:
            sentences.append(f"There {_is(many)} {_count(many, noun)}.")
    if facts.meter_changes:
        changes = [f"to {_meter(m)} in {_bar(facts, i)}" for i, m in facts.meter_changes]
        sentences.append(f"The meter changes {_join(changes)}.")
    return sentences


def _mode(facts: Facts, rng: random.Random) -> list[str]:
    key, sentences = facts.key, []
    name, signature = key_name(key), _signature(key)
    if key.tonic and facts.key_changes:
        sentences.append(f"The tune begins in {name}, with {signature} in the key signature.")
    elif key.tonic:
        sentences.append(rng.choice((
            f"The tune is in {name}, with {signature} in the key signature.",
            f"The key is {name}; its signature has {signature}.",
        )))  # fmt: skip
    if facts.key_changes:
        changes = [f"to {key_name(k)} in {_bar(facts, i)}" for i, k in facts.key_changes]
        sentences.append(f"The key changes {_join(changes)}.")
    names = list(facts.pitch_classes)
    notes = _count(len(names), "note")
    sentences.append(rng.choice((
        f"Octaves not distinguished, it uses {notes}: {_join(names)}.",
        f"Leaving octaves aside, {notes} {'occurs' if len(names) == 1 else 'occur'}: "
        f"{_join(names)}.",
    )))  # fmt: skip
    if facts.pentatonic:
        sentences.append("They form a pentatonic scale without semitones.")
    n = facts.drawn_accidentals
    if n:
        before = "An accidental is" if n == 1 else "Accidentals are"
        sentences.append(f"{before} drawn before {_count(n, 'note')}.")
    else:
        sentences.append("No accidental is drawn before a note.")
    return sentences


def _ending(facts: Facts, rng: random.Random) -> list[str]:
    last, key = pitch_class(facts.last), key_name(facts.last_key)
    of_key = f" of {key}" if facts.key_changes else ""
    if not facts.last_key.tonic:
        return [f"The last note is {last}."]
    if facts.final_degree == 1:
        return [rng.choice((
            f"The melody closes on {last}, the tonic{of_key}.",
            f"The final note is the tonic{of_key}, {last}.",
        ))]  # fmt: skip
    if facts.final_degree:
        return [f"The melody does not close on the tonic: its last note, {last}, is the "
                f"{DEGREES[facts.final_degree - 1]} of {key}."]  # fmt: skip
    return [f"The melody closes on {last}, which is altered against the signature of {key}."]


def _cadences(facts: Facts, rng: random.Random) -> list[str]:
    if len(facts.section_ends) < 2:
        return []
    ends = list(enumerate(facts.section_ends, start=1))
    return [rng.choice((
        "The sections close as follows: "
        + _join([f"the {_ordinal(i)} on {_end(*end)}" for i, end in ends]) + ".",
        "Of the sections, "
        + _join([f"the {_ordinal(i)} closes on {_end(*end)}" for i, end in ends]) + ".",
    ))]  # fmt: skip


def _dance(facts: Facts, dance_type: str, rng: random.Random) -> list[str]:
    kind = " ".join(dance_type.lower().split())
    if not kind:
        return []
    meter = _meter(facts.meter) + (" at the beginning" if facts.meter_changes else "")
    return [rng.choice((
        f"The source calls this tune {_article(kind)}; it is notated in {meter}.",
        f"It is {_article(kind)} according to its source, notated in {meter}.",
    ))]  # fmt: skip


def key_name(key: Key) -> str:
    """As in "E minor", "D dorian with C natural"; "no key" where the source states none."""
    if not key.tonic:
        return "no key"
    name = f"{key.tonic} {key.mode}"
    marks = {-2: " double flat", -1: " flat", 0: " natural", 1: " sharp", 2: " double sharp"}
    added = [step + marks[alter] for step, alter in key.accidentals]
    return f"{name} with {_join(added)}" if added else name


def _signature(key: Key) -> str:
    n = key.fifths
    return _count(abs(n), "sharp" if n > 0 else "flat") if n else "no sharps or flats"


def _meter(meter: Meter) -> str:
    return "free meter" if meter.text == "none" else meter.text


def value_name(duration: Fraction, number: int = 1) -> str:
    """As in "dotted quarter note"; what has no such name is "note of 5/8"."""
    plural = "s" if number != 1 else ""
    for factor, dots in DOTS:
        if duration / factor in VALUES:
            return f"{dots}{VALUES[duration / factor]} note{plural}"
    return f"note{plural} of {duration}"


def _length(duration: Fraction) -> str:
    """A stretch of time: "one quarter note", "three eighth notes"."""
    unit = VALUES.get(Fraction(1, duration.denominator))
    if unit is None:
        return f"{duration} of a whole note"
    return _count(duration.numerator, f"{unit} note")


def _bar(facts: Facts, index: int) -> str:
    number = facts.numbers[index]
    return f"bar {number}" if number else "the pick-up"


def _end(note: Note, degree: int | None) -> str:
    return pitch_class(note) + (f" (the {DEGREES[degree - 1]})" if degree else "")


def _bars(section: Section) -> str:
    return _count(section.n_bars, "bar") + (" (all endings counted)" if section.endings else "")


def _share(part: int, total: int) -> str:
    """As in "about 58 %", with words at either end where rounding would say too much."""
    percent = round(100 * part / total)
    if part in (0, total):
        return "none" if part == 0 else "all"
    return {0: "hardly any", 100: "nearly all"}.get(percent, f"about {percent} %")


def _number(n: int) -> str:
    return NUMBERS[n] if n < len(NUMBERS) else str(n)


def _ordinal(n: int) -> str:
    names = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth",
             "ninth", "tenth", "eleventh", "twelfth")  # fmt: skip
    if n <= len(names):
        return names[n - 1]
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th") if n > 20 else "th"
    return f"{n}{suffix}"


def _count(n: int, noun: str) -> str:
    return f"{_number(n)} {noun}" + ("" if n == 1 else "s")


def _is(n: int) -> str:
    return "is" if n == 1 else "are"


def _article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
