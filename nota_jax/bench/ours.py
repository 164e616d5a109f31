"""What is measured of our own: the configured phase, its training step and its decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from nota_jax.bench.records import Arrays, Asked, Records, records_of
from nota_jax.bench.sides import Side, work_of
from nota_jax.checkpoint import steps
from nota_jax.models import decode
from nota_jax.models.flops import traced_flops
from nota_jax.models.notagpt import NotaGPT, param_shapes
from nota_jax.parallel.mesh import batch_ways, make_mesh, place_batch
from nota_jax.pixels import normalize
from nota_jax.training import program
from nota_jax.training import state as states

Say = Callable[[str], None]


@dataclass(frozen=True)
class Setup:
    """records: what is worked on; phase: as it would train on all devices; params: its parameters,
    and weights: which those are."""

    records: Records
    phase: program.Program
    params: Any
    weights: str


def set_up(config: ConfigDict, total_steps: int, say: Say) -> Setup:
    """What speed and breakdown measure of a configuration: its step with the paper's objective,
    answers, without what helps the small sizes while they train."""
    config = config.copy_and_resolve_references()
    config.objective, config.loss_weights = "answers", ConfigDict()
    mesh = make_mesh(**config.mesh)
    records = records_of(config, batch_ways(mesh) * config.data.accumulation, say)
    architecture = program.model_config(config, records.image_token, records.vocab)
    recipe = program.train_config(config, total_steps, {})
    phase = program.prepare(recipe, NotaGPT(architecture), param_shapes(architecture), mesh)
    return Setup(records, phase, *weights_of(config, phase, say))


def weights_of(config: ConfigDict, phase: program.Program, say: Say) -> tuple[Any, str]:
    """Parameters of the run's newest checkpoint if it has one, else random; and which."""
    if Path(config.run_dir, "checkpoints").is_dir():
        say(f"weights: from {config.run_dir}")
        params = steps.load_params(config.run_dir, phase.shapes, shardings=phase.shardings)
        return params, "of the trained run"
    params = phase.complete(program.fresh_params(phase.model.config, config.seed, phase.shardings))
    return params, f"random, seed {config.seed}"


def training_side(
    name: str, phase: program.Program, params: Any, batches: Sequence[Arrays]
) -> Side:
    """Our training step over the batches in turn; it starts from its own copy of the weights."""
    state = states.create(params, phase.trainable, phase.optimizer, phase.shardings)
    placed = [place_batch(phase.mesh, {key: batch[key] for key in phase.keys}) for batch in batches]
    step, steps = phase.step(state), {}
    for batch in placed:  # one row per question: as many rows as there are questions
        if batch["tokens"].shape not in steps:
            steps[batch["tokens"].shape] = step.lower(state, batch).compile()
    traced, memory = step.trace(state, placed[0]), steps[placed[0]["tokens"].shape]
    memory = memory.memory_analysis()
    about = work_of(batches) | {
        "flops": phase.flops(placed[0]),
        "flops_done": traced_flops(traced.jaxpr),
        "memory": memory.argument_size_in_bytes + memory.temp_size_in_bytes
        + memory.output_size_in_bytes - memory.alias_size_in_bytes,
    }  # fmt: skip
    box = [state]  # donated: the newest is the only one there is
    del state

    def train(i: int) -> float:
        batch = placed[i % len(placed)]
        box[0], found = steps[batch["tokens"].shape](box[0], batch)
        jax.block_until_ready(box[0].trainable)
        return float(found["loss"])

    return Side(name, train, about)


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
