"""Mutated tunes through the build: reader, Verovio in worker processes, proof, questions, disk.

    nice -n 15 python -m tests.fuzz.engraving --tunes 100000 --seed 0 [--workers 1] [--minutes M]

A folder of tunes after the other is built and let go.  Ends with 0 where every tune was drawn or
dropped for a reason that is its own; with 1 where workers died or an exception came through: such
tunes, and the reasons, lie in `--out` then.  What is counted so far lies there as well
(`seed0.json`), and the same command goes on behind it.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

from nota_jax.data.build import dataset
from nota_jax.data.build.pages import Settings
from nota_jax.files import write_json
from nota_jax.notation.engraving.pool import CRASHED, TIMED_OUT, EngravePool
from tests.fuzz import mutate

Say = Callable[[str], None]
FOLDER_TUNES = 1024  # each folder starts its workers anew, some seconds each
NOT_ITS_OWN = (CRASHED, TIMED_OUT, "unexpected ")  # how reasons begin that are no tune's fault


def tune(seed: int, number: int) -> str:
    """The mutated tune of that number."""
    return mutate.tune(random.Random(f"{seed}/{number}"), most=4)


def run(
    n_tunes: int, seed: int, workers: int, minutes: float, out: Path, say: Say = print
) -> Counter[str]:
    """Tunes, pages, dead workers ("worker …") and drops ("parse: …", "engrave: …"), by name; those
    of earlier calls with this seed and `out` among them."""
    start, pools, kept = time.monotonic(), list[EngravePool](), out / f"seed{seed}.json"
    counts = Counter[str](json.loads(kept.read_text()) if kept.exists() else {})

    def counted(*arguments: object, **options: object) -> EngravePool:
        pools.append(EngravePool(*arguments, **options))  # type: ignore[arg-type]
        return pools[-1]

    for first in range(counts["files"], n_tunes, FOLDER_TUNES):
        if time.monotonic() > start + 60 * minutes:
            break
        began = time.monotonic()
        numbers = range(first, min(first + FOLDER_TUNES, n_tunes))
        with tempfile.TemporaryDirectory() as folder:
            for number in numbers:
                text = tune(seed, number).encode(errors="surrogatepass")
                Path(folder, f"{number:09}.abc").write_bytes(text)
            settings = Settings(seed=seed, look_share=0.3)
            with mock.patch.object(dataset, "EngravePool", counted):
                report = dataset.build(
                    Path(folder, "set"), [f"path:{folder}"], settings=settings, workers=workers
                )
            counts["files"] += len(numbers)
            counts["tunes"] += report["tunes"]["in"]
            counts["drawn"] += report["tunes"]["drawn"]
            counts["pages"] += sum(report["pages"].values())
            for drop in report["drops"]:
                counts[drop["reason"]] += drop["count"]
                if drop["reason"].partition(": ")[2].startswith(NOT_ITS_OWN):
                    _keep(out, Path(folder), drop["examples"], say)
        counts.update(pools.pop().deaths)
        counts["seconds"] += round(time.monotonic() - began)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, counts)
        say(_line(counts))
    return counts


def _line(counts: Counter[str]) -> str:
    seconds = max(counts["seconds"], 1)
    dead = ", ".join(f"{key}: {n}" for key, n in counts.items() if key.startswith("worker "))
    return (
        f"{counts['files']:,} files, {counts['tunes']:,} tunes in {seconds:.0f} s "
        f"({counts['tunes'] / seconds:.1f} a second), {counts['drawn']:,} drawn, "
        f"{counts['pages']:,} pages; dead workers: {dead or 'none'}"
    )


def _keep(out: Path, folder: Path, examples: Sequence[str], say: Say) -> None:
    """Examples name the file: "FOLDER/000000012.abc#1/0: worker crashed"."""
    out.mkdir(parents=True, exist_ok=True)
    for example in examples:
        name = example.split("/")[1].partition("#")[0]
        shutil.copy(folder / name, out / name)
        say(f"{example}: {out / name}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("tests.fuzz.engraving", description=__doc__)
    parser.add_argument("--tunes", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz/engraving"))
    args = parser.parse_args(argv)
    counts = run(args.tunes, args.seed, args.workers, args.minutes, args.out)
    for key, n in counts.most_common():
        if ": " in key:
            print(f"{n:8,}  {key}")
    dead = any(key.startswith("worker ") for key in counts)
    return int(dead or any(key.partition(": ")[2].startswith(NOT_ITS_OWN) for key in counts))


if __name__ == "__main__":
    sys.exit(main())
