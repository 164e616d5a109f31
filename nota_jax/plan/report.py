"""The plan as people read it: lines on the terminal, a Markdown page, a chart, and JSON.

    python -m nota_jax.plan.report FOLDER CHARTS

compares the plans in a folder: a table a phase on standard output, and a chart a phase in CHARTS.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend first)
from matplotlib import ticker  # noqa: E402

GIB = 2**30
Plan = Mapping[str, Any]


def write(plan: Plan, folder: Path) -> None:
    """`NAME.json`, `NAME.md` and `NAME.png` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name_of(plan)
    path.with_suffix(".json").write_text(json.dumps(plan, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(plan))
    chart(plan, path.with_suffix(".png"))


def name_of(plan: Plan) -> str:
    return f"phase{plan['phase']}_{plan['size']}_{plan['target'].replace(':', '-')}"


def text(plan: Plan) -> str:
    """The answer, aligned for a terminal."""
    return "\n\n".join(
        [heading(plan), *(_aligned(table) for _, table in tables(plan)), ending(plan)]
    )


def markdown(plan: Plan) -> str:
    parts = [f"# {heading(plan)}"]
    for title, table in tables(plan):
        parts.append(f"## {title}\n\n{to_markdown(table)}")
    return "\n\n".join([*parts, ending(plan)]) + "\n"


def heading(plan: Plan) -> str:
    mesh = " × ".join(f"{axis} {n}" for axis, n in plan["mesh"].items())
    margin = (
        f"{abs(plan['margin']) / GIB:.1f} GiB {'to spare' if plan['margin'] >= 0 else 'missing'}"
    )
    return (
        f"Phase {plan['phase']} at size {plan['size']} on {plan['target']}, compiled for "
        f"{plan['compiled_on']}: {plan['verdict']}, {plan['peak'] / GIB:.1f} of "
        f"{plan['memory'] / GIB:.1f} GiB on each of {plan['devices']} device(s), "
        f"{margin}\n\n"
        f"mesh {mesh}; {plan['rows']} rows = {plan['questions']:g} questions a step "
        f"(asked for: {plan['wanted_questions']}), {plan['rows_per_device']} rows a device × "
        f"{plan['accumulation']} microbatches, remat {plan['remat']}; rows {plan['work']['source']}"
    )


def tables(plan: Plan) -> list[tuple[str, list[list[str]]]]:
    """(title, rows with a header first): memory, collectives, time."""
    lengths = {int(n): m for n, m in plan["lengths"].items()}
    memory = [["GiB on each device", *(f"rows of {n}" for n in lengths)]]
    for label, part in _HELD:
        memory.append([label, *(f"{m['held'][part] / GIB:.2f}" for m in lengths.values())])
    for label, key in (("temporaries", "temporaries"), ("peak", "peak")):
        memory.append([label, *(_gib(m, key) for m in lengths.values())])
    found = [("Memory", memory)]
    if all("collectives" in m for m in lengths.values()):
        found.append(("Collectives", collectives(lengths)))
    if plan["step_s"]:
        found.append(("Predicted time", times(plan)))
    if plan.get("tried"):
        found.append(("Tried", tried(plan["tried"])))
    return found


_HELD = (
    ("trainable parameters", "trainable"),
    ("frozen parameters", "frozen"),
    ("optimizer", "optimizer"),
    ("batch", "batch"),
)


def _gib(measured: Mapping[str, Any], key: str) -> str:
    if key in measured:
        return f"{measured[key] / GIB:.2f}"
    needed = measured["out_of_memory"]["needed"] if key == "peak" else None
    return f"{needed / GIB:.2f}, refused" if needed else "refused"


def collectives(lengths: Mapping[int, Mapping[str, Any]]) -> list[list[str]]:
    """Of one step and device, from the compiled program; loops counted as often as they run."""
    rows = [["rows of", "collective", "devices", "hosts", "times", "GB sent"]]
    for n, measured in lengths.items():
        for c in measured["collectives"]:
            if c["sent"] >= 1e6:
                hosts = "several" if c["crosses"] else "one"
                row = [str(n), c["kind"], str(c["group"]), hosts, f"{c['count']:,}"]
                rows.append([*row, f"{c['sent'] / 1e9:.3f}"])
    return rows


def times(plan: Plan) -> list[list[str]]:
    low, high = plan["step_s"]
    limits = plan["limits"]
    done = sum(plan["work"]["shares"][n] * m["flops_done"] for n, m in plan["lengths"].items())
    asked = sum(plan["work"]["shares"][n] * m["flops"] for n, m in plan["lengths"].items())
    return [
        ["a prediction, not a measurement", ""],
        ["operations of a step, all devices", f"{done:.3g} ({asked:.3g} without recomputation)"],
        ["compute, memory, network alone", ", ".join(f"{s:.3g} s" for s in limits.values())],
        ["a step, all overlapped … nothing", f"{low:.3g} … {high:.3g} s"],
        ["positions per second", " … ".join(f"{n:,.0f}" for n in plan["tokens_per_s"])],
        ["steps of the phase at NOTA's size", f"{plan['steps']:,}"],
        ["hours of the phase", " … ".join(f"{h:.2f}" for h in plan["hours"])],
        ["operations of the phase", f"{done * plan['steps']:.3g}"],
    ]


def tried(plans: Sequence[Plan]) -> list[list[str]]:
    rows = [["remat", "microbatches", "rows", "peak GiB", "verdict", "predicted step, s"]]
    for p in plans:
        step = " … ".join(f"{s:.3g}" for s in p["step_s"]) if p["step_s"] else ""
        row = [p["remat"], str(p["accumulation"]), str(p["rows"]), f"{p['peak'] / GIB:.1f}"]
        rows.append([*row, p["verdict"], step])
    return rows


def ending(plan: Plan) -> str:
    logits = max((m["largest_logits"] for m in plan["lengths"].values()), default=[])
    lines = [
        f"The largest fp32 array over the vocabulary is {logits}: no [batch, length, vocabulary]."
    ]
    if any(logits and logits[-2] >= int(n) for n in plan["lengths"]):
        lines = [f"An fp32 array {logits} over the whole length and the vocabulary exists."]
    if plan["questions"] > 1.5 * plan["wanted_questions"]:
        lines.append(
            "The batch is larger than asked for, because each device takes at least one row: cut "
            "less with --config.mesh.tensor=2 (4, 8)."
        )
    if plan["compiled_on"].startswith("virtual"):
        lines.append(
            "Virtual CPU devices: a rough upper bound.  Where compared, temporaries were 6 to 44 % "
            "high, and bytes sent 2.5 ×, since CPUs gather and sum in fp32."
        )
    return "\n".join(lines)


def to_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is the header."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for name, *cells in rows:
        right = (cell.rjust(w) for cell, w in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([name.ljust(widths[0]), *right]).rstrip())
    return "\n".join(lines)


def chart(plan: Plan, path: Path) -> None:
    """Memory on each device as stacked bars, one a length, against what is there."""
    lengths = {int(n): m for n, m in plan["lengths"].items()}
    figure, axes = plt.subplots(figsize=(6, 1.2 + 0.6 * len(lengths)), layout="constrained")
    labels = [f"rows of {n}" for n in lengths]
    left = [0.0] * len(lengths)
    parts = [(label, [m["held"][k] / GIB for m in lengths.values()]) for label, k in _HELD]
    parts.append(("temporaries", [m.get("temporaries", 0) / GIB for m in lengths.values()]))
    for label, sizes in parts:
        axes.barh(labels, sizes, left=left, label=label)
        left = [a + b for a, b in zip(left, sizes, strict=True)]
    axes.axvline(plan["memory"] / GIB, color="black", linestyle="--", label="memory")
    axes.set_xlabel("GiB on each device")
    axes.set_title(f"Phase {plan['phase']}, {plan['size']}, {plan['target']}: {plan['verdict']}")
    axes.legend(fontsize="small", ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.35))
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plt.close(figure)


def scaling_chart(plans: Sequence[Plan], title: str, path: Path) -> None:
    """Peak memory, bytes sent and predicted hours of several plans against devices, by chip."""
    by_chip: dict[str, list[Plan]] = defaultdict(list)
    for plan in sorted(plans, key=lambda plan: plan["devices"]):
        by_chip[plan["target"].split(":")[0]].append(plan)
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for chip, own in by_chip.items():
        devices = [plan["devices"] for plan in own]
        (line,) = axes[0].plot(devices, [p["peak"] / GIB for p in own], marker="o", label=chip)
        axes[0].axhline(own[0]["memory"] / GIB, color=line.get_color(), linestyle=":", alpha=0.6)
        axes[1].plot(devices, [sent(p) / 1e9 for p in own], marker="o")
        timed = [p for p in own if p["step_s"]]
        at = [p["devices"] for p in timed]
        low, high = ([p["hours"][end] for p in timed] for end in (0, 1))
        axes[2].fill_between(at, low, high, alpha=0.2)
        axes[2].plot(at, high, marker="o", color=line.get_color())
        axes[2].plot(at, low, marker="o", color=line.get_color(), fillstyle="none")
    labels = ("peak GiB a device (dotted: memory)", "GB a device sends in a step")
    for axis, label in zip(axes, (*labels, "hours of the phase, predicted"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="devices", title=label)
        ticks = sorted({plan["devices"] for plan in plans})
        axis.set_xticks(ticks, [str(n) for n in ticks])
        axis.minorticks_off()
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    figure.suptitle(title)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def sent(plan: Plan) -> float:
    """Bytes that a device sends in a mean step."""
    shares = {int(n): share for n, share in plan["work"]["shares"].items()}
    return sum(
        shares[int(n)] * sum(c["sent"] for c in measured.get("collectives", ()))
        for n, measured in plan["lengths"].items()
    )


def summary(plans: Sequence[Plan]) -> list[list[str]]:
    """One row a plan, for a page that compares them."""
    rows = [[
        "target", "mesh", "questions a step", "rows a device × microbatches",
        "peak / memory, GiB", "verdict", "sent, GB a step", "limit", "predicted step, s",
        "predicted hours", "compiled for",
    ]]  # fmt: skip
    for p in plans:
        step = " … ".join(f"{s:.2f}" for s in p["step_s"]) if p["step_s"] else ""
        hours = " … ".join(f"{h:.2g}" for h in p["hours"]) if p["step_s"] else ""
        limit = max(p["limits"], key=p["limits"].get) if p["step_s"] else ""
        mesh = "fsdp {fsdp}".format(**p["mesh"])
        mesh += f" × tensor {p['mesh']['tensor']}" if p["mesh"]["tensor"] > 1 else ""
        row = [p["target"], mesh, f"{p['questions']:g}"]
        row.append(f"{p['rows_per_device']} × {p['accumulation']}")
        row += [f"{p['peak'] / GIB:.1f} / {p['memory'] / GIB:.1f}", p["verdict"]]
        rows.append([*row, f"{sent(p) / 1e9:.1f}", limit, step, hours, p["compiled_on"]])
    return rows


def compare(folder: Path, charts: Path) -> str:
    """One table a phase of the plans in a folder, and one chart a phase."""
    plans = [json.loads(path.read_text()) for path in sorted(folder.glob("phase*.json"))]
    order = ("a100", "h100", "h200", "v4", "v5e", "v5p", "v6e", "cpu")
    plans.sort(key=lambda p: (order.index(p["target"].split(":")[0].split("-")[0]), p["devices"]))
    charts.mkdir(parents=True, exist_ok=True)
    parts = []
    for phase in sorted({plan["phase"] for plan in plans}):
        own = [plan for plan in plans if plan["phase"] == phase]
        title = f"Phase {phase}"
        scaling_chart(own, f"{title}, {folder.name} scaling", charts / f"{folder.name}_{phase}.png")
        parts.append(f"### {title}\n\n{to_markdown(summary(own))}")
    return "\n\n".join(parts)


if __name__ == "__main__":
    print(compare(Path(sys.argv[1]), Path(sys.argv[2])))
