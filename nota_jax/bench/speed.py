"""How fast is this machine, and how fast is the same work in transformers/PyTorch?

    python -m nota_jax.bench --config=configs/phase2.py --peer=hf --decode
    python -m nota_jax.bench --config=configs/phase2.py:mini --config.data.batch_size=12

Measured are the training step of the configuration; the same records with one row per question
(design decision 5); with --decode, answers to the questions; with --peer=hf, the same weights and
records in transformers (`torch_peer`).  All sides take turns, a few steps each, so that what else
the machine does hits all alike, and every side's losses and answers are compared.  The records are
those of the configured dataset where it and its tokenizer are there, else random ones of the same
shapes.  Results go to the terminal and, as JSON and Markdown, into --out.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from nota_jax.bench import report
from nota_jax.bench.records import (
    Arrays,
    Asked,
    Records,
    one_row_per_question,
    questions_of,
    records_of,
)
from nota_jax.checkpoint import steps
from nota_jax.data.feed.images import normalize
from nota_jax.errors import UserError, exit_status
from nota_jax.models import decode
from nota_jax.models.flops import step_flops, traced_flops
from nota_jax.models.notagpt import NotaGPT, param_shapes
from nota_jax.parallel.hardware import peak_flops
from nota_jax.parallel.mesh import batch_ways, make_mesh, place_batch
from nota_jax.params import count_params, trained_parts
from nota_jax.training import meters, program
from nota_jax.training import state as states
from nota_jax.training.step import DEVICE_KEYS

Say = Callable[[str], None]

IN_TURN = 3  # steps of a side in a round, the first of them not timed
SAME_LOSS = 1e-3  # relative; what two programs of the same mathematics may differ by


@dataclass(frozen=True)
class Settings:
    """rounds: of a few steps of each side; peer: "" or "hf"; decode: also answer questions;
    compiled: try torch.compile too; new_tokens: longest answer; out: folder of the results."""

    rounds: int
    peer: str
    decode: bool
    compiled: bool
    new_tokens: int
    out: Path


@dataclass(frozen=True)
class Side:
    """One way to do the work: `run(i)` does step i and returns what has to be equal elsewhere.

    name: "us: …" or "hf: …"; about: what is known beside times (FLOPs, memory …).
    """

    name: str
    run: Callable[[int], Any]
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def run(config: ConfigDict, settings: Settings, say: Say = print) -> dict[str, Any]:
    """Measures, prints, and leaves bench.json and bench.md in `settings.out`.

    Raises:
      UserError: a configuration that does not fit, a missing package, sides that disagree.
    """
    if settings.peer:
        # Which no optimizer of PyTorch has: left out on both sides, so that losses stay equal.
        config = config.copy_and_resolve_references()
        config.optim.center_rules = ((r".*", False),)
    records, phase = set_up(config, (settings.rounds + 1) * IN_TURN, say)
    architecture, n_devices = phase.model.config, jax.device_count()
    params, weights = weights_of(config, phase, say)

    multiple = config.data.length_multiple or 1
    singles = [one_row_per_question(batch, records.pad, multiple) for batch in records.batches]
    sides = [
        training_side("us: shared rows", phase, params, records.batches),
        training_side("us: one row per question", phase, params, singles),
    ]
    if settings.peer:
        from nota_jax.bench import torch_peer

        peer = torch_peer.Peer(phase, params, settings.compiled)
        sides += torch_peer.training_sides(peer, records.batches, singles, say)
    versions = torch_peer.versions() if settings.peer else {}
    results: dict[str, Any] = {
        "machine": machine() | versions,
        "config": f"phase {config.phase}, size {config.size}",
        "shapes": _shapes(records, singles, architecture, phase),
        "records": records.source, "weights": weights, "rounds": settings.rounds,
    }  # fmt: skip
    losses, times = alternate(sides, settings.rounds, say)
    results["losses"], results["loss_difference"] = losses, compare_losses(losses)
    results["training"] = summaries(sides, times, n_devices)
    if settings.decode:
        asked = questions_of(records.batches[0], config.eval.batch_size)
        sides = [
            decoding_side(name, phase.model, params, questions, records.eos, settings.new_tokens)
            for name, questions in (
                ("us: each image read once", asked),
                ("us: an image per question", asked.apart()),
            )
        ]
        if settings.peer:
            sides.append(
                torch_peer.decoding_side(peer, asked, records.eos, records.pad, settings.new_tokens)
            )
        answers, times = alternate(sides, max(3, settings.rounds // 3), say)
        results["decoding"] = summaries(sides, times, n_devices)
        results["decoded"] = compare_answers(answers, settings.new_tokens)
    report.write(results, settings.out)
    say(report.text(results))
    say(f"written: {settings.out}")
    return results


def set_up(config: ConfigDict, total_steps: int, say: Say) -> tuple[Records, program.Program]:
    """What is worked on, and the configured phase as it would train on all devices."""
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    records = records_of(config, batch_ways(mesh) * config.data.accumulation, say)
    architecture = program.model_config(config, records.image_token, records.vocab)
    recipe = program.train_config(config, total_steps, {})
    return records, program.prepare(recipe, NotaGPT(architecture), param_shapes(architecture), mesh)


def weights_of(config: ConfigDict, phase: program.Program, say: Say) -> tuple[Any, str]:
    """Parameters of the run's newest checkpoint if it has one, else random; and which."""
    if Path(config.run_dir, "checkpoints").is_dir():
        say(f"weights: from {config.run_dir}")
        params = steps.load_params(config.run_dir, phase.shapes, shardings=phase.shardings)
        return params, "of the trained run"
    params = program.fresh_params(phase.model.config, config.seed, phase.shardings)
    return params, f"random, seed {config.seed}"


def training_side(
    name: str, phase: program.Program, params: Any, batches: Sequence[Arrays]
) -> Side:
    """Our training step over the batches in turn; it starts from its own copy of the weights."""
    state = states.create(params, phase.trainable, phase.optimizer, phase.shardings)
    placed = [
        place_batch(phase.mesh, {key: batch[key] for key in DEVICE_KEYS}) for batch in batches
    ]
    step, steps = phase.step(state), {}
    for batch in placed:  # one row per question: as many rows as there are questions
        if batch["tokens"].shape not in steps:
            steps[batch["tokens"].shape] = step.lower(state, batch).compile()
    traced, memory = step.trace(state, placed[0]), steps[placed[0]["tokens"].shape]
    memory = memory.memory_analysis()
    n_rows, length = batches[0]["tokens"].shape
    parts = trained_parts(phase.trainable)
    about = work_of(batches) | {
        "flops": step_flops(phase.model.config, n_rows, length, parts),
        "flops_done": traced_flops(traced.jaxpr),
        "memory": memory.argument_size_in_bytes + memory.temp_size_in_bytes
        + memory.output_size_in_bytes - memory.alias_size_in_bytes,
    }  # fmt: skip
    box = [state]  # donated: the newest is the only one there is
    del state

    def train(i: int) -> float:
        batch = placed[i % len(placed)]
        box[0], metrics = steps[batch["tokens"].shape](box[0], batch)
        jax.block_until_ready(box[0].trainable)
        return float(metrics["loss"])

    return Side(name, train, about)


def work_of(batches: Sequence[Arrays]) -> dict[str, Any]:
    """Rows and positions of a batch, and the tokens and images of a step on average."""
    done = [meters.work(batch) for batch in batches]
    return {
        "rows": len(batches[0]["tokens"]), "length": batches[0]["tokens"].shape[1],
        "tokens": sum(d.tokens for d in done) / len(done),
        "images": sum(d.images for d in done) / len(done),
        "questions": sum(d.questions for d in done) / len(done),
    }  # fmt: skip


def decoding_side(
    name: str, model: NotaGPT, params: Any, asked: Asked, eos: int, new_tokens: int
) -> Side:
    """Greedy answers; "flops_done" are those of reading images and questions, and of one token."""
    pixels = normalize(asked.images)
    prefix = np.tile(asked.prefix, (len(asked.images), 1))

    def answer(_: int) -> list[list[int]]:
        found = decode.generate(
            model, params, pixels, prefix, asked.turns, asked.lengths,
            max_new_tokens=new_tokens, eos_ids=(eos,),
        )  # fmt: skip
        return [
            found.tokens[b, q, : found.lengths[b, q]].tolist()
            for b, q in zip(*np.nonzero(asked.lengths), strict=True)
        ]

    traced = decode.trace(
        model, params, pixels, prefix, asked.turns, asked.lengths,
        max_new_tokens=new_tokens, eos_ids=(eos,),
    )  # fmt: skip
    about = {"questions": int((asked.lengths > 0).sum()), "flops_done": traced_flops(traced.jaxpr)}
    return Side(name, answer, about)


def alternate(
    sides: Sequence[Side], rounds: int, say: Say
) -> tuple[dict[str, list[Any]], dict[str, list[tuple[float, float]]]]:
    """Every side's answers, and its (seconds, processor seconds) a step, a few steps in turn.

    A turn's first step is not timed: as in training, the caches then hold the side's own data, and
    threads of the other side have stopped waiting for more.  One round before is not timed at all:
    it compiles and warms up; its answers count.
    """
    found: dict[str, list[Any]] = {side.name: [] for side in sides}
    times: dict[str, list[tuple[float, float]]] = {side.name: [] for side in sides}
    for i in range(rounds + 1):
        for side in sides:
            for k in range(IN_TURN):
                if k == 1:
                    start, spent = time.perf_counter(), time.process_time()
                found[side.name].append(side.run(i * IN_TURN + k))
            if i:
                took = time.perf_counter() - start, time.process_time() - spent
                times[side.name].append((took[0] / (IN_TURN - 1), took[1] / (IN_TURN - 1)))
        if i in (0, 1, rounds):
            say(f"round {i} of {rounds}: all {len(sides)} sides done")
    return found, times


def compare_losses(losses: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Largest relative difference from the first side's losses, of the first step and of all.

    Raises:
      UserError: where the first step's differs by more than `SAME_LOSS`: not the same work.
    """
    (name, ours), *others = losses.items()
    first = {o: abs(theirs[0] / ours[0] - 1) for o, theirs in others}
    for other, difference in first.items():
        if not difference <= SAME_LOSS:
            raise UserError(
                f"{other!r} has the loss {losses[other][0]:.6f} where {name!r} has {ours[0]:.6f}: "
                "the two do not compute the same, and their times are not comparable"
            )
    whole = [abs(b / a - 1) for _, theirs in others for a, b in zip(ours, theirs, strict=True)]
    return {"first_step": max(first.values()), "all_steps": max(whole)}


def compare_answers(found: Mapping[str, Sequence[Any]], new_tokens: int) -> dict[str, Any]:
    """How long the answers are, and how many of all are the same on every side."""
    answers = [rounds[0] for rounds in found.values()]
    return {
        "longest_allowed": new_tokens,
        "mean_tokens": float(np.mean([len(a) for a in answers[0]])),
        "questions": len(answers[0]),
        "same": sum(all(x == group[0] for x in group) for group in zip(*answers, strict=True)),
    }


def summaries(
    sides: Sequence[Side], times: Mapping[str, Sequence[tuple[float, float]]], n_devices: int
) -> dict[str, dict[str, Any]]:
    """Medians and quartiles of each side, rates from them, and its ratio to the first side.

    The ratio is the median over rounds of (side's time / first side's time in that round).
    """
    base = np.array(times[sides[0].name])
    peak = peak_flops(jax.devices()[0])
    results = {}
    for side in sides:
        t = np.array(times[side.name])
        low, median, high = np.percentile(t[:, 0], [25, 50, 75])
        result = dict(side.about) | {
            "seconds": float(median), "quartiles": [float(low), float(high)],
            "cpu_seconds": float(np.median(t[:, 1])),
            "times_first": float(np.median(t[:, 0] / base[:, 0])),
            "times_first_cpu": float(np.median(t[:, 1] / base[:, 1])),
        }  # fmt: skip
        for unit in ("tokens", "images", "questions"):
            if unit in side.about:
                result[f"{unit}_per_second"] = side.about[unit] / float(median)
        if peak and "flops" in side.about:
            result["mfu"] = side.about["flops"] / float(median) / (peak * n_devices)
        if jax.default_backend() != "cpu" and side.name.startswith("us"):
            stats = jax.devices()[0].memory_stats() or {}
            result["device_peak"] = stats.get("peak_bytes_in_use")
        results[side.name] = result
    return results


def machine() -> dict[str, Any]:
    """What it was measured on, and with which versions."""
    device, loads = jax.devices()[0], os.getloadavg()
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.processor(),
    ) if Path("/proc/cpuinfo").exists() else platform.processor()  # fmt: skip
    return {
        "device": model if device.platform == "cpu" else device.device_kind,
        "devices": len(jax.devices()), "cores": len(os.sched_getaffinity(0)),
        "load": round(loads[0], 1), "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(), "jax": jax.__version__,
    }  # fmt: skip


def _shapes(records: Records, singles: Sequence[Arrays], architecture, phase) -> dict[str, Any]:
    n_rows, length = records.batches[0]["tokens"].shape
    return {
        "rows": n_rows, "length": length, "questions": len(singles[0]["tokens"]),
        "image_tokens": architecture.num_image_tokens, "vocabulary": records.vocab,
        "dtype": architecture.dtype, "parameters": count_params(phase.shapes),
        "attention": architecture.attention,
    }  # fmt: skip


def parse(argv: Sequence[str]) -> tuple[ConfigDict, Settings]:
    """The configuration (with overrides, as in `nota_jax.main`) and what is measured."""
    from nota_jax import main

    parser = argparse.ArgumentParser(
        "nota_jax.bench", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=10, help="of two timed steps a side")
    parser.add_argument("--peer", choices=("", "hf"), default="", help="transformers beside it")
    parser.add_argument("--decode", action="store_true", help="also answer questions")
    parser.add_argument("--compile", action="store_true", help="also the peer's torch.compile")
    parser.add_argument("--new-tokens", type=int, default=64, help="longest answer of --decode")
    parser.add_argument("--out", default="", help="folder; RUN_DIR/bench if not given")
    parser.add_argument("--config", required=True, help="configs/phase2.py:mini, as in training")
    own, rest = parser.parse_known_args(argv[1:])
    if own.rounds < 1 or own.new_tokens < 1:
        raise UserError("--rounds and --new-tokens are at least 1")
    config, _, _ = main.parse([argv[0], f"--config={own.config}", *rest])
    out = Path(own.out or Path(config.run_dir, "bench"))
    return config, Settings(own.rounds, own.peer, own.decode, own.compile, own.new_tokens, out)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0, or 2 for a mistake."""
    from nota_jax.environment import quiet

    quiet()
    # PyTorch wants some of the same accelerator's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    argv = sys.argv if argv is None else argv
    return exit_status(lambda: 0 if run(*parse(argv)) else None)
