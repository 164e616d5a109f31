"""Inputs that are nearly right: real ones with a few things done to them, by chance.

All chance comes from the `random.Random` of the caller: the same seed, the same inputs.
"""

from __future__ import annotations

import copy
import functools
import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

from nota_jax.data.build import corpora

# What music code is made of, whole and broken.
PIECES = (
    "|", "||", "|]", "[|", "|:", ":|", "::", ":", "[1", "[2", "|1", ":|2", '["x"', "[|]", "&",
    "\\\n",
    "A", "b'", "C,,,", "^c", "__B", "=f''''", "z", "Z", "Z4", "x2", "X3", "y", "/", "//", "/7",
    "64",
    "999", "0", "1000000", "3/2", "7/4", "(", ")", "((", "-", ".", "~", "T", "!trill!", "!fermata!",
    "+segno+", "!D.C.!", "!", "(3", "(2", "(9", "(3:2:1", "(5:4:12", "(3::", "{", "}", "{g}",
    "{/gab}", "{^c3/2}", "[CEG]", "[C-E-G-]", "[CC]", "[^C_C=C]", "+CEG+", '"', '"Am7"', '"^text"',
    '"@1,2 x"', '"', "<", ">", ">>", "<<<", ">>>>", "[K:D]", "[K:F#m clef=bass]", "[M:3/8]",
    "[M:none]", "[L:1/32]", "[Q:1/4=90]", "[V:2]", "[r:x]", "\nK:Bb\n", "\nM:C|\n", "\nL:1/4\n",
    "\nw:la la-la _ * | ~ \\-\n", "\nP:A\n", "\n%%staves\n", "\n\n", "\r", "\t", "%", "\\",
    "$", "`",
    "\ufdd0", "\u0301", "\u202e", "ß", "𝄞", "\0", "\x1b[31m", "é" * 30, "=20", "=3D",
)  # fmt: skip
# Pieces that are read wherever they stand, or nearly.
SOUND = (
    "|", "||", "|:", ":|", "::", "[1", "[2", "|1", ":|2", "[2|", "A", "b'", "^c", "__B", "=c",
    "f''", "B-", "^c-", "z", "2", "/", "3/2", "7", "(", "(A", "b)", "(3ABc", "(2Bc", "{g}",
    "{^c3/2}", "[CEG]", "[C-E-G-]", "[_C=C]", "[_C-=C]-", "[CC]", "[K:D]", "[K:F#m clef=bass]",
    "[K:Bm]", "[M:3/8]", "[L:1/32]", "\nK:Bb\n", "\nL:1/4\n", "\n", " ", "A>b", '"Am7"', '"^text"',
    "!trill!", "!D.C.!", "!fermata!", "\nw:la la-la _ * |\n",
)  # fmt: skip
HEADERS = (
    "X:", "X:1", "T:", "T:" + "long title " * 30, "T:\\'e &amp; &#0; &#999999;", "C:", "C:Trad.",
    "M:", "M:C", "M:C|", "M:0/4", "M:99/64", "M:2+3+2/8", "M:(2+2)/4", "M:none", "M:6/0", "M:1/3",
    "L:1/8", "L:1/128", "L:1", "L:0", "L:1/0", "Q:", "Q:120", "Q:1/4=0", 'Q:"x" 1/8 3/8=9999',
    "Q:0/4=1", "Q:C=99", "K:", "K:none", "K:C", "K:C#", "K:Cb", "K:G#", "K:Fbm", "K:HP", "K:Hp",
    "K:D exp ^c =f", "K:Gmix clef=alto", "K:A bass", "K:treble-8", "K:E__b^^c", "U:T=!trill!",
    "U:~=+roll+", "V:1", "m:x=y", "w:la", "W:words", "N:note", "R:jig", "O:China", "Z:me",
    "+:more", "s:x", "%%abc-version 2.1", "plain words",
)  # fmt: skip


@functools.cache
def tunes() -> tuple[str, ...]:
    """Every tune of the corpora inside music21."""
    return tuple(tune.text for tune in corpora.read())


def tune(rng: random.Random, most: int = 6) -> str:
    """A real tune, whole or some of its bars, with a few edits: often still one, seldom a good one.

    Most mistakes are about a few neighbours, and five short tunes are read while a long one is.
    """
    text = rng.choice(tunes())
    if rng.random() < 0.8:
        text = _some_bars(rng, text)
    for _ in range(rng.choice((0, *range(1, most + 1)))):
        text = rng.choice(_EDITS)(rng, text)
    return text


def _some_bars(rng: random.Random, text: str) -> str:
    """The header, and music from one bar line to another."""
    begins = text.find("\n", text.rfind("\nK:") + 1) + 1
    first = text.find("|", rng.randint(begins, len(text))) + 1
    last = text.find("|", first + rng.choice((1, 20, 60))) + 1
    return text[:begins] + text[max(first, begins) : last or len(text)]


def _position(rng: random.Random, text: str) -> int:
    """A place in the text; mostly in the music, behind the header."""
    begins = text.rfind("\nK:") + 1
    return rng.randint(begins if rng.random() < 0.8 else 0, len(text))


def _insert(rng: random.Random, text: str) -> str:
    at = _position(rng, text)
    return text[:at] + rng.choice(PIECES) + text[at:]


def _insert_many(rng: random.Random, text: str) -> str:
    at = _position(rng, text)
    return text[:at] + rng.choice(PIECES) * rng.choice((2, 3, 8, 40, 200)) + text[at:]


def _replace(rng: random.Random, text: str) -> str:
    at = _position(rng, text)
    return text[:at] + rng.choice(PIECES) + text[at + rng.choice((1, 1, 2, 5)) :]


def _cut(rng: random.Random, text: str) -> str:
    at = _position(rng, text)
    return text[:at] + text[at + rng.choice((1, 1, 1, 2, 4, 16, 200)) :]


def _character(rng: random.Random, text: str) -> str:
    at = _position(rng, text)
    new = chr(rng.choice((rng.randint(32, 126), rng.randint(0, 255), rng.randint(0, 0xD7FF))))
    return text[:at] + new + text[at + 1 :]


def _other_number(rng: random.Random, text: str) -> str:
    found = list(re.finditer(r"[0-9]+", text))
    if not found:
        return text
    match = rng.choice(found)
    new = rng.choice(("0", "1", "2", "3", "5", "7", "16", "64", "99", "128", "1000", "9" * 30))
    return text[: match.start()] + new + text[match.end() :]


def _lines(rng: random.Random, text: str) -> str:
    """A line is lost, doubled, exchanged with another, or is a header field of any kind."""
    lines = text.split("\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            del lines[i]
        case 1:
            lines.insert(j, lines[i])
        case 2:
            lines[i], lines[j] = lines[j], lines[i]
        case _:
            lines.insert(i, rng.choice(HEADERS))
    return "\n".join(lines)


def _piece_again(rng: random.Random, text: str) -> str:
    at, to = _position(rng, text), _position(rng, text)
    return text[:to] + text[at : at + rng.choice((1, 3, 10, 60))] + text[to:]


def _another_s(rng: random.Random, text: str) -> str:
    """A piece of another tune's music."""
    other, at = rng.choice(tunes()), _position(rng, text)
    start = _position(rng, other)
    return text[:at] + other[start : start + rng.choice((3, 10, 40))] + text[at:]


_EDITS: tuple[Callable[[random.Random, str], str], ...] = (
    _insert, _insert, _insert_many, _replace, _cut, _cut, _character, _other_number, _lines,
    _piece_again, _another_s,
)  # fmt: skip


def music(rng: random.Random) -> str:
    """Pieces of music code in any order behind a header that may be good.

    Most are of few kinds, which so meet each other often.
    """
    header = "X:1\nM:6/8\nL:1/8\nK:D\n"
    if rng.random() < 0.3:
        header = "\n".join(rng.choice(HEADERS) for _ in range(rng.randint(1, 5))) + "\nK:C\n"
    pieces = PIECES if rng.random() < 0.4 else ("A", "_B", "c", *rng.sample(SOUND, 7))
    return header + "".join(rng.choice(pieces) for _ in range(rng.randint(1, 40)))


# ---- bytes and JSON


def data(rng: random.Random, seed: bytes, pieces: Sequence[bytes] = ()) -> bytes:
    """Bytes with a few flipped, cut, doubled or replaced by what means something in the format."""
    out = bytearray(seed)
    for _ in range(rng.randint(1, 5)):
        at = rng.randint(0, len(out))
        match rng.randrange(6):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(out):
                out[at] = rng.randrange(256)
            case 2:
                del out[at : at + rng.choice((1, 2, 8, 100))]
            case 3:
                out[at:at] = rng.randbytes(rng.choice((1, 4, 30)))
            case 4:
                out[at:at] = out[at : at + rng.choice((1, 8, 60))]
            case _ if pieces:
                out[at : at + rng.choice((0, 1, 8))] = rng.choice(pieces)
    return bytes(out) if rng.random() < 0.95 else bytes(out[: rng.randint(0, len(out))])


JSON_PIECES = (
    b"{", b"}", b"[", b"]", b'"', b",", b":", b"null", b"true", b"NaN", b"Infinity", b"-1",
    b"1e999",
    b"9" * 400, b"9" * 5000, b"\\u0000", b"\\ud800", b"\xff", b"\xef\xbb\xbf", b"\0",
    b"[" * 100_000,
    b'{"a":' * 100_000, b"\n", b"",
)  # fmt: skip
SCALARS = (
    None, True, False, 0, 1, -1, 2, 2**31, 2**63, 10**400, -(10**30), 0.5, float("nan"),
    float("inf"), "", "x", "../../up", "/", "\0", "\ud800", "a" * 300, [], {}, [[]], [0], {"": 0},
    [None], ["x", "y"], {"model": {}}, [1, 2, 3],
)  # fmt: skip


def json_text(rng: random.Random, seed: Any) -> bytes:
    """JSON with other values in some places, or JSON no longer."""
    value = json.loads(json.dumps(seed))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _other_value(rng, value)
    text = json.dumps(value).encode()
    return data(rng, text, JSON_PIECES) if rng.random() < 0.3 else text


def _scalar(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(SCALARS))


def _other_value(rng: random.Random, value: Any) -> Any:
    """The value with one place in it, at any depth, that is another, gone or new."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                del value[key]
            case 1:
                value[rng.choice(("x", "", "layers", "__class__"))] = _scalar(rng)
            case _:
                value[key] = _other_value(rng, value[key])
        return value
    if isinstance(value, list) and value and rng.random() < 0.9:
        i = rng.randrange(len(value))
        match rng.randrange(8):
            case 0:
                del value[i]
            case 1:
                value.append(_scalar(rng))
            case _:
                value[i] = _other_value(rng, value[i])
        return value
    return _scalar(rng)
