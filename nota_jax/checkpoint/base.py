"""`run_dir/base`: the parameters that a run does not train, written once.

The base keeps the precision it was handed over in; only its copy on accelerators is bf16.  It is
also what a conversion writes: a directory with a base and no checkpoint is a place to start from.
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
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from nota_jax import files, jsontext
from nota_jax.checkpoint.damage import (
    Damaged,
    broken_off,
    opened,
    reading,
    require_sums,
    sealed,
)
from nota_jax.checkpoint.fingerprints import (
    Fingerprint,
    are_marks,
    as_shapes,
    fingerprint,
    require_shapes,
)
from nota_jax.errors import UserError, first_line
from nota_jax.params import Tree, flatten, n_bytes, unflatten

KEPT = "What was saved before stays as it was; make room"
CONTINUE = "and run the same command to continue"

CHUNK_BYTES = 2**26  # of a large parameter on disk

# Orbax logs each failure as an error with its traceback and raises it as well; once is enough.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)


def save_base(run_dir: str | Path, params: Tree) -> Fingerprint:
    """Writes the parameters that a run does not train; returns their fingerprint.

    A base that is there already is replaced.

    Raises:
      UserError: if they cannot be written; nothing half-written stays.
    """
    directory = folder_of(run_dir)
    marks = fingerprint(params)
    require_room("the frozen parameters", directory.parent, n_bytes(params))
    write(directory, params if marks else None, marks)
    return marks


def load_base(
    run_dir: str | Path, shapes: Tree, shardings: Mapping[str, Sharding] | None = None
) -> tuple[dict[str, Any], Fingerprint]:
    """What `save_base` wrote, verified by its fingerprint, which comes with it.

    Args:
      run_dir: of a run or a conversion.
      shapes: the parameters that are expected to be in the base.
      shardings: by path; None gives numpy arrays.

    Raises:
      UserError: if there is no base, or another one, or a damaged one.
    """
    directory, marks = folder_of(run_dir), read_marks(run_dir)
    require_shapes(as_shapes(marks), shapes, f"{directory} does not fit what is frozen")
    if not marks:
        return {}, marks
    with _mendable(run_dir):
        params = read(directory, params=template(marks, shardings))["params"]
        require_sums(fingerprint(params), marks, directory)
    return params, marks


def read_marks(run_dir: str | Path) -> Fingerprint:
    """The fingerprint that was written with a base.

    Raises:
      UserError: there is none.
    """
    directory = folder_of(run_dir)
    if not directory.exists():
        raise UserError(
            f"{run_dir} has no base/: it is not the directory of a run, or its start was cut off"
        )
    with _mendable(run_dir):
        about = read_about(directory)
        if not isinstance(about.get("base"), dict):
            raise Damaged(f"{directory} is damaged: about/ says nothing of its parameters")
        return about["base"]


@contextlib.contextmanager
def _mendable(run_dir: str | Path) -> Iterator[None]:
    """Says beside the damage of a base what there is to be done: it has no earlier version."""
    try:
        yield
    except Damaged as error:
        raise UserError(
            f"{error}. Put back a copy of {folder_of(run_dir)}, or begin again in another directory"
        ) from error


def folder_of(run_dir: str | Path) -> Path:
    return Path(run_dir).absolute() / "base"


def write(directory: Path, params: Tree | None, marks: Fingerprint) -> None:
    """Parameters (None: none) and their fingerprint through Orbax; what is there is replaced."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    items = {"about": ocp.args.JsonSave(sealed({"base": marks}))}
    if params is not None:
        items["params"] = ocp.args.StandardSave(params, save_args(params))
    with (
        explained(f"the parameters to {directory}", directory.parent),
        ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as writer,
    ):
        writer.save(directory, args=ocp.args.Composite(**items), force=True)


# ---- what the base, its slices and the steps share


def read(directory: Path, **templates: Any) -> dict[str, Any]:
    """Items of a checkpoint by name: arrays, as their templates have them.

    Raises:
      Damaged: they cannot be read.  What they hold is not looked at.
    """
    items = {name: ocp.args.StandardRestore(tree) for name, tree in templates.items()}
    with reading(directory):
        if missing := [name for name in items if not (directory / name).is_dir()]:
            raise Damaged(f"{directory} is damaged: {missing[0]}/ is missing")
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
            found = reader.restore(directory, args=ocp.args.Composite(**items))
        return {name: found[name] for name in items}


def read_about(directory: Path) -> dict[str, Any]:
    """Everything of a checkpoint that is not an array, as it was written.

    Not by Orbax, in whose readers all processes of a run must meet: one may look by itself.

    Raises:
      Damaged: it is not.
    """
    path = directory / "about" / "metadata"
    with reading(path):
        about = opened(jsontext.parse(path.read_bytes()), path)
        for name in ("parameters", "optimizer", "base"):
            if not are_marks(about.get(name, {})):
                raise Damaged(f"{path} is damaged: {name} tells of no arrays")
        return about


def save_args(tree: Tree) -> dict[str, Any]:
    """How Orbax is to lay parameters on disk: large ones in chunks within one row.

    So a layer of a stack is read without the stack (`slices`).
    """

    def in_rows(path: str, leaf: Any) -> bool:
        return "/layers/" in path and math.prod(leaf.shape) * leaf.dtype.itemsize > CHUNK_BYTES

    return unflatten(
        {
            path: ocp.SaveArgs(
                chunk_byte_size=CHUNK_BYTES, shard_axes=(0,) if in_rows(path, leaf) else ()
            )
            for path, leaf in flatten(tree).items()
        }
    )


def template(
    forms: Mapping[str, Mapping[str, Any]], shardings: Mapping[str, Sharding] | None
) -> dict[str, Any]:
    """What Orbax is to restore: numpy arrays, or jax arrays where `shardings` say.

    A parameter that `shardings` do not know is read to every device.
    """
    if shardings is None:
        return unflatten({path: np.empty(f["shape"], f["dtype"]) for path, f in forms.items()})
    everywhere = next(iter(shardings.values()), None)
    if isinstance(everywhere, NamedSharding):
        everywhere = NamedSharding(everywhere.mesh, PartitionSpec())
    return unflatten(
        {
            path: jax.ShapeDtypeStruct(
                f["shape"], f["dtype"], sharding=shardings.get(path, everywhere)
            )
            for path, f in forms.items()
        }
    )


def require_room(what: str, directory: Path, size: int) -> None:
    """Raises UserError before a write of `size` bytes that the disk cannot hold.

    Asked beforehand, because Orbax on a full disk prints a page of tracebacks from its threads
    before the error reaches us.  The margin is for its manifests and for JSON.
    """
    files.require_room(directory, size + size // 50 + 2**20, what, KEPT)


def clear_halves(directory: Path) -> None:
    """Removes what writes that broke off have left under temporary names."""
    for half in directory.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(half, ignore_errors=True)


@contextlib.contextmanager
def explained(
    what: str, directory: Path, finish: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Turns a failed write into a sentence, and clears away what it left behind.

    finish: waits for the writers that are still at it; what they raise is the same failure again.
    """
    try:
        yield
    except Exception as error:
        if broken_off(error):
            raise
        with contextlib.suppress(Exception):
            finish()
        clear_halves(directory)
        reason = first_line(error)[:300]
        raise UserError(
            f"cannot write {what} ({files.free_text(directory)} free there): {reason}. {KEPT}"
        ) from error
