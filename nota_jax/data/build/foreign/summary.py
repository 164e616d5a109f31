"""What a build of somebody else's records reports: records in, pages and questions out, and what
was skipped, by reason."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping

from nota_jax import tables
from nota_jax.data.build import report as of_tunes
from nota_jax.data.build.foreign import index as indices
from nota_jax.data.build.report import EXAMPLES_PER_REASON, Tally, general


def report(
    index: sqlite3.Connection,
    tally: Tally,
    arguments: Mapping,
    tools: Mapping,
    n_bytes: Mapping[str, int],
) -> dict:
    """The content of build_report.json; without dates or durations, so that builds compare."""
    total, bad = indices.counts(index)
    reasons: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for place, reason in indices.bad_records(index):
        kind = general(reason)
        reasons[kind] += 1
        if len(told := examples.setdefault(kind, [])) < EXAMPLES_PER_REASON:
            told.append(f"{place}: {reason}")
    return {
        "arguments": dict(arguments),
        "tools": dict(tools),
        "records": {"in": total, "used": total - bad, "bad": bad},
        "bad": [
            {"reason": reason, "count": n, "examples": examples[reason]}
            for reason, n in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        ],
        "unread_fields": indices.unread_fields(index),
        **of_tunes.pages_and_questions(tally, n_bytes),
    }


def markdown(report: Mapping) -> str:
    """The report for readers."""
    records = report["records"]
    unread = ", ".join(f"{name} ({n:,})" for name, n in report["unread_fields"].items())
    splits = [
        [split, f"{n:,}", f"{sum(report['questions'][split].values()):,}",
         f"{report['bytes_per_page'][split]:,}"]
        for split, n in report["pages"].items()
    ]  # fmt: skip
    subtasks: Counter[str] = Counter()
    for asked in report["questions"].values():
        subtasks.update(asked)
    regions = [
        [region or "not told", f"{sum(asked.values()):,}"]
        for region, asked in report["questions_by_region"].items()
    ]
    parts = [
        "# Build report",
        f"{records['in']:,} records in, {records['used']:,} used, {records['bad']:,} skipped; from "
        f"{', '.join(report['arguments']['from'])}.",
        "## Pages",
        tables.markdown(["split", "pages", "questions", "bytes per page"], splits),
        "## Questions",
        tables.markdown(["subtask", "questions"], [[s, f"{n:,}"] for s, n in subtasks.items()]),
        tables.markdown(["region", "questions"], regions),
        "## Skipped",
        of_tunes.bullets(report["bad"]) or "Nothing.",
        "All of them, with their places, stand in bad_records.jsonl." if records["bad"] else "",
        "## Fields that nothing here reads",
        f"{unread}." if unread else "None.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"
