"""Compares the plans in a folder: a table a phase on standard output, and a chart a phase.

python -m nota_jax.plan.compare FOLDER CHARTS
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib import ticker

from nota_jax import tables
from nota_jax.plan.report import Plan, roughly
from nota_jax.units import GIB

CHIPS = ("a100", "h100", "h200", "v4", "v5e", "v5p", "v6e", "cpu")
HEADERS = (
    "target", "mesh", "questions a step", "rows a device × microbatches", "peak / memory, GiB",
    "verdict", "sent, GB a step", "limit", "predicted step, s", "predicted hours", "compiled for",
)  # fmt: skip


def main(folder: Path, charts: Path) -> None:
    plans = [json.loads(path.read_text()) for path in sorted(folder.glob("phase*.json"))]
    plans.sort(key=lambda p: (CHIPS.index(_chip(p).split("-")[0]), p["devices"]))
    charts.mkdir(parents=True, exist_ok=True)
    for phase in sorted({plan["phase"] for plan in plans}):
        own = [plan for plan in plans if plan["phase"] == phase]
        title = f"Phase {phase}"
        chart(own, f"{title}, {folder.name} scaling", charts / f"{folder.name}_{phase}.png")
        print(f"### {title}\n\n{tables.markdown(HEADERS, [row(p) for p in own], left=2)}\n")


def _chip(plan: Plan) -> str:
    return plan["target"].split(":")[0]


def row(plan: Plan) -> list[str]:
    """A plan under `HEADERS`."""
    mesh = " × ".join(f"{axis} {n}" for axis, n in plan["mesh"].items() if n > 1) or "one device"
    timed = bool(plan["step_s"])
    return [
        plan["target"],
        mesh,
        f"{plan['questions']:g}",
        f"{plan['rows_per_device']} × {plan['accumulation']}",
        f"{plan['peak'] / GIB:.1f} / {plan['memory'] / GIB:.1f}",
        plan["verdict"],
        f"{sent(plan) / 1e9:.1f}",
        max(plan["limits"], key=plan["limits"].get) if timed else "",
        roughly(*plan["step_s"]) if timed else "",
        roughly(*plan["hours"]) if timed else "",
        plan["compiled_on"],
    ]


def sent(plan: Plan) -> float:
    """Bytes that a device sends in a mean step."""
    shares = {int(n): share for n, share in plan["work"]["shares"].items()}
    return sum(
        shares[int(n)] * sum(c["sent"] for c in measured.get("collectives", ()))
        for n, measured in plan["lengths"].items()
    )


def chart(plans: Sequence[Plan], title: str, path: Path) -> None:
    """Peak memory, bytes sent and predicted hours against devices, by chip."""
    by_chip: dict[str, list[Plan]] = defaultdict(list)
    for plan in sorted(plans, key=lambda plan: plan["devices"]):
        by_chip[_chip(plan)].append(plan)
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


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
