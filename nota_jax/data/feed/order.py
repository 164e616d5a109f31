"""Which rows make up which batch, in the order of training.

It depends on the plan, the seed, the rows of a batch and what is balanced alone, and is found from
a step's number: nothing is remembered, so that a run goes on anywhere.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import grain
import numpy as np

from nota_jax.data.feed import lengths, mapped
from nota_jax.data.feed.rows import RowPlan

_EPOCHS = 10**6  # without end, and Grain can still count the batches


def batches(
    plan: RowPlan,
    classes: Sequence[lengths.LengthClass],
    rows_per_batch: int,
    *,
    seed: int,
    curriculum: int = 0,
) -> grain.MapDataset:
    """Global batches as (T, row numbers), without end."""
    parts = [
        grain.MapDataset.source(numbers)
        .shuffle(derived_seed(seed, members.limit))
        .batch(rows_per_batch, drop_remainder=True, batch_fn=np.asarray)
        .map(lambda chosen, length=members.static: (length, chosen))
        for members, numbers in zip(classes, _rows(plan, classes), strict=True)
        if len(numbers) >= rows_per_batch
    ]
    mixed = grain.MapDataset.concatenate(parts).shuffle(derived_seed(seed, 0))
    if not curriculum:
        return mixed.repeat()
    bounds = [curriculum * i // len(parts) for i in range(len(parts) + 1)]
    sizes = [end - start for start, end in itertools.pairwise(bounds)]
    first = [part.repeat(_EPOCHS)[:n] for part, n in zip(parts, sizes, strict=True)]
    return grain.MapDataset.concatenate([*first, mixed.repeat(_EPOCHS)])


def _rows(plan: RowPlan, classes: Sequence[lengths.LengthClass]) -> list[np.ndarray]:
    """The numbers of each class's rows, ascending; kept with the plan."""
    names = [str(i) for i in range(len(classes))]

    def make(folder: Path) -> None:
        with mapped.growing(folder, dict.fromkeys(names, np.int64)) as arrays:
            first = 0
            for numbers in lengths.class_numbers(plan.row_lengths, classes):
                for i, name in enumerate(names):
                    arrays[name].append(first + np.flatnonzero(numbers == i))
                first += len(numbers)
        mapped.finish(folder, arrays, {})

    key = hashlib.sha256(json.dumps([members.end for members in classes]).encode()).hexdigest()
    arrays, *_ = mapped.kept(plan.folder and plan.folder / f"rows-{key[:20]}", make)
    return [arrays[name] for name in names]


def derived_seed(seed: int, purpose: int) -> int:
    """32 bits; Grain adds the epoch to a seed, so neighbouring seeds would repeat each other."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:4], "little")
