"""Does a phase fit hardware that is not here, and how long will it take?  XLA answers.

    python -m nota_jax.main --config=configs/phase2.py:7b --mode=plan --target=a100-80gb:8

The real training step, and the decoding of the evaluation behind it, are compiled for the target
(`compile`, a process of its own).  Memory and communication are measured on the compiled programs;
times are a prediction from them and from data sheets (`roofline`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from ml_collections import ConfigDict

from nota_jax.data.feed.lengths import batch_rows, filled_up
from nota_jax.environment import GPU_MEMORY_FRACTION
from nota_jax.parallel.mesh import mesh_sizes
from nota_jax.plan import report, roofline, worker, workload
from nota_jax.plan.targets import Target, parse
from nota_jax.units import GIB

Say = Callable[[str], None]
Plan = dict[str, Any]
Measure = Callable[[worker.Job], dict[str, Any]]

REMATS = ("full", "dots", "none")  # from the least memory to the fewest FLOPs


@dataclass(frozen=True)
class Settings:
    """target: see `targets.parse`; fit: search rows per device and rematerialisation;
    out: folder for the answer (JSON, Markdown, chart) and for what was measured."""

    target: str
    fit: bool
    out: Path


@dataclass(frozen=True)
class Question:
    """What is planned: a configuration on a target.

    virtual: the target's compiler is not here; virtual CPU devices answer.
    """

    config: ConfigDict
    target: Target
    work: workload.Work
    measure: Measure
    virtual: bool = False

    @property
    def ways(self) -> int:
        """Over how many devices, or groups of them, the rows of a batch are sharded."""
        target = self.target
        islands = target.hosts if target.platform == "gpu" else 1
        each = target.devices // islands
        data, fsdp, _ = mesh_sizes(**self.config.mesh, islands=islands, each=each)
        return data * fsdp

    def measured(self, **shape: int) -> dict[str, Any]:
        """`compile.measure` of a program of this shape."""
        config = json.loads(self.config.to_json_best_effort())
        return self.measure(
            {"config": config, "target": str(self.target), "virtual": self.virtual, **shape}
        )


def run(config: ConfigDict, settings: Settings, say: Say = print) -> Plan:
    """Plans one phase, prints the answer and leaves it in `settings.out`.

    Raises:
      UserError: an unknown target, a mesh or batch that does not fit it, a compiler that failed.
    """
    target = parse(settings.target)
    if missing := worker.missing_packages(target):
        say(
            f"{', '.join(missing)} not installed, so {target} is planned on {target.devices} "
            "virtual CPU devices: a rough upper bound.  For the real compiler: "
            f"pip install 'nota_jax[{worker.EXTRAS[target.platform][0]}]'"
        )
    measure = partial(worker.measure, folder=settings.out / "measured", say=say)
    work = workload.work_of(config, say)
    question = Question(config, target, work, measure, bool(missing))
    if settings.fit:
        tried = list(fit(question, say))
        best = min([p for p in tried if p["verdict"] != "does not fit"] or tried, key=cost)
        shown = ("remat", "accumulation", "rows", "peak", "verdict", "step_s")
        best["tried"] = [{key: plan[key] for key in shown} for plan in tried]
    else:
        best = training(question)
    longest = best["lengths"][max(best["lengths"])]
    best["evaluation"] = evaluation(
        question, longest["held"]["optimizer"] if config.eval.every else 0
    )
    report.write(best, settings.out)
    say(report.text(best))
    say(f"written: {settings.out}")
    return best


def training(question: Question) -> Plan:
    """The plan of a configuration's training as it is, in plain values that JSON knows."""
    config, target, work = question.config, question.target, question.work
    ways, accumulation = question.ways, config.data.accumulation
    used = batch_rows(config.data.batch_size, work.questions_per_row)
    rows = filled_up(used, ways * accumulation)
    questions = used * work.questions_per_row
    measured = {length: question.measured(rows=rows, length=length) for length in work.shares}
    plan: Plan = {
        "phase": config.phase,
        "size": config.size,
        "target": str(target),
        "compiled_on": target.platform if target.chip and not question.virtual else report.VIRTUAL,
        "devices": target.devices,
        "mesh": measured[max(measured)]["mesh"],
        "remat": config.model.remat,
        "accumulation": accumulation,
        "rows": rows,
        "padding_rows": rows - used,
        "questions": round(questions, 1),
        "wanted_questions": config.data.batch_size,
        "rows_per_device": rows // ways // accumulation,
        "work": dataclasses.asdict(work),
        "lengths": measured,
        "step_s": None,
        **verdict(list(measured.values()), target),
    }
    if target.chip and all("moved" in m for m in measured.values()):
        times = {n: roofline.step(m, target.chip) for n, m in measured.items()}
        plan |= roofline.phase_time(times, work, questions, used, config.epochs)
    return plan


def evaluation(question: Question, beside: int = 0) -> Plan:
    """The plan of answering a batch of held-out questions.

    beside: bytes that each device holds meanwhile: while training the optimizer's moments, which
      are let go before the evaluation at the end.
    """
    config, chip = question.config, question.target.chip
    pages = -(-config.eval.batch_size // question.ways) * question.ways
    each = max(1, round(question.work.questions_per_row))
    measured = question.measured(pages=pages, questions=each)
    plan: Plan = {
        "pages": pages,
        "questions": each,
        "new_tokens": config.eval.max_new_tokens,
        "measured": measured,
        "token_s": None,
        "beside": beside,
        **verdict([measured], question.target, beside),
    }
    if chip and "moved" in measured:
        plan["token_s"] = roofline.ends(roofline.token(measured, chip))
    return plan


def cost(plan: Plan) -> float:
    """What the search makes small: predicted seconds, else FLOPs, of a question."""
    longest = plan["lengths"][max(plan["lengths"])]
    return (plan["step_s"][1] if plan["step_s"] else longest["flops_done"]) / plan["questions"]


def fit(question: Question, say: Say) -> Iterator[Plan]:
    """Plans from the most rows per device downwards, with more and more accumulation.

    With each number of rows the leanest rematerialisation goes first: where it does not fit, none
    does.  It ends where nothing more can be gained: no rematerialisation fits, or one row is left.
    """
    for accumulation in (1, 2, 4, 8, 16, 32, 64):
        for remat in REMATS:
            config = question.config.copy_and_resolve_references()
            config.data.accumulation, config.model.remat = accumulation, remat
            trial = dataclasses.replace(question, config=config)
            longest = workload.only_longest(question.work)
            short = training(dataclasses.replace(trial, work=longest))
            say(
                f"{short['rows_per_device']} rows a device × {accumulation}, remat {remat}: "
                f"{short['peak'] / GIB:.1f} GiB, {short['verdict']}"
            )
            if short["verdict"] == "does not fit":
                yield short
                break
            yield training(trial)
        else:
            return
        if short["rows_per_device"] == 1:
            return


def verdict(measured: Sequence[Mapping[str, Any]], target: Target, beside: int = 0) -> Plan:
    """ "fits", "tight" (more than XLA takes of the memory) or "does not fit"; and in bytes on each
    device the peak, with what is held `beside`, what is there, and the margin."""
    needed, there = max(map(peak, measured)) + beside, memory_of(target)
    if any("out_of_memory" in m for m in measured) or needed > there:
        word = "does not fit"
    else:
        # TPUs have no such switch; full scheduling effort takes about as much there.
        word = "fits" if needed <= GPU_MEMORY_FRACTION * there else "tight"
    return {"verdict": word, "peak": needed, "memory": there, "margin": there - needed}


def peak(measured: Mapping[str, Any]) -> int:
    """Bytes on each device; what XLA says that it would need where the target has less."""
    if "peak" in measured:
        return measured["peak"]
    return max(sum(measured["held"].values()), measured["out_of_memory"]["needed"] or 0)


def memory_of(target: Target) -> int:
    """Bytes of each device; of virtual CPU devices, their share of this host's."""
    return target.chip.memory if target.chip else psutil.virtual_memory().total // target.devices
