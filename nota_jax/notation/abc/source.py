"""ABC as it lies in files: decoding, tunebooks of many tunes, and the error that says where."""

from __future__ import annotations

import re
from itertools import pairwise

from nota_jax.errors import UserError

_FIELD = re.compile(r"([A-Za-z]):(.*)")


class AbcError(UserError):
    """A tune that cannot be read.

    Attributes: message (the reason alone), source (file), tune (its `X:` number), line and column
    (both from 1, column 0 where the whole line or tune is meant).
    """

    def __init__(
        self, message: str, *, source: str = "", tune: str = "", line: int = 0, column: int = 0
    ):
        self.message, self.source, self.tune = message, source, tune
        self.line, self.column = line, column
        where = ", ".join(
            f"{name} {value}"
            for name, value in (("tune", tune), ("line", line), ("column", column))
            if value
        )
        super().__init__(": ".join(part for part in (source, where, message) if part))

    def __reduce__(self):  # keyword-only arguments do not survive pickling between processes
        return (_rebuild, (self.message, self.source, self.tune, self.line, self.column))


def _rebuild(message: str, source: str, tune: str, line: int, column: int) -> AbcError:
    return AbcError(message, source=source, tune=tune, line=line, column=column)


def decode(data: bytes) -> str:
    """The text of an ABC file: UTF-8, or Latin-1 where it is not (old collections)."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def lines_of(text: str) -> list[str]:
    """Lines by the three newlines of text files only (`str.splitlines` knows a dozen)."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def split_tunebook(text: str) -> list[tuple[int, str]]:
    """(first line number, text) of every tune in a file of many.

    A tune reaches from its `X:` to the next blank line or `X:`.  Fields of the file header (the
    first block of the file, where it has no `X:`) are put before each tune's own, and the first
    line number is lowered by as many lines, so that line numbers of errors stay the file's.
    """
    lines = lines_of(text)
    starts = [i for i, line in enumerate(lines) if line.startswith("X:")]
    inherited = _file_header(lines[: starts[0]]) if starts else []
    tunes = []
    for start, end in pairwise([*starts, len(lines)]):
        block = lines[start:end]
        blank = next((i for i, line in enumerate(block) if not line.strip()), len(block))
        tunes.append((start + 1 - len(inherited), "\n".join(inherited + block[:blank])))
    return tunes


def _file_header(lines: list[str]) -> list[str]:
    """The field lines of the file's first block; comments and free text are no header."""
    header: list[str] = []
    for line in lines:
        if not line.strip():
            if header:
                break
        elif _FIELD.match(line):
            header.append(line)
    return header
