"""What lies in a folder that is no dataset, and which command makes one of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

RECORDS, MUSIC = (".json", ".jsonl"), (".musicxml", ".mxl", ".abc")
_MOST_FILES, _BEGINNING = 2000, 65536


def advice(folder: Path) -> str:
    """A sentence: how what is there becomes a dataset."""
    files = _files(folder)
    for path in files:
        beginning = _beginning(path) if path.suffix.lower() in RECORDS else ""
        if '"conversations"' in beginning:
            return (
                f"{path.name} there looks like LLaVA's, of which `python -m nota_jax.data.build "
                f"--from llava:{path} --images DIR --out NEW` makes a dataset"
            )
        if '"image' in beginning:
            return (
                f"{path.name} there looks like records about pictures, of which `python -m "
                f"nota_jax.data.build --from records:{path} --map image=…,question=…,answer=… "
                "--images DIR --out NEW` makes a dataset"
            )
    if any(path.suffix.lower() in MUSIC for path in files):
        return (
            f"of the music there `python -m nota_jax.data.build --from music:{folder} --out NEW` "
            "makes a dataset"
        )
    return (
        "give a folder that `python -m nota_jax.data.build --out` made, or a new one "
        "(docs/datasets.md says how other data become one)"
    )


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found: Iterator[Path] = itertools.chain(folder.glob("*"), folder.glob("*/*"))
    return sorted(path for path in itertools.islice(found, _MOST_FILES) if path.is_file())


def _beginning(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_BEGINNING).decode("utf-8", "replace")
    except OSError:
        return ""
