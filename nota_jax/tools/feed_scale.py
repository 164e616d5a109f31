"""What a dataset of a million records costs the process that trains on it.

python -m nota_jax.tools.feed_scale --out DIR --records 1000000 [--seconds 20]

Makes a dataset of that many questions in the proportions of the NOTA dataset, with small pictures
that repeat, and a tokenizer; then reads training's batches in processes of their own and prints how
long they took to start, their memory and their rate.  A second call finds the dataset there.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from nota_jax import progress, tables
from nota_jax.data.feed.pipeline import Pipeline, PipelineConfig
from nota_jax.data.feed.tokenizer import load_tokenizer, train_bpe
from nota_jax.data.records import Page, Turn
from nota_jax.data.store import layout, reader, writer
from nota_jax.errors import exit_status

# Questions of the paper's dataset (arXiv 2502.14893), and how many ask about one page here.
_NOTA = {"alignment": (28_125, 1), "extraction": (970_000, 6), "analysis": (700, 7)}
_SUBTASKS = {
    "alignment": ("alignment",),
    "extraction": ("title", "key", "meter", "unit_note_length", "composer", "abc"),
    "analysis": ("form", "range", "contour", "intervals", "rhythm", "mode", "ending"),
}
_PICTURES, _SIZE, _RECORDS_PER_SHARD = 64, 64, 5000  # 5000 pages of 336 pixels fill 64 MiB
_REGIONS = ("China", "Europe", "America")


def make(out: Path, records: int) -> None:
    """Writes the dataset, and a tokenizer trained on some of its texts in `out/tokenizer`."""
    whole, splits = sum(n for n, _ in _NOTA.values()), {}
    out.mkdir(parents=True)
    for task, (n, per_page) in _NOTA.items():
        n_pages = max(1, round(n * records / whole / per_page))
        bounds = [*range(0, n_pages, _RECORDS_PER_SHARD), n_pages]
        lengths = [last - first for first, last in zip(bounds, bounds[1:], strict=False)]
        made = _records(task, n_pages)
        n_bytes = sum(
            writer.write_shard(
                layout.shard_path(out, f"{task}_train", i, len(lengths)),
                (next(made) for _ in range(length)),
            )
            for i, length in enumerate(lengths)
        )
        splits[f"{task}_train"] = lengths, n_bytes
    train_bpe(
        (text for task in _NOTA for page in _pages(task, 500) for turn in page.turns
         for text in (turn.question, turn.answer)),
        1024, out / "tokenizer",
    )  # fmt: skip
    writer.write_metadata(out, splits, "made to measure the reader")


def _records(task: str, n_pages: int) -> Iterator[bytes]:
    pages = progress.bar(_pages(task, n_pages), total=n_pages, desc=task, unit="page", delay=2)
    return map(layout.encode, pages)


def _pages(task: str, n_pages: int) -> Iterator[Page]:
    noise = np.random.default_rng(0).integers(0, 256, (_PICTURES, _SIZE, _SIZE), np.uint8)
    pictures = []
    for pixels in noise:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        pictures.append(file.getvalue())
    for number in range(n_pages):
        rng = random.Random(number)
        turns = tuple(
            Turn(
                task,
                name,
                f"What is the {name} of this tune?",
                " ".join(
                    "".join(rng.choices("ABCDEFGabcdefg2", k=8)) + "|"
                    for _ in range(rng.randint(8, 24))
                )
                if name in ("abc", "alignment")
                else f"{name} {number}",
            )
            for name in _SUBTASKS[task]
        )
        about: dict[str, object] = {"region": _REGIONS[number % 3], "split": "train"}
        yield Page(f"{number}/{task}", task, pictures[number % _PICTURES], turns, about)


def measure(out: Path, seconds: float, threads: int) -> dict[str, float]:
    """Of this process: seconds to the first batch, memory when some have been read, rates.

    By the clock and, where other work has the processors too, by the processor time spent.
    """
    tok = load_tokenizer(out / "tokenizer")
    idle = memory()
    config = PipelineConfig(
        n_image_tokens=144, image_size=_SIZE, batch_size=128, lengths=(384, 512, 768),
        turns_per_row=8, threads=threads,
    )  # fmt: skip
    start, cpu = time.perf_counter(), time.process_time()
    pipeline = Pipeline(out, [f"{task}_train" for task in _NOTA], tok, config)
    made = time.perf_counter() - start
    batches = iter(pipeline)
    next(batches)
    first, first_cpu = time.perf_counter() - start, time.process_time() - cpu
    start, cpu = time.perf_counter(), time.process_time()
    read = pages = 0
    while (elapsed := time.perf_counter() - start) < seconds:
        batch = next(batches)
        read += sum(map(len, batch["ids"]))
        pages += len(batch["ids"])
    cpu, used = time.process_time() - cpu, memory()
    return {
        "questions": pipeline.plan.n_turns,
        "rows": pipeline.plan.n_rows,
        "plan_seconds": round(made, 2),
        "first_batch_seconds": round(first, 2),
        "by_processor_time": round(first_cpu, 2),
        "own_mb": round(used["RssAnon"] - idle["RssAnon"], 1),
        "mapped_mb": round(used["RssFile"] - idle["RssFile"], 1),
        "questions_per_second": round(read / elapsed),
        "rows_per_second": round(pages / elapsed),
        "questions_per_core_second": round(read / cpu),
        "rows_per_core_second": round(pages / cpu),
    }


def memory() -> dict[str, float]:
    """Of this process in MB: its own (RssAnon), and files mapped, which all processes share."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) / 1000 for name in ("RssAnon", "RssFile")}


def _run(args: argparse.Namespace) -> None:
    if args.measure:
        print(json.dumps(measure(args.out, args.seconds, args.threads)))
        return
    if not reader.holds_dataset(args.out):
        make(args.out, args.records)
    shutil.rmtree(args.out / "row_plans", ignore_errors=True)
    rows = []
    for start in ("first start", "second start"):
        command = [sys.executable, "-m", __spec__.name, "--measure", *sys.argv[1:]]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        found = json.loads(done.stdout)
        rows.append([start, *(f"{value:,}" for value in found.values())])
    print(tables.markdown(["", *(name.replace("_", " ") for name in found)], rows))


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures training's reader on a large dataset.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the dataset")
    parser.add_argument("--records", type=int, default=1_000_000, help="questions that it gets")
    parser.add_argument("--seconds", type=float, default=20.0, help="of reading")
    parser.add_argument("--threads", type=int, default=2, help="that read")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    return exit_status(lambda: _run(args))


if __name__ == "__main__":
    sys.exit(main())
