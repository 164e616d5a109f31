"""One run, put together from its configuration: dataset, tokenizer, weights, training, evaluation.

Every step here makes what is missing and says so, so that a configuration works by itself on a
fresh machine, and so that a command given again goes on where it was.

Of several processes all come through here.  What is made for all (dataset, tokenizer, row plan,
scores) is made by process 0, while the others wait; what lies on the devices belongs to all.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jax.sharding import NamedSharding
from ml_collections import ConfigDict
from transformers import PreTrainedTokenizerFast

from conversion import from_hf, hf_config, tensors
from nota_jax.checkpoint import steps
from nota_jax.data.build import dataset
from nota_jax.data.build.pages import Settings
from nota_jax.data.feed import pipeline, tokenizer
from nota_jax.data.feed.chat import image_token_id
from nota_jax.data.store import reader
from nota_jax.errors import UserError
from nota_jax.evaluation import predict, report
from nota_jax.evaluation.metrics import Prediction
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.notagpt import NotaGPT, param_shapes
from nota_jax.parallel import memory, processes
from nota_jax.parallel.mesh import batch_ways, layout, make_mesh, param_shardings, row_share
from nota_jax.params import (
    AIDS,
    Tree,
    flatten,
    optax_mask,
    resolve,
    trained_parts,
    unflatten,
    without_aids,
)
from nota_jax.training import loop, objectives
from nota_jax.training.program import (
    fresh_params,
    model_config,
    pipeline_config,
    train_config,
    with_aids,
)

Say = Callable[[str], None]

TRAINING_SPLIT = "train"


@dataclass(frozen=True)
class Run:
    """What training and evaluation of a configuration share."""

    config: ConfigDict
    model: NotaGPT
    tokenizer: PreTrainedTokenizerFast
    shapes: Tree

    @property
    def directory(self) -> Path:
        return Path(self.config.run_dir)


def prepare(config: ConfigDict, say: Say = print) -> Run:
    """Everything before the first allocation on a device; builds dataset and tokenizer if missing.

    Raises:
      UserError: above all where the host is certainly too small, before anything is built.
    """
    kinds = {d.device_kind for d in jax.devices()}
    say(f"{len(jax.devices())} × {', '.join(kinds)}; run directory {config.run_dir}")
    if config.model.text.vocab_size:
        check_memory(config, model_config(config, 0, config.model.text.vocab_size))
    check_agreement(config)
    processes.main_first(lambda: prepare_dataset(config, say))
    tok = processes.main_first(lambda: prepare_tokenizer(config, say))
    vocab = tokenizer.vocabulary_size(len(tok), config.model.text.vocab_size)
    architecture = model_config(config, image_token_id(tok), vocab)
    check_memory(config, architecture)
    return Run(config, NotaGPT(architecture), tok, param_shapes(architecture))


def check_memory(config: ConfigDict, architecture: NotaGPTConfig) -> None:
    shapes = known_shapes(config, architecture)
    frozen_bytes = 4 if jax.default_backend() == "cpu" else 2
    needed = memory.need(shapes, optax_mask(config.trainable, shapes), frozen_bytes)
    mesh = make_mesh(**config.mesh)
    ways = mesh.shape["fsdp"] * mesh.shape["tensor"]
    memory.require(needed, ways, f"phase {config.phase} at size {config.size}")


def check_agreement(config: ConfigDict) -> None:
    """Many processes must have one configuration, and one run directory on one file system.

    Raises:
      UserError: naming the first field that differs, or the directory that is not shared.
    """
    if jax.process_count() == 1:
        return
    ours = flatten(as_json(config), sep=".")
    theirs = processes.share(lambda: ours)
    differing = [key for key in sorted(ours | theirs) if ours.get(key) != theirs.get(key)]
    if processes.any_of(bool(differing)):
        where = [f"config.{key} is {ours.get(key)} here and {theirs.get(key)} in process 0"
                 for key in differing[:1]]  # fmt: skip
        raise UserError(
            f"{where[0] if where else 'another process has another configuration'}: start all "
            "processes with the same command"
        )
    folder = Path(config.run_dir)
    if processes.is_main():
        folder.mkdir(parents=True, exist_ok=True)
    mark = folder / processes.share(lambda: f"shared-{secrets.token_hex(4)}")
    if processes.is_main():
        mark.touch()
    processes.barrier("run directory")
    deadline = time.monotonic() + 15  # network file systems show a new file late,
    while not (seen := folder.is_dir() and mark.name in os.listdir(folder)):  # sooner in a listing
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    missing = processes.any_of(not seen)
    if processes.is_main():
        mark.unlink()
    if missing:
        raise UserError(
            f"the run directory {folder.absolute()} that process 0 made is not to be seen by all "
            "processes: put config.run_dir and config.data.dir on a file system that all hosts "
            "share"
        )


def prepare_dataset(config: ConfigDict, say: Say) -> None:
    """Builds the dataset where `data.dir` is not there."""
    folder, b = Path(config.data.dir), config.data.build
    if reader.holds_dataset(folder):
        return
    say(f"building the dataset {folder} (once; `python -m nota_jax.data.build` says more)")
    settings = Settings(
        variants=b.variants,
        seed=b.seed,
        size=config.model.vision.image_size,
        look_share=b.look_share,
    )
    dataset.build(folder, b.corpora or None, b.limit or None, settings, b.workers or None)
    say(f"built {folder}: see build_report.md and contact_sheet.png there")


def prepare_tokenizer(config: ConfigDict, say: Say) -> PreTrainedTokenizerFast:
    """The run's own tokenizer, else the configured one, the previous phase's, that of the weights
    to start from, or a new BPE."""
    if tokenizer.find(config.run_dir):
        return tokenizer.load_tokenizer(config.run_dir)
    own = Path(config.run_dir) / "tokenizer"
    if home := config.tokenizer or tokenizer.find(config.previous, config.init_from):
        tok = tokenizer.load_tokenizer(home)
        tokenizer.save_tokenizer(tok, own)
        return tok
    splits = [s for s in reader.split_sizes(config.data.dir) if s.endswith(TRAINING_SPLIT)]
    say(f"training a byte-level BPE of {config.vocab_size} entries on {', '.join(splits)}")
    texts = reader.texts(config.data.dir, splits)
    return tokenizer.train_bpe(texts, config.vocab_size, own, config.chunks)


def starting_weights(run: Run, say: Say) -> loop.Load:
    """Where a new run's parameters come from; loaded when called."""
    config = run.config
    if config.previous and Path(config.previous, "config.json").exists():
        say(f"weights: from phase {config.phase - 1}, {config.previous}")
        return lambda to: {
            **steps.load_params(config.previous, run.shapes, shardings=to),
            **known_aids(run),
        }
    if config.parts:
        return parts_weights(run, say)
    if config.init_from:
        return converted_weights(run, Path(config.init_from), say)
    missing = f" ({config.previous} has no run)" if config.previous else ""
    say(f"weights: random, seed {config.seed}{missing}")
    trains = trained_parts(
        resolve(config.trainable, known_shapes(config, run.model.config), table="trainable")
    )
    if frozen := [part for part, on in trains.items() if not on]:
        say(f"         of which {' and '.join(frozen)} stay so: config.trainable freezes them")
    return partial(fresh_params, run.model.config, config.seed)


def known_shapes(config: ConfigDict, architecture: NotaGPTConfig) -> Tree:
    """Of the model and of what its objective adds."""
    return with_aids(objectives.from_config(config), architecture, param_shapes(architecture))


def known_aids(run: Run) -> Tree:
    """Aids of the previous phase and, where that had none, of the runs that trained the parts."""
    config = run.config
    folders = [folder for _, folder in config.parts if Path(folder).exists()]
    found = [flatten(steps.load_parts(f, rf"{AIDS}/.*")) for f in (*folders, config.previous)]
    return unflatten({path: x for aids in found for path, x in aids.items()})


def parts_weights(run: Run, say: Say) -> loop.Load:
    """Weights of several runs, each of which trained a part; random where none did.

    Raises:
      UserError: a run that is not there, or has no such part of this model's shape.
    """
    for expression, folder in run.config.parts:
        say(f"weights: {expression} from {folder}")

    def load(to: Mapping[str, NamedSharding]) -> Tree:
        whole = flatten(fresh_params(run.model.config, run.config.seed, to))
        for expression, folder in run.config.parts:
            found = flatten(steps.load_parts(folder, expression, shardings=to))
            own = without_aids(found)
            if not found or any(p not in whole or whole[p].shape != own[p].shape for p in own):
                raise UserError(
                    f"config.parts: {folder} has no {expression} of this model's shapes; train it "
                    "with the same config.model, or leave it out"
                )
            whole |= found
        return unflatten(whole)

    return load


def converted_weights(run: Run, folder: Path, say: Say) -> loop.Load:
    """The weights of a Hugging Face directory, or of a checkpoint that was converted from one."""
    if not folder.exists():
        raise UserError(
            f"config.init_from is {folder}, which is not there: give a Hugging Face directory or "
            "one that conversion.from_hf wrote, or --config.init_from= for random weights"
        )
    if (folder / "base").exists():
        say(f"weights: from the checkpoint {folder}")
        wanted = run.model.config
        found = hf_config.of_directory(folder, wanted.text.vocab_size, wanted.image_token_id)
        hf_config.require_same(found, wanted, folder)
        return lambda to: steps.load_params(folder, run.shapes, shardings=to)
    if tensors.is_checkpoint(folder):
        say(f"weights: from Hugging Face's {folder}")
        return lambda to: from_hf.load(folder, run.model.config, to, say)
    raise UserError(
        f"config.init_from is {folder}, which holds neither base/ (a converted checkpoint or a "
        "run) nor config.json with safetensors (a Hugging Face model)"
    )


def train(run: Run, say: Say = print) -> loop.Outcome:
    """Trains to the end, or goes on from the run directory's newest checkpoint."""
    config, architecture = run.config, run.model.config
    mesh = make_mesh(**config.mesh)
    if mesh.size > 1:
        say(layout(mesh))
    share, n_shares = row_share(mesh)
    d = config.data
    image_tokens = architecture.num_image_tokens if d.pictures else 0
    make = partial(
        pipeline.Pipeline,
        d.dir,
        [f"{task}_{TRAINING_SPLIT}" for task in d.tasks],
        run.tokenizer,
        pipeline_config(config, image_tokens, batch_ways(mesh) * d.accumulation),
        process_index=share,
        process_count=n_shares,
        seed=config.seed,
        # Steps given outright may be more than the epochs hold.
        epochs=None if config.steps else config.epochs,
    )
    batches = processes.main_first(make)  # the others find the row plan
    say("data: " + ", ".join(f"{k} {v}" for k, v in batches.report().items()))
    return loop.train(
        train_config(config, config.steps or batches.total_steps or 0, as_json(config)),
        run.model,
        run.shapes,
        lambda to: starting_weights(run, say)(to),  # a run that goes on has its own
        batches,
        mesh,
        run.directory,
        say=say,
    )


def weights(run: Run, say: Say = print) -> Tree:
    """The parameters to answer with, on the mesh: those of the run's newest checkpoint or, where
    it has not trained, of `config.init_from`."""
    config = run.config
    shardings = param_shardings(make_mesh(**config.mesh), run.shapes)
    if config.init_from and not (run.directory / "base").exists():
        return converted_weights(run, Path(config.init_from), say)(shardings)
    return steps.load_params(config.run_dir, run.shapes, shardings=shardings)


def evaluate_run(run: Run, params: Tree | None = None, say: Say = print) -> dict[str, Any]:
    """Answers held-out questions and writes predictions.jsonl and evaluation.json.

    params: as training left them; None for `weights`.  Only process 0 gets the scores; others
      get {}.
    """
    config = run.config
    mesh = make_mesh(**config.mesh)
    params = weights(run, say) if params is None else params
    params = {name: part for name, part in params.items() if name != AIDS}  # none answers
    settings = predict.Settings(
        dataset=config.data.dir,
        splits=tuple(f"{task}_{config.eval.split}" for task in config.data.tasks),
        subtasks=tuple(config.data.subtasks),
        template=config.eval.template,
        image_mode=config.data.image_mode,
        questions=config.eval.questions,
        pages_per_batch=config.eval.batch_size,
        max_new_tokens=config.eval.max_new_tokens,
        temperature=config.eval.temperature,
        top_p=config.eval.top_p,
        seed=config.seed,
        grammar=config.eval.grammar,
    )
    out = run.directory / f"evaluation_{config.eval.split}"
    predictions = predict.predict(run.model, params, run.tokenizer, settings, out, say, mesh)
    scores = {}
    if processes.is_main():
        scores = write_scores(run, predictions, settings, out, say)
    processes.barrier("scores")
    return scores


def write_scores(
    run: Run,
    predictions: Sequence[Prediction],
    settings: predict.Settings,
    out: Path,
    say: Say,
) -> dict[str, Any]:
    """Scores with the majority's beside them, on paper and on the terminal."""
    config = run.config
    training = [f"{task}_{TRAINING_SPLIT}" for task in config.data.tasks]
    scores = report.scores(predictions, report.training_answers(config.data.dir, training))
    report.write(out, scores, settings)
    say(report.table(scores))
    say(f"predictions and scores: {out}")
    return scores


def as_json(config: ConfigDict) -> dict[str, Any]:
    """The resolved configuration in plain JSON values."""
    return json.loads(config.to_json_best_effort())
