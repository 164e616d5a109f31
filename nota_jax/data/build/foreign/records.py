"""From a JSON record of somebody else's to turns about a picture, or the reason why it is none.

Where a record keeps what is said by names, ours on the left: `image`, and either `question` and
`answer` or LLaVA's `conversations`; and, where it has them, `id`, `subtask`, `region`, `split`.
What it does not say stays empty.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nota_jax.data.build.questions import ANALYSIS_SUBTASKS, EXTRACTION_SUBTASKS
from nota_jax.data.records import OTHER, Turn

KEYS = ("image", "question", "answer", "conversations", "id", "subtask", "region", "split")
LLAVA = {"id": "id", "image": "image", "conversations": "conversations"}
TASK_OF = {
    "alignment": "alignment",
    **dict.fromkeys(EXTRACTION_SUBTASKS, "extraction"),
    **dict.fromkeys(ANALYSIS_SUBTASKS, "analysis"),
}
PARTS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test",
    "test_style": "test_style", "test_scan": "test_scan",
}  # fmt: skip
ASKS, ANSWERS = ("human", "user"), ("gpt", "assistant")
IMAGE = "<image>"
# Characters of a question or an answer: a row plan keeps places in 16 bits.
LONGEST, MOST = 8000, 32_000


class Bad(Exception):
    """Why a record cannot be used."""


@dataclass(frozen=True)
class Reading:
    """How records of a file are read.

    fields: of `KEYS` those that the records have, and where: a name, or a path "data.0.image".
    task: of questions that are of no known subtask.  subtask: of those that name none.
    patterns: (subtask, expression) that tell a question's subtask by its text; the first that is
      found in it counts.
    part: of all records, "" where they say it themselves or nobody does.
    longest: characters of a question, and of an answer.
    """

    fields: Mapping[str, str]
    task: str = "extraction"
    subtask: str = ""
    patterns: tuple[tuple[str, str], ...] = ()
    part: str = ""
    longest: int = LONGEST


@dataclass(frozen=True)
class Record:
    """id, region and part: "" where it does not say."""

    id: str
    image: str
    turns: tuple[Turn, ...]
    region: str = ""
    part: str = ""


def read(value: Any, reading: Reading) -> Record:
    """The record in a JSON value.

    Raises:
      Bad: it cannot be used.
    """
    if not isinstance(value, Mapping):
        raise Bad("the record is no JSON object")
    fields = reading.fields
    image = _get(value, fields["image"])
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    if image is None or image == "" or image == []:
        raise Bad("the record names no picture")
    if isinstance(image, list):
        raise Bad("the record is about several pictures")
    said = _optional(value, fields, "subtask")
    turns = tuple(
        _turn(question, answer, said, reading) for question, answer in _asked(value, fields)
    )
    part = _optional(value, fields, "split").lower()
    if part and part not in PARTS:
        raise Bad(f"the record's split is {part!r}, which is none of {', '.join(PARTS)}")
    return Record(
        id=_optional(value, fields, "id"),
        image=_place(_text(image, "the picture's name")),
        turns=turns,
        region=_optional(value, fields, "region"),
        part=PARTS.get(part, reading.part),
    )


def unread(value: Any, reading: Reading) -> list[str]:
    """Names of a record that nothing here reads."""
    if not isinstance(value, Mapping):
        return []
    used = {*reading.fields.values(), *(path.split(".")[0] for path in reading.fields.values())}
    names = [name for name in value if name not in used]
    return [name[:60].encode("utf-8", "replace").decode() for name in names]


def _asked(value: Mapping[str, Any], fields: Mapping[str, str]) -> Iterator[tuple[Any, Any]]:
    """(question, answer) of each turn."""
    if "conversations" not in fields:
        yield _get(value, fields["question"]), _get(value, fields["answer"])
        return
    turns = _get(value, fields["conversations"])
    if not isinstance(turns, list) or not turns:
        raise Bad("the record has no conversation")
    if len(turns) % 2:
        raise Bad(f"the conversation has {len(turns)} turns: a question has no answer")
    for asked, answered in zip(turns[::2], turns[1::2], strict=True):
        for turn, roles in ((asked, ASKS), (answered, ANSWERS)):
            role = turn.get("from", turn.get("role")) if isinstance(turn, Mapping) else None
            if role not in roles:
                raise Bad(f"the conversation is no exchange of {ASKS[0]} and {ANSWERS[0]}")
        yield (
            asked.get("value", asked.get("content")),
            answered.get("value", answered.get("content")),
        )


def _turn(question: Any, answer: Any, said: str, reading: Reading) -> Turn:
    # As LLaVA's preprocess_multimodal: the picture stands in front, wherever the text put it.
    question = _text(question, "the question").replace(IMAGE, "").strip()
    answer = _text(answer, "the answer").strip()
    for text, what in ((question, "question"), (answer, "answer")):
        if not text:
            raise Bad(f"the {what} is empty")
        if len(text) > reading.longest:
            raise Bad(f"the {what} has {len(text)} characters, more than {reading.longest}")
    subtask = re.sub(r"[ -]+", "_", said.lower()) or _by_text(question, reading) or reading.subtask
    task = TASK_OF.get(subtask, reading.task)
    return Turn(task, subtask if subtask in TASK_OF else OTHER, question, answer)


def _by_text(question: str, reading: Reading) -> str:
    found = (name for name, what in reading.patterns if re.search(what, question, re.IGNORECASE))
    return next(found, "")


def _get(value: Any, path: str) -> Any:
    """What stands at a name or a path; None where nothing does."""
    if isinstance(value, Mapping) and path in value:
        return value[path]
    for name in path.split("."):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _place(name: str) -> str:
    """A picture's place in the folder of pictures, one spelling for each."""
    place = posixpath.normpath(name.strip().replace("\\", "/"))
    if place.startswith(("/", "../")) or place in (".", "..") or re.match("[A-Za-z]:", place):
        raise Bad(f"its picture {name[:80]!r} lies outside the folder of pictures")
    return place


def _optional(value: Any, fields: Mapping[str, str], key: str) -> str:
    found = _get(value, fields[key]) if key in fields else None
    return "" if found is None else _text(found, f"the {key}").strip()


def _text(value: Any, what: str) -> str:
    if value is None:
        raise Bad(f"{what} is missing")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Bad(f"{what} is no text")
    text = str(value)
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise Bad(f"{what} holds what is no character")
    return text
