"""What lmms-eval calls for the tasks in this folder; needs Pillow alone, and nothing of nota_jax.

One document is one question about one page.  Scores here are the strict ones: an answer is right
if it is the field, blanks at its ends aside; a transcription is compared letter by letter, an
analysis word by word.  For all others nota_jax scores lmms-eval's samples: README.md says how.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FIELDS = ("title", "key", "meter", "unit_note_length", "composer")

FOLDER = str(HERE)  # the YAML files ask for it: what lies here is found wherever that is


def doc_to_visual(doc: dict[str, Any]) -> list[Any]:
    from PIL import Image

    with Image.open(HERE / doc["picture"]) as picture:
        return [picture.convert("RGB")]


def doc_to_text(doc: dict[str, Any], lmms_eval_specific_kwargs: dict | None = None) -> str:
    around = lmms_eval_specific_kwargs or {}
    return f"{around.get('pre_prompt', '')}{doc['question']}{around.get('post_prompt', '')}"


def doc_to_messages(
    doc: dict[str, Any], lmms_eval_specific_kwargs: dict | None = None
) -> list[dict[str, Any]]:
    content = [{"type": "image", "url": picture} for picture in doc_to_visual(doc)]
    text = doc_to_text(doc, lmms_eval_specific_kwargs)
    return [{"role": "user", "content": [*content, {"type": "text", "text": text}]}]


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, dict[str, Any]]:
    """The marks of an answer: `score` is averaged, `page` says whose errors go together.

    of: the field or subtask.  weight: characters of the true answer, for transcriptions.
    """
    subtask, said = doc["subtask"], results[0] if results else ""
    mark = {"page": doc["page"], "of": subtask, "weight": 1}
    if doc["task"] == "analysis":
        return {"analysis_rouge1": mark | {"score": common_words(doc["answer"], said)}}
    form = composed if subtask in FIELDS else tidy
    truth, said = form(doc["answer"]), form(said)
    right = mark | {"score": float(said == truth)}
    found = {f"{subtask}_strict": right}
    if subtask in FIELDS:
        return found | {"fields_strict": right}
    wrong = distance(truth, said)
    share = wrong / max(len(truth), len(said), 1)
    errors = {"score": wrong / max(len(truth), 1), "weight": len(truth)}
    return found | {
        f"{subtask}_normalised_distance": mark | {"score": share},
        f"{subtask}_character_errors": mark | errors,
    }


def mean(items: list[dict[str, Any]]) -> float:
    """By weight: errors per character are all errors over all characters."""
    weight = sum(item["weight"] for item in items)
    return (
        sum(item["score"] * item["weight"] for item in items) / weight if weight else float("nan")
    )


def mean_of_fields(items: list[dict[str, Any]]) -> float:
    """The plain mean of the five fields' rates; none where one of them was not asked."""
    rates = [[item["score"] for item in items if item["of"] == field] for field in FIELDS]
    if not all(rates):
        return float("nan")
    return sum(sum(rate) / len(rate) for rate in rates) / len(FIELDS)


def composed(text: str) -> str:
    """Blanks at the ends do not matter, nor how Unicode composes letters."""
    return unicodedata.normalize("NFC", text).strip()


def tidy(text: str) -> str:
    """Line ends, and blanks before them, do not matter."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def common_words(truth: str, said: str) -> float:
    """ROUGE-1: the F1 of the words that both have, each as often as both have it."""
    a, b = (Counter(re.findall(r"[a-z0-9]+", text.lower())) for text in (truth, said))
    both, all_words = (a & b).total(), a.total() + b.total()
    return 2 * both / all_words if all_words else 0.0


def distance(a: str, b: str) -> int:
    """Levenshtein's: the fewest characters put in, left out or replaced that make `a` of `b`.

    Myers' bit vectors ("A fast bit-vector algorithm for approximate string matching", 1999): a
    column of the table is two whole numbers, with a bit for each character of `a`.
    """
    if not a:
        return len(b)
    every, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    places: dict[str, int] = {}
    for i, character in enumerate(a):
        places[character] = places.get(character, 0) | 1 << i
    more, less, edits = every, 0, len(a)
    for character in b:
        same = places.get(character, 0)
        level = (((same & more) + more) ^ more) | same | less
        rises, falls = less | (every & ~(level | more)), more & level
        edits += bool(rises & last) - bool(falls & last)
        rises = (rises << 1 | 1) & every
        more = ((falls << 1) & every) | (every & ~(level | rises))
        less = rises & level
    return edits
