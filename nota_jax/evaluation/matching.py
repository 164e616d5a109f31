"""Whether an answer is the field that was asked for: to the letter, and in meaning.

Two rates stand beside each other, because neither alone is fair.  *Strict*: the answer is the
field, blanks at its ends aside.  *Lenient*: one value of that field can be found in the answer, and
it is the right one; two different values are a guess, and wrong.  docs/evaluation.md has the rules
in words and a table of cases, and the tests have that table.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache

from nota_jax.data.build.phrasings import NO_COMPOSER, NO_TITLE
from nota_jax.notation.abc.fields import FieldError, read_key
from nota_jax.notation.tune import MODE_SUFFIX, MODES, Key

NOTHING = ""  # the value of a title or composer that is not printed
Value = Hashable

# What may stand before a colon or an equals sign on a line that gives the field.
_LABELS = {
    "title": "title|name|tune|piece",
    "key": "key(?: signature)?",
    "meter": "meter|metre|time|time signature",
    "unit_note_length": "(?:unit |default )?note length|unit|default length",
    "composer": "composer|composed by|author|written by|music by",
}
_LETTERS = {"title": "T", "key": "K", "meter": "M", "unit_note_length": "L", "composer": "C"}
_WORK = r"(?:(?:this|the) (?:piece|tune|score|song|music|work|page)|it)"
_SENTENCES = {
    "title": (
        rf"(?:the|its) (?:title|name)(?: of {_WORK})?(?: (?:printed|given|shown|written)\b.*?)?"
        r" (?:is|reads)[: ]+(.+)",
        rf"{_WORK} is (?:called|titled|entitled|named)[: ]+(.+)",
    ),
    "composer": (
        rf"(?:the|its) composer(?: of {_WORK})? (?:is|was)[: ]+(.+)",
        rf"(?:{_WORK} )?(?:is |was )?(?:composed|written) by[: ]+(.+)",
        r"by (.+)",
    ),
}
_NONE = re.compile(
    r"none|unknown|n/?a|nobody|"
    r"(?:there is )?no (?:composer|title|name)\b.*|"
    r"(?:(?:the|a) )?(?:composer|title|name) (?:is|was) (?:not|un)\s?[a-z]+.*|"
    r"not (?:given|printed|stated|specified|shown|known|named|available|indicated)\b.*"
)
_NO_KEY = re.compile(r"none|no key(?: signature)?|there is no key(?: signature)?")
_NO_METER = re.compile(r"none|free(?: meter| metre| time)?|no (?:meter|metre|time signature)")

_SAME_MODE = {"ionian": "major", "aeolian": "minor"}
_SIGN = r"#|b(?![a-z])|[ -]?sharp\b|[ -]?flat\b"
_KEY = re.compile(rf"([A-Ga-g])\s*({_SIGN})?\s*([A-Za-z]*)\s*(.*)")
# Within a sentence a key needs its mode, and a capital, or "a minor change" would be one.
_KEY_SAID = re.compile(
    rf"\b([A-G])\s*({_SIGN})?[ -]*"
    rf"((?i:maj|min|{'|'.join(MODES)})|m)\b"
)
_KEY_BARE = re.compile(
    rf"(?i:key|tune|piece|music|score|it|song) (?i:is|of)(?: (?i:in|the key of))*[: ]+"
    rf"([A-G]\s*(?:{_SIGN})?)"
)
_FRACTION = re.compile(r"\(?\b(\d{1,2}(?:\+\d{1,2})*)\)?\s*/\s*(\d{1,3})\b")
_DRAWN = {"c": "4/4", "c|": "2/2"}
_METER_WORDS = ((r"cut (?:common )?time|cut common|alla breve", "2/2"), (r"common time", "4/4"))
_NOTE_WORDS = {
    "thirty-second": "1/32", "demisemiquaver": "1/32", "sixteenth": "1/16", "semiquaver": "1/16",
    "eighth": "1/8", "quaver": "1/8", "quarter": "1/4", "crotchet": "1/4", "half": "1/2",
    "minim": "1/2", "whole": "1/1", "semibreve": "1/1",
}  # fmt: skip
_QUOTED = re.compile(r'"([^"]+)"')
_CURLY = str.maketrans({**dict.fromkeys("“”„«»", '"'), **dict.fromkeys("‘’`", "'"), "⁄": "/"})


def strict(field: str, truth: str, answer: str) -> bool:
    """The answer is the field, blanks at its ends aside (and however Unicode composes letters)."""
    return _composed(answer) == _composed(truth)


def lenient(field: str, truth: str, answer: str) -> bool:
    """The field, and no other value of it, can be found in the answer."""
    return value_of(field, truth) in readings(field, answer)


def same_signature(truth: str, answer: str) -> bool:
    """The key in the answer has the true one's sharps and flats: all of it that a page draws.

    Whether it is C major or A minor a page does not say.
    """
    drawn = _signature(value_of("key", truth))
    return any(_signature(value) == drawn for value in readings("key", answer))


def says_nothing(field: str, answer: str) -> bool:
    """The answer to a title or composer question says that none is printed."""
    return _NONE.fullmatch(_folded(_peeled(_plain(answer)))) is not None


@lru_cache(maxsize=65536)
def value_of(field: str, text: str) -> Value:
    """The value of a field that stands there by itself; texts with one value are one answer."""
    if text in (NO_TITLE, NO_COMPOSER):
        return NOTHING
    found = _PLAIN_VALUE[field](_peeled(_plain(text)))
    return _folded(_plain(text)) if found is None else found


@lru_cache(maxsize=65536)
def readings(field: str, answer: str) -> frozenset[Value]:
    """What the answer may say the field is: one value, two readings of the whole, or none.

    The whole answer counts as a field; so does what its labelled lines, its sentence or its
    quotation marks give, if that is one value and not several.
    """
    plain = _plain(answer)
    if field in _SENTENCES and says_nothing(field, answer):
        return frozenset({NOTHING})
    whole = _PLAIN_VALUE[field](_peeled(plain))
    said = _said(field, plain)
    return frozenset(value for value in (whole, said) if value is not None)


def _said(field: str, plain: str) -> Value | None:
    """The value within a longer answer; None where there is none, or more than one."""
    if labelled := _labelled(field, plain):
        return _only(_within(field, text) for text in labelled)
    if field not in _SENTENCES:
        return _within(field, plain)
    sentence = " ".join(plain.split())
    for pattern in _SENTENCES[field]:
        if match := re.fullmatch(pattern, sentence, re.IGNORECASE):
            text = match[1].strip()
            quoted = re.match(r'"([^"]+)"', text)
            return _text_value(_peeled(quoted[1] if quoted else text))
    return _only(_text_value(_peeled(text)) for text in _QUOTED.findall(sentence))


def _labelled(field: str, plain: str) -> list[str]:
    """What follows the field's label on the lines that begin with it."""
    letter, words = _LETTERS[field], _LABELS[field]
    pattern = rf"\W*(?:{letter}|(?i:(?:the )?(?:{words})))(?: \({letter}\))?\s*[:=]\s*(.+)"
    matches = (re.fullmatch(pattern, line.strip()) for line in plain.splitlines())
    return [match[1] for match in matches if match]


def _within(field: str, text: str) -> Value | None:
    whole = _PLAIN_VALUE[field](_peeled(text))
    return _WITHIN[field](text) if whole is None else whole


def _only(values: Iterable[Value | None]) -> Value | None:
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None


# ------------------------------------------------------------------ each field


def _text_value(text: str) -> Value | None:
    return _folded(text) or None


def _key_value(text: str) -> Value | None:
    """A key that is the whole text: "Em", "E minor", "e min", "B flat", "D =c", "none"."""
    if _NO_KEY.fullmatch(text.lower()):
        return Key("")
    match = _KEY.fullmatch(re.sub(r"\([^()]*\)| key$", "", text).strip())
    return None if match is None else _key(*match.groups(default=""))


def _key(step: str, sign: str, word: str, rest: str = "") -> Value | None:
    """Of a clef nothing is kept: it is no part of a key's name."""
    sign = {"sharp": "#", "flat": "b"}.get(sign.strip(" -"), sign.strip())
    mode = _mode(word)
    if mode is None:  # "D =c" has no mode, nor has "G bass"
        mode, rest = "major", f"{word} {rest}"
    try:
        key = read_key(f"{step.upper()}{sign}{MODE_SUFFIX[mode] or 'maj'} {rest}")
    except FieldError:
        return None
    return Key(key.tonic, key.mode, tuple(sorted(key.accidentals)))


def _mode(word: str) -> str | None:
    """A mode, whole or cut off behind three letters or more; a lone capital M is major.

    ABC looks at three letters and no more, but "a minuet" is no key.
    """
    if word in ("", "M", "m"):
        return "minor" if word == "m" else "major"
    known = [mode for mode in MODES if len(word) > 2 and mode.startswith(word.lower())]
    return _SAME_MODE.get(known[0], known[0]) if known else None


def _key_within(text: str) -> Value | None:
    said = {_key(*match) for match in _KEY_SAID.findall(text)}
    said |= set() if said else {_key_value(match) for match in _KEY_BARE.findall(text)}
    return _only(said)


def _meter_value(text: str) -> Value | None:
    """ "6/8", "C" (4/4), "C|" (2/2), "none"."""
    low = "".join(text.lower().split())
    if low in _DRAWN:
        return _DRAWN[low]
    if _NO_METER.fullmatch(text.lower()):
        return "none"
    match = _FRACTION.fullmatch(text)
    return f"{match[1]}/{match[2]}" if match else None


def _meter_within(text: str) -> Value | None:
    low, said = text.lower(), set()
    for words, value in _METER_WORDS:
        low, times = re.subn(words, " ", low)
        said |= {value} if times else set()
    return _only(said | {f"{top}/{bottom}" for top, bottom in _FRACTION.findall(low)})


def _unit_value(text: str) -> Value | None:
    match = _FRACTION.fullmatch(text)
    return f"{match[1]}/{match[2]}" if match else {"1": "1/1"}.get(text)


def _unit_within(text: str) -> Value | None:
    said = {f"{top}/{bottom}" for top, bottom in _FRACTION.findall(text)}
    words = re.findall("|".join(_NOTE_WORDS), text.lower())
    return _only(said or {_NOTE_WORDS[word] for word in words})


_PLAIN_VALUE: dict[str, Callable[[str], Value | None]] = {
    "title": _text_value, "composer": _text_value, "key": _key_value, "meter": _meter_value,
    "unit_note_length": _unit_value,
}  # fmt: skip
_WITHIN: dict[str, Callable[[str], Value | None]] = {
    "title": lambda text: None, "composer": lambda text: None, "key": _key_within,
    "meter": _meter_within, "unit_note_length": _unit_within,
}  # fmt: skip


def _signature(value: Value) -> Value:
    """The alterations of the seven steps; None for what is no key."""
    return tuple(value.alters.items()) if isinstance(value, Key) else None


# ------------------------------------------------------------------ text


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _plain(text: str) -> str:
    """Straight quotes, compatible characters, no marks of Markdown."""
    text = unicodedata.normalize("NFKC", text).translate(_CURLY)
    text = re.sub(r"\*\*|__(?=\w)|(?<=\w)__|^#+ |^```\w*$", "", text, flags=re.MULTILINE)
    return text.replace("♯", "#").replace("♭", "b").strip()


def _peeled(text: str) -> str:
    """Without quotation marks and a full stop at the end."""
    text = " ".join(text.split())
    text = re.sub(r"(?<=\S)[.!]$", "", text).strip()
    text = re.sub(r"""^(["'])(.*)\1$""", r"\2", text).strip()
    return re.sub(r"(?<=\S)[.!]$", "", text).strip()


def _folded(text: str) -> str:
    """Case, runs of blanks, and a stop at the end do not matter."""
    return " ".join(text.casefold().split()).rstrip(".")
