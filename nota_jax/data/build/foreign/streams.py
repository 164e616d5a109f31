"""Files of JSON records, one record at a time: an array, or an object a line.

Memory holds one record, whatever the file's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ijson

from nota_jax import jsontext
from nota_jax.errors import UserError

MOST_LINE = 16 * 2**20  # bytes
_BOM = b"\xef\xbb\xbf"


class Found(NamedTuple):
    """A record of a file.

    place: "line 12" or "record 12", counted from 1.  problem: why it is no JSON; "" if it is.
    """

    place: str
    value: Any
    problem: str = ""


def records(path: Path) -> Iterator[Found]:
    """The records of a file.

    Raises:
      UserError: no such file, an empty one, one that is neither an array nor lines, or an array
        that breaks off: what follows could not be told apart from what is broken.
    """
    try:
        with path.open("rb") as file:
            head = file.read(2**16).removeprefix(_BOM).lstrip()
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    if not head:
        raise UserError(f"{path} holds no records")
    if head[:1] not in b"[{":
        raise UserError(
            f"{path} is neither a JSON array of records nor a JSON object a line: it begins with "
            f"{head[:20]!r}"
        )
    return _array(path) if head[:1] == b"[" else _lines(path)


def _array(path: Path) -> Iterator[Found]:
    number = 0
    with path.open("rb") as file:
        file.seek(len(_BOM) if file.read(len(_BOM)) == _BOM else 0)
        try:
            for number, value in enumerate(ijson.items(file, "item", use_float=True), 1):
                yield Found(f"record {number}", value)
        except (ijson.JSONError, ValueError) as error:  # a number of ten thousand digits is one
            # Whose text may show the bytes around, over several lines.
            reason = (str(error).splitlines() or ["broken JSON"])[0][:120]
            raise UserError(
                f"{path} breaks off behind record {number} ({reason}): is it whole? Nothing was "
                "built of it"
            ) from None


def _lines(path: Path) -> Iterator[Found]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MOST_LINE + 1):
            number += 1
            place = f"line {number}"
            if len(line) > MOST_LINE:
                yield Found(place, None, f"the line is longer than {MOST_LINE // 2**20} MB")
                while line and not line.endswith(b"\n"):
                    line = file.readline(MOST_LINE)
                continue
            line = line.removeprefix(_BOM) if number == 1 else line
            if not line.strip():
                continue
            try:
                yield Found(place, jsontext.parse(line))
            except ValueError as error:
                yield Found(place, None, f"the line is no JSON: {error}")
