"""ABC as it lies in files: their characters, and tunebooks of many tunes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from nota_jax.notation.abc.lines import in_text_blocks
from nota_jax.notation.abc.source import lines_of
from nota_jax.notation.abc.tokens import is_music

# --- Characters -------------------------------------------------------------------------------

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_TUNES = re.compile(rb"(?:(?<=[\n\r])|\A)(?=[ \t]*X:)")
_CHARSET = re.compile(
    rb"(?:\A|[\n\r])[ \t]*(?:%%|I:)[ \t]*abc-charset[ \t]+([\w.-]+)", re.IGNORECASE
)
_ASCII = bytes(range(128))


def decode(data: bytes) -> str:
    """The text of an ABC file: UTF-16 where its mark says so, else what each tune is written in.

    That is what `%%abc-charset` or `I:abc-charset` names, in the tune or ahead of the first one,
    else UTF-8, and where it is not that, Windows-1252: one odd byte spoils no other tune.
    """
    if data.startswith(_UTF_16):
        return data.decode("utf-16", errors="replace")
    head, *tunes = _TUNES.split(data.removeprefix(codecs.BOM_UTF8))
    named = _charset(head)
    return "".join(_decode(part, _charset(part) or named) for part in (head, *tunes))


def _charset(data: bytes) -> str:
    """The character set that a text names; "" for none, and for one that is no kind of ASCII."""
    match = _CHARSET.search(data)
    try:
        name = match[1].decode("ascii") if match else ""
        return name if name and _ASCII.decode(name) == _ASCII.decode("ascii") else ""
    except (LookupError, ValueError):
        return ""


def _decode(data: bytes, named: str) -> str:
    for charset in filter(None, (named, "utf-8", "cp1252")):
        try:
            return data.decode(charset)
        except ValueError:
            continue
    # The five bytes that Windows-1252 leaves free stay what they are in Latin-1.
    return "".join(_one(bytes([byte])) for byte in data)


def _one(byte: bytes) -> str:
    try:
        return byte.decode("cp1252")
    except ValueError:
        return byte.decode("latin-1")


# --- Tunes ------------------------------------------------------------------------------------

_FIELD = re.compile(r"\s*([A-Za-z]):(.*)")
_BEGINS = re.compile(r"[\ufeff\s]*X:")
_KEY = re.compile(r"\s*K:")
_TITLE = re.compile(r"\s*T:")


def split_tunebook(text: str) -> list[tuple[int, str]]:
    """(first line number, text) of every tune in a file of many.

    A tune reaches from its `X:` to the next blank line or `X:`, and over blank lines as far as
    what follows is its key or its music and no free text.  A block with a key that has no `X:` is
    a tune too.  Fields of the file header (the first block of the file, where it has no `X:`) are
    put before each tune's own, and the first line number is lowered by as many lines, so that line
    numbers of errors stay the file's.
    """
    lines = lines_of(text)
    inside = in_text_blocks(lines)
    starts = [i for i, line in enumerate(lines) if i not in inside and _BEGINS.match(line)]
    blocks = list(_blocks(lines, inside, starts))
    inherited: list[str] = []
    first, *_ = blocks or [(0, 0)]
    if starts and first[1] <= starts[0] and not _has(lines, first, _KEY):
        inherited = [line for line in lines[slice(*first)] if _FIELD.match(line)]
    tunes = []
    for block in _joined(lines, blocks):
        begins = _BEGINS.match(lines[block[0]]) is not None
        if begins or (_has(lines, block, _KEY) and (not starts or _has(lines, block, _TITLE))):
            start, end = block
            tunes.append((start + 1 - len(inherited), "\n".join(inherited + lines[start:end])))
    return tunes


def _blocks(
    lines: Sequence[str], inside: set[int], starts: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """(first line, line behind the last) of what blank lines and every `X:` part."""
    cuts = sorted({0, *starts, len(lines)})
    for begin, end in pairwise(cuts):
        start = None
        for i in range(begin, end):
            blank = i not in inside and not lines[i].strip()
            if blank and start is not None:
                yield start, i
                start = None
            elif not blank and start is None:
                start = i
        if start is not None:
            yield start, end


def _joined(lines: Sequence[str], blocks: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The blocks, each with those behind it that go on with it."""
    waiting: tuple[int, int] | None = None
    for block in blocks:
        if waiting and _goes_on(lines, waiting, block):
            waiting = waiting[0], block[1]
            continue
        if waiting:
            yield waiting
        waiting = block
    if waiting:
        yield waiting


def _goes_on(lines: Sequence[str], before: tuple[int, int], block: tuple[int, int]) -> bool:
    """Whether a block behind a blank line is the rest of the tune before it."""
    if _BEGINS.match(lines[block[0]]) or not _BEGINS.match(lines[before[0]]):
        return False
    if not _has(lines, before, _KEY):
        return _has(lines, block, _KEY)
    said = [line for line in lines[slice(*block)] if not line.startswith("%")]
    music = [line for line in said if not _FIELD.match(line) or re.match(r"\s*[A-G]:[|:]", line)]
    return bool(music) and not _has(lines, block, _TITLE) and all(map(is_music, music))


def _has(lines: Sequence[str], block: tuple[int, int], pattern: re.Pattern[str]) -> bool:
    return any(pattern.match(line) for line in lines[slice(*block)])
