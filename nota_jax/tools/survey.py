"""How a collection of ABC files is read: every refusal with its place, and what the rest proves.

    python -m nota_jax.tools.survey [--problems] [CORPUS …]

reads the tunes that the build would read (a CORPUS is named as there: `essenFolksong`, `path:DIR`,
`path:FILE`; default: all folk tunes inside the music21 package), prints each file without a tune
and each tune that is refused (and with --problems each failed check), then a table with a row for
each corpus: tunes, how many are read, how many keep every note in canonical text, how many pass
which check.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from tqdm import tqdm

from nota_jax import progress, tables
from nota_jax.data.build import corpora
from nota_jax.data.build.corpora import SourceTune
from nota_jax.errors import exit_status
from nota_jax.notation.abc import AbcError, check, parse, write
from nota_jax.notation.tune import Tune
from nota_jax.notation.walk import sounding_notes

COLUMNS = ("tunes", "read", "exact", "no problem", "bar length", "tie", "repeat")


def exact(tune: Tune) -> bool:
    """Whether the canonical text is its own canonical text and keeps every sounding note."""
    text = write(tune)
    again = parse(text)
    return write(again) == text and sounding_notes(again) == sounding_notes(tune)


def survey(sources: Iterable[SourceTune], *, problems: bool = False) -> dict[str, Counter[str]]:
    """Counts (of `COLUMNS`) for each corpus; prints refusals, and problems where wanted."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for source in sources:
        count = counts[source.corpus]
        count["tunes"] += 1
        try:
            tune = parse(source.text, source=source.file, line=source.line)
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
                tqdm.write(f"{source.file}: tune {tune.reference}, {problem}")
    return counts


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Read ABC files and say how that went.")
    parser.add_argument("corpora", nargs="*", help="as in nota_jax.data.build; default: all")
    parser.add_argument("--problems", action="store_true", help="print every failed check")
    options = parser.parse_args(arguments)
    passed_over = list[corpora.PassedOver]()
    sources = list(corpora.read(options.corpora or None, passed_over=passed_over))
    for each in passed_over:
        print(f"{each.file}: {each.reason}")
    counts = survey(progress.bar(sources, unit=" tunes"), problems=options.problems)
    counts["all"] = sum(counts.values(), Counter())
    rows = [[name, *(f"{count[c]:,}" for c in COLUMNS)] for name, count in counts.items()]
    print(tables.text(("", *COLUMNS), rows))


if __name__ == "__main__":
    sys.exit(exit_status(main))
