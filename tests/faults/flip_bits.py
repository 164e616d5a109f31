"""What the checksums of a checkpoint miss.

    python -m tests.faults.flip_bits --flips 40 --seed 0

Flips one bit somewhere in the files of a run's newest checkpoint, a place for each of its bytes
being as likely as any other, resumes the run, and compares what it goes on with.  Each time it has
to go on from the checkpoint before it, or with the very same numbers (a bit that means nothing).
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from nota_jax.checkpoint.steps import Checkpoints
from tests.checkpoint.test_steps import ALL_BUT_VISION, Run, same, small_params

NOTICED, MISSED = "noticed", "MISSED"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--flips", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = flips(Path(place), given.flips, given.seed)
    print(", ".join(f"{outcome}: {n}" for outcome, n in found.items()))
    return 1 if found[MISSED] else 0


def flips(place: Path, number: int, seed: int) -> Counter[str]:
    """How often what became of the run."""
    rng, found = random.Random(seed), Counter[str]()
    run = Run(place / "run", small_params(), ALL_BUT_VISION)
    with Checkpoints(run.folder, keep_last=3) as checkpoints:
        for _ in range(2):
            run.step()
            run.save(checkpoints)
    for n in range(number):
        folder = place / str(n)
        shutil.copytree(run.folder, folder)
        where = flip(folder / "checkpoints" / "2", rng)
        outcome = resumed(run, folder)
        shutil.rmtree(folder)
        found[outcome] += 1
        print(f"{n + 1:4}  {where}: {outcome}", flush=True)
    return found


def flip(step: Path, rng: random.Random) -> str:
    """Changes one bit; says where."""
    files = sorted(path for path in step.rglob("*") if path.is_file() and path.stat().st_size)
    path = rng.choices(files, weights=[path.stat().st_size for path in files])[0]
    data = bytearray(path.read_bytes())
    place, bit = rng.randrange(len(data)), rng.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    return f"bit {bit} of byte {place:,} of {path.relative_to(step)}"


def resumed(run: Run, folder: Path) -> str:
    """What becomes of the run in a folder."""
    with Checkpoints(folder, keep_last=3, say=lambda _: None) as checkpoints:
        restored, _ = run.restore(checkpoints)
    if int(restored.step) == 1:
        return NOTICED
    found, kept = ((s.trainable, s.opt_state) for s in (restored, run.state))
    return "means nothing" if same(found, kept) else MISSED


if __name__ == "__main__":
    sys.exit(main())
