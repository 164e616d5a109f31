"""A transcription with the title and the composer that were read from the enlarged heading."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nota_jax.data.build.phrasings import NO_COMPOSER


def headed(text: str, read: Mapping[str, str]) -> str:
    """The text with what was read in its first T: line and its C: line, of which it may have none.

    A text that begins in another way than a page's is left as it is.

    read: answers by subtask, "title" and "composer"; what is not there is left as it stands.
    """
    head, key, body = text.partition("\nK:")
    if not key:
        return text
    lines = head.split("\n")
    if title := " ".join(read.get("title", "").split()):
        lines = _put(lines, "T", title)
    if composer := " ".join(read.get("composer", "").split()):
        lines = _put(lines, "C", "" if composer == NO_COMPOSER else composer)
    return "\n".join(lines) + key + body


def _put(lines: list[str], name: str, value: str) -> list[str]:
    """Header lines whose first field of a name has the value; "" takes it out."""
    first = next((i for i, line in enumerate(lines) if line.startswith(f"{name}:")), None)
    if first is None:  # X:, T: and C: come in this order
        before = [
            i for i, line in enumerate(lines) if re.match("[XT]:" if name == "C" else "X:", line)
        ]
        first = before[-1] + 1 if before else 0
        lines = [*lines[:first], "", *lines[first:]]
    return [*lines[:first], *([f"{name}:{value}"] if value else []), *lines[first + 1 :]]
