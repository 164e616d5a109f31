"""How a collection of ABC files is read: every refusal with its place, and what the rest proves.

    python -m nota_jax.tools.survey [--problems] [PATH …]

reads the ABC files under PATH (default: the folk tunes inside the music21 package), prints each
tune that is refused (and with --problems each failed check), then a table a folder: tunes, how
many are read, how many keep every note in canonical text, how many pass which check.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from nota_jax.errors import exit_status
from nota_jax.notation.abc import AbcError, check, parse, write
from nota_jax.notation.abc.source import corpus_folders, read_tunes
from nota_jax.notation.tune import Tune
from nota_jax.notation.walk import sounding_notes

COLUMNS = ("tunes", "read", "exact", "no problem", "bar length", "tie", "repeat")


def exact(tune: Tune) -> bool:
    """Whether the canonical text is its own canonical text and keeps every sounding note."""
    text = write(tune)
    again = parse(text)
    return write(again) == text and sounding_notes(again) == sounding_notes(tune)


def survey(
    tunes: Iterable[tuple[str, int, str]], *, problems: bool = False
) -> dict[str, Counter[str]]:
    """Counts (of `COLUMNS`) for each folder; prints refusals, and problems where wanted."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for file, line, text in tunes:
        count = counts[file.partition("/")[0]]
        count["tunes"] += 1
        try:
            tune = parse(text, source=file, line=line)
        except AbcError as error:
            tqdm.write(str(error))
            continue
        count["read"] += 1
        count["exact"] += exact(tune)
        found = check(tune)
        count["no problem"] += not found
        count.update({problem.kind for problem in found})
        if problems:
            for problem in found:
                tqdm.write(f"{file}: tune {tune.reference}, {problem}")
    return counts


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Read ABC files and say how that went.")
    parser.add_argument("paths", nargs="*", type=Path, help="ABC files or folders of them")
    parser.add_argument("--problems", action="store_true", help="print every failed check")
    options = parser.parse_args(arguments)
    tunes = list(read_tunes(options.paths or corpus_folders()))
    counts = survey(tqdm(tunes, unit=" tunes", disable=None), problems=options.problems)
    counts["all"] = sum(counts.values(), Counter())
    print(" " * 18 + "".join(f"{name:>12s}" for name in COLUMNS))
    for folder, count in counts.items():
        print(f"{folder[:18]:18s}" + "".join(f"{count[name]:12d}" for name in COLUMNS))


if __name__ == "__main__":
    sys.exit(exit_status(main))
