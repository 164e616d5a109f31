"""One table engine for "which parameters": sharding, trainability, weight decay, learning rate.

A table is a sequence of (regular expression, value).  A parameter is named by its path in the
tree, joined with "/" (`language_model/model/layers/mlp/up_proj/kernel`); the first rule whose
expression matches the *whole* path gives its value.  Nothing is left to chance: a parameter that
no rule matches and a rule that gives no parameter its value are both errors, because each means
that the run would not do what its author wrote.  (After big_vision's schedule tables.)

Trees are nested dictionaries, as Flax keeps parameters; leaves are arrays or
`jax.ShapeDtypeStruct`s.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nota_jax import tables
from nota_jax.errors import UserError
from nota_jax.units import human_bytes

Rules = Sequence[tuple[str, Any]]
Tree = Mapping[str, Any]

AIDS = "aids"  # the part of a tree that helps training and that no export has

LISTED = 8  # parameters that one error spells out before it says "and n more"


def flatten(tree: Tree, sep: str = "/") -> dict[str, Any]:
    """The leaves of a nested dictionary by path, in sorted order.

    The one home of paths, of configurations too (there joined with dots).  Written out, because
    the command line reads configurations before it can afford to import jax, and Flax with it.
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}{sep}{path}": leaf for path, leaf in flatten(value, sep).items()}
        else:
            flat[name] = value
    return dict(sorted(flat.items()))


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dictionary whose leaves are given by path; the inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *modules, name = path.split("/")
        place = tree
        for module in modules:
            place = place.setdefault(module, {})
        place[name] = leaf
    return tree


def resolve(rules: Rules, tree: Tree, *, table: str) -> dict[str, Any]:
    """The value that `rules` give each parameter of `tree`, by path.

    Args:
      rules: (regular expression, value) pairs; first full match wins.
      tree: parameters, or their shapes; only the paths are read.
      table: what the table is called in errors, e.g. "trainable".

    Raises:
      UserError: naming all broken expressions, idle rules and unmatched parameters together.
    """
    paths = list(flatten(tree))
    problems, compiled = [], []
    for number, (pattern, value) in enumerate(rules, 1):
        try:
            compiled.append((number, re.compile(pattern), value))
        except re.error as e:
            problems.append(f"rule {number} {pattern!r} is no regular expression: {e}")

    values, used, unmatched = {}, set(), []
    for path in paths:
        for number, expression, value in compiled:
            if expression.fullmatch(path):
                values[path] = value
                used.add(number)
                break
        else:
            unmatched.append(path)

    for number, expression, _ in compiled:
        if number not in used:
            problems.append(_why_idle(number, expression, paths))
    if unmatched:
        more = len(unmatched) - LISTED
        listed = ", ".join(unmatched[:LISTED]) + (f" and {more} more" if more > 0 else "")
        problems.append(f'no rule matches {listed}; a last rule (".*", …) would cover the rest')
    if problems:
        raise UserError(
            f"the {table} table does not fit the parameters:\n  " + "\n  ".join(problems)
        )
    return values


def optax_mask(rules: Rules, tree: Tree, *, table: str = "trainable") -> dict[str, Any]:
    """A table as a tree of its values, in the structure of `tree`.

    For optax chains of one's own: values True and False are a mask of `optax.masked`, any values
    are the labels of `optax.multi_transform`.  (Training itself splits the tree before it takes a
    gradient, see `split_tree`.)
    """
    return unflatten(resolve(rules, tree, table=table))


def _why_idle(number: int, expression: re.Pattern[str], paths: list[str]) -> str:
    rule = f"rule {number} {expression.pattern!r}"
    if any(expression.fullmatch(path) for path in paths):
        return f"{rule} never applies: earlier rules take all that it matches; put it before them"
    # Compared with every module name as well as with whole paths: "vision_towr/.*" is near
    # "vision_tower", which is no parameter itself.
    names = {path[:end] for path in paths for end in _boundaries(path)}
    literal = re.sub(r"\.[*+?]|[\\^$()|\[\]?*+]", "", expression.pattern).strip("/")
    near = difflib.get_close_matches(literal, sorted(names), n=3, cutoff=0.6)
    return f"{rule} matches no parameter" + (f"; near it: {', '.join(near)}" if near else "")


def _boundaries(path: str) -> Iterator[int]:
    yield from (match.start() for match in re.finditer("/", path))
    yield len(path)


def trained_parts(trainable: Mapping[str, bool]) -> dict[str, bool]:
    """Whether anything trains in each part of the model, the first word of the paths."""
    parts: dict[str, bool] = {}
    for path, on in trainable.items():
        part = path.partition("/")[0]
        parts[part] = parts.get(part, False) or on
    return parts


def without_aids(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Of leaves by path, those that are the model's own."""
    return {path: leaf for path, leaf in flat.items() if not path.startswith(f"{AIDS}/")}


def split_tree(tree: Tree, chosen: Mapping[str, bool]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits a tree in two: (leaves with `chosen[path]` true, the others).

    Splitting *before* `jax.grad` is what keeps frozen gradients from ever existing; masking the
    optimizer afterwards materialises them (design decision 4).
    """
    flat = flatten(tree)
    return (
        unflatten({path: leaf for path, leaf in flat.items() if chosen[path]}),
        unflatten({path: leaf for path, leaf in flat.items() if not chosen[path]}),
    )


def join_trees(*trees: Tree) -> dict[str, Any]:
    """The union of trees with no leaf in common; undoes `split_tree`."""
    flat: dict[str, Any] = {}
    for tree in trees:
        leaves = flatten(tree)
        if both := flat.keys() & leaves.keys():
            raise ValueError(f"{sorted(both)[0]} is in more than one of the trees to join")
        flat.update(leaves)
    return unflatten(flat)


def count_params(tree: Tree) -> int:
    """Number of parameters (scalars) in a tree of arrays or shapes."""
    return sum(math.prod(leaf.shape) for leaf in flatten(tree).values())


def n_bytes(tree: Tree) -> int:
    """Bytes that the leaves of a tree of arrays or shapes take."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in flatten(tree).values())


def describe(
    tree: Tree,
    columns: Mapping[str, Mapping[str, Any]],
    on_each: Mapping[str, int] | None = None,
) -> str:
    """A table of what was resolved, with parameter counts and bytes, for people to read.

    A module whose parameters all share the same values in every column is one row, so that a
    phase prints as a handful of lines.  Layers are stacked on axis 0, so a stack is one row too.

    Args:
      tree: parameters or their shapes.
      columns: column title → resolved table (`resolve`'s answer); values are printed with `str`.
      on_each: bytes on each device by path, for a further column; None where all is on one.
    """
    flat = flatten(tree)
    last = () if on_each is None else ("on each device",)
    headers = ("parameters", *columns, "shape", "arrays", "count", "bytes", *last)
    rows = []
    for name, paths in _fold(list(flat), columns):
        part = {path: flat[path] for path in paths}
        values = [str(column[paths[0]]) for column in columns.values()]
        shape = "×".join(map(str, flat[paths[0]].shape)) if paths == [name] else ""
        rows.append((name, *values, shape, *_sizes(part, on_each)))
    total = ("total", *[""] * len(columns), "", *_sizes(flat, on_each))
    left = 2 + len(columns)  # names, values and shapes are set left, numbers right
    head, *lines = tables.text(headers, [*rows, total], left=left).splitlines()
    rule = "-" * max(map(len, [head, *lines]))
    return "\n".join([head, rule, *lines[:-1], rule, lines[-1]])


def _sizes(flat: Mapping[str, Any], on_each: Mapping[str, int] | None) -> list[str]:
    tree = unflatten(flat)
    sizes = [str(len(flat)), f"{count_params(tree):,}", human_bytes(n_bytes(tree))]
    return sizes + ([] if on_each is None else [human_bytes(sum(on_each[p] for p in flat))])


def _fold(
    paths: list[str], columns: Mapping[str, Mapping[str, Any]], depth: int = 1
) -> Iterator[tuple[str, list[str]]]:
    """(name, paths) of the largest modules whose parameters agree in every column."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault("/".join(path.split("/")[:depth]), []).append(path)
    for name, members in groups.items():
        if len({tuple(str(c[path]) for c in columns.values()) for path in members}) == 1:
            yield (name if members == [name] else name + "/"), members
        else:
            yield from _fold(members, columns, depth + 1)
