"""Mutated tunes through the build: reader, Verovio in worker processes, proof, questions.

    nice -n 15 python -m tests.fuzz.engraving --tunes 100000 --seed 0 [--workers 1] [--minutes M]

Everything that a build does with a tune, but for the disk: what is drawn is counted and let go.
Ends with 0 where every tune was drawn or dropped for a reason that is its own; with 1 where
workers died or an exception came through, whose tunes lie in `--out` then.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nota_jax.data.build import dataset
from nota_jax.data.build.corpora import SourceTune
from nota_jax.data.build.pages import Settings
from nota_jax.data.build.report import Tally
from nota_jax.notation.engraving.pool import CRASHED, TIMED_OUT, EngravePool
from tests.fuzz import mutate

Say = Callable[[str], None]
REPORT_SECONDS = 60
NOT_ITS_OWN = (CRASHED, TIMED_OUT, "unexpected ")  # how reasons begin that are no tune's fault


def source_tune(seed: int, number: int) -> SourceTune:
    """The mutated tune of that number."""
    text = mutate.tune(random.Random(f"{seed}/{number}"), most=4)
    return SourceTune(
        id=f"mutated#{number}", corpus="mutated", file="mutated", index=number, line=1,
        region="Other", credits="", licence="", text=text, dance_type="reel" * (number % 2),
    )  # fmt: skip


def run(
    n_tunes: int, seed: int, workers: int, minutes: float, out: Path, say: Say = print
) -> Counter[str]:
    """What became of the tunes, by reason; "tunes" and "drawn" among them, and workers' deaths."""
    settings = Settings(seed=seed, look_share=0.3)
    start, counts, tally = time.monotonic(), Counter[str](), Tally()
    until, told = start + 60 * minutes, start

    def plans() -> Iterator[dataset.Plan]:
        for number in range(n_tunes):
            if time.monotonic() > until:
                return
            yield dataset._plan(source_tune(seed, number), settings)

    with EngravePool(workers) as pool:
        for plan, results in dataset._drawn(plans(), pool):
            mine = Tally()
            pages = sum(1 for _ in dataset._records(plan, results, settings, mine))
            counts["tunes"] += 1
            counts["drawn"] += pages > 0
            counts["pages"] += pages
            tally.add(mine)
            for key in mine.counts:
                if key[0] == "drop" and key[2].startswith(NOT_ITS_OWN):
                    counts[key[2]] += 1
                    _keep(out, plan.source, mine.examples[key][0], say)
            if time.monotonic() > told + REPORT_SECONDS:
                told = time.monotonic()
                say(_line(counts, pool.deaths, told - start))
        say(_line(counts, pool.deaths, time.monotonic() - start))
        counts |= Counter({f"workers: {reason}": n for reason, n in pool.deaths.items()})
    for key, n in sorted(tally.counts.items(), key=lambda item: -item[1]):
        if key[0] == "drop":
            say(f"{n:8,}  {key[1]}: {key[2]}")
    return counts


def _line(counts: Counter[str], deaths: Counter[str], seconds: float) -> str:
    dead = ", ".join(f"{reason}: {n}" for reason, n in sorted(deaths.items())) or "none"
    return (
        f"{counts['tunes']:,} tunes in {seconds:.0f} s ({counts['tunes'] / seconds:.1f} a second), "
        f"{counts['drawn']:,} drawn, {counts['pages']:,} pages; dead workers: {dead}"
    )


def _keep(out: Path, source: SourceTune, reason: str, say: Say) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"tune-{source.index}.abc"
    path.write_text(source.text, errors="surrogateescape")
    say(f"{reason}: {path}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("tests.fuzz.engraving", description=__doc__)
    parser.add_argument("--tunes", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz/engraving"))
    args = parser.parse_args(argv)
    counts = run(args.tunes, args.seed, args.workers, args.minutes, args.out)
    return int(any(key.startswith((*NOT_ITS_OWN, "workers: ")) for key in counts))


if __name__ == "__main__":
    sys.exit(main())
