"""What a run keeps on disk, and how the next phase starts from it.

    run_dir/
      base/                   the parameters that this run does not train, written once
        params/  about/
      checkpoints/<step>/     what it trains, at that step
        params/               trainable parameters
        optimizer/            optimizer state, step and key
        about/                shapes, fingerprint of the base, data-iterator state, meters, config

Every parameter lies in exactly one of the two, so that a run directory is whole by itself and
holds nothing twice: `load_params` joins them, whatever split the run trained with.  That is what
lets phase 2 (connector + decoder) start from phase 1 (connector alone) and phase 3 from either.
The base keeps the precision it was handed over in; only its copy on accelerators is bf16.

A directory with a `base/` and no checkpoint is complete too: it is what a conversion writes.
All writing is done by Orbax under a temporary name and then renamed, so that an interrupted write
leaves nothing that looks like a checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from nota_jax.errors import UserError
from nota_jax.params import Tree, flatten, join_trees, n_bytes, unflatten
from nota_jax.training.state import TrainState
from nota_jax.units import human_bytes

INTACT = "What was saved before is intact; make room and run the same command to continue."

# Orbax logs each failure as an error with its traceback and raises it as well; once is enough.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)

Fingerprint = dict[str, dict[str, Any]]  # path → shape, dtype, checksum

CHUNK_BYTES = 2**26  # of a large parameter on disk


def fingerprint(tree: Tree) -> Fingerprint:
    """Shape, dtype and a checksum of the bits of every parameter; the same on any mesh."""
    return {
        path: {**form(leaf), "checksum": f"{checksum(leaf):08x}"}
        for path, leaf in flatten(tree).items()
    }


def form(leaf: Any) -> dict[str, Any]:
    return {"shape": list(leaf.shape), "dtype": jnp.dtype(leaf.dtype).name}


def checksum(x: jax.Array | np.ndarray, start: int = 0) -> int:
    """Sum of all elements' bits, each times an odd number made of its index, modulo 2³².

    start: index of the first element, where x is a run of rows of a larger parameter; the sum of
      the runs' checksums, modulo 2³², is the parameter's.
    """
    if isinstance(x, np.ndarray) and x.ndim > 1 and x.nbytes > CHUNK_BYTES:
        if len(x) == 1:
            return checksum(x[0], start)
        # A host array is copied to be summed: a run of rows at a time, that is never much.
        rows, row = max(1, CHUNK_BYTES // x[0].nbytes), x[0].size
        parts = range(0, len(x), rows)
        return sum(checksum(x[i : i + rows], start + i * row) for i in parts) % 2**32
    return int(_checksum(x, np.uint32(start % 2**32)))


@jax.jit
def _checksum(x: jax.Array, start: jax.Array) -> jax.Array:
    # A sum, because a cut array can be summed where it lies; odd, so that no flipped bit is lost.
    bits = jax.lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}").astype(jnp.uint32)
    index = jnp.zeros(x.shape, jnp.uint32)
    for dimension, size in enumerate(x.shape):
        index = index * np.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, x.shape, dimension)
    index += start
    return jnp.sum(bits * (index * np.uint32(0x9E3779B1) | np.uint32(1)), dtype=jnp.uint32)


def save_args(tree: Tree) -> dict[str, Any]:
    """How Orbax is to lay parameters on disk: large ones in chunks within one row.

    So a layer of a stack is read without the stack (`streams`).
    """
    return unflatten(
        {
            path: ocp.SaveArgs(
                chunk_byte_size=CHUNK_BYTES,
                shard_axes=(0,) if "/layers/" in path and _bytes(leaf) > CHUNK_BYTES else (),
            )
            for path, leaf in flatten(tree).items()
        }
    )


def _bytes(leaf: Any) -> int:
    return math.prod(leaf.shape) * leaf.dtype.itemsize


def save_base(run_dir: str | Path, params: Tree) -> Fingerprint:
    """Writes the parameters that a run does not train; returns their fingerprint.

    A base that is there already is replaced.

    Raises:
      UserError: if they cannot be written; nothing half-written stays.
    """
    directory = Path(run_dir).absolute() / "base"
    directory.parent.mkdir(parents=True, exist_ok=True)
    marks = fingerprint(params)
    require_room("the frozen parameters", directory.parent, n_bytes(params))
    items = {"about": ocp.args.JsonSave({"base": marks})}
    if marks:
        items["params"] = ocp.args.StandardSave(params, save_args(params))
    with (
        explained(f"the frozen parameters to {directory}", directory.parent),
        ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as writer,
    ):
        writer.save(directory, args=ocp.args.Composite(**items), force=True)
    return marks


def load_base(
    run_dir: str | Path,
    shapes: Tree,
    shardings: Mapping[str, jax.sharding.Sharding] | None = None,
) -> tuple[dict[str, Any], Fingerprint]:
    """What `save_base` wrote, proved intact, and its fingerprint.

    Args:
      run_dir: of a run or a conversion.
      shapes: the parameters that are expected to be in the base.
      shardings: by path; None gives numpy arrays.

    Raises:
      UserError: if there is no base, or another one, or a damaged one.
    """
    directory = Path(run_dir).absolute() / "base"
    marks = _base_marks(run_dir)
    check_shapes(as_shapes(marks), shapes, f"{directory} does not fit what is frozen")
    if not marks:
        return {}, marks
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        items = ocp.args.Composite(params=ocp.args.StandardRestore(_template(marks, shardings)))
        params = reader.restore(directory, args=items)["params"]
    _require_same(fingerprint(params), marks, f"{directory} is damaged")
    return params, marks


def contents(
    run_dir: str | Path, step: int | None = None
) -> tuple[int | None, Fingerprint, dict[str, dict[str, Any]]]:
    """What a run or a conversion holds: (step, fingerprint of the base, trained parameters' forms).

    step: which checkpoint; None for the latest.  None comes back where there is none to add.

    Raises:
      UserError: no run, no such step, or a base that is not the one the checkpoint belongs to.
    """
    marks, trained = _base_marks(run_dir), {}
    with Checkpoints(run_dir, read_only=True) as checkpoints:
        if step is not None and step not in checkpoints.manager.all_steps():
            there = ", ".join(map(str, sorted(checkpoints.manager.all_steps()))) or "none"
            raise UserError(f"{run_dir} has no checkpoint of step {step}; there are: {there}")
        step = checkpoints.latest_step() if step is None else step
        if step is None and (Path(run_dir) / "config.json").exists():
            raise UserError(f"the run in {run_dir} has no checkpoint yet: let it train first")
        if step is not None:
            about = checkpoints.about(step)
            _require_same(marks, about["base"], f"{run_dir}: base/ is not that of step {step}")
            trained = about["parameters"]
    return step, marks, trained


def _base_marks(run_dir: str | Path) -> Fingerprint:
    directory = Path(run_dir).absolute() / "base"
    if not directory.exists():
        raise UserError(
            f"{run_dir} has no base/: it is not the directory of a run, or its start was cut off"
        )
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        items = ocp.args.Composite(about=ocp.args.JsonRestore())
        return reader.restore(directory, args=items)["about"]["base"]


def load_params(
    run_dir: str | Path,
    shapes: Tree,
    *,
    step: int | None = None,
    shardings: Mapping[str, jax.sharding.Sharding] | None = None,
) -> dict[str, Any]:
    """The whole parameter tree of a run: its base joined with what it has trained.

    Args:
      run_dir: of an earlier phase, of this one, or of a conversion.
      shapes: what the model expects (`jax.eval_shape` of its init).
      step: which checkpoint; None for the latest.
      shardings: by path; None gives numpy arrays.

    Raises:
      UserError: naming the first parameter that is missing, surplus or of another shape.
    """
    step, marks, trained = contents(run_dir, step)
    # Before anything large is read, or placed where only the right shapes fit.
    problem = f"the parameters in {run_dir} are not this model's"
    check_shapes(as_shapes(marks | trained), shapes, problem)
    params, _ = load_base(run_dir, as_shapes(marks), shardings)
    if trained:
        items = ocp.args.Composite(params=ocp.args.StandardRestore(_template(trained, shardings)))
        with Checkpoints(run_dir, read_only=True) as checkpoints:
            params = join_trees(params, checkpoints.manager.restore(step, args=items)["params"])
    return params


def check_shapes(found: Tree, expected: Tree, problem: str) -> None:
    """Raises UserError, which begins with `problem`, at the first parameter that differs."""
    got, want = flatten(found), flatten(expected)
    for path in sorted(got.keys() | want.keys()):
        if path not in got:
            raise UserError(f"{problem}: it has no {path} {tuple(want[path].shape)}")
        if path not in want:
            raise UserError(f"{problem}: it also has {path} {tuple(got[path].shape)}")
        if tuple(got[path].shape) != tuple(want[path].shape):
            raise UserError(
                f"{problem}: {path} has shape {tuple(got[path].shape)}, "
                f"expected is {tuple(want[path].shape)}"
            )


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
        self.manager = ocp.CheckpointManager(self.directory, options=options)

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
        state: TrainState,
        base: Fingerprint,
        *,
        data: Any,
        meters: Mapping[str, Any],
        config: Mapping[str, Any],
        metrics: Mapping[str, float],
    ) -> None:
        """Writes the state of a step; returns when it is copied, while the write goes on.

        Args:
          state: what to save; the caller may donate it to the next step right away.
          base: fingerprint of the frozen part.
          data: state of the data iterator *behind* the last batch that `state` has seen; JSON.
          meters, config: JSON.
          metrics: numbers, among them the one that decides what is best.

        Raises:
          UserError: if this write or the one before it failed; earlier checkpoints are intact.
        """
        step = int(state.step)
        about = {
            "parameters": {path: form(x) for path, x in flatten(state.trainable).items()},
            "base": base,
            "data": data,
            "meters": dict(meters),
            "config": dict(config),
        }
        rest = {
            "opt_state": state.opt_state,
            "step": state.step,
            "rng": jax.random.key_data(state.rng),
        }
        self.wait()
        size = sum(leaf.nbytes for leaf in jax.tree.leaves((state.trainable, rest)))
        require_room(f"the checkpoint of step {step}", self.directory, size)
        with self._explained():
            self.manager.save(
                step,
                metrics=dict(metrics),
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(state.trainable, save_args(state.trainable)),
                    optimizer=ocp.args.StandardSave(rest),
                    about=ocp.args.JsonSave(about),
                ),
            )

    def wait(self) -> None:
        """Returns when everything is on disk, or raises what went wrong on the way there."""
        with self._explained():
            self.manager.wait_until_finished()
            self.manager.check_for_errors()

    def restore(
        self, template: TrainState, base: Fingerprint, step: int | None = None
    ) -> tuple[TrainState, dict[str, Any]]:
        """The state of a step (without its frozen part) and what else was saved with it.

        Args:
          template: `state.abstract_state`'s answer.
          base: fingerprint of the frozen parameters at hand.
          step: which; None for the latest.

        Raises:
          UserError: if the checkpoint is of another model, another split or another base.
        """
        step = self.latest_step() if step is None else step
        about = self.about(step)
        where = f"checkpoint {self.directory / str(step)}"
        saved = as_shapes(about["parameters"])
        check_shapes(saved, template.trainable, f"{where} does not fit what is to train")
        _require_same(base, about["base"], f"{where} belongs to other frozen parameters")
        rng = jax.eval_shape(jax.random.key_data, template.rng)
        rng = jax.ShapeDtypeStruct(rng.shape, rng.dtype, sharding=template.step.sharding)
        rest = {"opt_state": template.opt_state, "step": template.step, "rng": rng}
        restored = self.manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(template.trainable),
                optimizer=ocp.args.StandardRestore(rest),
            ),
        )
        rest = restored["optimizer"]
        state = template.replace(
            step=rest["step"],
            trainable=restored["params"],
            opt_state=rest["opt_state"],
            rng=jax.random.wrap_key_data(rest["rng"]),
        )
        return state, about

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        with explained(
            f"a checkpoint to {self.directory}", self.directory, self.manager.wait_until_finished
        ):
            yield


@contextlib.contextmanager
def explained(
    what: str, directory: Path, finish: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Turns a failed write into a sentence, and clears away what it left behind.

    finish: waits for the writers that are still at it; what they raise is the same failure again.
    (A straggler's leavings are cleared when the directory is next opened.)
    """
    try:
        yield
    except Exception as error:
        with contextlib.suppress(Exception):
            finish()
        for half in directory.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(half, ignore_errors=True)
        free = human_bytes(shutil.disk_usage(directory).free)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise UserError(f"cannot write {what} ({free} free there): {reason}. {INTACT}") from error


def require_room(what: str, directory: Path, size: int) -> None:
    """Raises UserError before a write that the disk cannot hold.

    Asked beforehand, because Orbax on a full disk prints a page of tracebacks from its threads
    before the error reaches us.  The margin is for its manifests and for JSON.
    """
    size += size // 50 + 2**20
    free = shutil.disk_usage(directory).free
    if free < size:
        need, free = human_bytes(size), human_bytes(free)
        raise UserError(f"no room for {what}: {directory} needs {need}, {free} are free. {INTACT}")


def as_shapes(forms: Fingerprint) -> dict[str, Any]:
    return unflatten(
        {path: jax.ShapeDtypeStruct(form["shape"], form["dtype"]) for path, form in forms.items()}
    )


def _template(forms: Fingerprint, shardings: Mapping[str, Any] | None) -> dict[str, Any]:
    """What Orbax is to restore: numpy arrays, or jax arrays where `shardings` say."""
    return unflatten(
        {
            path: np.empty(form["shape"], form["dtype"])
            if shardings is None
            else jax.ShapeDtypeStruct(form["shape"], form["dtype"], sharding=shardings[path])
            for path, form in forms.items()
        }
    )


def _require_same(found: Fingerprint, expected: Fingerprint, problem: str) -> None:
    for path in sorted(found.keys() | expected.keys()):
        a, b = found.get(path), expected.get(path)
        if a != b:
            raise UserError(f"{problem}: {path} is {_show(a)} here and {_show(b)} there")


def _show(mark: dict[str, Any] | None) -> str:
    if mark is None:
        return "absent"
    return f"{mark['dtype']} {tuple(mark['shape'])} with checksum {mark['checksum']}"
