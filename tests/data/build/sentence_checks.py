"""One checker for every sentence that an analysis can say.

Each checker computes its claim again from the tune, in a plainer way than `notation/facts.py`;
where intervals and pitches have names, music21 gives them.
"""

import re
from collections import Counter
from fractions import Fraction
from itertools import pairwise

from music21 import interval, pitch

from nota_jax.notation import abc
from nota_jax.notation.theory.facts import facts
from nota_jax.notation.theory.form import bar_numbers, playing_order, sections
from nota_jax.notation.tune import Key, Meter, Tune
from nota_jax.notation.walk import sounding_notes

NUMBERS = ("no one two three four five six seven eight nine ten eleven twelve").split()
ORDINALS = ("first second third fourth fifth sixth seventh eighth ninth tenth eleventh "
            "twelfth").split()  # fmt: skip
VALUES = {
    "double whole": Fraction(1, 2), "whole": 1, "half": 2, "quarter": 4, "eighth": 8,
    "sixteenth": 16, "thirty-second": 32, "sixty-fourth": 64,
}  # fmt: skip
DEGREES = ["tonic", *(f"{name} degree" for name in ORDINALS[1:7])]
METER = r"(?:The meter is \S+|The music is in free meter)(?: at the beginning)?"
NOTE = r"[A-G](?:#+|b+)?\d?"


# --- A plain reading of the tune ---------------------------------------------------------------


def count(word):
    return NUMBERS.index(word.lower()) if word.lower() in NUMBERS else int(word)


def midi(name):
    return pitch.Pitch(name.replace("b", "-")).midi


def line(tune):
    """Pitches of the highest sounding notes."""
    top = {}
    for note in sounding_notes(tune):
        top[note.onset] = max(top.get(note.onset, 0), note.midi)
    return list(top.values())


def heads(tune):
    """All notes that are drawn, grace notes too."""
    graces = [note for event in tune.events if event.grace for note, _ in event.grace.notes]
    return [note for event in tune.events for note in event.notes] + graces


def lengths(tune):
    return Counter(event.duration for event in tune.events if event.notes)


def where(tune, midi_number):
    """Number of the first bar with a note of that pitch, as the sentences write it."""
    numbers, _ = bar_numbers(tune)
    first = next(
        i
        for i, bar in enumerate(tune.bars)
        if any(note.midi == midi_number for note in heads(Tune(bars=(bar,))))
    )
    return f"bar {numbers[first]}" if numbers[first] else "the pick-up"


def value(text):
    """ "dotted quarter note" → 3/8."""
    dots, name = re.fullmatch(r"(dotted |double-dotted )?([a-z -]+) notes?", text).groups()
    factor = {None: Fraction(1), "dotted ": Fraction(3, 2), "double-dotted ": Fraction(7, 4)}
    return factor[dots] / VALUES[name]


def share_is(text, part, total):
    if text in ("all", "none"):
        return part == (total if text == "all" else 0)
    exact = 100 * part / total
    if text in ("nearly all", "hardly any"):
        return 99 < exact < 100 if text == "nearly all" else 0 < exact < 1
    return abs(exact - int(re.search(r"\d+", text)[0])) <= 0.5


def interval_is(name, low, high):
    if "semitones" in name:
        return abs(midi(high) - midi(low)) == int(re.search(r"\d+", name)[0])
    low, high = sorted((low, high), key=midi)
    theirs = interval.Interval(*(pitch.Pitch(n.replace("b", "-")) for n in (low, high)))
    nice = theirs.niceName.lower().replace("double-octave", "fifteenth")
    return name.split(" ", 1)[1] == nice


def signature(tune):
    """Of the key that Verovio, music21 and everybody would draw: counted from the altered steps."""
    return {
        step: alter for step, alter in Key(tune.key.tonic, tune.key.mode).alters.items() if alter
    }


def last_key(tune):
    return next((i for bar in reversed(tune.bars) for i in reversed(bar.items)
                 if isinstance(i, Key)), tune.key)  # fmt: skip


def meter_changes(tune):
    now, changes = tune.meter, []
    for bar in tune.bars:
        for item in bar.items:
            if isinstance(item, Meter) and item != now:
                changes.append(item.text)
                now = item
    return changes


# --- One checker a sentence --------------------------------------------------------------------


def huron(tune):
    pitches = line(tune)
    inner = sum(pitches[1:-1]) / len(pitches[1:-1])
    sign = lambda x: (x > 1e-9) - (x < -1e-9)  # noqa: E731
    return sign(inner - pitches[0]), sign(inner - pitches[-1])


PLACES = {
    "above its first and its last note": (1, 1),
    "below its first and its last note": (-1, -1),
    "level with its first and its last note": (0, 0),
    "above its first note and below its last": (1, -1),
    "below its first note and above its last": (-1, 1),
    "above its first note and level with its last": (1, 0),
    "below its first note and level with its last": (-1, 0),
    "level with its first note and below its last": (0, -1),
    "level with its first note and above its last": (0, 1),
}


def check_motion(tune, total, steps, leaps, repeats):
    """Counted on staff positions of successive heads, those at the far end of a tie left out."""
    tops = [max(event.notes, key=lambda n: n.midi, default=None) for event in tune.events]
    tops = [
        top for before, top in pairwise([None, *tops])
        if top and not (before and before.tie and before.midi == top.midi)
    ]  # fmt: skip
    moves = [abs(b.diatonic - a.diatonic) for a, b in pairwise(tops) if a.midi != b.midi]
    small = sum(move <= 1 for move in moves)
    return (
        int(total) == len(tops) - 1
        and share_is(steps, small, len(tops) - 1)
        and share_is(leaps, len(moves) - small, len(tops) - 1)
        and share_is(repeats, len(tops) - 1 - len(moves), len(tops) - 1)
    )


def check_widest(tune, name, way, first, second, bar):
    moves = [(abs(b - a), a, b) for a, b in pairwise(line(tune))]
    widest = max(m[0] for m in moves)
    return (
        (widest, midi(first), midi(second)) in moves
        and interval_is(name, first, second)
        and (way == "upwards") == (midi(second) > midi(first))
        and bar.startswith(("bar", "the pick-up"))
    )


def check_range(tune, name, low, high):
    pitches = [note.midi for note in heads(tune)]
    return (midi(low), midi(high)) == (min(pitches), max(pitches)) and interval_is(name, low, high)


def check_notes(tune, number, names):
    names = re.split(", | and ", names)
    classes = {note.midi % 12 for note in heads(tune)}
    return count(number) == len(names) == len(classes) and {midi(n) % 12 for n in names} == classes


def check_commonest(tune, name, share):
    ranked = lengths(tune).most_common()
    best = ranked[0][1]
    assert sum(n == best for _, n in ranked) == 1
    return ranked[0][0] == value(name) and share_is(share, best, sum(n for _, n in ranked))


def check_equally(tune, one, other, number):
    found = lengths(tune)
    return found[value(one)] == found[value(other)] == count(number) == max(found.values())


def check_key(tune, tonic, mode, number, kind):
    altered = signature(tune)
    names = {1: "sharp", -1: "flat"}
    kinds = {names[alter] for alter in altered.values()} or {"sharps or flat"}
    return (
        (tune.key.tonic, tune.key.mode) == (tonic, mode)
        and count(number) == len(altered)
        and kinds == {kind.removesuffix("s")}
    )


def check_end(tune, name, degree):
    """The last note has that name and stands on that degree of the key in force."""
    if line(tune)[-1] % 12 != midi(name) % 12:
        return False
    tonic = last_key(tune).tonic
    steps = "CDEFGAB"
    return degree is None or (steps.index(name[0]) - steps.index(tonic[0])) % 7 == DEGREES.index(
        degree
    )


def check_sections(tune, text):
    parts = sections(tune)
    found = re.findall(rf"the ([\w ]+?) (?:closes )?on ({NOTE})(?: \(the ([\w ]+)\))?", text)
    assert len(found) == len(parts)
    for (ordinal, name, _), part in zip(found, parts, strict=True):
        notes = [n for bar in tune.bars[: part.last + 1] for e in bar.events for n in e.notes]
        chord = next(e.notes for bar in reversed(tune.bars[: part.last + 1])
                     for e in reversed(bar.events) if e.notes)  # fmt: skip
        assert notes and midi(name) % 12 == max(n.midi for n in chord) % 12
        number = parts.index(part)
        assert ordinal == (ORDINALS[number] if number < 12 else f"{number + 1}th")
    return True


def check_groups(tune, text):
    """Equal letters stand for equal music, different letters for different music."""
    letters = re.findall(r"[a-z]\d*'*", text)
    sound, meter = [], tune.meter
    for part in sections(tune):
        bars = tune.bars[part.first : part.last + 1]
        meter = next((i for i in bars[0].items if isinstance(i, Meter)), meter)
        if len(bars) % 4 == 1:
            assert bars[0].duration < meter.duration
            bars = bars[1:]
        for i in range(0, len(bars), 4):
            sound.append([
                (place, sorted(n.midi for n in event.notes), event.sounding)
                for place, bar in enumerate(bars[i : i + 4]) for event in bar.events
            ])  # fmt: skip
        meter = next((i for b in bars[::-1] for i in b.items[::-1] if isinstance(i, Meter)), meter)
    assert len(sound) == len(letters)
    return all(
        (one == other) == (sound[i] == sound[j])
        for i, one in enumerate(letters) for j, other in enumerate(letters)
    )  # fmt: skip


def check_lengths(tune, text):
    found = re.findall(r"([A-Z]\d*'*) of ([\w-]+) bars?( \(all endings counted\))?", text)
    parts = sections(tune)
    full = tune.meter.duration
    for (letter, number, endings), part in zip(found, parts, strict=True):
        bars = tune.bars[part.first : part.last + 1]
        short = len(bars) > 1 and full is not None and bars[0].duration < full
        assert letter == part.letter and bool(endings) == any(b.ending for b in bars)
        assert meter_changes(tune) or count(number) == len(bars) - short
    return True


CHECKS = [
    # form
    (r"(?:The tune is written in|Repeat signs or double bars divide the piece into|The piece falls "
     r"into) ([\w-]+)(?: written)? sections", lambda t, n: count(n) == len(sections(t))),
    (r"They are (.+ of .+)", check_lengths),
    (r"It is a single section of .*, which is repeated: (A+)",
     lambda t, o: len(sections(t)) == 1 and o == "".join(playing_order(t, sections(t)))),
    (r"(?:Played with its repeats, its form is|With the repeats the sections sound in the order) "
     r"(\S+)", lambda t, o: o == "".join(playing_order(t, sections(t))) and ":|" in barlines(t)),
    (r"No section is repeated by a sign, so its form is (\S+)",
     lambda t, o: o == "".join(s.letter for s in sections(t)) and ":|" not in barlines(t)),
    (r"(?:Taken in groups of four bars, the music runs|Its groups of four bars follow the pattern) "
     r"(\S+)", check_groups),
    (r"A prime marks a variant that shares at least half of its bars", lambda t: True),
    (r"It is written in ([\w-]+) bars?, the pick-up not counted",
     lambda t, n: count(n) == max(bar_numbers(t)[0]) and bar_numbers(t)[1] > 0),
    (r"It is written in ([\w-]+) bars? and begins without a pick-up",
     lambda t, n: count(n) == max(bar_numbers(t)[0]) and t.bars[0].duration >= t.meter.duration),
    # range
    (rf"The range is (.+), from ({NOTE}) to ({NOTE})", check_range),
    (rf"The notes span (.+), from ({NOTE}) up to ({NOTE})", check_range),
    (rf"The lowest note is ({NOTE}) and the highest is ({NOTE}), (.+) apart",
     lambda t, low, high, name: check_range(t, name, low, high)),
    (rf"All notes are ({NOTE})", lambda t, n: {h.midi for h in heads(t)} == {midi(n)}),
    (r"That is ([\w-]+) semitones?",
     lambda t, n: count(n) == max(h.midi for h in heads(t)) - min(h.midi for h in heads(t))),
    (r"The highest note first appears in (.+), the lowest in (.+)",
     lambda t, high, low: (high, low) == (where(t, max(h.midi for h in heads(t))),
                                          where(t, min(h.midi for h in heads(t))))),
    # contour
    (r"Seen as a whole, the melody .+: its inner notes lie on average (.+)",
     lambda t, place: PLACES[place] == huron(t)),
    (r"As one line the melody .+; on average its inner notes lie (.+)",
     lambda t, place: PLACES[place] == huron(t)),
    (rf"It begins and ends on ({NOTE})",
     lambda t, n: line(t)[0] == line(t)[-1] == midi(n)),
    (rf"It begins on ({NOTE}) and ends (higher|lower), on ({NOTE}), (.+) away",
     lambda t, a, way, b, name: (line(t)[0], line(t)[-1]) == (midi(a), midi(b))
     and (way == "higher") == (line(t)[-1] > line(t)[0]) and interval_is(name, a, b)),
    # intervals
    (r"Of the (\d+) melodic intervals, (.+) are steps, (.+) are thirds or wider and (.+) repeat "
     r"the note", check_motion),
    (r"The melody makes (\d+) moves from note to note: (.+) are steps, (.+) are thirds or wider "
     r"and (.+) repeat the note", check_motion),
    (r"(Stepwise motion|Leaps) outweighs? (?:leaps|stepwise motion)",
     lambda t, _: any(a != b for a, b in pairwise(line(t)))),
    (rf"The widest melodic interval is (.+) (upwards|downwards), from ({NOTE}) to ({NOTE}), "
     r"reached first in (.+)", check_widest),
    # rhythm
    (METER + r"; the commonest note "
     r"value is the (.+): (.+) of the notes", check_commonest),
    (METER + r", and (.+) of the notes "
     r"are (.+), the commonest value", lambda t, share, name: check_commonest(t, name, share)),
    (METER + r", and all notes are "
     r"(.+)", lambda t, name: set(lengths(t)) == {value(name)}),
    (METER + r"; (.+ notes) and "
     r"(.+ notes) are equally common, with (\S+) notes? each", check_equally),
    (r"The values range from the (.+) to the (.+)",
     lambda t, a, b: (value(a), value(b)) == (min(lengths(t)), max(lengths(t)))),
    (r"It begins with a pick-up as long as (.+)",
     lambda t, text: t.bars[0].duration < t.meter.duration and pickup_is(t, text)),
    (r"There (?:is|are) ([\w-]+) (\w+let|\d+-tuplet)s?", lambda t, n, kind: count(n) == len(
        {e.tuplet.number for e in t.events if e.tuplet and e.tuplet.actual == tuplet_size(kind)})),
    (r"There (?:is|are) ([\w-]+) syncopations?: .* off the beat and lasts? over the next beat",
     lambda t, n: count(n) == offbeat_notes(t)),
    (r"No note that begins off the beat lasts over the next beat",
     lambda t: offbeat_notes(t) == 0),
    (r"There (?:is|are) ([\w-]+) rests?",
     lambda t, n: count(n) == len([e for e in t.events if not e.notes])),
    (r"There (?:is|are) ([\w-]+) grace notes?",
     lambda t, n: count(n) == sum(len(e.grace.notes) for e in t.events if e.grace)),
    (r"The meter changes (.+)",
     lambda t, text: re.findall(r"to (free meter|\S+)", text) == [
         "free meter" if m == "none" else m for m in meter_changes(t)]),
    # mode
    (r"The tune is in (\S+) (\w+), with ([\w-]+) (sharps or flats|sharps?|flats?) in the key "
     r"signature", check_key),
    (r"The tune begins in (\S+) (\w+), with ([\w-]+) (sharps or flats|sharps?|flats?) in the key "
     r"signature", check_key),
    (r"The key is (\S+) (\w+); its signature has ([\w-]+) (sharps or flats|sharps?|flats?)",
     check_key),
    (r"The key changes (.+)", lambda t, text: len(re.findall(r"\bto ", text)) == len(
        facts(t).key_changes) and f"to {last_key(t).tonic}" in text),
    (r"Octaves not distinguished, it uses (\S+) notes?: (.+)", check_notes),
    (r"Leaving octaves aside, (\S+) notes? occurs?: (.+)", check_notes),
    (r"They form a pentatonic scale without semitones",
     lambda t: is_black_keys({h.midi % 12 for h in heads(t)})),
    (r"(?:An accidental is|Accidentals are) drawn before ([\w-]+) notes?",
     lambda t, n: count(n) == sum(h.accidental is not None for h in heads(t))),
    (r"No accidental is drawn before a note", lambda t: {h.accidental for h in heads(t)} == {None}),
    # ending and cadences
    (rf"The melody closes on ({NOTE}), the (tonic)(?: of .+)?", check_end),
    (rf"The final note is the (tonic)(?: of .+)?, ({NOTE})", lambda t, d, n: check_end(t, n, d)),
    (rf"The melody does not close on the tonic: its last note, ({NOTE}), is the (\w+ degree) of .+",
     check_end),
    (rf"The melody closes on ({NOTE}), which is altered against the signature of .+",
     lambda t, n: check_end(t, n, None)),
    (rf"The last note is ({NOTE})", lambda t, n: check_end(t, n, None)),
    (r"The sections close as follows: (.+)", check_sections),
    (r"Of the sections, (.+)", check_sections),
    # dance type
    (r"(?:The source calls this tune|It is) an? ([a-z ]+?)(?:; it is notated in| according to its "
     r"source, notated in) (\S+|free meter)",
     lambda t, kind, meter: kind == "reel" and meter.replace("free meter", "none") == t.meter.text),
]  # fmt: skip


def barlines(tune):
    return {bar.barline for bar in tune.bars}


def is_black_keys(classes):
    return any({(n + shift) % 12 for n in classes} == {1, 3, 6, 8, 10} for shift in range(12))


def tuplet_size(kind):
    names = {"duplet": 2, "triplet": 3, "quadruplet": 4, "quintuplet": 5, "sextuplet": 6}
    return names.get(kind) or int(kind.split("-")[0])


def pickup_is(tune, text):
    if match := re.fullmatch(r"(\S+) of a whole note", text):
        return tune.bars[0].duration == Fraction(match[1])
    number, unit = re.fullmatch(r"([\w-]+) ([\w-]+) notes?", text).groups()
    return tune.bars[0].duration == Fraction(count(number), VALUES[unit])


def offbeat_notes(tune):
    """Counted from what sounds: a beat falls inside the note but not on its beginning.

    Beats are counted within each section, whose pick-up is filled up with silence.
    """
    meter, now, grid, found = tune.meter, Fraction(0), [], 0
    for i, bar in enumerate(tune.bars):
        meter = next((item for item in bar.items if isinstance(item, Meter)), meter)
        text = {"C": "4/4", "C|": "2/2"}.get(meter.text, meter.text)
        top, bottom = map(int, text.split("/"))
        beat = Fraction(3 if top > 3 and top % 3 == 0 and bottom >= 8 else 1, bottom)
        begins = any(part.first == i for part in sections(tune)) if i else bar_numbers(tune)[1]
        missing = Fraction(top, bottom) - bar.duration if begins else 0
        first = -missing % beat  # the first beat in this bar
        grid += [now + first + n * beat for n in range(top) if first + n * beat < bar.duration]
        now += bar.duration
    highest = {note.onset: note for note in sorted(sounding_notes(tune), key=lambda n: n.midi)}
    for note in highest.values():
        inside = [b for b in grid if note.onset < b < note.onset + note.duration]
        found += note.onset not in grid and bool(inside)
    return found


def assert_true(tune, sentence):
    for pattern, check in CHECKS:
        if match := re.fullmatch(pattern, sentence.removesuffix(".")):
            assert check(tune, *match.groups()), f"{sentence}\n{abc.write(tune)}"
            return pattern
    raise AssertionError(f"no checker knows this sentence: {sentence}")
