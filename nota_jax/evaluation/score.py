"""Scores answers, of any model, to a dataset's questions.

    python -m nota_jax.evaluation.score --predictions FILE.jsonl --dataset DIR
    python -m nota_jax.evaluation.score --predictions RUN/evaluation_test/predictions.jsonl
    python -m nota_jax.evaluation.score --predictions FILE.jsonl --dataset DIR \\
        --map id=question_id,prediction=output

A line of the file is a JSON object with an answer ("prediction") and the question's "id"
("PAGE:SUBTASK"), or instead of the id an "image" (the page's id, or a picture file called after it)
with the "question" or its "subtask".  `summary.json` and `summary.md` are written beside the file,
or where `--out` says.  What each figure means: docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nota_jax.environment import quiet
from nota_jax.errors import UserError, exit_status
from nota_jax.evaluation import omr_ned, report
from nota_jax.evaluation.answers import Collection, collect
from nota_jax.evaluation.metrics import FIELDS, TRANSCRIPTIONS
from nota_jax.evaluation.summary import Scored, score, summarise, with_marks
from nota_jax.evaluation.training import training, trivial_answers


def main(argv: Sequence[str] | None = None) -> int:
    quiet()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--predictions", type=Path, required=True, metavar="FILE")
    parser.add_argument("--dataset", metavar="DIR", help="default: the one that the file names")
    parser.add_argument("--splits", default="", help="as a,b; default: those that the file names")
    parser.add_argument("--map", default="", metavar="OURS=THEIRS,…", dest="names")
    parser.add_argument("--omr-ned", action="store_true", help="with OMR-NED of whole pages (slow)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: beside the file")
    return exit_status(lambda: run(parser.parse_args(argv)))


def run(given: argparse.Namespace, say: Callable[[str], None] = print) -> None:
    start = time.monotonic()
    splits = tuple(filter(None, given.splits.split(",")))
    found = collect(given.predictions, given.dataset, mapping(given.names), splits)
    summary, _ = of_collection(found, given.omr_ned)
    out = given.out or given.predictions.parent
    report.write_summary(out, summary)
    say(report.text(summary))
    seconds = time.monotonic() - start
    say(f"{len(found.answers)} answers scored in {seconds:.0f} s: {out / 'summary.md'}")


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
