"""A small dataset on disk for the tests of what reads it."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
from PIL import Image

from nota_jax.data.records import Page, Turn
from nota_jax.data.store import layout, writer

SIZE = 48
SUBTASKS = ("title", "key", "meter", "unit_note_length", "composer", "abc")


def make_page(task: str, number: int) -> Page:
    """A page painted in its number's grey, with answers that name it and abc of three lengths."""
    rng = random.Random(number)
    file = io.BytesIO()
    Image.fromarray(np.full((SIZE, SIZE), number % 256, np.uint8)).save(file, format="PNG")
    subtasks = SUBTASKS if task == "extraction" else (task,)
    turns = tuple(
        Turn(
            task=task,
            subtask=name,
            question=f"What is the {name}?",
            answer=(
                "".join(rng.choice("ABcdefg|") for _ in range(rng.choice((8, 40, 90))))
                if name == "abc"
                else f"{name} of {number}"
            ),
        )
        for name in subtasks
    )
    metadata = dict.fromkeys(layout.TEXTS, "")
    metadata |= {"region": "Europe", "staff_spacing": 5.0, "transposition": 0}
    return Page(f"{task}-{number}", task, file.getvalue(), turns, metadata)


def write_dataset(directory: Path, sizes: dict[str, int], shards: int = 2) -> Path:
    """Writes `sizes[split]` pages for every split; page numbers are unique over the splits."""
    first, splits = 0, {}
    for split, size in sizes.items():
        splits[split] = [make_page(split.split("_")[0], first + i) for i in range(size)]
        first += size
    return write_pages(directory, splits, shards)


def write_pages(directory: Path, pages_of: dict[str, list[Page]], shards: int = 1) -> Path:
    """Writes a dataset of these pages."""
    directory.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split, pages in pages_of.items():
        parts = [part for part in (pages[i::shards] for i in range(shards)) if part]
        n_bytes = sum(
            writer.write_shard(
                layout.shard_path(directory, split, i, len(parts)), map(layout.encode, part)
            )
            for i, part in enumerate(parts)
        )
        splits[split] = ([len(part) for part in parts], n_bytes)
    writer.write_metadata(directory, splits, "made for a test")
    return directory
