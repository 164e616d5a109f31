"""Which arrays these are: shape, dtype and a checksum of each, the same on any mesh.

What checksums cost: one pass over the memory where the arrays lie, on all devices at once, and one
number a parameter from them to the host.  Of 7b, trained whole, 87 GB of parameters and moments on
eight accelerators of 2 TB/s take some ten milliseconds beside minutes of reading them; no process
touches more than its own shards, and nothing is read twice.  The program that sums is compiled once
for each shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nota_jax.errors import UserError
from nota_jax.params import Tree, flatten, unflatten

Fingerprint = dict[str, dict[str, Any]]  # path → shape, dtype, checksum

SUMMED_BYTES = 2**26  # of a host array, copied to be summed at a time


def fingerprint(tree: Any) -> Fingerprint:
    """Shape, dtype and a checksum of the bits of every array of any tree, by its path.

    In nested dicts paths are those of `params.flatten`.
    """
    leaves = by_path(tree)
    # All are started before the first is waited for.
    totals = {path: _total(leaf, 0) for path, leaf in leaves.items()}
    return {path: mark(leaf, int(totals[path])) for path, leaf in leaves.items()}


def by_path(tree: Any) -> dict[str, Any]:
    """The arrays (or shapes) of any tree by path: `opt_state/1/mu/norm/scale`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def mark(leaf: Any, total: int) -> dict[str, Any]:
    """A fingerprint's entry for a parameter whose checksum is `total`."""
    return {**form(leaf), "checksum": f"{total % 2**32:08x}"}


def form(leaf: Any) -> dict[str, Any]:
    """Shape and dtype in JSON."""
    return {"shape": list(leaf.shape), "dtype": jnp.dtype(leaf.dtype).name}


def as_shapes(forms: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The tree of shapes and dtypes that forms, or the marks of a fingerprint, tell of."""
    return unflatten(
        {path: jax.ShapeDtypeStruct(form["shape"], form["dtype"]) for path, form in forms.items()}
    )


def are_marks(value: Any) -> bool:
    """Whether what was read is a fingerprint, or the forms alone that older runs wrote."""
    if not isinstance(value, dict):
        return False
    modules = {path[:i] for path in value for i, letter in enumerate(path) if letter == "/"}
    if modules & value.keys():  # a parameter, and one inside it
        return False
    for path, entry in value.items():
        try:
            shape, name = entry["shape"], entry["dtype"]
            # An identifier: what else stands there, numpy would read as Python's own text.
            known = path.strip("/") and name.isidentifier() and jnp.dtype(name).name == name
            if not (known and all(type(n) is int and n >= 0 for n in shape)):
                return False
        except (LookupError, TypeError, AttributeError, ValueError):
            return False
    return True


def checksum(x: jax.Array | np.ndarray, start: int = 0) -> int:
    """Sum of all elements' bits, each times an odd number made of its index, modulo 2³².

    start: index of the first element, where x is a run of rows of a larger parameter; the sum of
      the runs' checksums, modulo 2³², is the parameter's.
    """
    return int(_total(x, start))


def _total(x: jax.Array | np.ndarray, start: int) -> Any:
    """The checksum, perhaps still on its way from the devices."""
    if isinstance(x, np.ndarray) and x.ndim > 1 and x.nbytes > SUMMED_BYTES:
        if len(x) == 1:
            return _total(x[0], start)
        # A host array is copied to be summed: a run of rows at a time, that is never much.
        rows, row = max(1, SUMMED_BYTES // x[0].nbytes), x[0].size
        parts = range(0, len(x), rows)
        return sum(checksum(x[i : i + rows], start + i * row) for i in parts) % 2**32
    return _checksum(x, np.uint32(start % 2**32))


@jax.jit
def _checksum(x: jax.Array, start: jax.Array) -> jax.Array:
    # A sum, because a sharded array is summed where it lies; odd, so that no flipped bit is lost.
    bits = jax.lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}").astype(jnp.uint32)
    index = jnp.zeros(x.shape, jnp.uint32)
    for dimension, size in enumerate(x.shape):
        index = index * np.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, x.shape, dimension)
    index += start
    return jnp.sum(bits * (index * np.uint32(0x9E3779B1) | np.uint32(1)), dtype=jnp.uint32)


def require_shapes(found: Tree, expected: Tree, problem: str) -> None:
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


def require_same(found: Fingerprint, expected: Fingerprint, problem: str) -> None:
    """Raises UserError, which begins with `problem`, at the first mark that differs."""
    for path in sorted(found.keys() | expected.keys()):
        here, there = found.get(path), expected.get(path)
        if here != there:
            raise UserError(f"{problem}: {path} is {_text(here)} here and {_text(there)} there")


def _text(mark: Mapping[str, Any] | None) -> str:
    if mark is None:
        return "absent"
    return f"{mark['dtype']} {tuple(mark['shape'])} with checksum {mark['checksum']}"
