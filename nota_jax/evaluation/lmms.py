"""Writes held-out questions as tasks of lmms-eval: every model that it knows can be asked them.

A folder that needs nothing of ours: a task for each split (YAML), the functions that they name
(`assets/nota_task.py`), a line for each question, the pictures, and README.md with the licences of
what is drawn.  Nothing in it says where it lies.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nota_jax import progress
from nota_jax.data.feed.evaluation import sampled
from nota_jax.data.records import Page, with_ids
from nota_jax.data.store.reader import splits_of
from nota_jax.errors import UserError
from nota_jax.evaluation.answers import picture_name, tune_of
from nota_jax.evaluation.metrics import FIELDS, TRANSCRIPTIONS
from nota_jax.files import new_folder

MODULE = Path(__file__).parent / "assets" / "nota_task.py"
TAG = "nota"  # runs all of the tasks

_TASK = """\
# Made by nota_jax from the split {split}; README.md says how it is run.
tag: {tag}
task: {tag}_{split}
dataset_path: json
dataset_kwargs:
  data_dir: !function nota_task.FOLDER
  data_files:
    test: {split}.jsonl
test_split: test
output_type: generate_until
cluster_key: page
score_key: score
doc_to_visual: !function nota_task.doc_to_visual
doc_to_text: !function nota_task.doc_to_text
doc_to_messages: !function nota_task.doc_to_messages
doc_to_target: answer
generation_kwargs:
  max_new_tokens: {limit}
  do_sample: false
  temperature: 0
  num_beams: 1
process_results: !function nota_task.process_results
metric_list:
{metrics}
metadata:
  - version: 1.0
"""
_METRIC = """\
  - metric: {name}
    aggregation: !function nota_task.{aggregation}
    higher_is_better: {good}"""
_README = """\
# Questions about sheet music, for lmms-eval

{n} questions about {pages} pictures, written by nota_jax (`score --export-task`). Each split is a
task, the tag `{tag}` all of them:

    python -m lmms_eval --include_path THIS_FOLDER --tasks {tag} --log_samples --output_path OUT \\
        --model llava_hf --model_args pretrained=MODEL

lmms-eval's own figures are strict: an answer is right if it is the field, a transcription is
compared letter by letter, an analysis word by word (ROUGE-1). Standard errors called `clustered`
count all questions about one tune as one witness. Fair matching, notes and bars, facts and
intervals come from nota_jax, which reads lmms-eval's samples:

    python -m nota_jax.evaluation.score --predictions OUT/…_samples_{tag}_….jsonl \\
        --dataset DATASET --out SCORES \\
        --map image=input_media.0,question=input,prediction=filtered_resps

## Licences of what is drawn, as far as they are stated

{licences}

Every line of the questions names its tune's collection, licence and who transcribed it.
"""


@dataclass(frozen=True)
class Settings:
    """As in `hf.Settings`."""

    dataset: str
    splits: tuple[str, ...]
    subtasks: tuple[str, ...] = ()
    questions: int = 0
    max_new_tokens: int = 512


def export(settings: Settings, out: Path, say: Callable[[str], None] = print) -> None:
    """Writes the folder `out`, which gets its name when all of it is there.

    Raises:
      UserError: no such dataset or split, no question in it, or there is something called `out`.
    """
    there = splits_of(settings.dataset)
    size = sum(there[split].info.num_bytes for split in settings.splits if split in there)
    pages, questions, licences = set[str](), 0, Counter[str]()
    with new_folder(out, size) as half:
        for split in settings.splits:
            (half / "pages" / split).mkdir(parents=True)
            kinds: dict[str, str] = {}
            chosen = sampled(settings.dataset, [split], settings.questions, settings.subtasks)
            with (half / f"{split}.jsonl").open("w", encoding="utf-8") as file:
                for page in progress.bar(chosen, desc=split, unit="page", leave=False):
                    picture = f"pages/{split}/{picture_name(page.id)}.png"
                    if picture in pages:
                        raise UserError(f"two pages of {settings.dataset} would be {picture}")
                    pages.add(picture)
                    (half / picture).write_bytes(page.png)
                    for doc in _docs(page, picture):
                        file.write(json.dumps(doc, ensure_ascii=False) + "\n")
                        kinds[doc["subtask"]] = doc["task"]
                        questions += 1
                    licences[f"{page.metadata['corpus']}: {page.metadata['licence']}"] += 1
            if not kinds:
                raise UserError(f"no question of {split} was asked for: choose other --subtasks")
            (half / f"{TAG}_{split}.yaml").write_text(task(split, kinds, settings))
        shutil.copy(MODULE, half / MODULE.name)
        (half / "README.md").write_text(_readme(questions, len(pages), licences))
    say(
        f"written: {out} ({questions} questions about {len(pages)} pages; run it as "
        "README.md there says)"
    )


def task(split: str, kinds: Mapping[str, str], settings: Settings) -> str:
    """The YAML file of a split with questions of those kinds (subtask → task)."""
    subtasks = [subtask for subtask, task in kinds.items() if task != "analysis"]
    metrics = [_metric(f"{subtask}_strict") for subtask in subtasks]
    if set(FIELDS) <= set(subtasks):
        metrics.append(_metric("fields_strict", "mean_of_fields"))
    for subtask in set(TRANSCRIPTIONS) & set(subtasks):
        metrics.append(_metric(f"{subtask}_normalised_distance", good=False))
        metrics.append(_metric(f"{subtask}_character_errors", good=False))
    if "analysis" in kinds.values():
        metrics.append(_metric("analysis_rouge1"))
    return _TASK.format(
        split=split, tag=TAG, limit=settings.max_new_tokens, metrics="\n".join(metrics)
    )


def _metric(name: str, aggregation: str = "mean", good: bool = True) -> str:
    return _METRIC.format(name=name, aggregation=aggregation, good=str(good).lower())


def _docs(page: Page, picture: str) -> list[dict[str, Any]]:
    about = {name: page.metadata[name] for name in ("region", "corpus", "licence", "credits")}
    return [
        {
            "id": id, "page": tune_of(page), "picture": picture,
            "task": turn.task, "subtask": turn.subtask, "question": turn.question,
            "answer": turn.answer, **about,
        }
        for id, turn in with_ids(page.id, page.turns)
    ]  # fmt: skip


def _readme(questions: int, pages: int, licences: Counter[str]) -> str:
    lines = [f"- {name}, {n} of the pages" for name, n in sorted(licences.items())]
    return _README.format(n=questions, pages=pages, tag=TAG, licences="\n".join(lines))
