"""What a run keeps on disk, and how the next phase starts from it.

    run_dir/
      base/                   the parameters that this run does not train, written once (`base`)
        params/  about/
      checkpoints/<step>/     what it trains, at that step
        params/               trainable parameters
        optimizer/            the optimizer's state and the number of steps done
        about/                shapes, fingerprint of the base, data-iterator state, totals, config

Every parameter lies in exactly one of the two, so that a run directory is whole by itself and
holds nothing twice: `load_params` joins them, whatever split the run trained with.  That is what
lets phase 2 (connector + decoder) start from phase 1 (connector alone) and phase 3 from either.

All writing is done by Orbax under a temporary name and then renamed, so that an interrupted write
leaves nothing that looks like a checkpoint.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding
from orbax.checkpoint.checkpoint_managers import preservation_policy

from nota_jax.checkpoint import base as bases
from nota_jax.checkpoint.fingerprints import (
    Fingerprint,
    as_shapes,
    form,
    require_same,
    require_shapes,
)
from nota_jax.errors import UserError
from nota_jax.params import AIDS, Tree, flatten, join_trees, unflatten, without_aids


class Checkpoints:
    """The checkpoints of one run, as a context manager; leaving it waits for writes under way.

    keep_last: how many of the newest stay; keep_best: and how many with the lowest value of the
    metric called `best`.
    read_only: nothing is made, written or cleared away, so that a run that trains can be read.
    """

    def __init__(
        self,
        run_dir: str | Path,
        *,
        keep_last: int = 2,
        keep_best: int = 1,
        best: str = "loss",
        read_only: bool = False,
    ):
        self.directory = Path(run_dir).absolute() / "checkpoints"
        policy = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(keep_last),
                preservation_policy.BestN(
                    n=keep_best, get_metric_fn=lambda metrics: metrics[best], reverse=True
                ),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=lambda metrics: metrics[best],
            best_mode="min",
            cleanup_tmp_directories=not read_only,
            create=not read_only,
            read_only=read_only,
        )
        self._open = functools.partial(ocp.CheckpointManager, self.directory, options=options)
        self.manager = self._open()
        self._writing: int | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type | None, *_: Any) -> None:
        if kind is None:
            self.wait()
        # Closing repeats the failure of a write, which is on its way to the user already.
        with contextlib.suppress(*() if kind is None else (Exception,)):
            self.manager.close()

    def latest_step(self) -> int | None:
        return self.manager.latest_step()

    def best_step(self) -> int | None:
        return self.manager.best_step()

    def about(self, step: int) -> dict[str, Any]:
        """Everything of a checkpoint that is not an array."""
        items = ocp.args.Composite(about=ocp.args.JsonRestore())
        return self.manager.restore(step, args=items)["about"]

    def save(
        self,
        step: int,
        params: Tree,
        optimizer: Any,
        base: Fingerprint,
        *,
        about: Mapping[str, Any],
        metrics: Mapping[str, float],
    ) -> None:
        """Writes the state of a step; returns when it is copied, while the write goes on.

        Args:
          step: optimizer steps done.
          params: the trainable ones; the caller may donate them to the next step right away.
          optimizer: any tree of arrays; may be donated too.
          base: fingerprint of the frozen part.
          about: what else belongs to the step (the data iterator's state, totals, the
            configuration), in JSON.
          metrics: numbers, among them the one that decides what is best.

        Raises:
          UserError: if this write or the one before it failed; earlier checkpoints are intact.
        """
        forms = {path: form(x) for path, x in flatten(params).items()}
        self.wait()
        size = sum(leaf.nbytes for leaf in jax.tree.leaves((params, optimizer)))
        bases.require_room(f"the checkpoint of step {step}", self.directory, size)
        self._writing = None if (self.directory / str(step)).exists() else step
        with self._explained():
            self.manager.save(
                step,
                metrics=dict(metrics),
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(params, bases.save_args(params)),
                    optimizer=ocp.args.StandardSave(optimizer),
                    about=ocp.args.JsonSave({"parameters": forms, "base": base, **about}),
                ),
            )

    def wait(self) -> None:
        """Returns when everything is on disk, or raises what went wrong on the way there."""
        with self._explained():
            self.manager.wait_until_finished()
            self.manager.check_for_errors()

    def restore(
        self, params: Tree, optimizer: Any, base: Fingerprint, step: int | None = None
    ) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        """What `save` was given as params, optimizer and about.

        Args:
          params, optimizer: shapes, dtypes and places of what is expected.
          base: fingerprint of the frozen parameters at hand.
          step: which; None for the latest.

        Raises:
          UserError: if the checkpoint is of another model, another split or another base.
        """
        step = self.latest_step() if step is None else step
        assert step is not None, "the caller has looked whether there is a checkpoint"
        about, where = self.about(step), f"checkpoint {self.directory / str(step)}"
        saved = as_shapes(about["parameters"])
        require_shapes(saved, params, f"{where} does not fit what is to train")
        require_same(base, about["base"], f"{where} belongs to other frozen parameters")
        restored = self.manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(params),
                optimizer=ocp.args.StandardRestore(optimizer),
            ),
        )
        return restored["params"], restored["optimizer"], about

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        with bases.explained(f"a checkpoint to {self.directory}", self.directory, self._give_up):
            yield

    def _give_up(self) -> None:
        """Ends a write that failed, so that nothing of its step is left.

        One of Orbax's writers raises while the others are still at it, and they may come to the
        end of theirs: only closing waits for them all.
        """
        with contextlib.suppress(Exception):
            self.manager.close()
        if self._writing is not None:
            shutil.rmtree(self.directory / str(self._writing), ignore_errors=True)
        self.manager, self._writing = self._open(), None


def contents(
    run_dir: str | Path, step: int | None = None
) -> tuple[int | None, Fingerprint, dict[str, dict[str, Any]]]:
    """What a run or a conversion holds: (step, fingerprint of the base, trained parameters' forms).

    step: which checkpoint; None for the latest.  None comes back where there is none to add.

    Raises:
      UserError: no run, no such step, or a base that is not the one the checkpoint belongs to.
    """
    marks = bases.read_marks(run_dir)
    with Checkpoints(run_dir, read_only=True) as checkpoints:
        steps = checkpoints.manager.all_steps()
        if step is not None and step not in steps:
            there = ", ".join(map(str, sorted(steps))) or "none"
            raise UserError(f"{run_dir} has no checkpoint of step {step}; there are: {there}")
        step = checkpoints.latest_step() if step is None else step
        if step is None:
            if (Path(run_dir) / "config.json").exists():
                raise UserError(f"the run in {run_dir} has no checkpoint yet: let it train first")
            return None, marks, {}
        about = checkpoints.about(step)
    require_same(marks, about["base"], f"{run_dir}: base/ is not that of step {step}")
    return step, marks, about["parameters"]


def load_params(
    run_dir: str | Path,
    shapes: Tree,
    *,
    step: int | None = None,
    shardings: Mapping[str, Sharding] | None = None,
) -> dict[str, Any]:
    """The whole parameter tree of a run: its base joined with what it has trained.

    Args:
      run_dir: of an earlier phase, of this one, or of a conversion.
      shapes: what is expected, the model's (`jax.eval_shape` of its init) with or without aids;
        aids that `shapes` do not have are left out.
      step: which checkpoint; None for the latest.
      shardings: by path; None gives numpy arrays.

    Raises:
      UserError: naming the first parameter that is missing, surplus or of another shape.
    """
    step, marks, trained = contents(run_dir, step)
    found = marks | trained if AIDS in shapes else without_aids(marks | trained)
    # Before anything large is read, or placed where only the right shapes fit.
    problem = f"the parameters in {run_dir} are not this model's"
    require_shapes(as_shapes(found), shapes, problem)
    whole = _load(run_dir, step, marks, trained, shardings)
    return unflatten({path: x for path, x in whole.items() if path in found})


def load_parts(
    run_dir: str | Path,
    expression: str,
    *,
    shardings: Mapping[str, Sharding] | None = None,
) -> dict[str, Any]:
    """Those of a run's newest parameters, aids too, whose whole path matches; {} where none does.

    shardings: by path; None gives numpy arrays.
    """
    step, marks, trained = contents(run_dir)
    if not any(re.fullmatch(expression, path) for path in marks | trained):
        return {}
    whole = _load(run_dir, step, marks, trained, shardings)
    return unflatten({path: x for path, x in whole.items() if re.fullmatch(expression, path)})


def _load(
    run_dir: str | Path,
    step: int | None,
    marks: Fingerprint,
    trained: Mapping[str, Mapping[str, Any]],
    shardings: Mapping[str, Sharding] | None,
) -> dict[str, Any]:
    """All parameters of a run by path."""
    params, _ = bases.load_base(run_dir, as_shapes(marks), shardings)
    if trained:
        template = bases.template(trained, shardings)
        items = ocp.args.Composite(params=ocp.args.StandardRestore(template))
        with Checkpoints(run_dir, read_only=True) as checkpoints:
            params = join_trees(params, checkpoints.manager.restore(step, args=items)["params"])
    return flatten(params)
