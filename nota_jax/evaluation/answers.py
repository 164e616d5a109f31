"""Answers to a dataset's questions, from any file, each beside its page and its true answer.

A line of the file is a JSON object with an answer, and something that says which question it
answers: the question's id ("PAGE:SUBTASK"), or the page (`image`) with the question or its subtask.
Files that `evaluation/predict.py` wrote begin with a line of their own, which names the dataset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from nota_jax import jsontext
from nota_jax.data.feed.evaluation import EvalPage
from nota_jax.data.records import Page, Turn, with_ids
from nota_jax.data.store.reader import PageReader, split_sizes
from nota_jax.errors import UserError, cut

ANSWERS = "predictions.jsonl"  # what `predict` calls its file
# What a line may say, under these names unless `--map` gives others.
KEYS = ("id", "image", "question", "subtask", "prediction", "cut", "too_long")


@dataclass(frozen=True)
class Answer:
    """One question about a held-out picture, and what a model answered.

    page: the tune that the picture shows: all pictures of one, and all questions about them, stand
      or fall together.
    truth: the right answer.  said: the model's; None where it gave none.
    cut: it was ended by the limit of new tokens (None: nobody wrote that down).
    too_long: the question did not fit into the model and was not asked.
    about: the page's metadata, see `data.records.Page`.
    """

    id: str
    page: str
    subtask: str
    truth: str
    said: str | None
    task: str = "extraction"
    question: str = ""
    cut: bool | None = None
    too_long: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Collection:
    """What a file holds.

    settings: how its questions were asked, {} for a file that is not ours.
    splits: that they come from.  unknown: ids of lines that belong to no question there.
    left_out: questions of those splits that the file has no line for.
    """

    answers: tuple[Answer, ...]
    dataset: str
    splits: tuple[str, ...]
    settings: Mapping[str, Any]
    unknown: tuple[str, ...] = ()
    left_out: int = 0


def folder_of(file: Path) -> Path:
    """Where a file of answers lies, or the folder itself: what is said of them goes there."""
    return file if file.is_dir() else file.parent


def tune_of(page: Page | EvalPage) -> str:
    """What `Answer.page` is."""
    return str(page.metadata.get("source_id") or page.id)


def to_turn(
    id: str, page: Page | EvalPage, turn: Turn, said: str | None, cut: bool | None,
    too_long: bool = False,
) -> Answer:  # fmt: skip
    """What was said to a question about a page."""
    return Answer(
        id=id,
        page=tune_of(page),
        subtask=turn.subtask,
        truth=turn.answer,
        said=said,
        task=turn.task,
        question=turn.question,
        cut=cut,
        too_long=too_long,
        about=page.metadata,
    )


def collect(
    file: Path,
    dataset: str | Path | None = None,
    names: Mapping[str, str] | None = None,
    splits: Sequence[str] = (),
) -> Collection:
    """The answers of a file (or of `ANSWERS` in a folder), joined with the dataset's pages.

    dataset: None for the one that the file names.  names: which name of the file's stands for which
    of `KEYS`.  splits: () for those that the file names, or else all that are held out.

    Raises:
      UserError: no such file, a line that is no answer, a question that is answered twice, or no
        line that belongs to the dataset.
    """
    file = file / ANSWERS if file.is_dir() else file
    settings, lines = _lines(file, names or {})
    folder = str(dataset or settings.get("dataset", ""))
    if not folder:
        raise UserError(f"{file} does not say which dataset it answers: name it with --dataset")
    wanted = tuple(splits) or tuple(settings.get("splits", ()))
    wanted = wanted or tuple(name for name in split_sizes(folder) if not name.endswith("_train"))
    asked = {
        id: _Asked(split, page, turn)
        for split in wanted
        for page in PageReader(folder, [split])
        for id, turn in with_ids(page.id, page.turns)
    }
    index = _index(asked)
    answers, unknown, taken = dict[str, Answer](), [], dict[str, int]()
    for number, line in lines:
        found = _find(line, asked, index)
        if found is None:
            unknown.append(str(line["id"] or line["image"]))
            continue
        if found in taken and not settings:  # of ours the later line is of the newer page
            raise UserError(f"{file} answers {found} twice, in lines {taken[found]} and {number}")
        taken[found] = number
        answers[found] = _answer(found, asked[found], line)
    if not answers:
        raise UserError(
            f"none of the {len(lines)} answers in {file} belongs to a question of {folder} "
            f"({', '.join(wanted)}), the first is to {unknown[0]!r}: is it another dataset, or is "
            "the question's id under another name (--map id=NAME)?"
        )
    used = {asked[id].split for id in answers}
    left_out = sum(id not in answers and one.split in used for id, one in asked.items())
    return Collection(
        tuple(answers.values()), folder, tuple(sorted(used)), settings, tuple(unknown), left_out
    )


class _Asked(NamedTuple):
    """A question of the dataset, with its page and the split that it lies in."""

    split: str
    page: Page
    turn: Turn


def _answer(id: str, asked: _Asked, line: Mapping[str, Any]) -> Answer:
    said, cut, too_long = (line[key] for key in ("prediction", "cut", "too_long"))
    return to_turn(id, asked.page, asked.turn, said, cut, bool(too_long))


def _index(asked: Mapping[str, _Asked]) -> dict[tuple[str, str], str]:
    """(page, question or subtask) → id; a page is called as in the dataset or as a file can be.

    What two questions about a page have in common says of neither that it is meant.
    """
    index: dict[tuple[str, str], str] = {}
    shared = set()
    for id, (_, page, turn) in asked.items():
        for name in {page.id, picture_name(page.id)}:
            for key in {(name, _folded(turn.question)), (name, turn.subtask)}:
                if index.setdefault(key, id) != id:
                    shared.add(key)
    return {key: id for key, id in index.items() if key not in shared}


def _find(
    line: Mapping[str, Any], asked: Mapping[str, Any], index: Mapping[tuple[str, str], str]
) -> str | None:
    """The id of the question that a line answers."""
    if line["id"] in asked:
        return str(line["id"])
    image = str(line["image"] or "")
    what = str(line["subtask"] or ""), _folded(str(line["question"] or ""))
    keys = ((name, w) for name in (image, Path(image).stem) for w in what)
    return next((index[key] for key in keys if key in index), None)


def picture_name(page_id: str) -> str:
    """A page's id as a file can be called: "a#1/0/extraction" → "a_1_0_extraction"."""
    return re.sub(r"[^A-Za-z0-9-]", "_", page_id)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _lines(
    file: Path, names: Mapping[str, str]
) -> tuple[Mapping[str, Any], list[tuple[int, dict[str, Any]]]]:
    """The settings of a file of ours ({} else), and its answers under our names, numbered."""
    if wrong := [name for name in names if name not in KEYS]:
        raise UserError(f"--map: there is no {wrong[0]!r} to map, only {', '.join(KEYS)}")
    if not file.is_file():
        raise UserError(f"{file} is not there: name a file of answers, one JSON object a line")
    settings: Mapping[str, Any] = {}
    text = file.read_text(encoding="utf-8", errors="replace")
    answers: list[tuple[int, dict[str, Any]]] = []
    rows = text.split("\n")
    for number, row in enumerate(rows, start=1):
        if not row.strip():
            continue
        try:
            record = jsontext.parse(row)
        except ValueError:
            if number == len(rows):  # half a line, of an evaluation that is going on
                continue
            raise UserError(f"{file}, line {number} is no JSON object: {cut(row, 80)}") from None
        if not isinstance(record, dict):
            raise UserError(f"{file}, line {number} is no JSON object: {cut(row, 80)}")
        if number == 1 and "settings" in record and "prediction" not in record:
            settings = record["settings"]
            continue
        answers.append((number, _line(record, names, f"{file}, line {number}")))
    if not answers:
        raise UserError(f"{file} holds no answers")
    return settings, answers


def _at(record: Any, name: str) -> Any:
    """What a record has under a name, or on a way into it as "doc.id" or "answers.0"; None else."""
    if isinstance(record, dict) and name in record:
        return record[name]
    first, _, rest = name.partition(".")
    if not rest:
        return record[int(first)] if isinstance(record, list) and _is_place(first, record) else None
    return _at(_at(record, first), rest)


def _is_place(text: str, of: Sequence[Any]) -> bool:
    return text.isascii() and text.isdigit() and int(text) < len(of)


def _line(record: Mapping[str, Any], names: Mapping[str, str], where: str) -> dict[str, Any]:
    line = {key: _at(record, names.get(key, key)) for key in KEYS}
    name = names.get("prediction", "prediction")
    if line["prediction"] is None and name not in record:
        raise UserError(
            f"{where} has no {name!r}: it has {', '.join(record)}; --map prediction=NAME says "
            "which of them is the answer"
        )
    if line["prediction"] is not None and not isinstance(line["prediction"], str):
        raise UserError(f"{where}: the answer {cut(str(line['prediction']), 80)} is no text")
    return line
