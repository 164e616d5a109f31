"""Figures on paper: summary.json and .md of everything, evaluation.json and .md in short."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nota_jax import tables
from nota_jax.evaluation import names
from nota_jax.evaluation.failures import CONFUSED
from nota_jax.evaluation.metrics import FIELDS, TRANSCRIPTIONS
from nota_jax.files import write_atomic, write_json
from nota_jax.units import percent

CONFUSION_HEAD = (
    "asked for", *(words.format(other="other") for words in names.OUTCOMES.values()), "answers",
)  # fmt: skip
HEAD = ("", "value", "95 % interval", "trivial answer", "answers")
# arXiv 2502.14893, on its own data: NotaGPT-7B, GPT-4V, and the best of the others.
PAPER = (
    ("six.strict", "extraction rate, mean of six", "67.84 %", "33.33 %", "33.34 % (Gemini)"),
    ("abc.distance", "Levenshtein of the ABC, mean", "59.47", "655.45", "308.27"),
)
PAPER_HEAD = (
    "", "here", "trivial answer", "paper: NotaGPT-7B", "paper: GPT-4V", "paper: best other",
)  # fmt: skip
GROUP_CELLS = "Each cell: value (95 % interval), what the trivial answer gets, answers."
OTHER_DATA = "The paper's figures (arXiv 2502.14893) are of its own data, and no baseline for ours."


# ------------------------------------------------------------------ everything


def write_summary(out: Path, summary: Mapping[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "summary.json", summary, indent=1)
    write_atomic(out / "summary.md", markdown(summary))


def text(summary: Mapping[str, Any]) -> str:
    """For a terminal: every section, no groups."""
    parts = [counts_text(summary), *packages_text(summary)]
    for section, rows in _sections(summary["figures"]):
        parts += ["", section, tables.text(HEAD, rows)]
    if rows := confusion(summary["figures"]):
        parts += ["", "Title and composer", tables.text(CONFUSION_HEAD, rows)]
    parts += ["", "The paper", tables.text(PAPER_HEAD, paper(summary["figures"])), OTHER_DATA]
    return "\n".join(parts)


def markdown(summary: Mapping[str, Any]) -> str:
    parts = ["# Scores\n", counts_text(summary) + "\n", *(f"{x}\n" for x in packages_text(summary))]
    for section, rows in _sections(summary["figures"]):
        parts += [f"## {section}\n", tables.markdown(HEAD, rows) + "\n"]
    if rows := confusion(summary["figures"]):
        told = "Of the answers about pages that print both; the rows add up to 100 %.\n"
        parts += ["## Title and composer\n", told, tables.markdown(CONFUSION_HEAD, rows) + "\n"]
    parts += ["## The paper\n", tables.markdown(PAPER_HEAD, paper(summary["figures"])) + "\n"]
    parts += [OTHER_DATA + "\n", "## Groups\n", _groups(summary)]
    return "\n".join(parts)


def paper(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The paper's table beside ours: a line under `PAPER_HEAD` for each of its figures."""
    rows = []
    for name, words, *theirs in PAPER:
        ours = figures.get(name, {})
        shown = [names.shown(name, ours.get(which)) for which in ("value", "trivial")]
        rows.append((words, *shown, *theirs))
    return rows


def confusion(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The matrix of confusion, under `CONFUSION_HEAD`: what was asked for, what was answered."""
    return [
        (field, *(percent(share) for share in shares), str(count))
        for field, count, shares in confused(figures)
    ]


def confused(figures: Mapping[str, Any]) -> Iterator[tuple[str, int, list[float]]]:
    """(asked for, answers, share of each of `names.OUTCOMES`)."""
    for field in CONFUSED:
        cells = [figures.get(f"confusion.{field}.{outcome}", {}) for outcome in names.OUTCOMES]
        if all(cells):
            yield field, cells[0]["count"], [cell["value"] for cell in cells]


def counts_text(summary: Mapping[str, Any]) -> str:
    counts = summary["counts"]
    cut = counts["cut"]
    said = [
        f"{counts['questions']} questions about {counts['pages']} tunes of "
        f"{', '.join(summary['splits'])} in {summary['dataset']}, {counts['answered']} answered",
        "not written down how many answers were cut off by the limit of new tokens"
        if cut is None
        else f"{cut} answers were cut off by the limit of new tokens",
    ]
    if counts["too_long"]:
        said.append(f"{counts['too_long']} questions were too long to ask")
    if summary["left_out"]:
        said.append(f"{summary['left_out']} questions of these splits are not in the file")
    if summary["unknown"]:
        said.append(f"{summary['unknown']} lines of the file belong to no question of these splits")
    return "; ".join(said) + "."


def packages_text(summary: Mapping[str, Any]) -> list[str]:
    used = [f"{name}: {what}." for name, what in summary["packages"].items()]
    return [*used, *(f"{remark}." for remark in summary["remarks"])]


def _sections(figures: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    by_section = itertools.groupby(names.rows(figures), key=lambda row: row[0])
    for section, rows in by_section:
        yield section, [_row(name, words, figures[name]) for _, name, words in rows]


def _row(name: str, words: str, figure: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = (names.shown(name, figure[side]) for side in ("low", "high"))
    return (
        words, names.shown(name, figure["value"]), f"{low} … {high}",
        names.shown(name, figure["trivial"]), str(figure["count"]),
    )  # fmt: skip


def _groups(summary: Mapping[str, Any]) -> str:
    parts = [GROUP_CELLS + "\n"]
    for dimension, head, rows in by_group(summary):
        parts += [f"By {dimension}:\n", tables.markdown(head, rows) + "\n"]
    return "\n".join(parts)


def by_group(summary: Mapping[str, Any]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """(dimension, what its columns are, lines): a line for each group, its name first."""
    columns = [(name, words) for name, words in names.HEADLINES if name in summary["figures"]]
    head = ["", "tunes", *(words for _, words in columns)]
    for dimension, found in summary["groups"].items():
        rows = []
        for group, part in found.items():
            cells = [cell(name, part["figures"].get(name)) for name, _ in columns]
            rows.append([group.strip(), str(part["counts"]["pages"]), *cells])
        yield dimension, head, rows


def cell(name: str, figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "–"
    low, value, high, trivial = (
        names.shown(name, figure[side]) for side in ("low", "value", "high", "trivial")
    )
    interval = f"{low.removesuffix(' %')} … {high.removesuffix(' %')}"
    return f"{value} ({interval}), {trivial}, {figure['count']}"


# ------------------------------------------------------------------ in short


def short(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a run's evaluation.json, of all pages and of each region.

    A rate is the strict one, its `lenient` beside it; fields that were not asked are absent, and
    the average is that of all five fields or none.
    """
    regions = summary["groups"].get("region", {})
    return {
        "all": _short(summary),
        "regions": {name: _short(part) for name, part in regions.items()},
    }


def _short(part: Mapping[str, Any]) -> dict[str, Any]:
    figures, counts = part["figures"], part["counts"]
    asked = [field for field in FIELDS if f"{field}.strict" in figures]

    def value(name: str, which: str = "value") -> float | None:
        return figures.get(name, {}).get(which)

    return {
        "questions": counts["questions"],
        "answered": counts["answered"],
        "cut": counts["cut"],
        "extraction_rate": {
            field: _rate(figures[f"{field}.strict"], "value")
            | {"lenient": value(f"{field}.lenient")}
            for field in asked
        },
        "extraction_rate_average": value("fields.strict"),
        "majority_rate": {field: _rate(figures[f"{field}.strict"], "trivial") for field in asked},
        "majority_rate_average": value("fields.strict", "trivial"),
        "levenshtein": {
            name: {
                "mean": value(f"{name}.distance"),
                "median": value(f"{name}.median_distance"),
                "normalised": value(f"{name}.normalised"),
                "exact": value(f"{name}.exact"),
                "mean_length": value(f"{name}.distance", "trivial"),
                "asked": figures[f"{name}.distance"]["count"],
            }
            for name in TRANSCRIPTIONS
            if f"{name}.distance" in figures
        },
        "confusion": {
            field: _rate(figures[name], "value")
            for field in ("title", "composer")
            if (name := f"confusion.{field}.other") in figures
        },
    }


def _rate(figure: Mapping[str, Any], which: str) -> dict[str, Any]:
    value, count = figure[which], figure["count"]
    return {
        "value": value,
        "correct": None if value is None else round(value * count),
        "asked": count,
    }


def write(out: Path, scores: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """evaluation.json and evaluation.md in the folder `out`."""
    write_json(out / "evaluation.json", {"settings": settings, **scores}, indent=1)
    write_atomic(out / "evaluation.md", short_markdown(scores))


def short_markdown(scores: Mapping[str, Any]) -> str:
    """All regions together, then each by itself."""
    head = ("", "model", "majority answer", "asked")
    parts = ["# Evaluation on held-out tunes\n", tables.markdown(head, _short_rows(scores["all"]))]
    for region, figures in scores["regions"].items():
        parts += [f"\n## {region}\n", tables.markdown(head, _short_rows(figures))]
    return "\n".join(parts) + "\n"


def short_text(scores: Mapping[str, Any]) -> str:
    """The same for a terminal, regions in one line each."""
    lines = [tables.text(("", "model", "majority", "asked"), _short_rows(scores["all"]))]
    for region, figures in scores["regions"].items():
        average = percent(figures["extraction_rate_average"])
        lines.append(f"{region}: extraction rate {average}, {figures['questions']} questions")
    return "\n".join(lines)


def _short_rows(figures: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """(what, model, majority baseline, questions)."""
    rows = []
    for field, rate in figures["extraction_rate"].items():
        baseline = percent(figures["majority_rate"].get(field, {}).get("value"))
        rows.append((f"{field} extraction", percent(rate["value"]), baseline, str(rate["asked"])))
    if rows:
        rows.append(
            ("average extraction", percent(figures["extraction_rate_average"]),
             percent(figures["majority_rate_average"]), "")
        )  # fmt: skip
    for name, d in figures["levenshtein"].items():
        # An empty answer's distance is the text's own length.
        rows.append((f"{name} Levenshtein (characters)", f"{d['mean']:.1f}",
                     f"{d['mean_length']:.1f} (empty)", str(d["asked"])))  # fmt: skip
        rows.append((f"{name} Levenshtein / length", f"{d['normalised']:.3f}", "", str(d["asked"])))
    for field, rate in figures["confusion"].items():
        other = "composer" if field == "title" else "title"
        rows.append((f"{field} answered with the {other}", percent(rate["value"]), "",
                     str(rate["asked"])))  # fmt: skip
    if figures["cut"]:
        rows.append(("answers cut off by the limit of tokens", str(figures["cut"]), "",
                     str(figures["questions"])))  # fmt: skip
    return rows
