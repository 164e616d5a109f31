"""Answers on disk, as they came: an interrupted evaluation goes on where it was.

One file of answers, a JSON object a line.  Its first line is the mark of all that they depend on:
settings, weights, pages.  Answers under another mark are those of something else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nota_jax import jsontext
from nota_jax.data.feed.evaluation import EvalPage
from nota_jax.data.records import Page, with_ids
from nota_jax.evaluation.answers import ANSWERS
from nota_jax.files import write_atomic

# What every line has; one that lacks any is asked anew.
LINE = (
    "id", "region", "subtask", "question", "answer", "prediction", "confusable", "composer_source",
)  # fmt: skip


def as_json(settings: Any) -> dict[str, Any]:
    """A dataclass of settings as it stands in the mark."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def folder(wanted: Path, settings: Any) -> Path:
    """Where the answers to these settings belong: `wanted` itself, or, where that has answers to
    other settings, a neighbour that is named after the settings.

    So that nobody's finished answers are overwritten by a look at something else.
    """
    mark = _mark_of(wanted / ANSWERS)
    if mark is None or mark.get("settings") == as_json(settings):
        return wanted
    return wanted.with_name(f"{wanted.name}_{digest(as_json(settings))[:8]}")


def digest(*parts: Any) -> str:
    """Sixteen hex digits of anything that can be written down."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _mark_of(path: Path) -> dict[str, Any] | None:
    """The first line of answers on disk, which says to what they are; None where there is none."""
    try:
        with path.open("rb") as file:
            mark = jsontext.parse(file.readline())
    except (FileNotFoundError, ValueError):  # no file, an empty one, or not one of ours
        return None
    return mark if isinstance(mark, dict) and "settings" in mark else None


def begin(path: Path, mark: dict, known: dict[str, dict]) -> None:
    """Leaves whole lines only, so that what is appended stands on lines of its own."""
    write_atomic(path, "".join(map(written, (mark, *known.values()))))


def written(record: Mapping[str, Any]) -> str:
    """A line of the file."""
    return json.dumps(record, ensure_ascii=False) + "\n"


def read(path: Path, mark: dict, say: Callable[[str], None]) -> dict[str, dict]:
    """Answers on disk by question id; {} where they are of other weights, data or settings."""
    found = _mark_of(path)
    if found is None:
        return {}
    lines = list(jsontext.lines(path.read_bytes()))[1:]
    if found != mark:
        other = [name for name in mark if found.get(name) != mark[name]]
        if lines:
            what = {"weights": "weights", "settings": "settings"}
            named = " and ".join(what.get(name, "pages, model or tokenizer") for name in other)
            say(f"{len(lines)} answers in {path} are of other {named}: all is asked anew")
        return {}
    records, broken = {}, 0
    for line in lines:
        try:
            record = jsontext.parse(line)
        except ValueError:
            record = None  # half a record, where the evaluation was killed
        if isinstance(record, dict) and _is_whole(record):
            records[record["id"]] = record
        else:
            broken += 1
    if broken:
        say(f"{broken} of {len(lines)} lines in {path} are no whole answers: those are asked anew")
    return records


def _is_whole(record: Mapping[str, Any]) -> bool:
    """Texts all; no answer where the question was too long to ask."""
    texts = LINE if record.get("too_long") is not True else set(LINE) - {"prediction"}
    return all(isinstance(record.get(name), str) for name in texts)


def asks(record: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether an answer on disk is to this very question, with the same label."""
    return all(record[name] == known[name] for name in LINE if name != "prediction")


def questions(pages: Sequence[Page | EvalPage]) -> list[dict[str, Any]]:
    """A line for each question, the answer still missing."""
    records = []
    for page in pages:
        printed = {turn.subtask: turn.answer for turn in page.turns}
        other = {"title": printed.get("composer", ""), "composer": printed.get("title", "")}
        for id, turn in with_ids(page.id, page.turns):
            records.append(
                {
                    "id": id,
                    "region": page.metadata["region"],
                    "subtask": turn.subtask,
                    "question": turn.question,
                    "answer": turn.answer,
                    "prediction": None,
                    "confusable": other.get(turn.subtask, ""),
                    "composer_source": page.metadata["composer_source"],
                }
            )
    return records
