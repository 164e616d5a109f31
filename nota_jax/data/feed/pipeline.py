"""Batches for training, and questions for evaluation.

    pages on disk → row plan (rows.py) → Grain: shuffle, batch, repeat → pictures and arrays

Which rows make up which global batch depends on the plan, the seed and the batch size alone, not
on the number of processes, threads or restarts.  Rows of one length class share a batch, so that
every process has the same static shape at every step and padding stays small.

    python -m nota_jax.data.feed.pipeline --dataset DIR      measures images per second
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import numpy as np
from transformers import PreTrainedTokenizerFast

from nota_jax.data.feed import chat, images, rows
from nota_jax.data.records import Turn
from nota_jax.data.store.reader import PageReader, texts
from nota_jax.errors import UserError, exit_status


@dataclass(frozen=True)
class PipelineConfig:
    """What a batch looks like.

    n_image_tokens: image positions in each row's prefix; image_size: pixels of the square side.
    batch_size: questions in a global batch, on average; the number of rows is fixed from it once.
    row_multiple: the global number of rows is a multiple of this (devices that share the batch ×
      gradient accumulation steps).
    lengths: the static lengths T, any order; a row takes the smallest that holds it, and turns
      that do not fit the largest are dropped and counted.
    length_multiple: each T shrinks to its longest row, rounded up to a multiple of this; 0 leaves
      it as it is.
    template, turns_per_row, subtasks, shares: see `rows.RowSettings`; image_mode: `images.load`.
    jitter: pictures move by up to so many pixels each way, anew at every step.
    threads: that read ahead (0 reads in the caller's); prefetch: batches that wait ready.
    """

    n_image_tokens: int
    image_size: int
    batch_size: int
    lengths: tuple[int, ...]
    row_multiple: int = 1
    length_multiple: int = 0
    template: str = "mistral_instruct"
    turns_per_row: int = 0
    subtasks: tuple[str, ...] = ()
    shares: tuple[tuple[str, float], ...] = ()
    image_mode: str = "pad"
    jitter: int = 0
    threads: int = 2
    prefetch: int = 2


class Pipeline:
    """Endless reproducible batches; iterate it, or use `iter(pipeline)` for its state.

    rows_per_batch: B of the global batch; steps_per_epoch; total_steps; steps_by_length: T → steps
    of an epoch; plan: the `RowPlan`.
    """

    def __init__(
        self, pages: PageReader, plan: rows.RowPlan, tok: PreTrainedTokenizerFast,
        config: PipelineConfig, process_index: int, process_count: int, seed: int,
        epochs: float | None,
    ):  # fmt: skip
        self.pages, self.plan, self.config, self.seed = pages, plan, config, seed
        self._pad_id = tok.pad_token_id
        multiple = math.lcm(config.row_multiple, process_count)
        self.rows_per_batch = batch_rows(config.batch_size, plan.n_turns / plan.n_rows, multiple)
        if plan.n_rows < self.rows_per_batch:
            raise UserError(
                f"{', '.join(pages.splits)} has {plan.n_rows} rows ({plan.n_turns} questions), "
                f"fewer than the {self.rows_per_batch} of one batch: lower data.batch_size or "
                "build a larger dataset"
            )
        local = self.rows_per_batch // process_count
        self._process = slice(local * process_index, local * (process_index + 1))
        classes = length_classes(plan.row_lengths, config.lengths, self.rows_per_batch)
        self._static = {
            n: shrunk(n, plan.row_lengths[members], config.length_multiple)
            for n, members in classes.items()
        }
        self.steps_by_length: dict[int, int] = collections.Counter()
        for n, members in classes.items():
            self.steps_by_length[self._static[n]] += len(members) // self.rows_per_batch
        self.steps_per_epoch = sum(self.steps_by_length.values())
        self.total_steps = None if epochs is None else max(1, round(epochs * self.steps_per_epoch))
        self._dataset = self._batches(classes).map_with_index(self._load)

    def _batches(self, classes: dict[int, np.ndarray]) -> grain.MapDataset:
        """Global batches as (length class, row numbers), in the order of training."""
        parts = [
            grain.MapDataset.source(members)
            .shuffle(_derived_seed(self.seed, length))
            .batch(self.rows_per_batch, drop_remainder=True, batch_fn=np.asarray)
            .map(lambda chosen, length=length: (length, chosen))
            for length, members in classes.items()
            if len(members) >= self.rows_per_batch
        ]
        batches = grain.MapDataset.concatenate(parts).shuffle(_derived_seed(self.seed, 0)).repeat()
        return batches if self.total_steps is None else batches[: self.total_steps]

    def _load(self, step: int, batch: tuple[int, np.ndarray]) -> dict[str, Any]:
        """This process's part of a global batch."""
        length, chosen = self._static[batch[0]], batch[1][self._process]
        shifts = self._shifts(step, len(batch[1]))[self._process]
        size = self.config.image_size
        arrays = rows.empty_batch(len(chosen), length, self._pad_id)
        arrays["images"] = np.empty((len(chosen), size, size, 3), np.uint8)
        ids = []
        for i, row in enumerate(chosen):
            turns = self.plan.turns(row)
            page = self.pages[int(self.plan.turn_pages[turns[0]])]
            image = images.load(page.png, size, self.config.image_mode, name=page.id)
            arrays["images"][i] = images.shift(image, *shifts[i])
            rows.fill_row(self.plan, row, {name: a[i] for name, a in arrays.items()})
            numbers = self.plan.turn_numbers[turns.start : turns.stop]
            ids.append([f"{page.id}:{page.turns[number].subtask}" for number in numbers])
        return {**arrays, "ids": ids}

    def _shifts(self, step: int, n: int) -> np.ndarray:
        """How far a global batch's pictures move, [n, 2] pixels: by seed and step alone."""
        rng = np.random.default_rng([_derived_seed(self.seed, 1), step])
        return rng.integers(-self.config.jitter, self.config.jitter + 1, (n, 2))

    def __iter__(self) -> BatchIterator:
        options = grain.ReadOptions(
            num_threads=self.config.threads,
            prefetch_buffer_size=self.config.prefetch if self.config.threads else 0,
        )
        return BatchIterator(iter(self._dataset.to_iter_dataset(options)), self._identity())

    def _identity(self) -> dict[str, Any]:
        """What has to be the same for a saved position to mean the same batches."""
        lengths = sorted(self.config.lengths)
        return {
            "rows": self.plan.fingerprint, "rows_per_batch": self.rows_per_batch,
            "lengths": lengths, "seed": self.seed, "jitter": self.config.jitter,
        }  # fmt: skip

    def report(self) -> dict[str, Any]:
        """Counts for the log: pages, rows, questions, steps, padding and what was dropped."""
        plan = self.plan
        held = sum(length * n for length, n in self.steps_by_length.items()) * self.rows_per_batch
        used = plan.row_lengths.mean() * self.steps_per_epoch * self.rows_per_batch
        return {
            "pages": len(self.pages),
            "rows": plan.n_rows,
            "questions": plan.n_turns,
            "dropped": plan.dropped,
            "rows_per_batch": self.rows_per_batch,
            "questions_per_batch": round(self.rows_per_batch * plan.n_turns / plan.n_rows, 1),
            "steps_per_epoch": self.steps_per_epoch,
            "steps_by_length": dict(self.steps_by_length),
            "padding_share": round(1 - used / held, 3),
        }


def batch_rows(questions: int, questions_per_row: float, multiple: int) -> int:
    """Rows of a batch that holds about so many questions; at least one multiple."""
    return multiple * max(1, round(questions / questions_per_row / multiple))


class BatchIterator(Iterator[dict[str, Any]]):
    """Batches from one position on; `get_state` is JSON and stands behind the last one taken.

    A batch holds images uint8 [B, S, S, 3]; tokens, turn_ids, positions, targets int32 [B, T];
    weights float32 [B, T]; and on the host "ids", per row the "PAGE:SUBTASK" of each turn.  B is
    this process's share.  See rows.py for what the arrays mean.
    """

    def __init__(self, batches: grain.DatasetIterator, identity: dict[str, Any]):
        self._batches, self._identity = batches, identity

    def __next__(self) -> dict[str, Any]:
        return next(self._batches)

    def get_state(self) -> dict[str, Any]:
        return {"step": self._batches.get_state()["next_index"], **self._identity}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues behind the batch at which the state was taken, prefetched ones included.

        Raises:
          UserError: the state is of other data, another tokenizer, batch size or seed, with which
            the same position would mean other batches.
        """
        changed = [name for name, value in self._identity.items() if state.get(name) != value]
        if changed:
            meaning = {"rows": "the dataset, the tokenizer or the row settings"}
            raise UserError(
                "cannot continue the data where it was left: "
                f"{', '.join(meaning.get(name, name) for name in changed)} changed since; "
                "undo the change or start a new run directory"
            )
        self._batches.set_state({"next_index": state["step"]})


def make_pipeline(
    dataset_dir: str | Path,
    splits: Sequence[str],
    tok: PreTrainedTokenizerFast,
    config: PipelineConfig,
    *,
    process_index: int = 0,
    process_count: int = 1,
    seed: int = 0,
    epochs: float | None = None,
    cache_dir: str | Path | None = None,
) -> Pipeline:
    """The training batches of one or several splits (several are mixed: joint training).

    Args:
      process_index, process_count: this process and all of them; each step's global batch is cut
        into equal neighbouring parts, one a process.
      epochs: after so many the iterator stops (fractions are steps); None never stops.  Every
        epoch is shuffled anew; less than one batch of rows stays out of each, others each time.
      cache_dir: where the row plan is kept; None for beside the dataset.

    Raises:
      UserError: no dataset, a missing or damaged shard, nothing to train on, too small a split.
    """
    pages = PageReader(dataset_dir, splits)
    settings = rows.RowSettings(
        template=config.template,
        n_image_tokens=config.n_image_tokens,
        max_length=max(config.lengths),
        turns_per_row=config.turns_per_row,
        subtasks=tuple(config.subtasks),
        shares=tuple(config.shares),
    )
    plan = rows.plan_rows(pages, tok, settings, cache_dir=cache_dir)
    return Pipeline(pages, plan, tok, config, process_index, process_count, seed, epochs)


def length_classes(needed: np.ndarray, lengths: Sequence[int], batch: int) -> dict[int, np.ndarray]:
    """Which rows get which static length: {T: row numbers}.

    Every class but the largest is a whole number of batches: the longest rows beyond that move
    one class up.  If then the largest class has rows, but fewer than a batch, a batch of the next
    smaller class joins it, so that no row is left out in every epoch.
    """
    lengths = sorted(set(lengths))
    by_need = np.argsort(needed, kind="stable")
    ends = []
    for length in lengths[:-1]:
        fit = int(np.searchsorted(needed[by_need], length, side="right"))
        start = ends[-1] if ends else 0
        ends.append(start + (fit - start) // batch * batch)
    if ends and 0 < len(by_need) - ends[-1] < batch and ends[-1] >= batch:
        ends[-1] -= batch
        ends = [min(end, ends[-1]) for end in ends]
    parts = np.split(by_need, ends)
    return {n: np.sort(part) for n, part in zip(lengths, parts, strict=True)}


def shrunk(length: int, needed: np.ndarray, multiple: int) -> int:
    """The static length of a class of rows: the longest of them, rounded up to a multiple.

    At most the class's own `length`, which it stays where `multiple` is 0 or there are no rows.
    """
    if not multiple or not len(needed):
        return length
    return min(length, -(-int(needed.max()) // multiple) * multiple)


@dataclass(frozen=True)
class EvalPage:
    """One picture with its questions, ready to be answered.

    image: uint8 [S, S, 3]; prefix: tokens up to the last image position, shared by the questions;
    prompts: tokens behind it, one list a turn; turns: subtask, question and expected answer.
    """

    id: str
    image: np.ndarray
    prefix: tuple[int, ...]
    prompts: tuple[tuple[int, ...], ...]
    turns: tuple[Turn, ...]
    metadata: dict[str, Any]


def eval_questions(
    dataset_dir: str | Path,
    split: str,
    tok: PreTrainedTokenizerFast,
    *,
    n_image_tokens: int,
    image_size: int,
    limit: int = 0,
    subtasks: Sequence[str] = (),
    template: str = "mistral_instruct",
    image_mode: str = "pad",
) -> Iterator[EvalPage]:
    """Pages of a split with their questions, in a fixed random order.

    The order does not depend on anything but the split's size, so that `limit` questions (0: all)
    are a fair and repeatable sample of it; the last page may be cut to meet the limit.
    """
    pages = PageReader(dataset_dir, [split])
    prefix = tuple(chat.encode_prefix(tok, template, n_image_tokens))
    found = {turn.subtask for page in pages for turn in page.turns} if subtasks else set()
    wanted = rows.wanted_subtasks(subtasks, found)
    asked = 0
    for index in np.random.default_rng(0).permutation(len(pages)):
        page = pages[int(index)]
        turns = tuple(turn for turn in page.turns if not subtasks or turn.subtask in wanted)
        turns = turns[: limit - asked] if limit else turns
        if turns:
            prompts = chat.encode_prompts(tok, template, [turn.question for turn in turns])
            yield EvalPage(
                id=page.id,
                image=images.load(page.png, image_size, image_mode, name=page.id),
                prefix=prefix,
                prompts=tuple(map(tuple, prompts)),
                turns=turns,
                metadata=page.metadata,
            )
        asked += len(turns)
        if limit and asked >= limit:
            return


def measure(pipeline: Pipeline, seconds: float = 10.0) -> dict[str, float]:
    """Reads batches for so long: rates by the clock, and by the processor time that was spent.

    The start is left out.  The second kind says what one core reads even where others compete.
    """
    batches = iter(pipeline)
    next(batches)
    n_batches = n_images = n_questions = 0
    start, cpu = time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - start) < seconds:
        batch = next(batches)
        n_batches += 1
        n_images += len(batch["images"])
        n_questions += sum(map(len, batch["ids"]))
    return {
        "images_per_second": n_images / elapsed,
        "images_per_core_second": n_images / (time.process_time() - cpu),
        "questions_per_second": n_questions / elapsed,
        "batches_per_second": n_batches / elapsed,
    }


def _derived_seed(seed: int, purpose: int) -> int:
    """32 bits; Grain adds the epoch to a seed, so neighbouring seeds would repeat each other."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:4], "little")


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures how fast a dataset is read.")
    parser.add_argument("--dataset", required=True, help="folder of nota_jax.data.build")
    parser.add_argument("--split", default="extraction_train")
    parser.add_argument("--tokenizer", default="", help="folder; default: a BPE trained on it")
    parser.add_argument("--size", type=int, default=336, help="image side in pixels")
    parser.add_argument("--batch_size", type=int, default=48, help="questions")
    parser.add_argument("--threads", type=int, default=0, help="0: all in one thread")
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    return exit_status(lambda: _measure_from_command_line(args))


def _measure_from_command_line(args: argparse.Namespace) -> None:
    from nota_jax.data.feed.tokenizer import load_tokenizer, train_bpe

    with tempfile.TemporaryDirectory() as folder:
        tok = (
            load_tokenizer(args.tokenizer)
            if args.tokenizer
            else train_bpe(texts(args.dataset, [args.split]), 1024, folder)
        )
        config = PipelineConfig(
            n_image_tokens=144, image_size=args.size, batch_size=args.batch_size,
            lengths=(256, 512), threads=args.threads,
        )  # fmt: skip
        start = time.perf_counter()
        pipeline = make_pipeline(args.dataset, [args.split], tok, config, cache_dir=folder)
        planned = time.perf_counter() - start
    for name, value in pipeline.report().items():
        print(f"{name:22} {value}")
    print(f"{'planned_per_second':22} {pipeline.plan.n_turns / planned:.0f}")
    for name, value in measure(pipeline, args.seconds).items():
        print(f"{name:22} {value:.1f}")


if __name__ == "__main__":
    sys.exit(main())
