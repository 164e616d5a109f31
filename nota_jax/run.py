"""One run, put together from its configuration: dataset, tokenizer, weights, training, evaluation.

Every step here makes what is missing and says so, so that a configuration works by itself on a
fresh machine, and so that a command given again goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from transformers import PreTrainedTokenizerFast

from nota_jax.data import build, pipeline, reader, storage, tokenizer
from nota_jax.data.chat import image_token_id
from nota_jax.data.pages import Settings
from nota_jax.errors import UserError
from nota_jax.evaluation import evaluate, report
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.notagpt import NotaGPT, init_params
from nota_jax.scaling import memory
from nota_jax.scaling.flops import step_flops
from nota_jax.scaling.mesh import make_mesh, param_shardings
from nota_jax.training import checkpoint, loop, rules
from nota_jax.training.optimizer import OptimizerConfig

Say = Callable[[str], None]

TRAINING_SPLIT = "train"


@dataclass(frozen=True)
class Run:
    """What training and evaluation of a configuration share."""

    config: ConfigDict
    model: NotaGPT
    tokenizer: PreTrainedTokenizerFast
    shapes: rules.Tree

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
        check_memory(config, shapes_of(model_config(config, 0, config.model.text.vocab_size)))
    prepare_dataset(config, say)
    tok = prepare_tokenizer(config, say)
    # A vocabulary that is a multiple of 64 can be cut over devices and suits matrix units.
    vocab = config.model.text.vocab_size or -(-len(tok) // 64) * 64
    if len(tok) > vocab:
        raise UserError(
            f"the tokenizer has {len(tok)} entries, config.model.text.vocab_size is {vocab}"
        )
    architecture = model_config(config, image_token_id(tok), vocab)
    shapes = shapes_of(architecture)
    check_memory(config, shapes)
    return Run(config, NotaGPT(architecture), tok, shapes)


def model_config(config: ConfigDict, image_token: int, vocab_size: int) -> NotaGPTConfig:
    """The architecture with what only the run knows: vocabulary, image token, compute dtype."""
    values = config.model.to_dict()
    values["text"] |= {
        "vocab_size": vocab_size,
        "sliding_window": values["text"]["sliding_window"] or None,
    }
    on_cpu = jax.default_backend() == "cpu"
    dtype = config.dtype or ("float32" if on_cpu else "bfloat16")
    return NotaGPTConfig.from_dict(values | {"image_token_id": image_token, "dtype": dtype})


def shapes_of(architecture: NotaGPTConfig) -> rules.Tree:
    """Shapes and dtypes of the parameters; nothing is allocated."""
    return jax.eval_shape(lambda rng: init_params(architecture, rng), jax.random.key(0))


def check_memory(config: ConfigDict, shapes: rules.Tree) -> None:
    trainable = rules.resolve(config.trainable, shapes, table="trainable")
    frozen_bytes = 4 if jax.default_backend() == "cpu" else 2
    needed = memory.need(shapes, rules.unflatten(trainable), frozen_bytes)
    memory.require(needed, f"phase {config.phase} at size {config.size}")


def prepare_dataset(config: ConfigDict, say: Say) -> None:
    """Builds the dataset where `data.dir` is not there."""
    folder, b = Path(config.data.dir), config.data.build
    if (folder / storage.INFO).exists():
        return
    say(f"building the dataset {folder} (once; `python -m nota_jax.data.build` says more)")
    settings = Settings(variants=b.variants, seed=b.seed, size=config.model.vision.image_size)
    build.build(folder, b.corpora or None, b.limit or None, settings, b.workers or None)
    say(f"built {folder}: see build_report.md and contact_sheet.png there")


def prepare_tokenizer(config: ConfigDict, say: Say) -> PreTrainedTokenizerFast:
    """The run's own tokenizer, else the configured one, the previous phase's, or a new BPE."""
    own = Path(config.run_dir) / "tokenizer"
    previous = Path(config.previous) / "tokenizer" if config.previous else None
    if own.exists():
        return tokenizer.load_tokenizer(own)
    if config.tokenizer:
        tok = tokenizer.load_tokenizer(config.tokenizer)
    elif previous is not None and previous.exists():
        tok = tokenizer.load_tokenizer(previous)
    else:
        splits = [s for s in storage.split_sizes(config.data.dir) if s.endswith(TRAINING_SPLIT)]
        say(f"training a byte-level BPE of {config.vocab_size} entries on {', '.join(splits)}")
        return tokenizer.train_bpe(
            reader.texts(config.data.dir, splits), config.vocab_size, own
        )
    tokenizer.save_tokenizer(tok, own)
    return tok


def starting_weights(run: Run, say: Say) -> loop.Load:
    """Where a new run's parameters come from; loaded when called."""
    config = run.config
    if config.previous and Path(config.previous, "config.json").exists():
        say(f"weights: from phase {config.phase - 1}, {config.previous}")
        return lambda to: checkpoint.load_params(config.previous, run.shapes, shardings=to)
    if config.init_from:
        if not Path(config.init_from).exists():
            raise UserError(
                f"config.init_from is {config.init_from}, which is not there: give the directory "
                "of converted weights, or --config.init_from= for random ones"
            )
        say(f"weights: from {config.init_from}")
        return lambda to: checkpoint.load_params(config.init_from, run.shapes, shardings=to)
    missing = f" ({config.previous} has no run)" if config.previous else ""
    say(f"weights: random, seed {config.seed}{missing}")

    def fresh(shardings):
        out = rules.unflatten(dict(shardings))
        init = jax.jit(lambda rng: init_params(run.model.config, rng), out_shardings=out)
        return init(jax.random.key(config.seed))

    return fresh


def train(run: Run, say: Say = print) -> loop.Outcome:
    """Trains to the end, or goes on from the run directory's newest checkpoint."""
    config, architecture = run.config, run.model.config
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    d = config.data
    batches = pipeline.make_pipeline(
        d.dir,
        [f"{task}_{TRAINING_SPLIT}" for task in d.tasks],
        run.tokenizer,
        pipeline.PipelineConfig(
            n_image_tokens=architecture.num_image_tokens,
            image_size=architecture.vision.image_size,
            batch_size=d.batch_size,
            lengths=tuple(d.lengths),
            row_multiple=mesh.shape["data"] * mesh.shape["fsdp"] * d.accumulation,
            template=d.template,
            turns_per_row=d.turns_per_row,
            subtasks=tuple(d.subtasks),
            shares=tuple(sorted(d.shares.items())),
            image_mode=d.image_mode,
            threads=d.threads,
        ),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        seed=config.seed,
        # Steps given outright may be more than the epochs hold.
        epochs=None if config.steps else config.epochs,
    )
    say("data: " + ", ".join(f"{k} {v}" for k, v in batches.report().items()))
    trains = rules.resolve(config.trainable, run.shapes, table="trainable")
    parts = {
        part: any(on for path, on in trains.items() if path.startswith(part + "/"))
        for part in run.shapes
    }
    return loop.train(
        loop.TrainConfig(
            total_steps=config.steps or batches.total_steps,
            trainable=tuple(map(tuple, config.trainable)),
            optimizer=OptimizerConfig(**config.optim.to_dict()),
            accumulation=d.accumulation,
            loss_chunk=config.loss_chunk,
            log_every=config.log_every,
            save_every=config.save_every,
            keep_last=config.keep,
            seed=config.seed,
            record=as_json(config),
        ),
        run.model,
        run.shapes,
        starting_weights(run, say),
        batches,
        mesh,
        run.directory,
        flops=lambda rows, length: step_flops(architecture, rows, length, parts),
        say=say,
    )


def evaluate_run(run: Run, params: rules.Tree | None = None, say: Say = print) -> dict[str, Any]:
    """Answers held-out questions and writes predictions.jsonl and evaluation.json.

    params: None for the run's newest checkpoint.
    """
    config = run.config
    if params is None:
        mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
        shardings = param_shardings(mesh, run.shapes)
        params = checkpoint.load_params(config.run_dir, run.shapes, shardings=shardings)
    settings = evaluate.Settings(
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
    )
    out = run.directory / f"evaluation_{config.eval.split}"
    predictions = evaluate.predict(run.model, params, run.tokenizer, settings, out, say)
    training = [f"{task}_{TRAINING_SPLIT}" for task in config.data.tasks]
    scores = report.scores(predictions, report.training_answers(config.data.dir, training))
    report.write(out, scores, settings)
    say(report.table(scores))
    say(f"predictions and scores: {out}")
    return scores


def as_json(config: ConfigDict) -> dict[str, Any]:
    """The resolved configuration in plain JSON values."""
    return json.loads(config.to_json_best_effort())
