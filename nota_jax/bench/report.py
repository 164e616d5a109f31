"""The results of `bench` as text, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GIB = 2**30


def write(results: Mapping[str, Any], out: Path) -> None:
    """bench.json and bench.md, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("bench.json", json.dumps(results, indent=2) + "\n"),
        ("bench.md", text(results) + "\n"),
    ):
        half = out / f"{name}.tmp"
        half.write_text(content)
        half.replace(out / name)


def text(results: Mapping[str, Any]) -> str:
    """Markdown, readable on a terminal as it is."""
    m, s = results["machine"], results["shapes"]
    versions = ", ".join(f"{name} {m[name]}" for name in VERSIONS if name in m)
    lines = [
        f"{results['config']} on {m['devices']} × {m['device']} ({m['cores']} cores, load "
        f"{m['load']}), {m['date']}, {versions}",
        f"{s['parameters']:,} parameters, {s['dtype']}, vocabulary {s['vocabulary']}; records: "
        f"{results['records']}; weights: {results['weights']}",
        f"A step: {s['questions']} questions in {s['rows']} rows of {s['length']} positions "
        f"({s['image_tokens']} of an image); {results['rounds']} rounds of two timed steps a side",
        "",
        *_table(results["training"], TRAINING),
        "",
        _agreement(results["loss_difference"]),
    ]
    if "decoding" in results:
        d = results["decoded"]
        lines += [
            "", *_table(results["decoding"], DECODING), "",
            f"Greedy answers, {d['mean_tokens']:.0f} tokens on average (at most "
            f"{d['longest_allowed']}): {d['same']} of {d['questions']} are the same on all sides.",
        ]  # fmt: skip
    return "\n".join(lines)


VERSIONS = ("python", "jax", "torch", "transformers")


def _agreement(difference: Mapping[str, float]) -> str:
    return (
        f"Losses differ by at most {difference['first_step']:.1e} of their size in the first step "
        f"and {difference['all_steps']:.1e} in all steps."
    )


def _quartiles(r: Mapping[str, Any]) -> str:
    return "{:.3g} … {:.3g}".format(*r["quartiles"])


# heading → what a row of results shows there; left out where no row has it
TRAINING = {
    "rows × length": lambda r: f"{r['rows']} × {r['length']}",
    "s a step": lambda r: f"{r['seconds']:.3g}",
    "quartiles": _quartiles,
    "processor s": lambda r: f"{r['cpu_seconds']:.3g}",
    "questions/s": lambda r: f"{r['questions_per_second']:.1f}",
    "tokens/s": lambda r: f"{r['tokens_per_second']:,.0f}",
    "images/s": lambda r: f"{r['images_per_second']:.1f}",
    "GFLOP needed": lambda r: f"{r['flops'] / 1e9:,.1f}",
    "GFLOP done": lambda r: f"{r['flops_done'] / 1e9:,.1f}",
    "MFU": lambda r: f"{100 * r['mfu']:.1f} %",
    "memory, GiB": lambda r: f"{r['memory'] / GIB:.2f}",
    "time, × first": lambda r: f"{r['times_first']:.2f}",
    "processor, × first": lambda r: f"{r['times_first_cpu']:.2f}",
}
DECODING = {
    name: TRAINING[name]
    for name in (
        "s a step", "quartiles", "processor s", "questions/s", "GFLOP done", "time, × first",
        "processor, × first",
    )
}  # fmt: skip


def _table(sides: Mapping[str, Mapping[str, Any]], columns: Mapping[str, Any]) -> list[str]:
    cells = {name: {h: _cell(show, side) for h, show in columns.items()}
             for name, side in sides.items()}  # fmt: skip
    shown = [h for h in columns if any(row[h] for row in cells.values())]
    lines = ["| side | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for name, row in cells.items():
        lines.append(f"| {name} | " + " | ".join(row[h] or "–" for h in shown) + " |")
    return lines


def _cell(show: Any, side: Mapping[str, Any]) -> str:
    try:
        return show(side)
    except KeyError:
        return ""
