"""What `K:` and `V:` say of the staff: its clef, an octave to move by, what is not drawn here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from nota_jax.notation.abc.source import FieldError

_WORD = re.compile(r'[A-Za-z-]+="[^"]*"|"[^"]*"|\S+')
_SIGNED = {"+8": "+8", "-8": "-8", "^8": "+8", "_8": "-8"}
_CLEF = re.compile(r"(treble|bass|alto|tenor|G2?|F4?|C[34]?)([+^_-]8)?", re.IGNORECASE)
_LETTERS = {"g": "treble", "g2": "treble", "f": "bass", "f4": "bass", "c": "alto", "c3": "alto",
            "c4": "tenor"}  # fmt: skip
# Clefs of other programs that a page here does not have; `treble1` is a clef on another line.
_OTHER_CLEF = re.compile(
    r"(?:treble|bass|alto|tenor|soprano|mezzosoprano|mezzo|baritone|subbass|french|perc|drum|none"
    r"|auto|[GFCP])[0-9]?(?:[+^_-](?:8|15))?", re.IGNORECASE,
)  # fmt: skip
_MIDDLE = {"treble": "B", "alto": "C", "tenor": "A,", "bass": "D,"}  # of the staff, as drawn here
# What other programs are told about players, fonts and how voices lie together.
_UNDRAWN = frozenset(
    "nm name snm sname subname transpose shift-playback score-transpose instrument program cue dyn "
    "lyrics gchord gstem stem stems space staffsep staffscale scale strings tuning capo uscale "
    "merge up down brace bracket kbt rbs cpt tacet map color nostems".split()
)


class Staff(NamedTuple):
    """clef: "" where it says none.  octave: by how many octaves the notes move, None: not said."""

    clef: str = ""
    octave: int | None = None


def staff_words(text: str) -> list[str]:
    """The words of `K:` behind its key, of `V:` behind its name: `clef=bass`, `nm="Violin I"`."""
    return _WORD.findall(text)


def is_staff_word(word: str) -> bool:
    """Whether a `K:` begins with this instead of a key; `K:C`, `K:G` and `K:none` are keys."""
    named = re.match("[a-z-]{2,}=", word) is not None
    if word == "none":
        return False
    return named or (len(word) > 2 and _OTHER_CLEF.fullmatch(word) is not None)


def read_staff(words: Sequence[str], field: str, *, names: bool = False) -> Staff:
    """The words together; `FieldError` names the one that is not drawn, or not known.

    names: unknown words are players' and voices' names, which are not drawn.
    """
    clef, octave = "", None
    for word in words:
        name, equals, value = (part.strip() for part in word.partition("="))
        value = value.strip('"')
        if not equals:
            if names and not _OTHER_CLEF.fullmatch(word):
                continue
            name, value = "clef", word.strip('"')
        if name == "clef":
            clef = _clef(value, word, field)
        elif name in ("octave", "ottava"):
            if not re.fullmatch("[+-]?[0-4]", value):
                raise FieldError(f"an octave is a number from -4 to 4, not {value!r} ({field!r})")
            octave = int(value)
        elif (name, value) == ("stafflines", "5") or name in _UNDRAWN:
            continue
        elif name == "stafflines":
            raise FieldError(f"a staff of other than five lines is not supported ({field!r})")
        elif name in ("middle", "m") and value == _MIDDLE.get(clef or "treble"):
            continue
        elif name in ("middle", "m", "shift", "score", "sound"):
            raise FieldError(f"notes written at another pitch ({word!r}) are not supported")
        elif not names:
            raise FieldError(f"{field}: do not know what {word!r} is")
    return Staff(clef, octave)


def _clef(value: str, word: str, field: str) -> str:
    if match := _CLEF.fullmatch(value):
        name = match[1].lower()
        return _LETTERS.get(name, name) + (_SIGNED[match[2]] if match[2] else "")
    if _OTHER_CLEF.fullmatch(value):
        drawn = "treble, bass, alto and tenor are"
        raise FieldError(f"the clef {value!r} is not supported, {drawn} ({field!r})")
    raise FieldError(f"{field}: do not know what {word!r} is")
