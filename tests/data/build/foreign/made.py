"""Small datasets of somebody else's, for the tests: pictures, and files of records about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nota_jax.data.records import Page
from nota_jax.data.store.reader import PageReader, split_sizes


def picture(folder: Path, name: str, grey: int = 200, size: tuple[int, int] = (64, 48)) -> str:
    """A picture with a black line; its grey says which one it is."""
    pixels = np.full(size, grey, np.uint8)
    pixels[10:12] = 0
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return name


def llava(id: str, image: str, *turns: tuple[str, str], **more: Any) -> dict[str, Any]:
    """A record in LLaVA's format; the picture stands in the first question."""
    conversation = []
    for n, (question, answer) in enumerate(turns):
        conversation += [
            {"from": "human", "value": question if n else f"<image>\n{question}"},
            {"from": "gpt", "value": answer},
        ]
    return {"id": id, "image": image, "conversations": conversation, **more}


def write_array(path: Path, records: list[Any]) -> Path:
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def write_lines(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def pages_of(dataset: Path) -> dict[str, Page]:
    """Every page by its id."""
    return {page.id: page for page in PageReader(dataset, list(split_sizes(dataset)))}


def asked(page: Page) -> list[tuple[str, str]]:
    return [(turn.question, turn.answer) for turn in page.turns]
