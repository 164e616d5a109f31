"""Scores answers, of any model, to a dataset's questions.

    python -m nota_jax.evaluation.score --predictions FILE.jsonl --dataset DIR
    python -m nota_jax.evaluation.score --predictions RUN/evaluation_test/predictions.jsonl
    python -m nota_jax.evaluation.score --predictions FILE.jsonl --dataset DIR \\
        --map id=question_id,prediction=output
    python -m nota_jax.evaluation.score --hf MODEL --dataset DIR --out DIR
    python -m nota_jax.evaluation.score --export-task DIR --dataset DIR

A line of the file is a JSON object with an answer ("prediction") and the question's "id"
("PAGE:SUBTASK"), or instead of the id an "image" (the page's id, or a picture file called after it)
with the "question" or its "subtask".  `--hf` asks a model in Hugging Face's format through
transformers first; the same command goes on after an interruption.  `--export-task` writes the
questions as tasks of lmms-eval.  `summary.json` and `summary.md` are written beside the answers, or
where `--out` says.  What each figure means: docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nota_jax.data.store.reader import split_sizes
from nota_jax.environment import quiet
from nota_jax.errors import UserError, exit_status
from nota_jax.evaluation import hf, lmms, omr_ned, report
from nota_jax.evaluation.answers import Collection, collect, folder_of
from nota_jax.evaluation.metrics import FIELDS, TRANSCRIPTIONS
from nota_jax.evaluation.summary import Scored, score, summarise, with_marks
from nota_jax.evaluation.training import training, trivial_answers


def main(argv: Sequence[str] | None = None) -> int:
    quiet()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--predictions", type=Path, metavar="FILE")
    what.add_argument("--hf", type=Path, metavar="MODEL", help="folder of a model to be asked")
    what.add_argument("--export-task", type=Path, metavar="DIR", help="a folder for lmms-eval")
    parser.add_argument("--dataset", metavar="DIR", help="default: the one that the file names")
    parser.add_argument(
        "--splits", default="", help="as a,b; default: those that the file names, or all of test"
    )
    parser.add_argument("--map", default="", metavar="OURS=THEIRS,…", dest="names")
    parser.add_argument("--omr-ned", action="store_true", help="with OMR-NED of whole pages (slow)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: beside the file")
    of_hf = parser.add_argument_group("with --hf or --export-task")
    of_hf.add_argument("--subtasks", default="", help="as key,abc; default: all")
    of_hf.add_argument("--questions", type=int, default=0, help="of each split; default: all")
    of_hf.add_argument("--batch", type=int, default=8, help="questions at once (%(default)s)")
    of_hf.add_argument("--max-new-tokens", type=int, default=512, help="of an answer (%(default)s)")
    of_hf.add_argument("--dtype", choices=hf.DTYPES, default="auto", help="of the weights")
    return exit_status(
        lambda: run(parser.parse_args(argv)),
        interrupted="answers so far are kept, the same command goes on",
    )


def run(given: argparse.Namespace, say: Callable[[str], None] = print) -> None:
    file, out = given.predictions, given.out
    if given.export_task:
        return exported(given, say)
    if given.hf:
        file = out = asked(given, say)
    start = time.monotonic()
    found = collect(file, given.dataset, mapping(given.names), names_in(given.splits))
    summary, _ = of_collection(found, given.omr_ned)
    out = out or folder_of(file)
    report.write_summary(out, summary)
    say(report.text(summary))
    seconds = time.monotonic() - start
    say(f"{len(found.answers)} answers scored in {seconds:.0f} s: {out / 'summary.md'}")


def asked(given: argparse.Namespace, say: Callable[[str], None]) -> Path:
    """The folder with the answers of the model `--hf`."""
    if not given.out:
        raise UserError("--hf needs --out: where its answers go")
    settings = hf.Settings(str(given.hf), dtype=given.dtype, **_questions(given, "--hf"))
    return hf.predict(settings, given.out, given.batch, say)


def exported(given: argparse.Namespace, say: Callable[[str], None]) -> None:
    lmms.export(lmms.Settings(**_questions(given, "--export-task")), given.export_task, say)


def _questions(given: argparse.Namespace, option: str) -> dict[str, Any]:
    """Which questions, under the names of both modules' settings."""
    if not given.dataset:
        raise UserError(f"{option} needs --dataset: whose questions it is about")
    tests = (name for name in split_sizes(given.dataset) if name.endswith("_test"))
    return {
        "dataset": given.dataset,
        "splits": names_in(given.splits) or tuple(tests),
        "subtasks": names_in(given.subtasks),
        "questions": given.questions,
        "max_new_tokens": given.max_new_tokens,
    }


def of_collection(found: Collection, with_omr_ned: bool = False) -> tuple[dict[str, Any], Scored]:
    """The summary of a file's answers, and the marks that it is made of."""
    if with_omr_ned:
        omr_ned.needed()  # said before anything is scored
    tasks = dict.fromkeys(answer.task for answer in found.answers)
    known = training(found.dataset, [f"{task}_train" for task in tasks])
    others = {*FIELDS, *TRANSCRIPTIONS}
    analyses = [text for subtask, text in known.answers if subtask not in others]
    scored = score(found.answers, trivial_answers(known.answers), analyses)
    more = {}
    if with_omr_ned:
        scored = with_marks(scored, omr_ned.marks(found.answers))
        more = {"OMR-NED": omr_ned.about()}
    about = {
        "dataset": found.dataset,
        "splits": list(found.splits),
        "settings": dict(found.settings),
        "unknown": len(found.unknown),
        "left_out": found.left_out,
        "training_pages": list(known.pages),
    }
    return {**about, **summarise(scored, more)}, scored


def names_in(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def mapping(text: str) -> Mapping[str, str]:
    """ "id=qid,prediction=output" as a dictionary."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    if wrong := [name for name, sign, theirs in pairs if not (name and sign and theirs)]:
        raise UserError(
            f"--map {text}: write it as id=NAME,prediction=NAME ({wrong[0]!r} has none)"
        )
    return {name.strip(): theirs.strip() for name, _, theirs in pairs}


if __name__ == "__main__":
    sys.exit(main())
