"""Reading the folder of one checkpoint: everything that has a checksum is compared with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jax.sharding import Sharding

from nota_jax.checkpoint import base as bases
from nota_jax.checkpoint.damage import Damaged, has_sums, require_sums
from nota_jax.checkpoint.fingerprints import (
    Fingerprint,
    as_shapes,
    by_path,
    fingerprint,
    require_same,
    require_shapes,
)
from nota_jax.errors import UserError
from nota_jax.params import Tree


def look_over(folder: Path) -> None:
    """Raises `Damaged` if what is cheap to read of a checkpoint is not what was written."""
    _about(folder)
    for name in ("params", "optimizer"):
        if not (folder / name).is_dir():
            raise Damaged(f"{folder} is damaged: {name}/ is missing")


def state(
    folder: Path, params: Tree, optimizer: Any, base: Fingerprint, say: Callable[[str], None]
) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """(trained parameters, optimizer's state, what is said about them), to go on training.

    params, optimizer: shapes, dtypes and places of what is expected.
    base: fingerprint of the frozen parameters at hand.
    say: hears of a checkpoint without checksums.

    Raises:
      Damaged: it is not what was written.
      UserError: it is of another model, another split, another optimizer or another base.
    """
    about, name = _about(folder), f"checkpoint {folder}"
    require_shapes(as_shapes(about["parameters"]), params, f"{name} does not fit what is to train")
    require_same(base, about["base"], f"{name} belongs to other frozen parameters")
    if marks := about.get("optimizer", {}):
        _require_optimizer(marks, optimizer, name)
    found = bases.read(folder, params=params, optimizer=optimizer)
    if marks:
        require_sums(fingerprint(found["params"]), about["parameters"], folder)
        require_sums(fingerprint(found["optimizer"]), marks, folder)
    else:
        say(f"{folder} has no checksums (an earlier version wrote it): it is read unverified")
    return found["params"], found["optimizer"], about


def parameters(
    folder: Path,
    trained: Mapping[str, Mapping[str, Any]],
    shardings: Mapping[str, Sharding] | None,
) -> dict[str, Any]:
    """The trained parameters alone.

    trained: their forms, marks where there are checksums (`read_about(folder)["parameters"]`).
    shardings: by path; None gives numpy arrays.

    Raises:
      Damaged: they are not what was written.
    """
    found = bases.read(folder, params=bases.template(trained, shardings))["params"]
    if has_sums(trained):
        require_sums(
            fingerprint(found), {path: dict(form) for path, form in trained.items()}, folder
        )
    return found


def _about(folder: Path) -> dict[str, Any]:
    about = bases.read_about(folder)
    if missing := {"parameters", "base"} - about.keys():
        raise Damaged(f"{folder} is damaged: about/ says nothing of its {sorted(missing)[0]}")
    return about


def _require_optimizer(marks: Fingerprint, expected: Any, name: str) -> None:
    here = {path: tuple(x.shape) for path, x in by_path(expected).items()}
    there = {path: tuple(mark["shape"]) for path, mark in marks.items()}
    for path in sorted(here.keys() | there.keys()):
        if here.get(path) != there.get(path):
            raise UserError(
                f"{name} was written with another optimizer: {path} is "
                f"{there.get(path, 'absent')} there and {here.get(path, 'absent')} here; give the "
                "optimizer's settings that the run began with, or another run_dir"
            )
