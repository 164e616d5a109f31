"""The results of `bench` as text, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nota_jax import tables
from nota_jax.files import write_atomic, write_json
from nota_jax.units import GIB

Result = Mapping[str, Any]  # of a side
Columns = Mapping[str, Callable[[Result], str]]


def write(results: Mapping[str, Any], out: Path) -> None:
    """bench.json and bench.md."""
    write_json(out / "bench.json", results)
    write_atomic(out / "bench.md", text(results) + "\n")


def text(results: Mapping[str, Any]) -> str:
    """Markdown, readable on a terminal as it is."""
    m, s = results["machine"], results["shapes"]
    versions = ", ".join(f"{name} {m[name]}" for name in VERSIONS if name in m)
    lines = [
        f"{results['config']} on {m['devices']} × {m['device']} ({m['cores']} cores, load "
        f"{m['load']}), {m['date']}, {versions}",
        f"{s['parameters']:,} parameters, {s['dtype']}, vocabulary {s['vocabulary']}; records: "
        f"{results['records']}; weights: {results['weights']}",
        f"A step: {s['questions']} questions in {s['rows']} rows of {s['length']} tokens "
        f"({s['image_tokens']} of an image); {results['rounds']} rounds of two timed steps a side",
        "",
        _table(results["training"], TRAINING),
        "",
        _agreement(results["loss_difference"]),
    ]
    if "decoding" in results:
        d = results["decoded"]
        lines += [
            "", _table(results["decoding"], DECODING), "",
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


def _table(sides: Mapping[str, Result], columns: Columns) -> str:
    cells = {
        name: {heading: _cell(show, side) for heading, show in columns.items()}
        for name, side in sides.items()
    }
    shown = [heading for heading in columns if any(row[heading] for row in cells.values())]
    rows = [[name, *(row[heading] or "–" for heading in shown)] for name, row in cells.items()]
    return tables.markdown(("side", *shown), rows)


def _cell(show: Callable[[Result], str], side: Result) -> str:
    try:
        return show(side)
    except KeyError:
        return ""
