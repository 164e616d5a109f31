"""Every reader of ours on inputs that are nearly right.

    python -m tests.fuzz --minutes 10 --seed 0 [--target NAME …] [--out runs/fuzz]

The targets share the time.  Each failing input becomes a file under `--out`, with its traceback
beside it; `tests/fuzz/finds/TARGET/` is where it goes, under a name that says what it is, and from
then on the suite tries it.  Ends with 0 where nothing was found, else with 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.engine import watched
from tests.fuzz.targets import TARGETS


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    args = parser.parse_args(argv)
    each = 60 * args.minutes / len(args.target)
    finds = sum(
        watched(name, args.seed, each, args.out.absolute(), lambda text: print(text, flush=True))
        for name in args.target
    )
    print(f"{finds} finds" + f" in {args.out}" * (finds > 0))
    return int(finds > 0)


if __name__ == "__main__":
    sys.exit(main())
