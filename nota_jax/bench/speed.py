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
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from nota_jax.bench import report
from nota_jax.bench.ours import Setup, decoding_side, set_up, training_side
from nota_jax.bench.records import Arrays, one_row_per_question, questions_of
from nota_jax.bench.sides import (
    IN_TURN,
    alternate,
    compare_answers,
    compare_losses,
    summaries,
)
from nota_jax.errors import UserError, exit_status
from nota_jax.params import count_params

Say = Callable[[str], None]


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


def run(config: ConfigDict, settings: Settings, say: Say = print) -> dict[str, Any]:
    """Measures, prints, and leaves bench.json and bench.md in `settings.out`.

    Raises:
      UserError: a configuration that does not fit, a missing package, sides that disagree.
    """
    if settings.peer:
        # What transformers and PyTorch have not is left out on both sides, so that losses stay
        # equal: patches chosen by ink, gradient centralization.
        config = config.copy_and_resolve_references()
        config.optim.center_rules = ((r".*", False),)
        v = config.model.vision
        if v.patches == "inked":
            more = (v.image_size // v.patch_size) ** 2 - v.most_patches
            v.update(patches="all", most_patches=0)
            config.data.lengths = tuple(length + more for length in config.data.lengths)
    setup = set_up(config, (settings.rounds + 1) * IN_TURN, say)
    records, phase, params = setup.records, setup.phase, setup.params
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
        "shapes": _shapes(setup, singles),
        "records": records.source, "weights": setup.weights, "rounds": settings.rounds,
    }  # fmt: skip
    losses, times = alternate(sides, settings.rounds, say)
    results["losses"], results["loss_difference"] = losses, compare_losses(losses)
    results["training"] = summaries(sides, times, jax.device_count())
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
        results["decoding"] = summaries(sides, times, jax.device_count())
        results["decoded"] = compare_answers(answers, settings.new_tokens)
    report.write(results, settings.out)
    say(report.text(results))
    say(f"written: {settings.out}")
    return results


def machine() -> dict[str, Any]:
    """What it was measured on, and with which versions."""
    device = jax.devices()[0]
    return {
        "device": _processor() if device.platform == "cpu" else device.device_kind,
        "devices": len(jax.devices()),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def _processor() -> str:
    """The processor's name as Linux has it, else as Python knows it."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _shapes(setup: Setup, singles: Sequence[Arrays]) -> dict[str, Any]:
    architecture = setup.phase.model.config
    n_rows, length = setup.records.batches[0]["tokens"].shape
    return {
        "rows": n_rows,
        "length": length,
        "questions": len(singles[0]["tokens"]),
        "image_tokens": architecture.num_image_tokens,
        "vocabulary": setup.records.vocab,
        "dtype": architecture.dtype,
        "parameters": count_params(setup.phase.shapes),
        "attention": architecture.attention,
    }


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
