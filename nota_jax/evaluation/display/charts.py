"""Charts as SVG inside a page: narrow enough for a phone, colours from the style sheet.

Each is drawn 360 units wide, with letters of 12, and scales with its place.  What it shows stands
in a table of the page too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from nota_jax.units import percent

WIDTH = 360
_LABEL, _RIGHT, _ROW, _TOP = 112, 20, 26, 22
_LETTER = 6.4  # mean width of a letter


@dataclass(frozen=True)
class Dot:
    """A share with its 95 % interval; style: "a", "b" or "c" of the style sheet."""

    value: float
    low: float
    high: float
    style: str = "a"


@dataclass(frozen=True)
class Row:
    """A line of `rows`: dots above each other, and what a trivial answer gets (None: nothing)."""

    label: str
    dots: tuple[Dot, ...]
    trivial: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Some pages of `scatter`: between left and right on its axis, with their figure together."""

    left: float
    right: float
    dot: Dot
    count: int


def rows(data: Sequence[Row], title: str, most: float = 1.0) -> Markup:
    """A line for each row, from 0 to `most`: dots with their intervals, a bar for the trivial."""
    thick = max((len(row.dots) for row in data), default=1)
    step = _ROW + 9 * (thick - 1)
    height = _TOP + step * len(data) + 4
    parts = [_scale(most, _TOP, height - 4)]
    for n, row in enumerate(data):
        y = _TOP + step * n + step / 2
        parts.append(_text(_LABEL - 8, y + 4, _fitted(row.label, _LABEL - 8), "end"))
        if row.trivial is not None:
            x = _x(row.trivial, most)
            parts.append(
                Markup('<path class="trivial" d="M{x:.1f} {a:.1f}V{b:.1f}"/>').format(
                    x=x, a=y - step / 2 + 3, b=y + step / 2 - 3
                )
            )
        for k, dot in enumerate(row.dots):
            at = y + 9 * (k - (len(row.dots) - 1) / 2)
            parts.append(_dot(dot, at, most, f"{row.label}: {_said(dot)}{row.note}"))
    return _svg(height, title, parts)


def scatter(
    points: Sequence[tuple[float, float, str]], groups: Sequence[Group], title: str, below: str
) -> Markup:
    """A point for each page at (x, share, what it is), a bar with its interval for each group.

    What lies above the top of the chart stands at its edge: a model that goes on and on has errors
    of many times the text, which would press all other pages together.
    """
    left, right, top, bottom = 40, WIDTH - 10, 12, 196
    shares = sorted(y for _, y, _ in points)
    highest = shares[math.ceil(0.98 * (len(shares) - 1))] if shares else 1.0
    most = _round_up(min(1.0, max(0.1, highest, *(group.dot.high for group in groups))))
    xs = [x for x, _, _ in points] + [edge for g in groups for edge in (g.left, g.right)]
    low, high = (min(xs), max(xs)) if xs else (0.0, 1.0)
    span = (high - low) or 1.0
    low, high = low - 0.03 * span, high + 0.03 * span

    def across(x: float) -> float:
        return left + (right - left) * (x - low) / (high - low)

    def up(y: float) -> float:
        return bottom - (bottom - top) * min(y, most) / most

    parts = []
    for tick in _ticks(most):
        y = up(tick)
        parts.append(Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(left, y, right))
        parts.append(_text(left - 5, y + 4, f"{100 * tick:g} %", "end", "axis"))
    for tick in _whole_ticks(low, high):
        parts.append(_text(across(tick), bottom + 15, f"{tick:g}", "middle", "axis"))
    parts.append(_text((left + right) / 2, bottom + 31, below, "middle", "axis"))
    for x, y, said in points:
        parts.append(
            Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="2.2"><title>{}</title></circle>')
            .format("point out" if y > most else "point", across(x), up(y), said)
        )  # fmt: skip
    parts += [_group(group, across, up, most) for group in groups]
    return _svg(bottom + 38, title, parts)


def _group(
    group: Group, across: Callable[[float], float], up: Callable[[float], float], most: float
) -> Markup:
    """Of `scatter`: a bar as wide as its pages reach, a whisker as high as its interval."""
    dot, left = group.dot, across(group.left)
    right = max(across(group.right), left + 4)
    span = f"{_number(group.left)} to {_number(group.right)}"
    return Markup(
        '<g class="{style}"><title>{said}</title><path d="M{left:.1f} {y:.1f}H{right:.1f}"/>'
        '<path class="whisker" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
        '<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/></g>'
    ).format(
        style="group out" if dot.value > most else "group",
        said=f"{span}: {_said(dot)}, {group.count} pages",
        left=left, right=right, x=(left + right) / 2,
        y=up(dot.value), low=up(dot.low), high=up(dot.high),
    )  # fmt: skip


def interval(value: float, low: float, high: float, trivial: float | None) -> Markup:
    """A share, its interval and the trivial answer's as a line of a table has room for."""
    bar = Markup("")
    if trivial is not None and 0 <= trivial <= 1:
        bar = Markup('<path class="trivial" d="M{:.1f} 1V13"/>').format(100 * trivial)
    return Markup(
        '<svg class="interval" viewBox="-4 0 108 14" aria-hidden="true">'
        '<path class="grid" d="M0 7H100"/>{}<path class="whisker a" d="M{:.1f} 7H{:.1f}"/>'
        '<circle class="a" cx="{:.1f}" cy="7" r="3.5"/></svg>'
    ).format(bar, *(100 * min(1.0, max(0.0, x)) for x in (low, high, value)))


# ------------------------------------------------------------------ pieces


def _svg(height: float, title: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, height, title, Markup("").join(parts))


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(
        x, y, anchor, style, text
    )


def _fitted(text: str, width: float) -> str:
    most = int(width / _LETTER)
    return text if len(text) <= most else text[: most - 1] + "…"


def _x(share: float, most: float) -> float:
    return _LABEL + (WIDTH - _LABEL - _RIGHT) * min(max(share, 0.0), most) / most


def _scale(most: float, top: float, bottom: float) -> Markup:
    parts = []
    for tick in _ticks(most):
        x = _x(tick, most)
        parts.append(Markup('<path class="grid" d="M{0:.1f} {1}V{2}"/>').format(x, top, bottom))
        parts.append(_text(x, top - 8, f"{100 * tick:g} %", "middle", "axis"))
    return Markup("").join(parts)


def _dot(dot: Dot, y: float, most: float, said: str) -> Markup:
    low, high, x = (_x(share, most) for share in (dot.low, dot.high, dot.value))
    return Markup(
        '<g class="{}"><title>{}</title><path class="whisker" d="M{:.1f} {:.1f}H{:.1f}"/>'
        '<circle cx="{:.1f}" cy="{:.1f}" r="4.5"/></g>'
    ).format(dot.style, said, low, y, high, x, y)


def _said(dot: Dot) -> str:
    return f"{percent(dot.value)} ({percent(dot.low)} to {percent(dot.high)})"


def _number(x: float) -> str:
    return f"{x:.1f}".removesuffix(".0")


def _round_up(share: float) -> float:
    """To the next line that a scale can have."""
    return next((x for x in (0.1, 0.2, 0.4, 0.6, 0.8) if share <= x), float(math.ceil(share)))


def _ticks(most: float) -> list[float]:
    return [most * n / 4 for n in range(5)]


def _whole_ticks(low: float, high: float) -> list[float]:
    """At most six round numbers between two."""
    span = high - low
    raw = span / 5
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * f for f in (1, 2, 2.5, 5, 10) if size * f >= raw)
    first = math.ceil(low / step)
    return [n * step for n in range(first, math.floor(high / step) + 1)]
