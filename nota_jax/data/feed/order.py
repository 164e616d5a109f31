"""Which rows make up which batch, in the order of training.

It depends on the plan, the seed, the rows of a batch and what is balanced alone, and is found from
a step's number: nothing is remembered, so that a run goes on anywhere.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np

from nota_jax.data.feed import lengths, mapped
from nota_jax.data.feed.rows import RowPlan
from nota_jax.errors import UserError

# (feature of pages, (value, weight) of its values).
Balance = tuple[tuple[str, tuple[tuple[str, float], ...]], ...]
_MOST_GROUPS = 200  # of which each class of length has a file
_EPOCHS = 10**6  # without end, and Grain can still count the batches


def batches(
    plan: RowPlan,
    classes: Sequence[lengths.LengthClass],
    rows_per_batch: int,
    *,
    seed: int,
    balance: Balance = (),
    curriculum: int = 0,
) -> tuple[grain.MapDataset, dict[int, int]]:
    """Global batches as (T, row numbers), without end; and T → how many an epoch has.

    balance: a group is all rows whose pages have the same values of the features named; a value
      that is not named weighs 1, and a group the product of its values' weights.  Whatever their
      numbers in the data, groups make up an epoch in the proportion of their weights, to within a
      few rows for each length.  An epoch has about as many rows as without; the rows of a group
      come all before one of them comes again, shuffled anew each time.

    Raises:
      UserError: a feature or a value that the data does not have, or every weight is 0.
    """
    if balance:
        streams = _balanced(plan, classes, rows_per_batch, seed, balance)
    else:
        streams = list(map(grain.MapDataset.source, _buckets(plan, classes, [], 1)))
    parts, steps = [], Counter[int]()
    for members, stream in zip(classes, streams, strict=True):
        if len(stream) >= rows_per_batch:
            parts.append(
                stream.shuffle(derived_seed(seed, members.limit))
                .batch(rows_per_batch, drop_remainder=True, batch_fn=np.asarray)
                .map(lambda chosen, length=members.static: (length, chosen))
            )
            steps[members.static] += len(stream) // rows_per_batch
    mixed = grain.MapDataset.concatenate(parts).shuffle(derived_seed(seed, 0))
    if not curriculum:
        return mixed.repeat(), dict(steps)
    bounds = [curriculum * i // len(parts) for i in range(len(parts) + 1)]
    sizes = [end - start for start, end in itertools.pairwise(bounds)]
    first = [part.repeat(_EPOCHS)[:n] for part, n in zip(parts, sizes, strict=True)]
    return grain.MapDataset.concatenate([*first, mixed.repeat(_EPOCHS)]), dict(steps)


class _Share(grain.MapDataset[int]):
    """Of a shuffled source so many elements an epoch, each epoch those that come next."""

    def __init__(self, source: grain.MapDataset[int], length: int):
        super().__init__(source)
        self._source, self._length = source, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        return self.slice(index) if isinstance(index, slice) else self._source[index]


def _balanced(
    plan: RowPlan,
    classes: Sequence[lengths.LengthClass],
    rows_per_batch: int,
    seed: int,
    balance: Balance,
) -> list[grain.MapDataset]:
    """Of each class the rows of an epoch, a whole number of batches."""
    weights = _group_weights(plan, balance)
    buckets = _buckets(plan, classes, [feature for feature, _ in balance], len(weights))
    there = np.array([len(rows) for rows in buckets]).reshape(len(classes), len(weights))
    wanted = np.where(there.sum(axis=0) > 0, weights, 0.0)
    if not wanted.any():
        raise UserError("config.data.weights are 0 for all that the data has: nothing is left")
    # How often a row of each group comes in an epoch of as many rows as there are.
    often = there.sum() * wanted / wanted.sum() / np.maximum(1, there.sum(axis=0))
    streams = []
    for number, members in enumerate(classes):
        counts = _whole_batches(there[number] * often, rows_per_batch)
        shares = [
            _Share(
                grain.MapDataset.source(buckets[number * len(weights) + group]).shuffle(
                    derived_seed(seed, f"{members.limit} {group}")
                ),
                int(n),
            )
            for group, n in enumerate(counts)
            if n
        ]
        empty = grain.MapDataset.source(np.zeros(0, np.int64))
        streams.append(grain.MapDataset.concatenate(shares) if shares else empty)
    return streams


def _whole_batches(expected: np.ndarray, batch: int) -> np.ndarray:
    """Whole numbers close to those expected of which the sum is a multiple of a batch.

    What is expected at all comes at least once, or some rows would never be seen.
    """
    some = expected > 0
    if not some.any():
        return np.zeros(len(expected), np.int64)
    total = batch * max(1, round(expected.sum() / batch), -(-int(some.sum()) // batch))
    counts = np.where(some, np.maximum(1, np.floor(expected * total / expected.sum())), 0)
    while (off := int(total - counts.sum())) > 0:
        behind = np.argsort(counts - expected * total / expected.sum(), kind="stable")
        counts[behind[some[behind]][:off]] += 1
    for _ in range(-off):
        counts[counts.argmax()] -= 1
    return counts.astype(np.int64)


def _group_weights(plan: RowPlan, balance: Balance) -> np.ndarray:
    """The weight of each group: of each combination of values, the last feature's the fastest."""
    weights: np.ndarray = np.ones(1)
    for feature, of_values in balance:
        if feature not in plan.group_names:
            there = ", ".join(plan.group_names)
            raise UserError(f"config.data.weights has no groups by {feature}: there are {there}")
        names, given = plan.group_names[feature], dict(of_values)
        if unknown := sorted(given.keys() - set(names)):
            raise UserError(
                f"config.data.weights.{feature}.{unknown[0]}: no page has the {feature} "
                f"{unknown[0]!r}; there are {', '.join(map(repr, sorted(names)))}"
            )
        weights = np.outer(weights, [given.get(name, 1.0) for name in names]).ravel()
        if len(weights) > _MOST_GROUPS:
            raise UserError(f"config.data.weights makes more than {_MOST_GROUPS} groups of pages")
    return weights


def _buckets(
    plan: RowPlan, classes: Sequence[lengths.LengthClass], features: Sequence[str], n_groups: int
) -> list[np.ndarray]:
    """The numbers of the rows of each class and, in it, of each group, ascending; kept with the
    plan."""
    names = [str(i) for i in range(len(classes) * n_groups)]

    def make(folder: Path) -> None:
        with mapped.growing(folder, dict.fromkeys(names, np.int64)) as arrays:
            first = 0
            for numbers in lengths.class_numbers(plan.row_lengths, classes):
                bucket, last = numbers, first + len(numbers)
                for feature in features:
                    codes = plan.row_groups[feature][first:last]
                    bucket = bucket * len(plan.group_names[feature]) + codes
                for i in np.unique(bucket):
                    arrays[names[i]].append(first + np.flatnonzero(bucket == i))
                first = last
        mapped.finish(folder, arrays, {})

    what = [[members.end for members in classes], list(features)]
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()
    arrays, *_ = mapped.kept(plan.folder and plan.folder / f"rows-{key[:20]}", make)
    return [arrays[name] for name in names]


def derived_seed(seed: int, purpose: int | str) -> int:
    """32 bits; Grain adds the epoch to a seed, so neighbouring seeds would repeat each other."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:4], "little")
