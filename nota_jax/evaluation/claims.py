"""What sentences about a tune say: each claim as a name and a value that can be compared.

Our analyses are written by `data/build/prose.py`; this reads every one of its sentences back, and
what other models put into nearly the same words.  A sentence that says nothing known here is not
wrong: nobody can check it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator
from fractions import Fraction
from functools import lru_cache

from nota_jax.data.build.prose import CONTOURS, DEGREES, DOTS, NUMBERS, TUPLETS, VALUES
from nota_jax.notation.tune import MODES

Claim = tuple[str, Hashable]
FREE = "none"  # the meter of what has none

_NUM = "(" + "|".join(NUMBERS) + r"|\d+)"
_PC = r"([A-G](?:##?|bb?)?(?![a-z0-9#]))"
_NOTE = r"([A-G](?:##?|bb?)?-?\d)"
_ORDINALS = (
    "unison|second|third|fourth|fifth|sixth|seventh|octave|ninth|tenth|eleventh|twelfth|thirteenth|"
    "fourteenth|fifteenth"
)
_INTERVAL = (
    rf"an? ((?:perfect|major|minor|augmented|diminished) (?:{_ORDINALS})|interval of \d+ semitones)"
)
_RATIO = r"\d+/[1-9]\d*"
_VALUE = rf"((?:(?:double-)?dotted )?(?:{'|'.join(VALUES.values())}) notes?|notes? of {_RATIO})"
_MODE = "|".join(MODES)
# A key begins like the meter C.
_METER = rf"(\d+(?:\+\d+)*/\d+|C\|?(?![\w|])(?! (?:{_MODE}))|free meter)"
_ADDED = r"[A-G] (?:double flat|flat|natural|sharp|double sharp)"
_KEY = rf"([A-G][#b]? (?:{_MODE})(?: with {_ADDED}(?:(?:, | and ){_ADDED})*)?|no key)"
_STRETCH = rf"((?:{_NUM[1:-1]}) {_VALUE[1:-1]}|(?:{_RATIO}|\d+) of a whole note)"
_BAR = r"(?:bar (\d+)|the (pick-up))"
_SHARE = r"(all|none|hardly any|nearly all|(?:about )?\d+ ?%)"
_DEGREE = rf"({'|'.join(DEGREES)})"
_WORK = "(?:tune|piece|music|melody|it)"
_LETTERS = r"((?:[A-Z]\d*'*)+)(?![\w])"
_SMALL = r"((?:[a-z]\d*'*)+)(?![\w])"
_SIGNS = rf"(?:{_NUM} (sharp|flat)s?|(no sharps or flats))"

_MOTIONS = {motion: kind for kind, (motion, _) in CONTOURS.items()}
_MOTION = "(" + "|".join(sorted(_MOTIONS, key=len, reverse=True)) + ")"
_TUPLET = rf"({'|'.join(TUPLETS.values())}|\d+-tuplet)"
# Explains a sign and says nothing of the tune.
_REMARKS = re.compile(r"A prime marks a variant")


def sentences(text: str) -> list[str]:
    """The sentences of an answer."""
    text = " ".join(text.replace("♯", "#").replace("♭", "b").split())
    return [part for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", text) if part]


@lru_cache(maxsize=65536)
def claims(sentence: str) -> tuple[Claim, ...] | None:
    """What a sentence says, () where that cannot be checked; None for a mere remark."""
    if _REMARKS.match(sentence):
        return None
    found: dict[Claim, None] = {}
    for pattern, say in _TABLE:
        for match in pattern.finditer(sentence):
            found |= dict.fromkeys(say(match))
    return tuple(found)


# ------------------------------------------------------------------ values


def number(text: str) -> int:
    return NUMBERS.index(text.lower()) if text.lower() in NUMBERS else int(text)


def note_value(text: str) -> Fraction:
    """ "dotted quarter notes" → 3/8."""
    if match := re.fullmatch(r"notes? of (\d+/\d+)", text):
        return Fraction(match[1])
    name = re.sub(r" notes?$", "", text)
    factors = {dots: Fraction(factor) for factor, dots in DOTS}
    dots = next(dots for dots in sorted(factors, key=len, reverse=True) if name.startswith(dots))
    lengths = {name: length for length, name in VALUES.items()}
    return factors[dots] * lengths[name.removeprefix(dots)]


def meter(text: str) -> str:
    return FREE if text == "free meter" else text


def bar(number: str | None, pickup: str | None) -> int:
    """The bar's number; the pick-up's is 0."""
    return 0 if pickup else int(number or 0)


def _degree(text: str) -> int:
    return DEGREES.index(text) + 1


def _stretch(text: str) -> Fraction:
    """ "three eighth notes" → 3/8; "5/12 of a whole note"."""
    if match := re.fullmatch(r"(\d+/\d+|\d+) of a whole note", text):
        return Fraction(match[1])
    many, _, value = text.partition(" ")
    return number(many) * note_value(value)


# ------------------------------------------------------------------ sentences

Say = Callable[[re.Match[str]], Iterator[Claim]]


def _simple(*names: str, read: Callable[[str], Hashable] = str) -> Say:
    """One claim for each group of the pattern."""

    def say(match: re.Match[str]) -> Iterator[Claim]:
        for name, text in zip(names, match.groups(), strict=True):
            if text is not None:
                yield name, read(text)

    return say


def _always(*claims: Claim) -> Say:
    return lambda match: iter(claims)


def _signature(match: re.Match[str]) -> Iterator[Claim]:
    many, sign, nothing = match.groups()
    yield "signature", 0 if nothing else number(many) * (1 if sign == "sharp" else -1)


def _section_lengths(match: re.Match[str]) -> Iterator[Claim]:
    found = re.findall(rf"([A-Z]\d*'*) of {_NUM} bars?", match[0])
    yield "section lengths", tuple((letter, number(many)) for letter, many in found)


def _single_section(match: re.Match[str]) -> Iterator[Claim]:
    yield "sections", 1
    yield "section lengths", (("A", number(match[1])),)


def _places(match: re.Match[str]) -> Iterator[Claim]:
    yield "bar of the highest note", bar(match[1], match[2])
    yield "bar of the lowest note", bar(match[3], match[4])


def _widest(match: re.Match[str]) -> Iterator[Claim]:
    yield "widest interval", match[1]
    if match[2]:
        yield "way of the widest interval", match[2]
    if match[3]:
        yield "notes of the widest interval", (match[3], match[4])
    if match[5] or match[6]:
        yield "bar of the widest interval", bar(match[5], match[6])


def _equal_values(match: re.Match[str]) -> Iterator[Claim]:
    yield "commonest values", frozenset((note_value(match[1]), note_value(match[2])))
    yield "count of the commonest values", number(match[3])


def _commonest(match: re.Match[str]) -> Iterator[Claim]:
    yield "commonest values", frozenset({note_value(match[1])})


def _commonest_share(match: re.Match[str]) -> Iterator[Claim]:
    yield "share of the commonest value", match[1]
    yield "commonest values", frozenset({note_value(match[2])})


def _tuplets(match: re.Match[str]) -> Iterator[Claim]:
    sizes = {name: size for size, name in TUPLETS.items()}
    size = sizes[match[2]] if match[2] in sizes else int(match[2].partition("-")[0])
    yield f"{size}-tuplets", number(match[1])


def _changes(name: str, value: str, read: Callable[[str], str]) -> Say:
    def say(match: re.Match[str]) -> Iterator[Claim]:
        found = re.findall(rf"to {value} in {_BAR}", match[0])
        if found:
            yield name, tuple((read(text), bar(n, pickup)) for text, n, pickup in found)

    return say


def _pitch_classes(match: re.Match[str]) -> Iterator[Claim]:
    yield "number of pitch classes", number(match[1])
    if match[2]:
        yield "pitch classes", frozenset(re.findall(_PC, match[2]))


def _final(match: re.Match[str]) -> Iterator[Claim]:
    """Groups: the note, its degree (either may be missing)."""
    if match["note"]:
        yield "last pitch class", match["note"]
    if match["degree"]:
        yield "final degree", _degree(match["degree"])
    if match["key"]:
        yield "key at the end", match["key"]


def _cadences(match: re.Match[str]) -> Iterator[Claim]:
    found = re.findall(rf"(?:closes )?on {_PC}(?: \(the {_DEGREE}\))?", match[0])
    yield "section ends", tuple((note, _degree(d) if d else None) for note, d in found)


_FINAL_KEY = rf"(?: of (?P<key>{_KEY[1:-1]}))?"
_FINAL_NOTE = r"(?P<note>[A-G](?:##?|bb?)?(?![a-z0-9#]))"
_FINAL_DEGREE = rf"(?P<degree>{'|'.join(DEGREES)})"
_PATTERNS: tuple[tuple[str, Say], ...] = (
    # form
    (rf"(?:in|into) {_NUM} (?:written )?sections", _simple("sections", read=number)),
    (rf"They are [A-Z]\d*'* of {_NUM} bars?.*", _section_lengths),
    (rf"single section of {_NUM} bars?", _single_section),
    (rf"(?:form is|in the order|is repeated:|form of) {_LETTERS}", _simple("order")),
    (r"No section is repeated by a sign", _always(("repeats", False))),
    (rf"(?:music runs|follow the pattern) {_SMALL}", _simple("phrases")),
    (rf"written in {_NUM} bars?", _simple("bars", read=number)),
    (r"the pick-up not counted|begins with a pick-up", _always(("pick-up", True))),
    (r"(?:begins )?without a pick-up|no pick-up", _always(("pick-up", False))),
    # range
    (rf"(?:range is|notes span|compass is) {_INTERVAL}", _simple("range")),
    (rf"(?:range|span|compass)\b[^.]*?from {_NOTE} (?:up )?to {_NOTE}",
     _simple("lowest note", "highest note")),
    (rf"lowest note is {_NOTE}", _simple("lowest note")),
    (rf"highest(?: note)? is {_NOTE}", _simple("highest note")),
    (rf"highest is [^.]*, {_INTERVAL} apart", _simple("range")),
    (rf"All notes are {_NOTE}", lambda m: iter((("lowest note", m[1]), ("highest note", m[1])))),
    (rf"That is {_NUM} semitones?", _simple("range in semitones", read=number)),
    (rf"highest note first appears in {_BAR}, the lowest in {_BAR}", _places),
    # contour
    (rf"melody {_MOTION}(?=[:;])", lambda m: iter((("contour", _MOTIONS[m[1]]),))),
    (rf"begins and ends on {_NOTE}", lambda m: iter((("first note", m[1]), ("last note", m[1])))),
    (rf"begins on {_NOTE}", _simple("first note")),
    (rf"begins on [^.]*ends (higher|lower), on {_NOTE}, {_INTERVAL} away",
     _simple("ends", "last note", "from first to last", read=str)),
    # intervals
    (rf"Of the {_NUM} melodic intervals|makes {_NUM} moves",
     lambda m: iter((("moves", number(m[1] or m[2])),))),
    (rf"{_SHARE} (?:are|of them are) steps", _simple("share of steps")),
    (rf"{_SHARE} (?:are|of them are) thirds or wider", _simple("share of leaps")),
    (rf"{_SHARE} repeat the note", _simple("share of repeated notes")),
    (r"[Ss]tepwise motion outweighs|[Ss]teps outweigh", _always(("prevails", "steps"))),
    (r"[Ll]eaps outweigh", _always(("prevails", "leaps"))),
    (rf"widest melodic interval is {_INTERVAL}(?: (upwards|downwards))?"
     rf"(?:, from {_NOTE} to {_NOTE})?(?:, reached first in {_BAR})?", _widest),
    # rhythm
    (rf"(?:meter|metre|time signature) (?:is|of) {_METER}", _simple("meter", read=meter)),
    (rf"(?:notated|is) in {_METER}", _simple("meter", read=meter)),
    (rf"{_VALUE} and {_VALUE} are equally common, with {_NUM} notes? each", _equal_values),
    (rf"commonest note value is the {_VALUE}", _commonest),
    (rf"commonest note value is the [^:]*: {_SHARE} of the notes",
     _simple("share of the commonest value")),
    (rf"{_SHARE} of the notes are {_VALUE}", _commonest_share),
    (rf"and all notes are {_VALUE}",
     lambda m: iter((("commonest values", frozenset({note_value(m[1])})),
                     ("share of the commonest value", "all")))),
    (rf"values range from the {_VALUE} to the {_VALUE}",
     _simple("shortest value", "longest value", read=note_value)),
    (rf"pick-up as long as {_STRETCH}(?=\.)", _simple("length of the pick-up", read=_stretch)),
    (rf"There (?:is|are) {_NUM} {_TUPLET}s?\b", _tuplets),
    (rf"There (?:is|are) {_NUM} syncopations?", _simple("syncopations", read=number)),
    (r"No note that begins off the beat lasts over", _always(("syncopations", 0))),
    (rf"There (?:is|are) {_NUM} rests?\b", _simple("rests", read=number)),
    (rf"There (?:is|are) {_NUM} grace notes?", _simple("grace notes", read=number)),
    (r"meter changes .*", _changes("changes of meter", _METER, meter)),
    # mode
    (rf"{_WORK} (?:is (?:written )?|begins )in (?:the key of )?{_KEY}", _simple("key")),
    (rf"key (?:is|of) {_KEY}", _simple("key")),
    (rf"(?:with|has) {_SIGNS}", _signature),
    (r"key changes .*", _changes("changes of key", _KEY, str)),
    (rf"(?:uses|aside,) {_NUM} notes?\b(?: occurs?)?(?:: (.*))?", _pitch_classes),
    (r"pentatonic scale", _always(("pentatonic", True))),
    (rf"(?:accidental is|Accidentals are) drawn before {_NUM} notes?",
     _simple("accidentals drawn", read=number)),
    (r"No accidental is drawn", _always(("accidentals drawn", 0))),
    # ending
    (rf"(?:closes|ends) on {_FINAL_NOTE}, the {_FINAL_DEGREE}{_FINAL_KEY}", _final),
    (rf"(?:closes|ends) on the {_FINAL_DEGREE}{_FINAL_KEY}(?P<note>(?!))?", _final),
    (rf"final note is the {_FINAL_DEGREE}{_FINAL_KEY}, {_FINAL_NOTE}", _final),
    (rf"last note, {_FINAL_NOTE}, is the {_FINAL_DEGREE}{_FINAL_KEY}", _final),
    (rf"(?:last|final) note is {_PC}", _simple("last pitch class")),
    (rf"closes on {_PC}, which is altered against the signature of {_KEY}",
     lambda m: iter((("last pitch class", m[1]), ("final degree", 0), ("key at the end", m[2])))),
    (r"(?:sections close as follows|Of the sections).*", _cadences),
    # what kind of tune
    (r"source calls this tune an? ([^;.]*)|It is an? ([^;.]*) according to its source",
     lambda m: iter((("kind of tune", m[1] or m[2]),))),
)  # fmt: skip
_TABLE = tuple((re.compile(pattern), say) for pattern, say in _PATTERNS)
