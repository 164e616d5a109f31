"""One run, put together from its configuration: dataset, tokenizer, weights, training, evaluation.

Every step here makes what is missing and says so, so that a configuration works by itself on a
fresh machine, and so that a command given again goes on where it was.

Of several processes all come through here.  What is made for all (dataset, tokenizer, row plan,
scores) is made by process 0, while the others wait; what lies on the devices belongs to all.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jax.sharding import NamedSharding
from ml_collections import ConfigDict
from transformers import PreTrainedTokenizerFast

from conversion import from_hf, hf_config, tensors
from nota_jax import history, places, ready, values
from nota_jax.checkpoint import steps
from nota_jax.checkpoint.scores import exact, step_of
from nota_jax.data.feed import pipeline, tokenizer
from nota_jax.data.feed.chat import image_token_id
from nota_jax.data.store.reader import splits_of
from nota_jax.errors import UserError
from nota_jax.evaluation import answers, kept, predict, report, sample, score, show
from nota_jax.models.notagpt import NotaGPT, param_shapes
from nota_jax.parallel import processes
from nota_jax.parallel.mesh import batch_ways, layout, make_mesh, param_shardings, row_share
from nota_jax.params import (
    AIDS,
    Tree,
    flatten,
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
)

Say = Callable[[str], None]

EMBEDDING = "language_model/model/embed_tokens/embedding"


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
      UserError: values or folders that cannot be, or a host that is certainly too small; before
        anything is built.
    """
    values.check(config)
    ready.check_folders(config)
    objectives.from_config(config)
    kinds = {d.device_kind for d in jax.devices()}
    say(f"{len(jax.devices())} × {', '.join(kinds)}; run directory {config.run_dir}")
    for line in values.notes(config):
        say(line)
    if state := begun(config):
        history.require_same_model(config.run_dir, state, config)
    if config.model.text.vocab_size:
        ready.check_memory(config, model_config(config, 0, config.model.text.vocab_size))
    ready.require_tokenizer(config)
    ready.check_agreement(config)
    processes.main_first(lambda: ready.prepare_dataset(config, say))
    ready.leave_out_absent_tasks(config, say)
    tok = processes.main_first(lambda: ready.prepare_tokenizer(config, say))
    vocab = tokenizer.vocabulary_size(len(tok), config.model.text.vocab_size)
    architecture = model_config(config, image_token_id(tok), vocab)
    ready.check_memory(config, architecture)
    return Run(config, NotaGPT(architecture), tok, param_shapes(architecture))


def begun(config: ConfigDict) -> history.State | None:
    """What the run in `run_dir` was trained with last; None where it has nothing to go on from."""
    return history.read(config.run_dir) if history.latest_step(config.run_dir) else None


def starting_weights(run: Run, say: Say) -> loop.Load:
    """Where a new run's parameters come from; loaded when called.

    Raises:
      UserError: the previous phase cannot be read, or has another tokenizer or model.
    """
    config = run.config
    if config.previous and previous_state(run, say):
        place = exact(config.previous)
        return lambda to: {
            **steps.load_params(place, run.shapes, shardings=to),
            **known_aids(run, place),
        }
    rest = whole_weights(run, say)
    return parts_weights(run, rest, say) if config.parts else rest


def whole_weights(run: Run, say: Say) -> loop.Load:
    """Weights of `init_from`, or random ones."""
    config = run.config
    if config.init_from:
        return converted_weights(run, config.init_from, say)
    missing = f" ({config.previous} has no run)" if config.previous else ""
    say(f"weights: random, seed {config.seed}{missing}")
    trains = trained_parts(
        resolve(config.trainable, ready.known_shapes(config, run.model.config), table="trainable")
    )
    if frozen := [part for part, on in trains.items() if not on and not config.parts]:
        say(f"         of which {' and '.join(frozen)} stay so: config.trainable freezes them")
    return partial(fresh_params, run.model.config, config.seed)


def previous_state(run: Run, say: Say) -> history.State | None:
    """What the previous phase was trained with, said with how far it came; None: it never began.

    Raises:
      UserError: something lies there that is not a run with a checkpoint, or not of this model.
    """
    config, folder = run.config, places.folder_of(run.config.previous)
    if not (folder.is_dir() and os.listdir(folder)):
        return None
    state, step = history.read(folder), history.latest_step(folder)
    if state is None or not step:
        lacks = "no checkpoint" if state is not None else "no config.json of a run"
        raise UserError(
            f"config.previous is {folder}, which is there but has {lacks}: train that phase first, "
            "start from weights with --config.init_from=DIR, or from random ones with "
            "--config.previous="
        )
    history.require_same_model(folder, state, config)
    ready.require_same_tokenizer(run.tokenizer, folder, "previous")
    far = ""
    if (chosen := step_of(config.previous)[1]) is not None:
        far = f", step {chosen} of {state.total_steps or step}"
    elif 0 < step < state.total_steps:
        far = f", step {step} of {state.total_steps}: not finished"
    say(f"weights: from phase {config.phase - 1}, {config.previous}{far}")
    return state


def known_aids(run: Run, previous: str) -> Tree:
    """Aids of the previous phase and, where that had none, of the runs that trained the parts."""
    trained = [place for _, place in run.config.parts if places.folder_of(place).exists()]
    found = [flatten(steps.load_parts(place, rf"{AIDS}/.*")) for place in (*trained, previous)]
    return unflatten({path: x for aids in found for path, x in aids.items()})


def parts_weights(run: Run, rest: loop.Load, say: Say) -> loop.Load:
    """Weights of several runs, each of which trained a part, and the `rest`.

    Raises:
      UserError: a run that is not there, or has no such part of this model's shape.
    """
    for expression, folder in run.config.parts:
        if re.fullmatch(expression, EMBEDDING):
            ready.require_same_tokenizer(run.tokenizer, folder, "parts")
        say(f"         but {expression} from {folder}")

    def load(to: Mapping[str, NamedSharding]) -> Tree:
        whole = flatten(rest(to))
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


def converted_weights(run: Run, place: str, say: Say) -> loop.Load:
    """The weights of a Hugging Face directory, of a checkpoint that was converted from one, or of a
    run."""
    folder = places.folder_of(place)
    if not folder.exists():
        raise UserError(
            f"config.init_from is {folder}, which is not there: give a Hugging Face directory or "
            "one that conversion.from_hf wrote, or --config.init_from= for random weights"
        )
    ready.require_same_tokenizer(run.tokenizer, folder, "init_from")
    if (folder / "base").exists():
        place, named = exact(place), place
        say(f"weights: from the checkpoint {place}" + f" ({named})" * (place != named))
        wanted = run.model.config
        found = hf_config.of_directory(folder, wanted.text.vocab_size, wanted.image_token_id)
        hf_config.require_same(found, wanted, folder)
        return lambda to: steps.load_params(place, run.shapes, shardings=to)
    if tensors.is_checkpoint(folder):
        say(f"weights: from Hugging Face's {folder}")
        return lambda to: from_hf.load(folder, run.model.config, to, say)
    raise UserError(
        f"config.init_from is {folder}, which holds neither base/ (a converted checkpoint or a "
        "run) nor config.json with safetensors (a Hugging Face model)"
    )


def train(run: Run, say: Say = print) -> loop.Outcome:
    """Trains to the end, or goes on from the run directory's newest checkpoint.

    Raises:
      UserError: what it goes on from was begun with other values (`history`); and as `loop.train`.
    """
    config, architecture = run.config, run.model.config
    mesh = make_mesh(**config.mesh)
    if mesh.size > 1:
        say(layout(mesh))
    share, n_shares = row_share(mesh)
    d = config.data
    there = splits_of(d.dir)
    on_disk = {there[name].info.name for name in training_splits(config) if name in there}
    marks = {
        "tokenizer": history.of_tokenizer(run.tokenizer),
        "dataset": history.of_dataset(d.dir, sorted(on_disk)),
    }
    state = begun(config)
    changed = history.require_continuable(config.run_dir, state, config, marks) if state else {}
    load = None if state else starting_weights(run, say)  # a run that goes on has its own
    image_tokens = architecture.num_image_tokens if d.pictures else 0
    make = partial(
        pipeline.Pipeline,
        d.dir,
        training_splits(config),
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
    if padding := batches.rows_with_padding - batches.rows_per_batch:
        full = round(batches.rows_with_padding * batches.plan.n_turns / batches.plan.n_rows)
        say(
            f"of {batches.rows_with_padding} rows of a step {padding} are padding, so that they "
            f"divide over the devices; config.data.batch_size={full} would fill them"
        )
    total = config.steps or batches.total_steps or 0
    for line in history.told(state, changed, total, history.latest_step(config.run_dir)):
        say(line)

    def begin(to: Mapping[str, NamedSharding]) -> Tree:
        """Called by the loop when it has the run directory to itself and finds nothing there."""
        if processes.is_main():
            folder, which = places.split(config.previous)
            began = {"began": exact(config.previous)} if which and folder.is_dir() else {}
            history.write(config.run_dir, total, config, marks | began)
        return (load or starting_weights(run, say))(to)

    def go_on() -> None:
        if state and processes.is_main():
            history.add(config.run_dir, state, changed, total, config, marks)

    ask = None
    if config.eval.every:
        settings = asking(config, ready.VALIDATION_SPLIT)
        ask = sample.asking(
            run.model, run.tokenizer, settings, mesh, pages=config.eval.sample, seed=config.seed,
            say=say,
        )  # fmt: skip
    return loop.train(
        train_config(config, total, as_json(config)),
        run.model,
        run.shapes,
        begin,
        _Noted(batches, go_on),
        mesh,
        run.directory,
        ask=ask,
        say=say,
    )


@dataclass(frozen=True)
class _Noted:
    """Batches that note something when the loop begins with them: then it holds the run's lock."""

    batches: pipeline.Pipeline
    note: Callable[[], None]

    def __iter__(self) -> Any:
        self.note()
        return iter(self.batches)


def training_splits(config: ConfigDict) -> list[str]:
    return [f"{task}_{ready.TRAINING_SPLIT}" for task in config.data.tasks]


def weights(run: Run, say: Say = print, which: str = "") -> Tree:
    """The parameters to answer with, on the mesh: those of the run's newest checkpoint (or @STEP)
    or, where it has not trained, of `config.init_from`."""
    config = run.config
    shardings = param_shardings(make_mesh(**config.mesh), run.shapes)
    if config.init_from and not (run.directory / "base").exists():
        return converted_weights(run, config.init_from, say)(shardings)
    return steps.load_params(f"{run.directory}{which}", run.shapes, shardings=shardings)


def evaluate_run(
    run: Run, params: Tree | None = None, say: Say = print, which: str = ""
) -> dict[str, Any]:
    """Answers held-out questions and writes predictions.jsonl and evaluation.json.

    params: as training left them; None for `weights`.  Only process 0 gets the scores; others
      get {}.
    which: of the run's checkpoints, "best" or a step; "" for the newest.  The answers of an older
      one have a folder of their own.
    """
    config = run.config
    mesh = make_mesh(**config.mesh)
    older = ""
    if which:
        step = step_of(f"{run.directory}{places.MARK}{which}")[1]
        say(f"the checkpoint of step {step} of {run.directory} answers")
        older = f"{places.MARK}{step}" * (step != history.latest_step(run.directory))
    params = weights(run, say, older) if params is None else params
    params = {name: part for name, part in params.items() if name != AIDS}  # none answers
    settings = asking(config, config.eval.split)
    out = kept.folder(run.directory / f"evaluation_{config.eval.split}{older}", settings)
    predict.predict(run.model, params, run.tokenizer, settings, out, say, mesh)
    scores = write_scores(out, say) if processes.is_main() else {}
    processes.barrier("scores")
    return scores


def asking(config: ConfigDict, split: str) -> predict.Settings:
    """How the pages of a split are asked."""
    return predict.Settings(
        dataset=config.data.dir,
        splits=tuple(f"{task}_{split}" for task in config.data.tasks),
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
        views=config.eval.views,
    )


def write_scores(out: Path, say: Say) -> dict[str, Any]:
    """Scores of the answers in the folder `out`, on paper and on the terminal, and in short."""
    found = answers.collect(out / predict.ANSWERS)
    summary, scored = score.of_collection(found)
    scores = report.short(summary)
    report.write_summary(out, summary)
    report.write(out, scores, found.settings)
    say(report.short_text(scores))
    for remark in summary["remarks"]:
        say(f"{remark}.")
    say(f"predictions and scores: {out}")
    try:
        show.write(out, str(out), summary, scored, say=say)
    except UserError as error:  # the scores are there all the same
        say(f"no report to look at: {error}")
    return scores


def as_json(config: ConfigDict) -> dict[str, Any]:
    """The resolved configuration in plain JSON values."""
    return json.loads(config.to_json_best_effort())
