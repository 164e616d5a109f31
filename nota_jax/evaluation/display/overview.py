"""The first screen of a report: figures as tiles, charts, tables, the matrix of confusion."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from nota_jax.evaluation import names, report
from nota_jax.evaluation.display import charts
from nota_jax.evaluation.display.charts import Dot
from nota_jax.evaluation.display.diff import visible
from nota_jax.evaluation.display.pictures import MEASURES, Picture
from nota_jax.evaluation.extraction import SIX
from nota_jax.evaluation.groups import of_page

MOST_POINTS = 600  # of a chart with a point for every page
MOST_ROWS = 16  # of a chart by group
TILES = (
    ("fields.lenient", "Header fields right", "title, key, meter, unit note length, composer"),
    ("abc.note_f1", "Notes of a page", "F1 of pitch and length"),
    ("abc.canonical_character_errors", "Characters of a page wrong", "in canonical spelling"),
    ("alignment.note_f1", "Notes of highlighted bars", "F1 of pitch and length"),
    ("abc.bars_right", "Bars of a page right", ""),
    ("facts.right", "Facts right", "of what an analysis says and can be checked"),
    ("hallucination.notes", "Notes invented", "of those read"),
    ("hallucination.fields", "Fields invented", "named where none is printed"),
)
# The dots of a chart by group: figure, what it is called, style.
BY_GROUP = (
    ("fields.lenient", "header fields right", "a"),
    ("abc.note_f1", "notes of a page, F1", "b"),
    ("alignment.note_f1", "notes of highlighted bars, F1", "c"),
    ("facts.right", "facts right", "d"),
)
# What `scatter` shows of pictures, by their kind.
_ERRORS = {
    "whole pages": "abc.canonical_character_errors",
    "highlighted bars": "alignment.canonical_character_errors",
    "analyses": "facts.missing",
}
_UNITS = {"staff spacing": "pixels between staff lines", "notes": "notes of the tune"}


@dataclass(frozen=True)
class Tile:
    """A figure of the first screen."""

    name: str
    value: str
    interval: str
    trivial: str
    count: int
    says: str


@dataclass(frozen=True)
class Chart:
    """legend: (style, words)."""

    title: str
    svg: Markup
    legend: tuple[tuple[str, str], ...]
    says: str


@dataclass(frozen=True)
class Line:
    """A line of a table of figures."""

    name: str
    value: str
    bar: Markup
    interval: str
    trivial: str
    count: int


def tiles(figures: Mapping[str, Any]) -> list[Tile]:
    return [
        Tile(words, names.shown(name, f["value"]), _interval(name, f),
             names.shown(name, f["trivial"]), f["count"], says)
        for name, words, says in TILES
        if (f := figures.get(name))
    ]  # fmt: skip


def all_charts(summary: Mapping[str, Any], pictures: Sequence[Picture]) -> list[Chart]:
    """Those for which there is something to show."""
    made = [_of_fields(summary["figures"]), _of_music(summary["figures"])]
    made += [_against(summary, pictures, dimension) for dimension in _UNITS]
    for dimension in ("region", "degradation", "music font"):
        made.append(_by_group(summary, dimension))
    made.append(_by_group(summary, "analysis of"))
    return [chart for chart in made if chart is not None]


def _of_fields(figures: Mapping[str, Any]) -> Chart | None:
    rows = []
    for field in SIX:
        found = [figures.get(f"{field}.{rule}") for rule in ("lenient", "strict")]
        if found[0] and found[1]:
            name = "whole ABC" if field == "abc" else field.replace("_", " ")
            dots = (_dot(found[0], "a"), _dot(found[1], "b"))
            note = f", {found[0]['count']} answers"
            rows.append(charts.Row(name, dots, found[0]["trivial"], note))
    title = "How reliable each field is"
    legend = (("a", "lenient"), ("b", "strict"), ("trivial", "the answer that looks at no page"))
    says = "Share of answers that are right, with 95 % intervals."
    return Chart(title, charts.rows(rows, title), legend, says) if rows else None


def _of_music(figures: Mapping[str, Any]) -> Chart | None:
    told = (
        ("note_f1", "notes, F1"), ("bars_right", "bars right"), ("valid", "valid ABC"),
        ("music_right", "all of it right"), ("notes_missing", "notes missing"),
        ("notes_invented", "notes invented"), ("pitch_errors", "wrong pitch"),
        ("rhythm_errors", "wrong length"),
    )  # fmt: skip
    rows, styles = [], {"abc": "a", "alignment": "b"}
    for figure, words in told:
        there = {which: figures.get(f"{which}.{figure}") for which in styles}
        dots = tuple(_dot(f, styles[which]) for which, f in there.items() if f)
        if dots:
            rows.append(charts.Row(words, dots))
    title = "The music that is read"
    called = {"abc": "whole pages", "alignment": "highlighted bars"}
    legend = tuple((styles[w], called[w]) for w in styles if f"{w}.valid" in figures)
    says = "Shares with 95 % intervals; an empty answer has no note right."
    return Chart(title, charts.rows(rows, title), legend, says) if rows else None


def _against(
    summary: Mapping[str, Any], pictures: Sequence[Picture], dimension: str
) -> Chart | None:
    """Error against the staves' spacing or the length of the tune: each page, and groups."""
    for kind, figure in _ERRORS.items():
        some = [p for p in pictures if p.kind == kind]
        placed = [(_along(p, dimension), p) for p in some if _along(p, dimension)]
        if not placed:
            continue
        # Evenly spaced, so that what is shown of many is not their beginning.
        step = max(1, -(-len(placed) // MOST_POINTS))
        points = [(x, p.error, f"{visible(p.title)}: {p.error:.0%}") for x, p in placed[::step]]
        groups = []
        for name, part in summary["groups"].get(dimension, {}).items():
            xs = [x for x, p in placed if of_page(p.answers[0].about).get(dimension) == name]
            if xs and (f := part["figures"].get(figure)):
                groups.append(charts.Group(min(xs), max(xs), _dot(f, "a"), len(xs)))
        title = f"Error against {'the length' if dimension == 'notes' else dimension}"
        svg = charts.scatter(points, groups, title, _UNITS[dimension])
        shown = "a page" if step == 1 else f"a page (one in {step} is shown)"
        legend = (
            ("point", shown), ("point out", "one above the edge"),
            ("group", "pages together, with 95 % interval"),
        )  # fmt: skip
        return Chart(title, svg, legend, f"Of {len(placed)} {kind}: {MEASURES[kind]}.")
    return None


def _along(picture: Picture, dimension: str) -> float:
    return picture.spacing if dimension == "staff spacing" else picture.notes


def _by_group(summary: Mapping[str, Any], dimension: str) -> Chart | None:
    groups = summary["groups"].get(dimension, {})
    if len(groups) < 2:
        return None
    rows, there = [], dict[str, str]()
    largest = sorted(groups, key=lambda name: -groups[name]["counts"]["pages"])[:MOST_ROWS]
    for name in sorted(largest):
        part = groups[name]
        dots = []
        for figure, words, style in BY_GROUP:
            if found := part["figures"].get(figure):
                dots.append(_dot(found, style))
                there[style] = words
        if dots:
            pages = part["counts"]["pages"]
            called = visible(name.strip().replace("_", " "))
            rows.append(charts.Row(called, tuple(dots), note=f", {pages} tunes"))
    title = f"By {dimension}" if dimension != "analysis of" else "By what was asked"
    says = "Shares with 95 % intervals. " + (
        f"The {MOST_ROWS} largest of {len(groups)}." if len(groups) > MOST_ROWS else ""
    )
    legend = tuple((style, there[style]) for _, _, style in BY_GROUP if style in there)
    return Chart(title, charts.rows(rows, title), legend, says) if rows else None


def _dot(figure: Mapping[str, Any], style: str) -> Dot:
    return Dot(figure["value"], figure["low"], figure["high"], style)


def _interval(name: str, figure: Mapping[str, Any]) -> str:
    low, high = (names.shown(name, figure[side]) for side in ("low", "high"))
    return f"{low.removesuffix(' %')} … {high}"


# ------------------------------------------------------------------ tables


def tables(figures: Mapping[str, Any]) -> Iterator[tuple[str, list[Line]]]:
    """Every figure, by section."""
    for section, rows in itertools.groupby(names.rows(figures), key=lambda row: row[0]):
        yield section, [_line(name, words, figures[name]) for _, name, words in rows]


def _line(name: str, words: str, f: Mapping[str, Any]) -> Line:
    share = names.shown(name, f["value"]).endswith("%") and 0 <= f["value"] <= 1
    bar = charts.interval(f["value"], f["low"], f["high"], f["trivial"]) if share else Markup("")
    return Line(words, names.shown(name, f["value"]), bar, _interval(name, f),
                names.shown(name, f["trivial"]), f["count"])  # fmt: skip


def groups(summary: Mapping[str, Any]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """As `report.by_group`, fit to be shown."""
    for dimension, head, rows in report.by_group(summary):
        yield dimension, head, [list(map(visible, row)) for row in rows]


def confusion(figures: Mapping[str, Any]) -> list[tuple[str, int, list[tuple[str, float]]]]:
    """(asked for, answers, [(shown, share) of each of `names.OUTCOMES`])."""
    return [
        (field, count, [(names.shown("", share), share) for share in shares])
        for field, count, shares in report.confused(figures)
    ]
