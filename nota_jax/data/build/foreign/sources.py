"""What `--from` names: files of records, how they are read, and where their pictures lie.

llava:FILE.json      LLaVA's format: id, image, conversations
records:FILE.jsonl   anything flat, with --map image=…,question=…,answer=…
release:DIR          several files, as a mapping file (configs/nota_release.toml) says
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nota_jax.data.build.foreign.records import KEYS, LLAVA, LONGEST, MOST, PARTS, Reading
from nota_jax.data.records import TASKS
from nota_jax.data.store import layout
from nota_jax.errors import UserError

KINDS = ("llava", "records", "release")


@dataclass(frozen=True)
class Source:
    """A file of records."""

    path: Path
    reading: Reading

    @property
    def name(self) -> str:
        """What its pages' corpus is called."""
        return self.path.stem


def sources(
    named: Sequence[str],
    images: Path | None,
    names: str = "",
    mapping: Path | None = None,
    task: str = "extraction",
    longest: int = LONGEST,
) -> tuple[list[Source], Path]:
    """The files that the command line names, and the folder of their pictures.

    names: of --map, "ours=theirs,…".  mapping: the mapping file of a release.

    Raises:
      UserError: a kind, a field, a folder or a limit that is none.
    """
    if task not in TASKS:
        raise UserError(f"--task is {task!r}: one of {', '.join(TASKS)} is needed")
    if not 1 <= longest <= MOST:
        raise UserError(f"--longest is {longest}: 1 to {MOST} characters are possible")
    found: list[Source] = []
    for text in named:
        kind, _, place = text.partition(":")
        if kind not in KINDS or not place:
            raise UserError(
                f"--from {text}: write KIND:PATH, the kind one of {', '.join(KINDS)}, music"
            )
        path = Path(place).expanduser()
        if kind == "release":
            if mapping is None:
                raise UserError(
                    f"--from {text} needs --mapping FILE, which says what lies in its files, as "
                    "configs/nota_release.toml does"
                )
            of_release, pictures = _release(path, mapping, longest)
            found, images = found + of_release, images or pictures
            continue
        if images is None:
            raise UserError(f"--from {text} needs --images DIR, the folder its pictures lie in")
        fields = _fields(names, LLAVA if kind == "llava" else {})
        reading = Reading(fields, task, part=part_of_name(path.stem), longest=longest)
        found.append(Source(path, reading))
    if images is None or not images.expanduser().is_dir():
        raise UserError(f"there is no folder of pictures {images or ''}: name it by --images")
    if missing := [source.path for source in found if not source.path.is_file()]:
        raise UserError(f"there is no file {missing[0]}")
    return found, images.expanduser()


def part_of_name(stem: str) -> str:
    """The part that a file's name tells ("train_alignment" is training), "" for none or two."""
    words = re.split(r"[^a-z]+", stem.lower())
    parts = {PARTS[word] for word in words if word in PARTS}
    return parts.pop() if len(parts) == 1 else ""


def _fields(text: str, known: Mapping[str, str]) -> dict[str, str]:
    """ "image=file,question=q" over what a format has by itself."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    fields = {**known, **{ours.strip(): theirs.strip() for ours, _, theirs in pairs}}
    return _checked(fields, f"--map {text}".strip())


def _checked(fields: Mapping[str, str], where: str) -> dict[str, str]:
    if wrong := [name for name in fields if name not in KEYS]:
        raise UserError(f"{where}: there is no {wrong[0]!r} to map, only {', '.join(KEYS)}")
    if wrong := [name for name, theirs in fields.items() if not theirs]:
        raise UserError(f"{where}: write it as {wrong[0]}=NAME, NAME being the field of the file")
    asks = "conversations" in fields or {"question", "answer"} <= fields.keys()
    if "image" not in fields or not asks:
        raise UserError(
            f"{where}: image=… and either question=… and answer=… or conversations=… are needed"
        )
    return dict(fields)


def _release(folder: Path, mapping: Path, longest: int) -> tuple[list[Source], Path]:
    """The files of a release and its folder of pictures, as its mapping file says; of each file at
    least one is there."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    try:
        said = tomllib.loads(mapping.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no mapping file {mapping}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{mapping} is no TOML: {error}") from None
    _only(said, ("images", "record", "file", "subtasks"), str(mapping))
    record, patterns = said.get("record", {}), said.get("subtasks", {})
    if not (_texts(record) and _texts(patterns) and isinstance(said.get("file"), list)):
        raise UserError(f"{mapping}: [record], [subtasks] and [[file]] hold names and texts")
    general = Reading(_checked(record, f"{mapping}, [record]"), longest=longest)
    found = []
    for entry in said["file"]:
        where = f"{mapping}, a [[file]]"
        if not (_texts(entry) and "path" in entry):
            raise UserError(f"{where} holds no path, or what is no text")
        _only(entry, ("path", "task", "part", "subtask"), where)
        reading = replace(
            general,
            task=entry.get("task", general.task),
            part=entry.get("part", ""),
            subtask=entry.get("subtask", ""),
            patterns=tuple(patterns.items()) if entry.get("task") == "extraction" else (),
        )
        if reading.task not in TASKS or reading.part not in ("", *layout.PARTS):
            raise UserError(
                f"{where}: task is one of {', '.join(TASKS)}, part of {', '.join(layout.PARTS)}"
            )
        paths = sorted(folder.glob(entry["path"]))
        if not paths:
            there = ", ".join(sorted(path.name for path in folder.iterdir())[:8])
            raise UserError(
                f"{folder} has no {entry['path']}, which {mapping} names; it has {there}: correct "
                "the line, or take the [[file]] out"
            )
        found += [Source(path, reading) for path in paths]
    for name, pattern in patterns.items():
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(f"{mapping}, [subtasks] {name}: {pattern!r}: {error}") from None
    return found, folder / str(said.get("images", ""))


def _only(said: Mapping[str, object], known: Sequence[str], where: str) -> None:
    if wrong := [name for name in said if name not in known]:
        raise UserError(f"{where}: what is {wrong[0]!r}? There is {', '.join(known)}")


def _texts(table: object) -> bool:
    return isinstance(table, dict) and all(isinstance(value, str) for value in table.values())
