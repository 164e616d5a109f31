"""How far long work is: a bar on a terminal; in a file or a pipe a line now and then."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

LINE_SECONDS = 30.0  # between two lines in a file


def bar(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """A bar of tqdm, with its options, on stderr.

    Work that ends before the first line is due says nothing of itself in a file.
    """
    if not sys.stderr.isatty():
        options |= {"mininterval": LINE_SECONDS, "delay": LINE_SECONDS, "miniters": 1}
        options |= {"file": _Lines(sys.stderr), "ncols": 0}
    return tqdm(iterable, **options)


class _Lines:
    """A stream on which what tqdm draws over and over becomes lines."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> None:
        if text := text.strip():
            self._stream.write(text + "\n")

    def flush(self) -> None:
        self._stream.flush()
