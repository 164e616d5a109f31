"""The decorations that are drawn: one canonical name each, and the spellings that mean it.

A name of one character is written as it stands (`.A`), a longer one between exclamation marks
(`!accent!A`).  Anything else that ABC allows at this place is not drawn, and left out.
"""

from __future__ import annotations

from collections.abc import Iterable

DYNAMICS = ("pppp", "ppp", "pp", "p", "mp", "mf", "f", "ff", "fff", "ffff", "sf", "sfz", "fz")
FINGERINGS = ("0", "1", "2", "3", "4", "5")
# Marks of the form, which stand at a barline: they belong to the event before it.
FORM_MARKS = ("segno", "coda", "D.C.", "D.S.", "fine")

_SYNONYMS = {
    ".": (".", "staccato"),
    "~": ("~", "roll"),
    "T": ("T", "trill", "tr"),
    "u": ("u", "upbow"),
    "v": ("v", "downbow"),
    "H": ("H", "fermata"),
    "M": ("M", "lowermordent", "mordent"),
    "P": ("P", "uppermordent", "pralltriller"),
    "accent": ("L", "accent", ">", "emphasis"),
    "tenuto": ("tenuto",),
    "wedge": ("wedge", "staccatissimo"),
    "marcato": ("marcato",),
    "turn": ("turn",),
    "arpeggio": ("arpeggio",),
    "breath": ("breath",),
    "open": ("open",),
    "snap": ("snap",),
    "segno": ("S", "segno"),
    "coda": ("O", "coda"),
    "D.C.": ("D.C.", "d.c.", "DC", "dacapo"),
    "D.S.": ("D.S.", "d.s.", "DS"),
    "fine": ("fine",),
}

# spelling → canonical name
DECORATIONS: dict[str, str] = {
    spelling: name for name, spellings in _SYNONYMS.items() for spelling in spellings
} | {name: name for name in DYNAMICS + FINGERINGS}


def canonical_name(spelling: str) -> str | None:
    """The canonical name of `.`, `T`, `!trill!`, `+trill+` …; None for what is not drawn."""
    name = spelling.strip("!+").strip() if len(spelling) > 1 else spelling
    return DECORATIONS.get(name) or (DECORATIONS.get(name.lower()) if len(name) > 1 else None)


def decoration_text(name: str) -> str:
    """How the canonical writer spells it."""
    return name if name in ".~TuvHMP" else f"!{name}!"


_ORDER = {name: i for i, name in enumerate([*_SYNONYMS, *DYNAMICS, *FINGERINGS])}


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Canonical names once each, in the table's order: on a page they have none."""
    return tuple(sorted(set(names), key=_ORDER.__getitem__))
