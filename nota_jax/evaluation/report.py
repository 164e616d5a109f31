"""Scores on paper: JSON for machines, a Markdown page and a table for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nota_jax import tables
from nota_jax.data.store.reader import PageReader
from nota_jax.evaluation import metrics
from nota_jax.evaluation.metrics import Prediction
from nota_jax.files import write_atomic, write_json
from nota_jax.units import percent


def training_answers(dataset: str | Path, splits: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(subtask, answer) of every training question: what a majority baseline knows."""
    for page in PageReader(dataset, splits):
        for turn in page.turns:
            yield turn.subtask, turn.answer


def write(out: Path, scores: dict, settings: Any) -> None:
    """evaluation.json and evaluation.md in the folder `out`."""
    record = {"settings": dataclasses.asdict(settings), **scores}
    write_json(out / "evaluation.json", record, indent=1)
    write_atomic(out / "evaluation.md", markdown(scores))


def markdown(scores: dict) -> str:
    """The page: all regions together, then each by itself."""
    parts = ["# Evaluation on held-out tunes\n", _markdown_table(scores["all"])]
    for region, figures in scores["regions"].items():
        parts += [f"\n## {region}\n", _markdown_table(figures)]
    return "\n".join(parts) + "\n"


def table(scores: dict) -> str:
    """The same as plain text for a terminal, regions in one line each."""
    lines = [tables.text(("", "model", "majority", "asked"), _rows(scores["all"]))]
    for region, figures in scores["regions"].items():
        average = percent(figures["extraction_rate_average"])
        lines.append(f"{region}: extraction rate {average}, {figures['questions']} questions")
    return "\n".join(lines)


def _markdown_table(figures: dict) -> str:
    return tables.markdown(("", "model", "majority answer", "asked"), _rows(figures))


def _rows(figures: dict) -> list[tuple[str, str, str, str]]:
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
    return rows


def scores(predictions: Sequence[Prediction], answers: Iterator[tuple[str, str]]) -> dict:
    """All figures, beside the majority baseline of the training answers."""
    return metrics.summarise(predictions, metrics.majority_answers(answers))
