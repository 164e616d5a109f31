"""JSON that somebody else may have written: whatever is wrong with it is a ValueError.

Python's own reader raises RecursionError where brackets are nested too deep, and UnicodeDecodeError
(a ValueError) for bytes that are no text.  What a reader then does with a value of another shape
than it expects is its own business: `WRONG_SHAPE` is what Python raises there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

WRONG_SHAPE = (ValueError, LookupError, TypeError, AttributeError)


def parse(text: str | bytes) -> Any:
    """The value that a JSON text stands for."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("brackets are nested too deep") from None
    except UnicodeDecodeError as error:  # whose own words hold the whole file
        raise ValueError(f"byte {error.start} is no text: {error.reason}") from None


def lines(content: bytes) -> Iterator[bytes]:
    """Of a file of JSON lines.  U+2028 and its like end none, as they do for `str.splitlines`."""
    yield from content.splitlines()
