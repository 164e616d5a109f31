"""Reads pictures of tunes.

    python -m nota_jax.read page.png                     # the ABC, on the terminal
    python -m nota_jax.read page.png --out DIR           # and .abc .musicxml .mid .json .html there
    python -m nota_jax.read *.jpg book.pdf --out DIR     # many pages, and an index of them
    python -m nota_jax.read page.png --ckpt runs/small/phase3

PNG, JPEG, WebP, TIFF, GIF, PDF.  Nothing is fetched from anywhere; the checkpoint is the one in
checkpoints/small unless --ckpt names another run (RUN, RUN@best, RUN@STEP), conversion or Hugging
Face export.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nota_jax import progress
from nota_jax.data.feed import images
from nota_jax.environment import quiet
from nota_jax.errors import UserError, exit_status, fitting
from nota_jax.read.asking import VIEWS


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status, see `exit_status`."""
    quiet()
    parser = argparse.ArgumentParser(
        prog="python -m nota_jax.read",
        description=__doc__.split("\n\n")[0],
        epilog="\n\n".join(__doc__.split("\n\n")[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pages", nargs="+", metavar="PAGE", help="pictures or PDFs")
    parser.add_argument("--out", type=Path, help="folder for .abc .musicxml .mid .json .html")
    parser.add_argument("--ckpt", type=Path, help="a run, a conversion or a Hugging Face export")
    parser.add_argument(
        "--cut", choices=("auto", "page", "systems"), default="auto",
        help="show the model a page at once, or its systems laid out anew; auto: as its size needs",
    )  # fmt: skip
    parser.add_argument(
        "--views", type=int, choices=range(1, len(images.VIEWS) + 1), default=VIEWS, metavar="N",
        help="read each page from so many views of it, moved by a few pixels: 1 (fastest) to "
        f"{len(images.VIEWS)}; {VIEWS}",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    given = arguments.pages, arguments.out, arguments.ckpt, arguments.cut, arguments.views
    return exit_status(
        lambda: run(*given),
        interrupted="pages that were read are in --out" if arguments.out else "nothing was kept",
    )


def run(
    paths: Sequence[str], out: Path | None, checkpoint: Path | None, cut: str, views: int
) -> int:
    """Reads all pages of all files; 2 if any could not be read, when the others are done."""
    from nota_jax.data.feed import pictures

    problems, found = 0, []
    for path in paths:  # all of them first: a wrong name is answered at once
        try:
            found += [(path, picture) for picture in pictures.read(path)]
        except UserError as error:
            problems += 1
            print(f"error: {error}", file=sys.stderr)
    if not found:
        return 2
    names = unique([picture.name for _, picture in found])
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file: name a folder")

    from nota_jax.read import asking, files, reader  # late: imports jax

    started = time.monotonic()
    asked = asking.load(checkpoint, views=views)
    readings = []
    bar = progress.bar(total=len(found), unit="page", desc="read", disable=len(found) == 1)
    for name, (_, picture) in zip(names, found, strict=True):
        with fitting("look at each page fewer times (--views 1)"):
            reading = reader.read(picture.image, asked, name=name, cut=cut)
        readings.append(reading)
        with bar.external_write_mode():
            if len(found) > 1:
                print(f"% {name}")
            print(reading.abc, flush=True)
            for note in reading.notes:
                print(f"note: {name}: {note}", file=sys.stderr)
            if len(found) > 1:
                print()
        if out is not None:
            files.write(reading, out, _neighbours(names, len(readings) - 1))
        bar.update()
    bar.close()
    if out is not None:
        if len(readings) > 1:
            files.write_index(readings, out)
        first = "index" if len(readings) > 1 else names[0]
        print(f"written: {out / first}.html and the files beside it", file=sys.stderr)
    seconds = time.monotonic() - started
    print(f"{len(readings)} page{'s' * (len(readings) > 1)} in {seconds:.1f} s", file=sys.stderr)
    return 2 if problems else 0


def unique(names: Sequence[str]) -> list[str]:
    """Names for files: those that come again get a number; "index" is the index's."""
    taken, given = {"index"}, []
    for name in names:
        free, number = name, 2
        while free in taken:
            free, number = f"{name}-{number}", number + 1
        taken.add(free)
        given.append(free)
    return given


def _neighbours(names: Sequence[str], number: int) -> tuple[str, ...]:
    """The names before and behind one of several."""
    if len(names) == 1:
        return ()
    around = ["", *names, ""]
    return around[number], around[number + 2]


if __name__ == "__main__":
    sys.exit(main())
