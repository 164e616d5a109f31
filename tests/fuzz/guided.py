"""The same targets, guided by which lines of ours an input reaches: `pip install -e '.[fuzz]'`.

    python -m tests.fuzz.guided --target abc --minutes 5 [--out runs/fuzz]

Atheris (libFuzzer) mutates what reached something new.  Finds are kept as `python -m tests.fuzz`
keeps them; the process itself ends where native code does.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nota_jax.errors import UserError, exit_status

SEEDS = 200


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("tests.fuzz.guided", description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    return exit_status(lambda: _run(parser.parse_args(argv)))


def _run(args: argparse.Namespace) -> int:
    try:
        import atheris
    except ImportError:
        raise UserError("atheris is not installed: pip install -e '.[fuzz]'") from None
    with atheris.instrument_imports(include=["nota_jax", "conversion"]):
        from tests.fuzz.engine import attempt, keep
        from tests.fuzz.targets import TARGETS

        if args.target not in TARGETS:
            raise UserError(f"there is no target {args.target}: choose of {', '.join(TARGETS)}")
        target = TARGETS[args.target]()
        seeds = [target.make(random.Random(number)) for number in range(SEEDS)]
        for seed in seeds[:3]:  # what is imported late is instrumented too
            attempt(target, seed)
    known: set[str] = set()

    def one(data: bytes) -> None:
        _, find = attempt(target, data)
        if find is not None and find.kind not in known:
            known.add(find.kind)
            keep(args.out / args.target, find, print)

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            Path(corpus, str(number)).write_bytes(seed)
        # libFuzzer takes SIGPROF for nobody, so that `attempt` keeps its own limit.
        limit = f"-max_total_time={int(60 * args.minutes)}"
        atheris.Setup([sys.argv[0], corpus, limit, "-print_final_stats=1"], one)
        atheris.Fuzz()  # ends the process itself
    return 0


if __name__ == "__main__":
    sys.exit(main())
