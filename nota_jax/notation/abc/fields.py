"""The fields of ABC that carry music: key, meter, unit note length, tempo.

Each is read from and written to the text behind its letter.  `FieldError` (a `ValueError`) says
what is wrong with a field; the reader adds where.
"""

from __future__ import annotations

import re
from fractions import Fraction

from nota_jax.notation.abc.source import FieldError
from nota_jax.notation.abc.staff import Staff, is_staff_word, read_staff, staff_words
from nota_jax.notation.abc.text import text_of
from nota_jax.notation.tempo import Tempo
from nota_jax.notation.tune import MODE_SUFFIX, Key, Meter

# --- Meter and lengths ------------------------------------------------------------------------

_METER = re.compile(r"\(?([0-9]{1,2}(?:\+[0-9]{1,2})*)\)?/([0-9]{1,2})")


def read_meter(field: str) -> Meter:
    """`M:`: "C", "C|", a fraction, or none (also empty, or "FREI…" as the Essen files write)."""
    text = "".join(field.split())
    if text.lower() in ("none", "") or text.upper().startswith("FREI"):
        return Meter("none")
    if text in ("C", "C|", "c", "c|"):
        return Meter(text.upper())
    match = _METER.fullmatch(text)
    if match is None:
        raise FieldError(f"M:{field.strip()} is no meter; write it as M:6/8, M:C or M:none")
    top, bottom = match[1], int(match[2])
    if bottom not in (1, 2, 4, 8, 16, 32, 64) or not sum(int(n) for n in top.split("+")):
        raise FieldError(f"M:{field.strip()} is no meter: a note value of 1/{bottom} is not drawn")
    return Meter(f"{top}/{bottom}")


def read_unit(field: str) -> Fraction:
    """`L:` in whole notes."""
    match = re.fullmatch(r"\s*1\s*(?:/\s*(1|2|4|8|16|32|64|128))?\s*", field)
    if match is None:
        raise FieldError(f"L:{field.strip()} is no unit note length; write it as L:1/8")
    return Fraction(1, int(match[1] or 1))


def default_unit(meter: Meter) -> Fraction:
    """ABC 2.1, 3.1.7: a sixteenth where the meter is less than 3/4, else an eighth."""
    duration = meter.duration
    short = duration is not None and duration < Fraction(3, 4)
    return Fraction(1, 16) if short else Fraction(1, 8)


MOST_IN_TUPLET = 32  # of those with more than nine notes, `(11:8`


def default_normal(actual: int, meter: Meter) -> int:
    """In the time of how many notes the tuplet `(p` of p notes stands (ABC 2.1, 4.13)."""
    if actual in (3, 6):
        return 2
    if actual in (2, 4, 8):
        return 3
    return 3 if meter.text in ("6/8", "9/8", "12/8") else 2


def is_ending_number(ending: str) -> bool:
    """Whether an ending is written `[1`, `[1,3`, `[1-3`; any other text is put in quotes."""
    return re.fullmatch(r"[0-9]{1,2}(?:[,-][0-9]{1,2})*", ending) is not None


def length_text(length: Fraction) -> str:
    """Shortest spelling of a multiple of the unit: 1 → "", 2 → "2", 1/2 → "/", 3/4 → "3/4"."""
    top = "" if length.numerator == 1 else str(length.numerator)
    if length.denominator == 1:
        return top
    return top + ("/" if length.denominator == 2 else f"/{length.denominator}")


# --- Tempo ------------------------------------------------------------------------------------

_BEATS = r"[0-9]{1,2}/[0-9]{1,2}(?:\s+[0-9]{1,2}/[0-9]{1,2})*"
# `Q:1/4=ca. 80` and `Q:1/4=112.5` are tempos too; what is drawn is a whole number.
_RATE = r"(?:(?:ca?|circa|about)\b\.?|[~≈])?\s*([0-9]{1,4}(?:\.[0-9]+)?)(?![-–.0-9/])"
_BEAT = re.compile(rf"(?<![0-9/])(?P<beats>{_BEATS})\s*=\s*{_RATE}")
_UNIT_BEAT = re.compile(rf"(?:C(?P<units>[0-9]?)\s*=\s*)?{_RATE}")
# Letters; and a range, `1/4=120-132`, is drawn as it stands.
_WORDS = re.compile(r"[^\W\d_]{2}|[0-9]\s*[-–]\s*[0-9]")


def read_tempo(field: str, unit: Fraction) -> Tempo | None:
    """`Q:` as in `"Words" 1/4=120`, either part may be absent.

    unit: the unit note length, which is what `Q:80` and `Q:C3=80` count.  Words may lack their
    quotes, and what is no beat is drawn as words.
    """
    quoted = re.findall(r'"([^"]*)"', field)
    rest = re.sub(r'"[^"]*"', " ", field).strip()
    match = _UNIT_BEAT.fullmatch(rest) or _BEAT.search(rest)
    words, beats, rate = rest, list[Fraction](), 0
    if match is not None:
        words = f"{rest[: match.start()]} {rest[match.end() :]}".strip(" ()[].,;")
        rate = int(Fraction(match[match.lastindex or 0]) + Fraction(1, 2))
        beats = _beats(match.groupdict(), unit)
    if not (0 < rate < 10_000 and beats and all(beats)) or re.search("[0-9=]", words):
        words, beats = rest, []
        if words and not _WORDS.search(words):
            raise FieldError(f'Q:{field.strip()} is no tempo; write it as Q:1/4=120 or Q:"Slow"')
    words = text_of(" ".join([*quoted, words]))
    if not beats:
        return Tempo(words) if words else None
    return Tempo(words, tuple(beats), rate)


def _beats(found: dict[str, str], unit: Fraction) -> list[Fraction]:
    """The note values of a beat; 0 for one that is none."""
    if "beats" not in found:
        return [unit * int(found["units"] or 1)]
    numbers = [part.split("/") for part in found["beats"].split()]
    return [Fraction(int(n), int(d)) if int(d) else Fraction(0) for n, d in numbers]


# --- Key --------------------------------------------------------------------------------------

_MODES = {
    "": "major", "m": "minor", "maj": "major", "min": "minor", "ion": "ionian", "dor": "dorian",
    "phr": "phrygian", "lyd": "lydian", "mix": "mixolydian", "aeo": "aeolian", "loc": "locrian",
}  # fmt: skip
_KEY = re.compile(r"([A-G])([#b]?)\s*([A-Za-z]*)(?=$|[\s^_=])(.*)")
_ACCIDENTAL = re.compile(r"(\^\^|\^|__|_|=)([A-Ga-g])[,']*")
_QUARTER_TONE = re.compile(r"[\^_]+[0-9]*/[0-9]*[A-Ga-g]")
ALTERS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
ACCIDENTALS = {alter: mark for mark, alter in ALTERS.items()}


def read_key(field: str) -> Key:
    """The key of a `K:`, its clef included, as `key_and_staff` reads it."""
    return key_and_staff(field)[0]


def key_and_staff(field: str) -> tuple[Key, Staff]:
    """`K:` as tonic, mode and added accidentals, and what it says of the staff.

    Extensions met in the corpora: the German names `H` (B), `Es` and `As` (E flat, A flat) of the
    Essen files; `Hp` (Highland pipes) is A mixolydian, and `HP`, which draws nothing, no key.
    Modes count in any case, so that `EM` is E minor, as the notes of its tunes confirm.
    """
    text = " ".join(field.split())
    if text in ("", "none"):
        return Key(""), Staff()
    pipes, _, tail = text.partition(" ")
    if pipes in ("HP", "Hp"):
        return _with_tail(Key("") if pipes == "HP" else Key("A", "mixolydian"), tail, field)
    if is_staff_word(pipes) or pipes == "none":
        return _with_tail(Key(""), text.removeprefix("none"), field)
    text = re.sub(r"^([EA])s(?=$|\s)", r"\1b", re.sub(r"^H(?=$|\s|m)", "B", text))
    match = _KEY.fullmatch(text)
    if match is None:
        raise FieldError(f"K:{field.strip()} is no key; write it as K:G, K:Em or K:Dmix")
    tonic, word, tail = match[1] + match[2], match[3], match[4]
    mode = _MODES.get(word[:3].lower())
    if mode is None:
        mode, tail = "major", f"{word}{tail}"  # "K:G treble", "K:D exp ^c"
    return _with_tail(Key(tonic, mode), tail, field)


def states_key(field: str) -> bool:
    """Whether a `K:` names a key; `K:clef=bass` speaks of the staff alone."""
    words = field.split()
    return not words or not is_staff_word(words[0])


def _with_tail(key: Key, tail: str, field: str) -> tuple[Key, Staff]:
    """The key with what follows its mode: `exp`, accidentals, clef and other words of the staff."""
    accidentals: list[tuple[str, int]] = []
    explicit = False
    of_staff = []
    for word in staff_words(tail):
        if word == "exp":
            explicit = True
        elif re.fullmatch(f"(?:{_ACCIDENTAL.pattern})+", word):
            marks = _ACCIDENTAL.findall(word)
            accidentals += [(step.upper(), ALTERS[mark]) for mark, step in marks]
        elif _QUARTER_TONE.match(word):
            raise FieldError(f"a quarter tone ({word!r}) is not supported")
        else:
            of_staff.append(word)
    staff = read_staff(of_staff, f"K:{field.strip()}")
    if explicit:
        key = Key("")  # `exp` draws the listed accidentals and nothing of the mode's signature
    if abs(key.fifths) > 7:
        raise FieldError(f"K:{field.strip()} has more than seven sharps or flats")
    clef = staff.clef or "treble"
    return Key(key.tonic, key.mode, tuple(dict(accidentals).items()), clef), staff


def key_text(key: Key) -> str:
    """The canonical text of a key: "G", "Em", "Dmix", "none", "D =c", "G bass"."""
    words = [key.tonic + MODE_SUFFIX[key.mode] if key.tonic else "none"]
    words += [ACCIDENTALS[alter] + step.lower() for step, alter in key.accidentals]
    if key.clef != "treble":
        words.append(key.clef if key.clef.isalpha() else f"clef={key.clef}")
    return " ".join(words)


def signature(key: Key) -> tuple[object, ...]:
    """What of a key is drawn; two keys with the same signature look the same."""
    return (tuple(key.alters.items()), key.clef, frozenset(key.accidentals))
