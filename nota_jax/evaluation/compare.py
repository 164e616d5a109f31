"""Compares two models on the same questions: B − A of every figure, with its interval.

    python -m nota_jax.evaluation.compare RUN_A/evaluation_test RUN_B/evaluation_test
    python -m nota_jax.evaluation.compare A.jsonl B.jsonl --dataset DIR

Pages are drawn for both together, so that what makes a page hard for both does not count: two
models whose own intervals overlap may well differ.  A difference whose interval leaves 0 out is
marked; of forty figures two are marked by chance.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nota_jax import tables
from nota_jax.environment import quiet
from nota_jax.errors import UserError, exit_status
from nota_jax.evaluation import bootstrap, names
from nota_jax.evaluation.answers import Answer, Collection, collect
from nota_jax.evaluation.bootstrap import Estimate
from nota_jax.evaluation.score import mapping
from nota_jax.evaluation.summary import MEANS, score

HEAD = ("", "A", "B", "B − A", "95 % interval", "", "answers")


def main(argv: Sequence[str] | None = None) -> int:
    quiet()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", type=Path, help="a file of answers, or the folder it lies in")
    parser.add_argument("b", type=Path)
    parser.add_argument("--dataset", metavar="DIR", help="default: the one that the files name")
    parser.add_argument("--map", default="", metavar="OURS=THEIRS,…", dest="names")
    return exit_status(lambda: run(parser.parse_args(argv)))


def run(given: argparse.Namespace, say: Callable[[str], None] = print) -> None:
    a, b = (collect(file, given.dataset, mapping(given.names)) for file in (given.a, given.b))
    of_a, of_b = paired(a, b)
    say(f"A  {given.a}\nB  {given.b}\n{_told(a, b, of_a)}\n")
    say(tables.text(HEAD, rows(of_a, of_b)))
    say("\n+ better, − worse: the interval leaves 0 out")


def paired(a: Collection, b: Collection) -> tuple[list[Answer], list[Answer]]:
    """The answers to the questions that both have, in one order.

    Raises:
      UserError: there are none, or a question has another answer by now.
    """
    of_b = {answer.id: answer for answer in b.answers}
    pairs = [(answer, of_b[answer.id]) for answer in a.answers if answer.id in of_b]
    if not pairs:
        raise UserError(
            f"A answers questions of {', '.join(a.splits)} in {a.dataset}, B of "
            f"{', '.join(b.splits)} in {b.dataset}: there is none that both answer"
        )
    if other := [x.id for x, y in pairs if x.truth != y.truth]:
        raise UserError(
            f"{len(other)} questions have another true answer in {b.dataset} than in {a.dataset}, "
            f"the first is {other[0]}: compare answers to one dataset"
        )
    return [x for x, _ in pairs], [y for _, y in pairs]


def rows(a: Sequence[Answer], b: Sequence[Answer]) -> list[tuple[str, ...]]:
    pages = [answer.page for answer in a]
    of_a, of_b = (
        bootstrap.gather(zip(pages, score(answers, {}).marks, strict=True)) for answers in (a, b)
    )
    own_a, own_b = (bootstrap.estimates(sums, MEANS, draws=0) for sums in (of_a, of_b))
    found = bootstrap.differences(of_a, of_b, MEANS)
    return [
        (
            f"{section}: {words}", names.shown(name, own_a[name].value),
            names.shown(name, own_b[name].value), names.shown(name, found[name].value, signed=True),
            f"{names.shown(name, found[name].low, signed=True)} … "
            f"{names.shown(name, found[name].high, signed=True)}",
            verdict(name, found[name]), str(found[name].count),
        )
        for section, name, words in names.rows(found)
        if ".true_" not in name  # of the dataset, not of a model
    ]  # fmt: skip


def verdict(name: str, difference: Estimate) -> str:
    """ "+" where B is surely better, "−" where it is surely worse, "" where nobody can say."""
    if difference.low <= 0 <= difference.high:
        return ""
    return "+" if (difference.value > 0) == names.more_is_better(name) else "−"


def _told(a: Collection, b: Collection, both: Sequence[Answer]) -> str:
    pages = len({answer.page for answer in both})
    alone = len(a.answers) - len(both), len(b.answers) - len(both)
    left = f"; {alone[0]} that only A and {alone[1]} that only B answers are left out"
    return f"{len(both)} questions about {pages} tunes" + left * any(alone)


if __name__ == "__main__":
    sys.exit(main())
