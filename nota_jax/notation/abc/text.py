"""The text strings of ABC (2.1, 8.2): titles, annotations, chord symbols, words of a tempo.

`text_of` reads mnemonics (`\\'e`), code points (`\\u00e9`), octal Latin-1 (`\\351`) and HTML
entities; `field_text` and `quoted_text` write what it reads as the same text.
"""

from __future__ import annotations

import html
import re
import unicodedata

_ACCENTS = {
    "`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", '"': "\u0308",
    "c": "\u0327", "v": "\u030c", "u": "\u0306", "H": "\u030b",
}  # fmt: skip
_LIGATURES = {
    "AA": "Å", "aa": "å", "AE": "Æ", "ae": "æ", "OE": "Œ", "oe": "œ", "ss": "ß",
    "/O": "Ø", "/o": "ø", "/D": "Đ", "/d": "đ", "DH": "Ð", "dh": "ð", "TH": "Þ", "th": "þ",
}  # fmt: skip
_ENTITY = r"&(?:[A-Za-z][A-Za-z0-9]{1,30}|\#[0-9]{1,7}|\#[xX][0-9A-Fa-f]{1,6});"
_ESCAPE = re.compile(
    r"\\(?P<plain>[\\%&])|\\(?:u(?P<four>[0-9A-Fa-f]{4})|U(?P<eight>[0-9A-Fa-f]{8}))"
    r"|\\(?P<octal>[2-3][0-7][0-7])"
    r"|\\(?P<ligature>AA|aa|AE|ae|OE|oe|ss|DH|dh|TH|th|/[ODod])"
    rf"""|\\(?P<accent>[`'^~"cvuH])(?P<letter>[A-Za-z])|(?P<entity>{_ENTITY})"""
)
# What no page can show: control characters, halves of surrogate pairs, what is no character.
_UNPRINTABLE = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")


def text_of(field: str) -> str:
    """The characters that a text stands for, blanks in a row as one."""
    return " ".join(_UNPRINTABLE.sub("", _ESCAPE.sub(_character, field)).split())


def _character(match: re.Match[str]) -> str:
    if match["plain"]:
        return match["plain"]
    if code := match["four"] or match["eight"]:
        return chr(int(code, 16)) if int(code, 16) < 0x110000 else match[0]
    if match["octal"]:
        return chr(int(match["octal"], 8))
    if match["ligature"]:
        return _LIGATURES[match["ligature"]]
    if match["accent"]:
        return unicodedata.normalize("NFC", match["letter"] + _ACCENTS[match["accent"]])
    return html.unescape(match["entity"])


def field_text(text: str) -> str:
    """The field that `text_of` reads as `text`."""
    return re.sub(r"([\\%&])", r"\\\1", text)


def quoted_text(text: str) -> str:
    """What stands for `text` between double quotes: only what would be read otherwise is marked."""
    marked = re.sub(r"([\\%])", r"\\\1", text)
    return re.sub(f"(?={_ENTITY})&", r"\\&", marked).replace('"', "&quot;")


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
