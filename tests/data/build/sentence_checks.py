"""Every sentence that an analysis can say, and what the tune says to each of its words.

A sentence is a template whose slots (`{low:note}`) hold everything that may be right or wrong;
beside it stands a function that reads the truth for those slots from the tune, None where the
sentence cannot be said of it at all.  A slot's kind knows how its text is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from nota_jax.notation.tune import Key
from tests.data.build.plain_reading import (
    Reading,
    degree_of,
    full_name,
    interval_between,
    name_of,
    signature_of,
)

NUMBERS = "no one two three four five six seven eight nine ten eleven twelve".split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
)
DEGREES = ("tonic", *(f"{ordinal} degree" for ordinal in ORDINALS[1:7]))
VALUES = {"double whole": 2, "whole": 1, "half": Fraction(1, 2), "quarter": Fraction(1, 4),
          "eighth": Fraction(1, 8), "sixteenth": Fraction(1, 16),
          "thirty-second": Fraction(1, 32), "sixty-fourth": Fraction(1, 64)}  # fmt: skip
DOTS = {"": Fraction(1), "dotted ": Fraction(3, 2), "double-dotted ": Fraction(7, 4)}
TUPLETS = {"duplet": 2, "triplet": 3, "quadruplet": 4, "quintuplet": 5, "sextuplet": 6}
MARKS = {"double flat": -2, "flat": -1, "natural": 0, "sharp": 1, "double sharp": 2}
MODES = "major|minor|ionian|dorian|phrygian|lydian|mixolydian|aeolian|locrian"
# What the melody does, and where its inner notes lie, by where the mean of those is.
MOTIONS = {
    "ascends": "up",
    "ascends and stays high": "up, level",
    "forms an arch": "up, down",
    "stays level and ascends": "level, up",
    "stays level": "level",
    "stays level and descends": "level, down",
    "forms a bowl": "down, up",
    "descends and stays low": "down, level",
    "descends": "down",
}
PLACES = {
    "above its first note and below its last": "up",
    "above its first note and level with its last": "up, level",
    "above its first and its last note": "up, down",
    "level with its first note and below its last": "level, up",
    "level with its first and its last note": "level",
    "level with its first note and above its last": "level, down",
    "below its first and its last note": "down, up",
    "below its first note and level with its last": "down, level",
    "below its first note and above its last": "down",
}

# --- Kinds of slots: a pattern without groups, and what a text of it says -------------------------

NUMBER = rf"(?:{'|'.join(NUMBERS)}|1[3-9]|[2-9]\d|[1-9]\d\d+)"
CLASS = r"[A-G](?:##?|bb?)?"
BAR = r"(?:bar [1-9]\d*|the pick-up)"
ACCIDENTAL = rf"[A-G] (?:{'|'.join(MARKS)})"
KEY = (rf"(?:[A-G][#b]? (?:{MODES})(?: with {ACCIDENTAL}(?:(?:, {ACCIDENTAL})* and {ACCIDENTAL})?)?"
       "|no key)")  # fmt: skip
METER = r"(?:free meter|[\d+()C|/]+)"
VALUE = rf"(?:(?:dotted |double-dotted )?(?:{'|'.join(VALUES)}) note|note of \d+(?:/\d+)?)"
PLURAL_VALUE = VALUE.replace(" note|note of", " notes|notes of")
DEGREE = rf"(?:{'|'.join(DEGREES)})"


def number(text: str) -> int:
    return NUMBERS.index(text) if text in NUMBERS else int(text)


def ordinal(text: str) -> int:
    if text in ORDINALS:
        return ORDINALS.index(text) + 1
    n = int(text[:-2])
    teens = n % 100 in (11, 12, 13)
    right = "th" if teens else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return n if text.endswith(right) else 0


def value(text: str) -> Fraction:
    if match := re.fullmatch(r"notes? of (\S+)", text):
        return Fraction(match[1])
    dots, name = re.fullmatch(r"(dotted |double-dotted )?(.+?) notes?", text).groups()
    return DOTS[dots or ""] * VALUES[name]


def length(text: str) -> Fraction:
    if text.endswith(" of a whole note"):
        return Fraction(text.split()[0])
    many, unit = re.fullmatch(rf"({NUMBER}) (.+?) notes?", text).groups()
    assert text.endswith("s") == (many != "one")
    return number(many) * Fraction(VALUES[unit])


def bar(text: str) -> int:
    return 0 if text == "the pick-up" else int(text.removeprefix("bar "))


def meter(text: str) -> str:
    return "none" if text == "free meter" else text


def named_key(text: str) -> tuple | None:
    if text == "no key":
        return None
    name, _, added = text.partition(" with ")
    pairs = re.findall(rf"({CLASS}) ({'|'.join(sorted(MARKS, key=len, reverse=True))})", added)
    return *name.split(), frozenset((step, MARKS[mark]) for step, mark in pairs)


def signature(text: str) -> tuple[int, int]:
    """Sharps and flats; "no sharps or flats"."""
    if text == "no sharps or flats":
        return 0, 0
    found = {"sharp": 0, "flat": 0}
    for many, kind, plural in re.findall(rf"({NUMBER}) (sharp|flat)(s?)", text):
        assert bool(plural) == (many != "one") and many != "no"
        found[kind] = number(many)
    return found["sharp"], found["flat"]


def named(text: str) -> str:
    """What stands behind the article that fits."""
    article, name = text.split(" ", 1)
    assert article == ("an" if name[0] in "aeiou" else "a")
    return name


def counted(noun: str, before: str = "", after: str = "") -> Kind:
    """A number of things, the verb agreeing: counted("rest", "is|are") reads "are two rests"."""
    one, _, more = (before or after).partition("|")
    nouns = noun if "(" in noun else f"({noun})"
    pattern = rf"(?:(?:{one}|{more}) )?" if before else ""
    pattern += rf"{NUMBER} {re.sub('[(]', '(?:', nouns)}s?"
    pattern += f" (?:{one}|{more})" if after else ""

    def read(text: str) -> object:
        groups = re.fullmatch(rf"(?:(\w+) )??({NUMBER}) {nouns}(s?)(?: (\w+))?", text).groups()
        single = groups[1] == "one"
        assert (groups[3] == "") == single
        assert (groups[0] or groups[4] or "") == (one if single else more)
        return number(groups[1]) if nouns == f"({noun})" else (number(groups[1]), groups[2])

    return Kind(pattern, read)


def ungrouped(pattern: str) -> str:
    """The pattern with groups that catch nothing."""
    return re.sub(r"(?<!\\)\((?!\?)", "(?:", pattern)


def listing(item: str, read: Callable) -> Kind:
    """ "x", "x and y", "x, y and z"; read: from the groups of one item."""
    plain = ungrouped(item)
    return Kind(
        f"{plain}(?:(?:, {plain})* and {plain})?",
        lambda text: tuple(read(*found.groups()) for found in re.finditer(item, text)),
    )


def stretch(many: str, plural: str, endings: str | None) -> tuple[int, bool]:
    assert bool(plural) == (many != "one")
    return number(many), bool(endings)


def end_of_section(place: str, name: str, degree: str | None) -> tuple:
    return ordinal(place), name, DEGREES.index(degree) + 1 if degree else None


@dataclass(frozen=True)
class Kind:
    pattern: str
    read: Callable[[str], object]


BARS = rf"({NUMBER}) bar(s?)( \(all endings counted\))?"
END = rf"({CLASS})(?: \(the ({DEGREE})\))?"
PLACE = rf"({'|'.join(ORDINALS)}|\d+(?:st|nd|rd|th))"
KINDS = {
    "number": Kind(NUMBER, number),
    "digits": Kind(r"[1-9]\d*", int),
    "bars": counted("bar"),
    "semitones": counted("semitone"),
    "notes": counted("note"),
    "notes occur": counted("note", after="occurs|occur"),
    "is rests": counted("rest", "is|are"),
    "is graces": counted("grace note", "is|are"),
    "is tuplets": counted(rf"({'|'.join(TUPLETS)}|\d+-tuplet)", "is|are"),
    "share": Kind(r"(?:all|none|nearly all|hardly any|about [1-9]\d? %)", str),
    "note": Kind(rf"{CLASS}-?\d", str),
    "class": Kind(CLASS, str),
    "classes": listing(f"({CLASS})", str),
    "interval": Kind(r"an? (?:[a-z]+ [a-z]+|interval of \d+ semitones)", named),
    "dance": Kind(r"an? [^;,]+", named),
    "bar": Kind(BAR, bar),
    "meter": Kind(METER, meter),
    "start": Kind("(?: at the beginning)?", bool),
    "key": Kind(KEY, named_key),
    "of key": Kind(f"(?: of {KEY})?", lambda text: text and named_key(text[4:])),
    "signature": Kind(rf"(?:no sharps or flats|{NUMBER} (?:sharp|flat)s?(?: and {NUMBER} flats?)?)",
                      signature),
    "degree": Kind(DEGREE, lambda text: DEGREES.index(text) + 1),
    "value": Kind(VALUE, value),
    "values": Kind(PLURAL_VALUE, value),
    "two values": Kind(rf"{PLURAL_VALUE} and {PLURAL_VALUE}",
                       lambda text: frozenset(map(value, re.findall(PLURAL_VALUE, text)))),
    "length": Kind(rf"(?:{NUMBER} (?:{'|'.join(VALUES)}) notes?|\d+/\d+ of a whole note)", length),
    "motion": Kind("|".join(sorted(MOTIONS, key=len, reverse=True)), MOTIONS.get),
    "place": Kind("|".join(PLACES), PLACES.get),
    "up": Kind("upwards|downwards", lambda text: text == "upwards"),
    "higher": Kind("higher|lower", lambda text: text == "higher"),
    "letters": Kind(r"(?:[A-Z]\d*'*)+", lambda text: re.findall(r"[A-Z]\d*'*", text)),
    "small letters": Kind(r"(?:[a-z]\d*'*)+", lambda text: re.findall(r"[a-z]\d*'*", text)),
    "stretch": Kind(ungrouped(BARS), lambda text: stretch(
        *re.fullmatch(BARS, text).groups())),
    "stretches": listing(rf"([A-Z]\d*'*) of {BARS}", lambda x, *rest: (x, *stretch(*rest))),
    "meters": listing(rf"to ({METER}) in ({BAR})", lambda m, b: (meter(m), bar(b))),
    "keys": listing(rf"to ({KEY}) in ({BAR})", lambda k, b: (named_key(k), bar(b))),
    "ends on": listing(rf"the {PLACE} on {END}", end_of_section),
    "ends closes on": listing(rf"the {PLACE} closes on {END}", end_of_section),
}  # fmt: skip

# --- What the tune says ------------------------------------------------------------------------
# Slots → the value, or the set of values, that they may have; None: the sentence does not hold.

Truth = dict[str, object] | None


def only_if(holds: object, **slots: object) -> Truth:
    return slots if holds else None


def share(part: int, total: int) -> set[str]:
    """How a share may be said: in whole percents, at both ends in words."""
    if part in (0, total):
        return {"all"} if part else {"none"}
    near = [n for n in range(101) if abs(100 * part / total - n) <= 0.5]
    return {{0: "hardly any", 100: "nearly all"}.get(n, f"about {n} %") for n in near}


def key_value(key: Key) -> tuple | None:
    return (key.tonic, key.mode, frozenset(key.accidentals)) if key.tonic else None


def sections(r: Reading) -> Truth:
    return only_if(len(r.sections) > 1, n=len(r.sections))


def stretch_of(r: Reading, section: range) -> tuple[int, bool]:
    return len(r.music(section)), r.has_endings(section)


def section_lengths(r: Reading) -> Truth:
    pairs = zip(r.letters, r.sections, strict=True)
    parts = tuple((letter, *stretch_of(r, section)) for letter, section in pairs)
    return only_if(len(parts) > 1, parts=parts)


def repeated_whole(r: Reading) -> Truth:
    whole = len(r.sections) == 1 and r.played
    return only_if(whole, part=stretch_of(r, r.sections[0]), order=r.played)


def with_repeats(r: Reading) -> Truth:
    return only_if(len(r.played) > len(r.sections) > 1, order=r.played)


def without_repeats(r: Reading) -> Truth:
    signs = any(bar.barline == ":|" for bar in r.bars)
    return only_if(r.played and not signs, order=r.played)


def groups(r: Reading) -> Truth:
    return only_if(r.groups, groups=r.groups)


def primes(r: Reading) -> Truth:
    return only_if(any("'" in letter for letter in r.letters + r.groups))


def bars_behind_pickup(r: Reading) -> Truth:
    return only_if(r.pickup, n=max(r.numbers))


def bars_without_pickup(r: Reading) -> Truth:
    return only_if(not r.pickup and r.tune.meter.duration, n=max(r.numbers))


def span(r: Reading) -> Truth:
    low, high = r.lowest[0], r.highest[0]
    return only_if(low.midi < high.midi, low=full_name(low), high=full_name(high),
                   name=interval_between(low, high))  # fmt: skip


def one_pitch(r: Reading) -> Truth:
    names = {full_name(note) for note, _ in r.heads}
    return only_if(len(names) == 1, note=names)


def semitones(r: Reading) -> Truth:
    return {"n": r.highest[0].midi - r.lowest[0].midi}


def extremes(r: Reading) -> Truth:
    return {"high": r.numbers[r.highest[1]], "low": r.numbers[r.lowest[1]]}


def contour(r: Reading) -> Truth:
    return only_if(r.contour, motion=r.contour, place=r.contour)


def same_ends(r: Reading) -> Truth:
    names = {full_name(r.line[0].note), full_name(r.line[-1].note)}
    return only_if(len(names) == 1, note=names)


def other_ends(r: Reading) -> Truth:
    first, last = r.line[0].note, r.line[-1].note
    return only_if(first.midi != last.midi, first=full_name(first), last=full_name(last),
                   higher=last.midi > first.midi, name=interval_between(first, last))  # fmt: skip


def motion(r: Reading) -> Truth:
    total = len(r.moves)
    steps, wide, same = (share(n, total) for n in r.motion) if total else ((), (), ())
    return only_if(total, n=total, steps=steps, wide=wide, same=same)


def widest(r: Reading) -> Truth:
    if r.widest is None:
        return None
    first, second = (sound.note for sound in r.widest)
    return {
        "name": interval_between(first, second), "up": second.midi > first.midi,
        "first": full_name(first), "second": full_name(second),
        "bar": r.numbers[r.widest[1].spot.bar],
    }  # fmt: skip


def beginning(r: Reading) -> dict[str, object]:
    return {"meter": r.tune.meter.text, "start": bool(r.meter_changes)}


def commonest(r: Reading) -> Truth:
    (best, count), *others = r.values.most_common()
    unique = others and others[0][1] < count
    return only_if(unique, value=best, share=share(count, r.values.total()))


def one_value(r: Reading) -> Truth:
    return only_if(len(r.values) == 1, value=set(r.values))


def equally_common(r: Reading) -> Truth:
    most = max(r.values.values())
    best = [value for value, count in r.values.items() if count == most]
    return only_if(len(best) > 1, n=most, two=set(map(frozenset, combinations(best, 2))))


def value_range(r: Reading) -> Truth:
    return only_if(len(r.values) > 1, low=min(r.values), high=max(r.values))


def pickup(r: Reading) -> Truth:
    return only_if(r.pickup, length=r.pickup)


def tuplets(r: Reading) -> Truth:
    names = {size: name for name, size in TUPLETS.items()}
    return {"n": {(n, names.get(size, f"{size}-tuplet")) for n, size in r.tuplets}}


def rests(r: Reading) -> Truth:
    return {"n": sum(not spot.event.notes for spot in r.spots)}


def meters(r: Reading) -> Truth:
    changes = tuple((new.text, r.numbers[bar]) for new, bar in r.meter_changes)
    return only_if(changes, changes=changes)


def keys(r: Reading) -> Truth:
    changes = tuple((key_value(new), r.numbers[bar]) for new, bar in r.key_changes)
    return only_if(changes, changes=changes)


def key(r: Reading) -> dict[str, object]:
    altered = list(signature_of(r.tune.key).values())
    return {"key": key_value(r.tune.key), "signature": (altered.count(1), altered.count(-1))}


def only_key(r: Reading) -> Truth:
    return only_if(r.tune.key.tonic and not r.key_changes, **key(r))


def first_key(r: Reading) -> Truth:
    return only_if(r.tune.key.tonic and r.key_changes, **key(r))


def scale(r: Reading) -> Truth:
    return {"n": len(next(iter(r.scales))), "names": r.scales}


def accidentals(r: Reading) -> int:
    return sum(note.accidental is not None for note, _ in r.heads)


def last(r: Reading) -> tuple[str, int | None, Key]:
    sound = r.line[-1]
    return name_of(sound.note), degree_of(sound.note, sound.spot.key), sound.spot.key


def closes_on_tonic(r: Reading) -> Truth:
    name, degree, in_key = last(r)
    return only_if(degree == 1, note=name, of=key_value(in_key) if r.key_changes else "")


def closes_elsewhere(r: Reading) -> Truth:
    name, degree, in_key = last(r)
    return only_if(degree not in (None, 1), note=name, degree=degree, key=key_value(in_key))


def closes_altered(r: Reading) -> Truth:
    name, degree, in_key = last(r)
    return only_if(in_key.tonic and degree is None, note=name, key=key_value(in_key))


def closes_without_key(r: Reading) -> Truth:
    name, _, in_key = last(r)
    return only_if(not in_key.tonic, note=name)


def section_ends(r: Reading) -> Truth:
    ends = []
    for i, section in enumerate(r.sections, start=1):
        inside = [sound for sound in r.line if sound.spot.bar in section]
        if not inside:
            return None
        ends.append((i, name_of(inside[-1].note), degree_of(inside[-1].note, inside[-1].spot.key)))
    return only_if(len(ends) > 1, ends=tuple(ends))


def dance(r: Reading) -> Truth:
    return only_if(r.dance_type, dance=" ".join(r.dance_type.lower().split()), **beginning(r))


def both(one: Callable[[Reading], Truth], free: bool) -> Callable[[Reading], Truth]:
    """With the meter: stated as such, or free."""

    def truth(r: Reading) -> Truth:
        other, now = one(r), beginning(r)
        if other is None or (now["meter"] == "none") != free:
            return None
        return other | now if not free else other | {"start": now["start"]}

    return truth


SENTENCES: tuple[tuple[str, Callable[[Reading], Truth]], ...] = (
    ("The tune is written in {n:number} sections.", sections),
    ("Repeat signs or double bars divide the piece into {n:number} sections.", sections),
    ("The piece falls into {n:number} written sections.", sections),
    ("They are {parts:stretches}.", section_lengths),
    ("It is a single section of {part:stretch}, which is repeated: {order:letters}.",
     repeated_whole),
    ("Played with its repeats, its form is {order:letters}.", with_repeats),
    ("With the repeats the sections sound in the order {order:letters}.", with_repeats),
    ("No section is repeated by a sign, so its form is {order:letters}.", without_repeats),
    ("Taken in groups of four bars, the music runs {groups:small letters}.", groups),
    ("Its groups of four bars follow the pattern {groups:small letters}.", groups),
    ("A prime marks a variant that shares at least half of its bars.", primes),
    ("It is written in {n:bars}, the pick-up not counted.", bars_behind_pickup),
    ("It is written in {n:bars} and begins without a pick-up.", bars_without_pickup),
    ("The range is {name:interval}, from {low:note} to {high:note}.", span),
    ("The notes span {name:interval}, from {low:note} up to {high:note}.", span),
    ("The lowest note is {low:note} and the highest is {high:note}, {name:interval} apart.", span),
    ("All notes are {note:note}.", one_pitch),
    ("That is {n:semitones}.", semitones),
    ("The highest note first appears in {high:bar}, the lowest in {low:bar}.", extremes),
    ("Seen as a whole, the melody {motion:motion}: its inner notes lie on average {place:place}.",
     contour),
    ("As one line the melody {motion:motion}; on average its inner notes lie {place:place}.",
     contour),
    ("It begins and ends on {note:note}.", same_ends),
    ("It begins on {first:note} and ends {higher:higher}, on {last:note}, {name:interval} away.",
     other_ends),
    ("Of the {n:digits} melodic intervals, {steps:share} are steps, {wide:share} are thirds or "
     "wider and {same:share} repeat the note.", motion),
    ("The melody makes {n:digits} moves from note to note: {steps:share} are steps, {wide:share} "
     "are thirds or wider and {same:share} repeat the note.", motion),
    ("Stepwise motion outweighs leaps.", lambda r: only_if(r.motion[0] > r.motion[1])),
    ("Leaps outweigh stepwise motion.", lambda r: only_if(r.motion[0] < r.motion[1])),
    ("The widest melodic interval is {name:interval} {up:up}, from {first:note} to {second:note}, "
     "reached first in {bar:bar}.", widest),
    *(
        (start + rest, both(truth, free))
        for free, start in ((False, "The meter is {meter:meter}{start:start}"),
                            (True, "The music is in free meter{start:start}"))
        for rest, truth in (
            ("; the commonest note value is the {value:value}: {share:share} of the notes.",
             commonest),
            (", and {share:share} of the notes are {value:values}, the commonest value.",
             commonest),
            (", and all notes are {value:values}.", one_value),
            ("; {two:two values} are equally common, with {n:notes} each.", equally_common),
        )
    ),
    ("The values range from the {low:value} to the {high:value}.", value_range),
    ("It begins with a pick-up as long as {length:length}.", pickup),
    ("There {n:is tuplets}.", tuplets),
    ("There {n:is rests}.", rests),
    ("There {n:is graces}.", lambda r: {"n": r.graces}),
    ("There is one syncopation: a note begins off the beat and lasts over the next beat.",
     lambda r: only_if(r.syncopations == 1)),
    ("There are {n:number} syncopations: notes that begin off the beat and last over the next "
     "beat.", lambda r: only_if((r.syncopations or 0) > 1, n=r.syncopations)),
    ("No note that begins off the beat lasts over the next beat.",
     lambda r: only_if(r.syncopations == 0)),
    ("The meter changes {changes:meters}.", meters),
    ("The tune is in {key:key}, with {signature:signature} in the key signature.", only_key),
    ("The key is {key:key}; its signature has {signature:signature}.", only_key),
    ("The tune begins in {key:key}, with {signature:signature} in the key signature.", first_key),
    ("The key changes {changes:keys}.", keys),
    ("Octaves not distinguished, it uses {n:notes}: {names:classes}.", scale),
    ("Leaving octaves aside, {n:notes occur}: {names:classes}.", scale),
    ("They form a pentatonic scale without semitones.", lambda r: only_if(r.pentatonic)),
    ("An accidental is drawn before one note.", lambda r: only_if(accidentals(r) == 1)),
    ("Accidentals are drawn before {n:notes}.",
     lambda r: only_if(accidentals(r) > 1, n=accidentals(r))),
    ("No accidental is drawn before a note.", lambda r: only_if(accidentals(r) == 0)),
    ("The melody closes on {note:class}, the tonic{of:of key}.", closes_on_tonic),
    ("The final note is the tonic{of:of key}, {note:class}.", closes_on_tonic),
    ("The melody does not close on the tonic: its last note, {note:class}, is the {degree:degree} "
     "of {key:key}.", closes_elsewhere),
    ("The melody closes on {note:class}, which is altered against the signature of {key:key}.",
     closes_altered),
    ("The last note is {note:class}.", closes_without_key),
    ("The sections close as follows: {ends:ends on}.", section_ends),
    ("Of the sections, {ends:ends closes on}.", section_ends),
    ("The source calls this tune {dance:dance}; it is notated in {meter:meter}{start:start}.",
     dance),
    ("It is {dance:dance} according to its source, notated in {meter:meter}{start:start}.", dance),
)  # fmt: skip

# --- The judgement -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What the tune says to a sentence.

    template: which sentence it is, "" where none or several of the table fit.
    wrong: the slots that say what the tune does not; `holds` where the sentence itself is false.
    """

    template: str
    wrong: tuple[str, ...]

    @property
    def right(self) -> bool:
        return bool(self.template) and not self.wrong


def compiled(template: str) -> tuple[re.Pattern[str], dict[str, Kind]]:
    parts = re.split(r"\{(\w+):([\w ]+)\}", template)
    pattern = re.escape(parts[0])
    for name, kind, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        pattern += f"(?P<{name}>{KINDS[kind].pattern}){re.escape(text)}"
    return re.compile(pattern), dict(
        zip(parts[1::3], (KINDS[kind] for kind in parts[2::3]), strict=True)
    )


GRAMMAR = tuple((template, *compiled(template), truth) for template, truth in SENTENCES)


def judge(sentence: str, reading: Reading) -> Verdict:
    """Read a sentence and compare each of its slots with the tune."""
    fitting = [(entry, m) for entry in GRAMMAR if (m := entry[1].fullmatch(sentence))]
    if len(fitting) != 1:
        return Verdict("", tuple(entry[0] for entry, _ in fitting))
    (template, _, kinds, truth_of), match = fitting[0]
    truth = truth_of(reading)
    if truth is None:
        return Verdict(template, ("holds",))
    return Verdict(
        template, tuple(slot for slot in kinds if not agrees(kinds[slot], match[slot], truth[slot]))
    )


def agrees(kind: Kind, text: str, truth: object) -> bool:
    try:
        said = kind.read(text)
    except AssertionError:  # grammar: "two note", "a eighth"
        return False
    return said in truth if isinstance(truth, set) else said == truth
