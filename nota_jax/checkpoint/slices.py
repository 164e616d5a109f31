"""Parameters that are written and read piece by piece, because no host holds them all at once.

A stacked kernel of the 7b decoder alone takes 3.8 GB in bfloat16.  Orbax wants whole arrays, so
`save_base` lets it write the frame of a base (its metadata, with arrays of zeros that take no
memory and no disk) and then fills in the numbers through TensorStore, which is what Orbax itself
stores them with.  The result is an ordinary base: `base.load_base` reads it, on any mesh.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tensorstore as ts

from nota_jax import places
from nota_jax.checkpoint import base, steps
from nota_jax.checkpoint.damage import Damaged, has_sums
from nota_jax.checkpoint.fingerprints import Fingerprint, as_shapes, checksum, mark
from nota_jax.errors import UserError
from nota_jax.params import Tree, flatten, n_bytes, unflatten, without_aids

# (path, index on axis 0 where it begins, numbers): a run of whole rows of a parameter.
Block = tuple[str, int, np.ndarray]


class _Zeros(np.ndarray):
    """Zeros of any shape in the memory of one; Orbax's defensive copy would spend the rest."""

    def __deepcopy__(self, memo: Any) -> _Zeros:
        return self


def _zeros(form: Any) -> np.ndarray:
    return np.broadcast_to(np.zeros((), form.dtype), form.shape).view(_Zeros)


def save_base(run_dir: str | Path, shapes: Tree, blocks: Iterable[Block]) -> Fingerprint:
    """Writes `run_dir`/base as `base.save_base` does, from blocks as they come.

    Not atomic: give it a directory that gets its name when everything in it is written.

    Args:
      run_dir: has no base yet.
      shapes: of all parameters of the base.
      blocks: every row of every parameter once, a parameter's rows in order.

    Raises:
      UserError: the disk is full; ValueError: the blocks do not make up the shapes.
    """
    directory = base.folder_of(run_dir)
    forms = flatten(shapes)
    base.require_room("the parameters", directory.parent, n_bytes(shapes))
    base.write(directory, unflatten({path: _zeros(form) for path, form in forms.items()}), {})
    sums, rows = dict.fromkeys(forms, 0), dict.fromkeys(forms, 0)
    for path, start, values in blocks:
        form = forms[path]
        if start != rows[path] or values.shape[1:] != tuple(form.shape[1:]):
            raise ValueError(f"{path}: rows {start} … of shape {values.shape} do not follow")
        rows[path] += len(values)
        sums[path] += checksum(values, start * math.prod(form.shape[1:]))
        with base.explained(f"the parameters to {directory}", directory.parent):
            target = open_array(directory / "params", path, write=True)
            target[start : start + len(values)].write(values).result()
    if short := [path for path, form in forms.items() if rows[path] != form.shape[0]]:
        raise ValueError(f"the blocks do not fill {', '.join(short)}")
    marks = {path: mark(form, sums[path]) for path, form in forms.items()}
    # The checksums are known only now: what stands about them is written anew, beside, and moved.
    beside = directory.with_name("base_about")
    base.write(beside, None, marks)
    shutil.rmtree(directory / "about")
    (beside / "about").rename(directory / "about")
    shutil.rmtree(beside)
    return marks


def open_array(params_dir: Path, path: str, *, write: bool = False) -> ts.TensorStore:
    """A parameter on disk, read or written by slices: `open_array(…)[3].read().result()`.

    params_dir: the folder `params/` of a base or of a checkpoint.
    """
    metadata = json.loads((params_dir / "_METADATA").read_text())
    spec = {
        "driver": "zarr3" if metadata.get("use_zarr3") else "zarr",
        "kvstore": {
            "driver": "ocdbt",
            "base": {"driver": "file", "path": f"{params_dir}/"},
            "path": path.replace("/", ".") + "/",
        },
    }
    try:
        return ts.open(spec, open=True, read=True, write=write).result()
    except ValueError as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"cannot read {path} in {params_dir}: {reason}") from error


class Stored:
    """The model's parameters of a run or a conversion, joined, to be read by slices.

    What only helped training (`params.AIDS`) is left out.

    The base is verified to be the one that the checkpoint belongs to.  forms: shape and dtype by
    path.  marks: with checksums, of all that has them: what earlier versions trained has none.
    """

    def __init__(self, place: str | Path):
        """place: as `places` spells it."""
        self.step, marks, trained = steps.contents(place)
        run_dir = places.folder_of(place).absolute()
        marks, trained = without_aids(marks), without_aids(trained)
        self.marks = marks | (trained if has_sums(trained) else {})
        self.forms: Mapping[str, Any] = flatten(as_shapes(marks | trained))
        self._homes = dict.fromkeys(marks, run_dir / "base" / "params")
        folder = run_dir / "checkpoints" / str(self.step) / "params"
        self._homes |= dict.fromkeys(trained, folder)
        self._arrays: dict[str, ts.TensorStore] = {}
        self._sums = dict.fromkeys(self.marks, 0)

    def read(self, path: str, row: int | None = None) -> np.ndarray:
        """The whole parameter, or row `row` of axis 0.

        Every element has to be read exactly once before `verify` can vouch for it.
        """
        if path not in self._arrays:
            self._arrays[path] = open_array(self._homes[path], path)
        array = self._arrays[path]
        values = (array if row is None else array[row]).read().result()
        if path in self._sums:
            self._sums[path] += checksum(values, (row or 0) * values.size)
        return values

    def verify(self) -> None:
        """Raises UserError if what was read is not what was written."""
        for path, total in self._sums.items():
            if f"{total % 2**32:08x}" != self.marks[path]["checksum"]:
                raise Damaged(f"{self._homes[path].parent} is damaged: {path}")


def rows_per_block(form: Any, budget: int = 2**27) -> int:
    """How many rows of a parameter to hold at a time: as many as fit into `budget` bytes."""
    row = int(np.prod(form.shape[1:])) * jnp.dtype(form.dtype).itemsize
    return max(1, min(form.shape[0], budget // max(row, 1)))
