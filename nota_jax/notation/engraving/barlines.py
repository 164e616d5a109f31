"""Bar lines: what the strokes between two bars mean together."""

from __future__ import annotations

from dataclasses import dataclass

from nota_jax.notation.engraving.bars import meaning
from nota_jax.notation.engraving.errors import MismatchError
from nota_jax.notation.engraving.svg import RawBar, Stroke

# The strokes of a sign from left to right → its meaning.
_BAR_LINES = {
    "": "", "thin": "|", "thin thin": "||", "thin thick": "|]", "dot thin thick": ":|",
    "thick thin dot": "|:", "dot thin thick thin dot": "::",
    "dot thin thick thick thin dot": "::", "thin thin thick thin dot": "|||:",
    "thin thick thick thin dot": "|]|:",
    # A change of key or meter stands between the bar line and the start of the repeat.
    "thin thick thin dot": "|:",
}  # fmt: skip


@dataclass(frozen=True)
class BarLine:
    """The bar line at a bar's right, as one sign with the left one of the next bar.

    starts_repeat: a repeat begins at the bar's left.
    closes: what the sign means for this bar ("|:" closes it with "|").
    opening: the sign at the bar's left where it begins a system; sign: the one at its right.
    """

    starts_repeat: bool
    closes: str
    opening: tuple[str, tuple[Stroke, ...]]
    sign: tuple[str, tuple[Stroke, ...]]


def read_bar_lines(bars: list[RawBar]) -> list[BarLine]:
    """The bar line of every bar: between two of a system the strokes of both make one sign."""
    sides = []
    for bar in bars:
        first = min((event.x for event in bar.events), default=bar.right)
        strokes = sorted(bar.strokes, key=lambda stroke: (stroke.x, stroke.kind))
        sides.append(([stroke for stroke in strokes if stroke.x < first],
                      [stroke for stroke in strokes if stroke.x >= first]))  # fmt: skip
    lines, started = [], False
    for i, (bar, (left, right)) in enumerate(zip(bars, sides, strict=True)):
        opening = ""
        if begins_system := i == 0 or bars[i - 1].system != bar.system:
            opening = _bar_line(left, bar)
            if opening not in ("", "|:"):
                raise MismatchError(
                    f"bar {i + 1}: the bar line {opening!r} at the start of a system"
                )
            started = started or opening == "|:"
        starts_repeat, started = started, False
        if i + 1 < len(bars) and bars[i + 1].system == bar.system:
            right = right + sides[i + 1][0]
        sign = closes = _bar_line(right, bar)
        if sign.endswith(":") and i + 1 < len(bars):
            started = True
            closes = {"|:": "|", "::": ":|"}.get(sign, sign[:2])
        opened = (opening, tuple(left) if begins_system else ())
        lines.append(BarLine(starts_repeat, closes, opened, (sign, tuple(right))))
    return lines


def _bar_line(strokes: list[Stroke], bar: RawBar) -> str:
    """What strokes mean; a repeat's two dots stand at the same x and count once."""
    kinds = dict.fromkeys((stroke.x, stroke.kind) for stroke in strokes)
    return meaning(_BAR_LINES, " ".join(kind for _, kind in kinds), bar)
