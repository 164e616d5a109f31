"""Every target by its name; what it needs is imported and made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from tests.fuzz.engine import Target

HOMES = {
    "notation": ("abc", "abc-writer", "mei", "musicxml", "questions", "tunes"),
    "file": ("json", "safetensors", "labels"),
    "text": ("config", "chat"),
}


def _made(home: str, name: str) -> Callable[[], Target]:
    return lambda: import_module(f"tests.fuzz.{home}_targets").TARGETS[name]()


TARGETS: dict[str, Callable[[], Target]] = {
    name: _made(home, name) for home, names in HOMES.items() for name in names
}
