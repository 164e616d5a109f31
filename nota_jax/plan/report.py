"""A plan as people read it: lines on the terminal, a Markdown page, a chart, and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend first)

from nota_jax import tables  # noqa: E402
from nota_jax.files import write_atomic, write_json  # noqa: E402
from nota_jax.units import GIB  # noqa: E402

Plan = Mapping[str, Any]

VIRTUAL = "virtual CPU devices"
HELD = {
    "trainable": "trainable parameters",
    "frozen": "frozen parameters",
    "optimizer": "optimizer",
    "batch": "batch",
}


def write(plan: Plan, folder: Path) -> None:
    """`NAME.json`, `NAME.md` and `NAME.png` in the folder."""
    path = folder / name_of(plan)
    write_json(path.with_suffix(".json"), plan, indent=1)
    write_atomic(path.with_suffix(".md"), markdown(plan))
    chart(plan, path.with_suffix(".png"))


def name_of(plan: Plan) -> str:
    return f"phase{plan['phase']}_{plan['size']}_{plan['target'].replace(':', '-')}"


def text(plan: Plan) -> str:
    """The answer, aligned for a terminal."""
    parts = [f"{title}\n{tables.text(*table)}" for title, table in tables_of(plan).items()]
    return "\n\n".join([heading(plan), *parts, ending(plan)])


def markdown(plan: Plan) -> str:
    parts = [f"## {title}\n\n{tables.markdown(*table)}" for title, table in tables_of(plan).items()]
    return "\n\n".join([f"# {heading(plan)}", *parts, ending(plan)]) + "\n"


def heading(plan: Plan) -> str:
    mesh = " × ".join(f"{axis} {n}" for axis, n in plan["mesh"].items())
    padding = f" ({plan['padding_rows']} of them padding)" if plan.get("padding_rows") else ""
    lines = [
        f"Phase {plan['phase']} at size {plan['size']} on {plan['target']}, compiled for "
        f"{plan['compiled_on']}: {_fits(plan)} on each of {plan['devices']} device(s)",
        f"mesh {mesh}; {plan['rows']} rows{padding} = {plan['questions']:g} questions a step "
        f"(asked for: {plan['wanted_questions']}), {plan['rows_per_device']} rows a device × "
        f"{plan['accumulation']} microbatches, remat {plan['remat']}; rows "
        f"{plan['work']['source']}",
    ]
    if evaluation := plan.get("evaluation"):
        lines.append(
            f"Evaluation, {evaluation['pages']} pages of {evaluation['questions']} question(s) at "
            f"a time, answers of at most {evaluation['new_tokens']} tokens: {_fits(evaluation)}"
            + _beside(evaluation)
        )
    return "\n\n".join(lines)


def _fits(plan: Plan) -> str:
    """ "fits, 19.4 of 79.3 GiB, 59.9 GiB to spare"."""
    margin = f"{abs(plan['margin']) / GIB:.1f} GiB"
    return (
        f"{plan['verdict']}, {plan['peak'] / GIB:.1f} of {plan['memory'] / GIB:.1f} GiB, {margin} "
        + ("to spare" if plan["margin"] >= 0 else "missing")
    )


def _beside(evaluation: Plan) -> str:
    """What training holds meanwhile, where it is evaluated on the way."""
    held = evaluation.get("beside", 0)
    told = f"; {held / GIB:.1f} GiB of it are the optimizer's, held while training is evaluated"
    return told if held else ""


Table = tuple[Sequence[str], list[list[str]]]


def tables_of(plan: Plan) -> dict[str, Table]:
    """By title: memory, collectives, time, and what a search tried."""
    programs = programs_of(plan)
    found = {"Memory": memory(programs)}
    if rows := collectives(programs):
        found["Collectives"] = (
            ("program", "collective", "of", "devices", "hosts", "times", "GB sent"),
            rows,
        )
    if plan["step_s"]:
        found["Predicted time, not measured"] = (("", ""), times(plan))
    if plan.get("tried"):
        found["Tried"] = tried(plan["tried"])
    return found


def programs_of(plan: Plan) -> dict[str, Mapping[str, Any]]:
    """`compile.measure`'s answers by what was compiled."""
    programs = {f"rows of {n}": measured for n, measured in plan["lengths"].items()}
    if plan.get("evaluation"):
        programs["evaluation"] = plan["evaluation"]["measured"]
    return programs


def memory(programs: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        [label, *(f"{m['held'].get(part, 0) / GIB:.2f}" for m in programs.values())]
        for part, label in HELD.items()
    ]
    for key in ("temporaries", "peak"):
        rows.append([key, *(_gib(measured, key) for measured in programs.values())])
    return ("GiB on each device", *programs), rows


def _gib(measured: Mapping[str, Any], key: str) -> str:
    if key in measured:
        return f"{measured[key] / GIB:.2f}"
    needed = measured["out_of_memory"]["needed"] if key == "peak" else None
    return f"{needed / GIB:.2f}, refused" if needed else "refused"


def collectives(programs: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Of one run and device, from the compiled program; loops counted as often as they run."""
    rows = []
    for name, measured in programs.items():
        for c in measured.get("collectives", ()):
            if c["sent"] >= (1e5 if c["token"] else 1e6):
                hosts = "several" if c["crosses"] else "one"
                row = [f"{name}, each token" if c["token"] else name, c["kind"], c["dtype"]]
                row += [str(c["group"]), hosts, f"{c['count']:,}", f"{c['sent'] / 1e9:.4f}"]
                rows.append(row)
    return rows


def times(plan: Plan) -> list[list[str]]:
    shares = {int(n): share for n, share in plan["work"]["shares"].items()}
    done, needed = (
        sum(shares[int(n)] * measured[key] for n, measured in plan["lengths"].items())
        for key in ("flops_done", "flops")
    )
    limits = ", ".join(f"{_one_digit(seconds)} s" for seconds in plan["limits"].values())
    rows = [
        ["FLOPs of a step, all devices", f"{done:.3g} ({needed:.3g} without recomputation)"],
        ["compute, memory, network alone", limits],
        ["a step, all overlapped … nothing", f"{roughly(*plan['step_s'])} s"],
        ["tokens per second", roughly(*plan["tokens_per_s"])],
        ["steps of the phase at NOTA's size", f"{plan['steps']:,}"],
        ["hours of the phase", roughly(*plan["hours"])],
        ["FLOPs of the phase", f"{done * plan['steps']:.3g}"],
    ]
    evaluation = plan.get("evaluation") or {}
    if evaluation.get("token_s"):
        milliseconds = [1e3 * seconds for seconds in evaluation["token_s"]]
        rows.append(["a token of evaluation's answers", f"{roughly(*milliseconds)} ms"])
    return rows


def roughly(low: float, high: float) -> str:
    """ "3 … 5": a prediction's ends to the one digit that it is good for."""
    ends = [_one_digit(low), _one_digit(high)]
    return f"about {ends[0]}" if ends[0] == ends[1] else " … ".join(ends)


def _one_digit(x: float) -> str:
    if not x:
        return "0"
    places = -math.floor(math.log10(x))
    rounded = round(x, places)
    return f"{rounded:,.{max(0, places)}f}" if rounded < 10**-places * 10 else _one_digit(rounded)


def tried(plans: Sequence[Plan]) -> Table:
    rows = []
    for p in plans:
        row = [p["remat"], str(p["accumulation"]), str(p["rows"]), f"{p['peak'] / GIB:.1f}"]
        rows.append([*row, p["verdict"], roughly(*p["step_s"]) if p["step_s"] else ""])
    return ("remat", "microbatches", "rows", "peak GiB", "verdict", "predicted step, s"), rows


def ending(plan: Plan) -> str:
    logits: list[int] = max((m["largest_logits"] for m in plan["lengths"].values()), default=[])
    lines = [
        f"The largest fp32 array over the vocabulary is {logits}: no [batch, length, vocabulary]."
    ]
    if any(logits and logits[-2] >= int(n) for n in plan["lengths"]):
        lines = [f"An fp32 array {logits} over the whole length and the vocabulary exists."]
    if plan["questions"] > 1.5 * plan["wanted_questions"]:
        lines.append(
            "The batch is larger than asked for, because each device takes at least one row: shard "
            "rows less with --config.mesh.tensor=2 (4, 8)."
        )
    if plan["compiled_on"] == VIRTUAL:
        lines.append(
            "Virtual CPU devices: a rough upper bound.  Where compared, temporaries were 6 to 44 % "
            "high, and bytes sent 2.5 ×, since CPUs gather and sum in fp32."
        )
    return "\n".join(lines)


def chart(plan: Plan, path: Path) -> None:
    """Memory on each device as stacked bars, one a program, against what is there."""
    programs = programs_of(plan)
    figure, axes = plt.subplots(figsize=(6, 1.2 + 0.6 * len(programs)), layout="constrained")
    left = [0.0] * len(programs)
    parts = {
        label: [m["held"].get(part, 0) for m in programs.values()] for part, label in HELD.items()
    }
    parts["temporaries"] = [m.get("temporaries", 0) for m in programs.values()]
    for label, sizes in parts.items():
        sizes = [size / GIB for size in sizes]
        axes.barh(list(programs), sizes, left=left, label=label)
        left = [a + b for a, b in zip(left, sizes, strict=True)]
    axes.axvline(plan["memory"] / GIB, color="black", linestyle="--", label="memory")
    axes.set_xlabel("GiB on each device")
    axes.set_title(f"Phase {plan['phase']}, {plan['size']}, {plan['target']}: {plan['verdict']}")
    axes.legend(fontsize="small", ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.35))
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plt.close(figure)
