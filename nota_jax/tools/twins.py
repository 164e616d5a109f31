"""Which held-out tunes of a dataset have a twin in its training part.

    python -m nota_jax.tools.twins --data DIR [--out FILE]

prints how many, and writes them with their twins, the most alike first, so that figures can be
given without them.  A twin is the same melody in another key, in other note values, ornamented, or
a part of the other (`nota_jax.notation.theory.twins`).
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from nota_jax import tables
from nota_jax.data.build.splits import HELD_OUT, Twins, find_twins, identified
from nota_jax.data.records import TASKS
from nota_jax.data.store import reader
from nota_jax.environment import quiet
from nota_jax.errors import UserError, exit_status
from nota_jax.files import write_json
from nota_jax.units import percent


def training_twins(directory: Path) -> dict[str, dict]:
    """Of each part held out: its number of tunes, and those with a training twin.

    Raises:
      UserError: no dataset, or one without pages to train on.
    """
    sizes = reader.split_sizes(directory)
    task = next((task for task in TASKS if f"{task}_train" in sizes), None)
    if task is None:
        raise UserError(f"{directory} has no pages to train on: nothing can be a training twin")
    texts: dict[str, dict[str, str]] = {}  # of each part: ABC by the tunes' ids
    for part in ("train", *HELD_OUT):
        split, of_part = f"{task}_{part}", texts.setdefault(part, {})
        for page in reader.PageReader(directory, [split]) if split in sizes else ():
            # Other pages of a tune show it in another key.
            tune_id = str(page.metadata["source_id"]) or page.id
            of_part.setdefault(tune_id, str(page.metadata["abc"]))
    places = [(part, tune_id) for part, of_part in texts.items() for tune_id in of_part]
    found = identified([(texts[part][tune_id], tune_id, 1) for part, tune_id in places])
    tunes: dict[str, dict[str, str]] = {part: {} for part in texts}  # melodies by the tunes' ids
    lines: dict[str, bytes] = {}
    for (part, tune_id), identity in zip(places, found, strict=True):
        if identity is not None:
            tunes[part][tune_id] = identity.melody
            lines.setdefault(*identity)
    return _with_twins(tunes, find_twins(lines))


def _with_twins(tunes: Mapping[str, Mapping[str, str]], found: Twins) -> dict[str, dict]:
    trained: dict[str, list[str]] = defaultdict(list)
    for tune_id, melody in tunes["train"].items():
        trained[melody].append(tune_id)
    report = {}
    for part in HELD_OUT:
        with_twin = {}
        for tune_id, melody in sorted(tunes[part].items()):
            alike = {melody: 1.0} | found.get(melody, {})
            twins = sorted(
                (-likeness, twin)
                for other, likeness in alike.items()
                for twin in trained.get(other, ())
            )
            if twins:
                with_twin[tune_id] = [{"id": id, "likeness": round(-less, 3)} for less, id in twins]
        report[part] = {"tunes": len(tunes[part]), "with_training_twin": with_twin}
    return report


def main(argv: Sequence[str] | None = None) -> int:
    quiet()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a dataset")
    parser.add_argument(
        "--out", type=Path, default=Path("twins.json"), metavar="FILE", help="default: %(default)s"
    )
    return exit_status(lambda: run(parser.parse_args(argv)))


def run(given: argparse.Namespace) -> None:
    report = training_twins(given.data)
    rows = []
    for part, held in report.items():
        total, leaking = held["tunes"], len(held["with_training_twin"])
        rows.append([part, str(total), str(leaking), percent(leaking / total if total else None)])
    write_json(given.out, report)
    print(tables.text(("part", "tunes", "with a training twin", ""), rows))
    print(f"their ids: {given.out}")


if __name__ == "__main__":
    sys.exit(main())
