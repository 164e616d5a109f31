"""What one phase compiles: its architecture, tables, optimizer and step, on a mesh.

Training and the plan (`nota_jax.plan`) both start here, so that what is planned is what runs.
Nothing is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import optax
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from nota_jax.data.feed import heading
from nota_jax.data.feed.pipeline import PipelineConfig
from nota_jax.errors import UserError
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.notagpt import init_params
from nota_jax.parallel import hardware
from nota_jax.parallel.mesh import batch_sharding, param_shardings
from nota_jax.params import (
    AIDS,
    Rules,
    Tree,
    count_params,
    describe,
    flatten,
    resolve,
    split_tree,
    trained_parts,
    unflatten,
    without_aids,
)
from nota_jax.training import objectives, trace
from nota_jax.training import state as states
from nota_jax.training.objectives import answers
from nota_jax.training.optimizer import OptimizerConfig, make_optimizer, schedule
from nota_jax.training.step import Metrics, make_train_step
from nota_jax.training.terms import Batch, Objective


@dataclass(frozen=True)
class TrainConfig:
    """How one phase is trained.

    total_steps: optimizer steps of the whole run; the schedule ends there.
    trainable: rules, True for what trains.
    accumulation: microbatches per optimizer step.
    objective: what training makes smaller.
    keep_last: newest checkpoints that stay, beside the one that answers best.
    evaluate_every: steps between two evaluations, the last step has one too; 0: none.
    profile: first and last step to trace, or nothing.
    on_nan, most_nans: where loss or gradient is not finite, "stop", or "skip": leave the update
      out, so many times in a row at most.
    stop_after: leave off behind that step as if interrupted; None for `total_steps`.
    record: the resolved configuration as JSON; kept with the run, read by nobody here.
    """

    total_steps: int
    trainable: Rules
    optimizer: OptimizerConfig
    accumulation: int = 1
    objective: Objective = field(default_factory=lambda: answers.of_chunks(256))
    log_every: int = 10
    save_every: int = 500
    keep_last: int = 2
    evaluate_every: int = 0
    seed: int = 0
    profile: Sequence[int] = ()
    on_nan: str = "stop"
    most_nans: int = 3
    stop_after: int | None = None
    record: Mapping[str, Any] = field(default_factory=dict)


def train_config(config: ConfigDict, total_steps: int, record: Mapping[str, Any]) -> TrainConfig:
    """The part of a run's configuration that training reads."""
    return TrainConfig(
        total_steps=total_steps,
        trainable=tuple(map(tuple, config.trainable)),
        optimizer=OptimizerConfig(**config.optim.to_dict()),
        accumulation=config.data.accumulation,
        objective=objectives.from_config(config),
        log_every=config.log_every,
        save_every=config.save_every,
        keep_last=config.keep,
        evaluate_every=config.eval.every,
        seed=config.seed,
        profile=tuple(config.profile),
        on_nan=config.get("on_nan", "stop"),
        most_nans=config.get("most_nans", 3),
        record=record,
    )


def model_config(
    config: ConfigDict, image_token: int, vocab_size: int, platform: str | None = None
) -> NotaGPTConfig:
    """The architecture with what only the run knows: vocabulary, image token, compute dtype.

    platform: "cpu", "gpu" or "tpu"; None for this process's.
    """
    values = config.model.to_dict()
    values["text"]["vocab_size"] = vocab_size
    platform = platform or jax.default_backend()
    dtype = config.dtype or ("float32" if platform == "cpu" else "bfloat16")
    if values["operands"] == "auto":
        values["operands"] = hardware.operands(platform)
    return NotaGPTConfig.from_dict(
        values | {"image_token_id": image_token, "dtype": dtype, "platform": platform}
    )


def fresh_params(
    architecture: NotaGPTConfig, seed: int, shardings: Mapping[str, NamedSharding]
) -> Tree:
    """Random parameters of the model, each made where it is to lie."""
    out = unflatten(without_aids(shardings))
    init = jax.jit(lambda rng: init_params(architecture, rng), out_shardings=out)
    return init(jax.random.key(seed))


def pipeline_config(
    config: ConfigDict, n_image_tokens: int, row_multiple: int, threads: int | None = None
) -> PipelineConfig:
    """The part of a run's configuration that the data pipeline reads.

    threads: None for `config.data.threads`.
    """
    d, objective = config.data, objectives.from_config(config)
    return PipelineConfig(
        n_image_tokens=n_image_tokens,
        image_size=config.model.vision.image_size,
        batch_size=d.batch_size,
        lengths=tuple(d.lengths),
        row_multiple=row_multiple,
        length_multiple=d.length_multiple,
        template=d.template,
        turns_per_row=d.turns_per_row,
        subtasks=tuple(d.subtasks),
        shares=tuple(sorted(d.shares.items())),
        apart=heading.subtasks(config.model.vision.heading) if d.pictures else (),
        image_mode=d.image_mode,
        jitter=d.jitter,
        degrade=d.degrade,
        letters=d.letters,
        corrupt=d.corrupt,
        misread=d.misread,
        weights=tuple(sorted((n, x) for n, x in d.weights.items() if not hasattr(x, "items"))),
        balance=tuple(
            (feature, tuple(sorted(of_values.items())))
            for feature, of_values in sorted(d.weights.items())
            if hasattr(of_values, "items")
        ),
        curriculum=d.curriculum,
        pictures=d.pictures,
        extras=objective.extras,
        patch=config.model.vision.patch_size,
        threads=d.threads if threads is None else threads,
    )


def aids_of(objective: Objective, architecture: NotaGPTConfig, key: jax.Array) -> Tree:
    """What an objective adds to the model's parameters: `{"aids": …}`, or nothing."""
    return {} if objective.aids is None else {AIDS: objective.aids(architecture, key)}


def with_aids(objective: Objective, architecture: NotaGPTConfig, shapes: Tree) -> Tree:
    """The model's shapes and those of what the objective adds to them."""
    aids = jax.eval_shape(partial(aids_of, objective, architecture), jax.random.key(0))
    return {**shapes, **aids}


@dataclass(frozen=True)
class Program:
    """One phase on a mesh, its tables resolved; by path: what trains, decays, and lies where.

    shapes: of the model's parameters and of the objective's aids.
    """

    config: TrainConfig
    model: nn.Module
    shapes: Tree
    trainable: Mapping[str, bool]
    decay: Mapping[str, bool]
    multipliers: Mapping[str, float]
    shardings: Mapping[str, NamedSharding]
    optimizer: optax.GradientTransformation

    @property
    def mesh(self) -> Mesh:
        mesh = next(iter(self.shardings.values())).mesh
        assert isinstance(mesh, Mesh)
        return mesh

    @property
    def objective(self) -> Objective:
        return self.config.objective

    @property
    def keys(self) -> list[str]:
        """What of a batch goes to the devices."""
        return list(self.objective.arrays(self.model.config, 1, 1))

    def flops(self, batch: Mapping[str, Any]) -> float:
        """What the mathematics of a step over a batch, or its shapes, asks for."""
        return self.objective.flops(self.model.config, batch, trained_parts(self.trainable))

    def complete(self, params: Tree) -> dict[str, Any]:
        """The model's parameters with the objective's aids: those that came along, fresh others."""
        key = jax.random.fold_in(jax.random.key(self.config.seed), 1)
        own = {name: part for name, part in params.items() if name != AIDS}
        if self.objective.aids is None:
            return own
        where = {AIDS: unflatten(self.shardings)[AIDS]}
        init = partial(aids_of, self.objective, self.model.config)
        aids = flatten(jax.jit(init, out_shardings=where)(key))
        come = flatten({AIDS: params.get(AIDS, {})})
        fits = {p: x for p, x in come.items() if p in aids and x.shape == aids[p].shape}
        return {**own, **unflatten(aids | fits)}

    def abstract_batch(self, n_rows: int, length: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes, dtypes and places of what a batch brings to the devices."""
        where, arrays = batch_sharding(self.mesh), self.objective.arrays
        return {
            key: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)
            for key, x in arrays(self.model.config, n_rows, length).items()
        }

    def abstract_state(self, platform: str | None = None) -> states.TrainState:
        """Shapes, dtypes and places of the whole state; platform: None for this process's."""
        chosen, rest = split_tree(self.shapes, self.trainable)
        frozen_dtype = states.frozen_dtype(platform)
        frozen = {
            path: jax.ShapeDtypeStruct(
                x.shape, frozen_dtype or x.dtype, sharding=self.shardings[path]
            )
            for path, x in flatten(rest).items()
        }
        state = states.abstract_state(chosen, self.optimizer, self.shardings)
        return state.replace(frozen=unflatten(frozen))

    def step(
        self, state: states.TrainState
    ) -> Callable[[states.TrainState, Batch], tuple[states.TrainState, Metrics]]:
        """The jitted training step for states like `state`, real or abstract."""
        return make_train_step(
            self.model,
            self.objective,
            self.optimizer,
            schedule(self.config.optimizer, self.config.total_steps),
            accumulation=self.config.accumulation,
            shardings=jax.tree.map(lambda x: x.sharding, state),
            skip_nans=self.config.on_nan == "skip",
        )

    def describe(self, platform: str | None = None) -> str:
        """The resolved tables, with the columns that say something in this run."""
        recipe, on = self.config.optimizer, self.trainable
        columns: dict[str, Mapping[str, Any]] = {
            "": {path: "trains" if trains else "frozen" for path, trains in on.items()}
        }
        if recipe.weight_decay:
            columns["decay"] = {
                path: recipe.weight_decay if self.decay[path] and on[path] else "-" for path in on
            }
        if set(self.multipliers.values()) != {1.0}:
            columns["lr ×"] = {p: self.multipliers[p] if on[p] else "-" for p in on}
        held = flatten(self.abstract_state(platform).params)
        on_each = None
        if any(x.sharding.mesh.size > 1 for x in held.values()):
            columns["sharded over"] = {path: _axes(x) for path, x in held.items()}
            on_each = {
                p: math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
                for p, x in held.items()
            }
        chosen = split_tree(self.shapes, on)[0]
        share = f"{count_params(chosen):,} of {count_params(self.shapes):,} parameters train"
        return f"{describe(unflatten(held), columns, on_each)}\n{share}"


def _axes(leaf: jax.ShapeDtypeStruct) -> str:
    """The mesh axes of more than one device that shard an array, "fsdp × tensor"; "-": none."""
    mesh, named = leaf.sharding.mesh, []
    for axes in leaf.sharding.spec:
        named += [axes] if isinstance(axes, str) else list(axes or ())
    return " × ".join(axis for axis in named if mesh.shape[axis] > 1) or "-"


def prepare(config: TrainConfig, model: nn.Module, shapes: Tree, mesh: Mesh) -> Program:
    """Resolves a phase's tables against the parameters' shapes.

    shapes: of the model's parameters; the objective adds its own.

    Raises:
      UserError: tables or a mesh that do not fit the parameters, or nothing to train.
    """
    trace.check(config.profile)
    if config.on_nan not in ("stop", "skip") or config.most_nans < 1:
        raise UserError(
            f"config.on_nan is {config.on_nan!r} and config.most_nans {config.most_nans}: choose "
            "stop, or skip and how many steps in a row may be left out (1 or more)"
        )
    recipe = config.optimizer
    shapes = with_aids(config.objective, model.config, shapes)
    trainable = resolve(config.trainable, shapes, table="trainable")
    if not any(trainable.values()):
        raise UserError("the trainable table freezes every parameter: there is nothing to train")
    decay = resolve(recipe.decay_rules, shapes, table="weight decay")
    multipliers = resolve(recipe.multiplier_rules, shapes, table="learning-rate multiplier")
    centered = resolve(recipe.center_rules, shapes, table="gradient centralization")
    return Program(
        config=config,
        model=model,
        shapes=shapes,
        trainable=trainable,
        decay=decay,
        multipliers=multipliers,
        shardings=param_shardings(mesh, shapes),
        optimizer=make_optimizer(
            recipe, config.total_steps, decay=decay, multipliers=multipliers, centered=centered
        ),
    )
