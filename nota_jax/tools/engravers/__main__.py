"""The held-out pages of a dataset, engraved by another program.

    python -m nota_jax.tools.engravers --data data/small --engraver abcm2ps --out data/small-abcm2ps

Every page of the split `extraction_test` (with `--split validation`, of that one: to choose by) is
drawn again with the same line breaks, staff size and text font, as a dataset of the same layout:
what differs between the two splits is the engraving.  Tunes that the program does not draw, or not
on one page, are left out and counted.

    python -m nota_jax.main … --mode=evaluate --config.data.dir=data/small-abcm2ps
        --config.data.tasks="('extraction',)" --config.eval.split=test
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import io
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from nota_jax.data.records import Page
from nota_jax.data.store import layout, writer
from nota_jax.data.store.reader import PageReader, splits_of
from nota_jax.environment import quiet
from nota_jax.errors import exit_status
from nota_jax.files import new_folder
from nota_jax.notation import abc
from nota_jax.notation.engraving.fonts import text_font
from nota_jax.tools.engravers.abcjs import Abcjs
from nota_jax.tools.engravers.abcm2ps import Abcm2ps
from nota_jax.tools.engravers.drawing import Engraver, Wish, pages
from nota_jax.tools.engravers.lilypond import Lilypond

TRAINING = "extraction_train"
ENGRAVERS: dict[str, Callable[[], Engraver]] = {
    "abcm2ps": Abcm2ps, "abcjs": Abcjs, "lilypond": Lilypond,
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    quiet()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a dataset of nota_jax.data.build")
    parser.add_argument("--engraver", choices=ENGRAVERS, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the new dataset")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--limit", type=int, default=0, help="tunes; 0 for all")
    given = parser.parse_args(argv)
    return exit_status(lambda: run(given))


def run(given: argparse.Namespace) -> None:
    engraver = ENGRAVERS[given.engraver]()
    name = f"{engraver.name} {engraver.version()}"
    split = f"extraction_{given.split}"
    originals = {page.id: page for page in PageReader(given.data, [split])}
    if given.limit:
        originals = dict(list(originals.items())[: given.limit])
    start = time.monotonic()
    with new_folder(given.out, sum(len(page.png) for page in originals.values())) as folder:
        drawn = pages(engraver, {key: wish(page) for key, page in originals.items()})
        redrawn, reasons = [], collections.Counter[str]()
        for key, page in originals.items():
            result = drawn[key]
            if isinstance(result, str):
                reasons[result] += 1
            else:
                redrawn.append(_redrawn(page, *result, name))
        of = f"The {given.split} tunes of {given.data}, engraved by {name}."
        write(folder, given.data, split, redrawn, of)
    seconds = time.monotonic() - start
    print(
        f"{len(redrawn)} of {len(originals)} tunes drawn by {name} in {seconds:.0f} s: {given.out}"
    )
    for reason, count in reasons.most_common():
        print(f"{count:5} left out: {reason}")


def wish(page: Page) -> Wish:
    """What our page shows, for another engraver."""
    return Wish(
        abc.parse(str(page.metadata["abc"])),
        float(str(page.metadata["staff_spacing"])),
        Image.open(io.BytesIO(page.png)).width,
        text_font(str(page.metadata["text_font"])),
    )


def _redrawn(page: Page, png: bytes, spacing: float, engraver: str) -> Page:
    return dataclasses.replace(
        page,
        png=png,
        symbols=b"",  # nobody knows where they are
        metadata=page.metadata
        | {
            "music_font": engraver,
            "text_font": f"{page.metadata['text_font']} in {engraver}",
            "staff_spacing": spacing,
        },
    )


def write(folder: Path, data: Path, split: str, redrawn: Sequence[Page], description: str) -> None:
    """The dataset: the pages as `split`, and the old training pages as they are, because an
    evaluation compares with the majority of their answers."""
    records = list(map(layout.encode, redrawn))
    path = layout.shard_path(folder, split, 0, 1)
    written = {split: ([len(records)], writer.write_shard(path, records))} if records else {}
    if found := splits_of(data).get(TRAINING):
        training = found.info
        for source in map(Path, training.filepaths):
            with contextlib.suppress(FileExistsError):
                _link(source, folder / source.name)
        written[training.name] = list(training.shard_lengths), training.num_bytes
    writer.write_metadata(folder, written, description)


def _link(source: Path, target: Path) -> None:
    """The same file under a second name: it takes no room where the disk can do that."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


if __name__ == "__main__":
    sys.exit(main())
