"""The fields of ABC that carry music: key, meter, unit note length, tempo, and text in general.

Each is read from and written to the text behind its letter.  `FieldError` (a `ValueError`) says
what is wrong with a field; the reader adds where.
"""

from __future__ import annotations

import html
import re
import unicodedata
from fractions import Fraction

from nota_jax.notation.tempo import Tempo
from nota_jax.notation.tune import MODE_SUFFIX, Key, Meter


class FieldError(ValueError):
    """What is wrong with the text of one field."""


# --- Text -------------------------------------------------------------------------------------

_ACCENTS = {
    "`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", '"': "\u0308",
    "c": "\u0327", "v": "\u030c", "u": "\u0306", "H": "\u030b",
}  # fmt: skip
_LIGATURES = {
    "AA": "Å", "aa": "å", "AE": "Æ", "ae": "æ", "OE": "Œ", "oe": "œ", "ss": "ß",
    "/O": "Ø", "/o": "ø", "/D": "Đ", "/d": "đ",
}  # fmt: skip
_ESCAPE = re.compile(
    r"""\\(?P<plain>[\\%&])|\\(?P<ligature>AA|aa|AE|ae|OE|oe|ss|/[ODod])"""
    r"""|\\(?P<accent>[`'^~"cvuH])(?P<letter>[A-Za-z])|(?P<entity>&(?:[A-Za-z]+|\#[0-9]{1,6});)"""
)


def text_of(field: str) -> str:
    """The characters a text field stands for: ABC's mnemonics (`\\'e`) and HTML entities read."""

    def character(match: re.Match[str]) -> str:
        if match["plain"]:
            return match["plain"]
        if match["ligature"]:
            return _LIGATURES[match["ligature"]]
        if match["accent"]:
            return unicodedata.normalize("NFC", match["letter"] + _ACCENTS[match["accent"]])
        return html.unescape(match["entity"])

    return " ".join(_ESCAPE.sub(character, field).split())


def field_text(text: str) -> str:
    """The field that `text_of` reads as `text`."""
    return re.sub(r"([\\%&])", r"\\\1", text)


_NUMBER = r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_COORDINATES = re.compile(rf"(?:{_NUMBER}\s*,\s*{_NUMBER}\s*)*")


def read_annotation(text: str) -> str:
    """A text in the music: its placement mark and words, as in `^above`; "" without words.

    Where the words go is the engraver's business: `@-5,3.2 words` loses its coordinates.
    """
    place, words = "^", text
    if text.startswith(("^", "_", "<", ">", "@")):
        place, words = text[0], text[1:].strip()
    if place == "@":
        words = _COORDINATES.sub("", words, count=1)
    return place + words if words else ""


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

_BEAT = re.compile(r"([0-9]{1,2}/[0-9]{1,2}(?:\s+[0-9]{1,2}/[0-9]{1,2})*)\s*=\s*([0-9]{1,4})")
_UNIT_BEAT = re.compile(r"(?:C\s*=\s*)?([0-9]{1,4})")


def read_tempo(field: str) -> Tempo | None:
    """`Q:` as in `"Words" 1/4=120`, either part may be absent.

    `Q:80` counts unit notes, which only the whole header tells: see `Tempo.counted_in`.
    """
    quoted = re.search(r'"([^"]*)"', field)
    words = " ".join(quoted[1].split()) if quoted else ""
    rest = re.sub(r'"[^"]*"', " ", field).strip()
    if not rest:
        return Tempo(words) if words else None
    if match := _UNIT_BEAT.fullmatch(rest):
        return Tempo(words, rate=int(match[1]))
    match = _BEAT.fullmatch(rest)
    if match is None or re.search(r"\b0+\b", match[1]):
        raise FieldError(f'Q:{field.strip()} is no tempo; write it as Q:1/4=120 or Q:"Slow"')
    return Tempo(words, tuple(Fraction(beat) for beat in match[1].split()), int(match[2]))


# --- Key --------------------------------------------------------------------------------------

_MODES = {
    "": "major", "m": "minor", "maj": "major", "min": "minor", "ion": "ionian", "dor": "dorian",
    "phr": "phrygian", "lyd": "lydian", "mix": "mixolydian", "aeo": "aeolian", "loc": "locrian",
}  # fmt: skip
_KEY = re.compile(r"([A-G])([#b]?)\s*([A-Za-z]*)(?=$|[\s^_=])(.*)")
_CLEF = re.compile(r"(?:clef=)?\"?(treble|bass|alto|tenor)([+-]8)?\"?")
_ACCIDENTAL = re.compile(r"(\^\^|\^|__|_|=)([A-Ga-g])")
ALTERS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
ACCIDENTALS = {alter: mark for mark, alter in ALTERS.items()}


def read_key(field: str) -> Key:
    """`K:` as tonic, mode, added accidentals and clef.

    Extensions met in the corpora: the German names `H` (B), `Es` and `As` (E flat, A flat) of the
    Essen files; `Hp` (Highland pipes) is A mixolydian, and `HP`, which draws nothing, no key.
    Modes count in any case, so that `EM` is E minor, as the notes of its tunes confirm.
    """
    text = " ".join(field.split())
    if text in ("", "none"):
        return Key("")
    pipes, _, tail = text.partition(" ")
    if pipes in ("HP", "Hp"):
        return _with_tail(Key("") if pipes == "HP" else Key("A", "mixolydian"), tail, field)
    if _CLEF.match(text) or text.split()[0] == "none":
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


def _with_tail(key: Key, tail: str, field: str) -> Key:
    """The key with what follows its mode: `exp`, accidentals, clef."""
    clef, accidentals = key.clef, []
    explicit = False
    for word in tail.split():
        if match := _CLEF.fullmatch(word):
            clef = match[1] + (match[2] or "")
        elif word == "exp":
            explicit = True
        elif re.fullmatch(f"(?:{_ACCIDENTAL.pattern})+", word):
            marks = _ACCIDENTAL.findall(word)
            accidentals += [(step.upper(), ALTERS[mark]) for mark, step in marks]
        else:
            raise FieldError(f"K:{field.strip()}: do not know what {word!r} is")
    if explicit:
        key = Key("")  # `exp` draws the listed accidentals and nothing of the mode's signature
    if abs(key.fifths) > 7:
        raise FieldError(f"K:{field.strip()} has more than seven sharps or flats")
    return Key(key.tonic, key.mode, tuple(dict(accidentals).items()), clef)


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
