"""Scores of the user's own in MusicXML, beside ABC: a corpus called "music:PATH", or
"music[PART]:PATH" where of several parts one is meant."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from nota_jax.notation import abc, musicxml

NAME = re.compile(r"music(?:\[(.+?)\])?:(?=.)")
ENDINGS = (".musicxml", ".mxl", ".xml")


def part_of(name: str) -> str:
    """The part that a corpus's name asks for, "" for none."""
    match = NAME.match(name)
    return (match[1] or "") if match else ""


def text_of(path: Path, part: str) -> tuple[str, str]:
    """A score's canonical ABC and "", or "" and why it has none."""
    stat = path.stat()
    return _text_of(path, part, stat.st_size, stat.st_mtime_ns)


@cache  # a build asks several times, and music21 takes its time
def _text_of(path: Path, part: str, size: int, time: int) -> tuple[str, str]:
    del time  # it is in the key
    if size > musicxml.MOST_BYTES:
        return "", f"it has more than {musicxml.MOST_BYTES // 2**20} MB"
    try:
        return abc.write(musicxml.read(path.read_bytes(), path.name, part)), ""
    except musicxml.Refused as error:
        return "", str(error).removeprefix(f"{path.name}: ")
