"""The one spelling of a checkpoint: RUN, RUN@best or RUN@STEP.

    runs/small/phase3         the newest checkpoint of the run (or a conversion, or an export)
    runs/small/phase3@best    the one that answered best while the run trained
    runs/small/phase3@1200    that of step 1200

Nothing large is imported: the command line asks here.  Which step is the best: `checkpoint.scores`.
"""

from __future__ import annotations

from pathlib import Path

MARK, BEST = "@", "best"


def split(place: str | Path) -> tuple[Path, str]:
    """The folder, and what stands behind its mark: "" for the newest.

    A folder whose own name has the mark is meant itself.
    """
    path = Path(place)
    name, _, which = path.name.rpartition(MARK)
    if not name or not which or path.exists():
        return path, ""
    folder = path.with_name(name)
    return (folder, which) if which == BEST or which.isdecimal() or folder.exists() else (path, "")


def folder_of(place: str | Path) -> Path:
    """The folder alone."""
    return split(place)[0]


def spelled(folder: str | Path, step: int | None) -> str:
    """The place of a step in a folder; of the folder where there is none."""
    return str(folder) if step is None else f"{folder}{MARK}{step}"


def steps(run_dir: str | Path) -> list[int]:
    """The steps that a run has whole checkpoints of, the newest first; Orbax names them so."""
    folder = Path(run_dir, "checkpoints")
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)
