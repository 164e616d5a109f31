"""Training's batches.

    pages on disk → row plan (packing.py) → Grain: shuffle, batch, repeat (order.py) → pictures and
    arrays

Which rows make up which global batch depends on the plan, the seed and the batch size alone, not
on the number of devices, processes, threads, microbatches or restarts.  Where they do not divide
evenly, rows of padding stand behind them, which weigh nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import numpy as np
from transformers import PreTrainedTokenizerFast

from nota_jax.data import degrade, lettering
from nota_jax.data.feed import heading, images, labels, lengths, order, packing, rows, tokenizer
from nota_jax.data.records import Page, question_ids
from nota_jax.data.store.reader import PageReader
from nota_jax.errors import UserError
from nota_jax.notation.engraving import boxes

# A page of text takes long to write, so it stands for so many steps, each time in another place.
STEPS_OF_A_TEXT = 8


@dataclass(frozen=True, kw_only=True)
class PipelineConfig(packing.RowSettings):
    """What a batch looks like: its rows, and

    image_size: pixels of the square side; image_mode: see `images.load`.
    batch_size: questions in a global batch, on average; the number of rows is fixed from it once.
    row_multiple: a global batch is filled up with rows of padding to a multiple of this (devices
      that share the batch × gradient accumulation steps).
    length_multiple: each length shrinks to its longest row, rounded up to a multiple of this; 0
      leaves it as it is.
    jitter: pictures move by up to so many pixels each way, anew at every step.
    degrade: share of the pictures that get faults of scanners and cameras, anew at every step.
    letters: share of the pictures that give way to pages of text alone (`data.lettering`), by lot
      at every step: the tower learns letters from them, and their rows ask nothing.
    corrupt: share of the answers' notes and numbers that the model is shown others of the answer
      instead of, anew at every step; what it has to say stays as it is.
    misread: share of what the labels say of a symbol that is another symbol's, anew at every step.
    weights: (subtask, weight of its answers' tokens) where it is not 1.
    balance: (feature of pages, of its values (value, weight)): so much of an epoch is of each group
      of rows, see `order.batches`.
    curriculum: for so many steps rows grow, from those of the smallest static length to those of
      the largest, the same number of steps for each; then they come mixed.
    pictures: False for rows of text alone (`n_image_tokens` is 0 then).
    extras: further arrays of a batch, of `EXTRAS`; patch: pixels of the patches that they tell of.
    threads: that read ahead (0 reads in the caller's); prefetch: batches that wait ready.
    """

    image_size: int
    image_mode: str = "pad"
    batch_size: int
    row_multiple: int = 1
    length_multiple: int = 0
    jitter: int = 0
    degrade: float = 0.0
    letters: float = 0.0
    corrupt: float = 0.0
    misread: float = 0.0
    weights: tuple[tuple[str, float], ...] = ()
    balance: order.Balance = ()
    curriculum: int = 0
    pictures: bool = True
    extras: tuple[str, ...] = ()
    patch: int = 14
    threads: int = 2
    prefetch: int = 2


# Further arrays of a batch, empty, by (rows, length, picture's size, patch's size).
EXTRAS: dict[str, Callable[[int, int, int, int], np.ndarray]] = {
    # What lies in each patch (`labels.patches`).
    "symbols": lambda b, _, size, patch: np.full(
        (b, (size // patch) ** 2, labels.SLOTS, len(labels.FIELDS)), labels.NONE, np.int8
    ),
    # The patches of the symbols that the predicted token is read from (`labels.of_tokens`), and
    # (with it) `labels.ADDRESS` of the first.
    "look": lambda b, t, *_: np.full((b, t, 2), labels.NONE, np.int16),
    "address": lambda b, t, *_: np.full((b, t, len(labels.ADDRESS)), labels.NONE, np.int8),
}


class Pipeline:
    """The training batches of one or several splits (several are mixed: joint training).

    Reproducible; iterate it, or use `iter(pipeline)` for its state.

    plan: the `RowPlan`; rows_per_batch: of the global batch, and rows_with_padding: those that it
    is filled up to; steps_by_length: T → steps of an epoch; steps_per_epoch, total_steps: None
    where it never ends.
    """

    def __init__(
        self,
        dataset: str | Path,
        splits: Sequence[str],
        tok: PreTrainedTokenizerFast,
        config: PipelineConfig,
        *,
        process_index: int = 0,
        process_count: int = 1,
        seed: int = 0,
        epochs: float | None = None,
        cache_dir: str | Path | None = None,
    ):
        """Reads or makes the row plan.

        Args:
          process_index, process_count: this process and all of them; each has an equal share of
            every global batch, of neighbouring rows.
          epochs: after so many the iterator stops (fractions are steps); None never stops.  Every
            epoch is shuffled anew; less than one batch of rows stays out of each, others each time.
          cache_dir: where the row plan is kept; None for beside the dataset.

        Raises:
          UserError: no dataset, a missing or damaged shard, nothing to train on, too small a split.
        """
        self.config, self.seed = config, seed
        self.pages = pages = PageReader(dataset, splits)
        self.plan = plan = packing.plan_rows(pages, tok, config, cache_dir=cache_dir)
        self._pad_id = tok.pad_token_id
        if config.corrupt:  # decodes the whole vocabulary
            self._mistakable = tokenizer.mistakable(tok)
        self.rows_per_batch = lengths.batch_rows(config.batch_size, plan.n_turns / plan.n_rows)
        self.rows_with_padding = lengths.filled_up(
            self.rows_per_batch, math.lcm(config.row_multiple, process_count)
        )
        if plan.n_rows < self.rows_per_batch:
            raise UserError(
                f"{', '.join(pages.splits)} has {plan.n_rows} rows ({plan.n_turns} questions), "
                f"fewer than the {self.rows_per_batch} of one batch: lower data.batch_size or "
                "build a larger dataset"
            )
        local = self.rows_with_padding // process_count
        self._process = range(local * process_index, local * (process_index + 1))
        classes = lengths.length_classes(
            plan.row_lengths, config.lengths, self.rows_per_batch, config.length_multiple
        )
        batches, self.steps_by_length = order.batches(
            plan, classes, self.rows_per_batch, seed=seed, balance=config.balance,
            curriculum=config.curriculum,
        )  # fmt: skip
        self.steps_per_epoch = sum(self.steps_by_length.values())
        self.total_steps = None if epochs is None else max(1, round(epochs * self.steps_per_epoch))
        if self.total_steps is not None:
            batches = batches[: self.total_steps]
        self._dataset = batches.map_with_index(self._load)

    def _load(self, step: int, batch: tuple[int, np.ndarray]) -> dict[str, Any]:
        """This process's part of a global batch; what is not filled is padding."""
        here, size = self._process, self.config.image_size
        length, chosen = batch[0], batch[1][here.start : here.stop]
        shifts = self._shifts(step, len(batch[1]))[here.start : here.stop]
        arrays = rows.empty_batch(len(here), length, self._pad_id)
        if self.config.pictures:
            arrays["images"] = np.full((len(here), size, size, 3), 255, np.uint8)
        for name in self.config.extras:
            arrays[name] = EXTRAS[name](len(here), length, size, self.config.patch)
        ids = []
        for i, row in enumerate(chosen):
            turns = self.plan.turns(row)
            page = self.pages[int(self.plan.turn_pages[turns[0]])]
            of_row = {name: a[i] for name, a in arrays.items()}
            rows.fill_row(self.plan, row, of_row)
            number = here.start + i
            self._weigh(of_row, row, page)
            lot = self._rng(5, step, number)
            image: np.ndarray | None
            if self.config.pictures and lot.random() < self.config.letters:
                image, symbols, shift = self._text(step, number, lot)
                of_row["weights"][:] = 0
            else:
                image, symbols, shift = self._picture(page), self._symbols(page), shifts[i]
            if image is not None:
                if self.config.degrade:
                    image = self._degrade(image, symbols, self._rng(4, step, number))
                if self._subtask(page, turns[0]) in self.config.apart:
                    image, symbols = heading.enlarged(image, symbols)
                of_row["images"][:] = images.shift(image, *shift)
            symbols = boxes.moved(symbols, 1.0, shift[1], shift[0])
            if self.config.extras:
                self._label(of_row, row, page, symbols, self._rng(3, step, number))
            if self.config.corrupt:
                self._corrupt(of_row, self._rng(2, step, number))
            numbers = self.plan.turn_numbers[turns.start : turns.stop]
            named = question_ids(page.id, page.turns)
            ids.append([named[number] for number in numbers])
        return {**arrays, "ids": ids, "rows": len(batch[1])}

    def _picture(self, page: Page) -> np.ndarray | None:
        """A page's picture; None where none is wanted."""
        if not self.config.pictures:
            return None
        return images.load(page.png, self.config.image_size, self.config.image_mode, name=page.id)

    def _text(
        self, step: int, number: int, lot: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A page of text, its letters, and how far it is to move: to any place of a patch."""
        most = self.config.patch // 2
        shift = lot.integers(-most, most + 1, 2)
        seed = int(self._rng(6, step // STEPS_OF_A_TEXT, number).integers(2**32))
        image, symbols = lettering.page(self.config.image_size, seed)
        return image, symbols.copy(), shift

    def _symbols(self, page: Page) -> np.ndarray:
        """What the picture shows, if anyone asks; of a picture from elsewhere nobody knows."""
        if not (self.config.extras and page.symbols):
            return np.zeros(0, boxes.SYMBOL)
        scale, x, y = images.placement(page.png, self.config.image_size, self.config.image_mode)
        return boxes.moved(boxes.unpack(page.symbols), scale, x, y)

    def _degrade(
        self, image: np.ndarray, symbols: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """The picture, perhaps with faults; `symbols` move along."""
        if rng.random() >= self.config.degrade:
            return image
        image, symbols["box"] = degrade.degrade(image, symbols["box"], int(rng.integers(2**32)))
        return image

    def _label(
        self,
        of_row: dict[str, np.ndarray],
        row: int,
        page: Page,
        symbols: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        """Fills the extras of a row, whose picture shows `symbols`."""
        if not len(symbols):  # nothing is known, which is not to say that nothing is there
            return
        size, patch = self.config.image_size, self.config.patch
        first, _, last = str(page.metadata["highlight"]).partition("-")
        highlight = (int(first), int(last)) if last else None
        told = labels.classes(symbols, highlight)
        if "symbols" in of_row:
            seen = labels.misread(told, self.config.misread, rng) if self.config.misread else told
            of_row["symbols"][:] = labels.patches(symbols, seen, size, patch)
        if "look" not in of_row:
            return
        cell = labels.cells(symbols, size, patch)
        address = labels.addresses(told, symbols, highlight)
        places = labels.Places(symbols)
        for turn, answer, predicted in rows.answers(self.plan, row):
            asked = page.turns[int(self.plan.turn_numbers[turn])]
            written = labels.written(asked.answer, asked.subtask, places, int(first or 0))
            found = labels.of_tokens(written, self.plan.char_starts[answer])
            of_row["look"][predicted] = np.where(found >= 0, cell[found], labels.NONE)
            told_of = np.where(found[:, :1] >= 0, address[found[:, 0]], labels.NONE)
            of_row["address"][predicted] = told_of

    def _weigh(self, of_row: dict[str, np.ndarray], row: int, page: Page) -> None:
        """Gives the answers of some subtasks their weight."""
        weights = dict(self.config.weights)
        for turn, _, predicted in rows.answers(self.plan, row) if weights else ():
            of_row["weights"][predicted] *= weights.get(self._subtask(page, turn), 1.0)

    def _subtask(self, page: Page, turn: int) -> str:
        return page.turns[int(self.plan.turn_numbers[turn])].subtask

    def _corrupt(self, of_row: dict[str, np.ndarray], rng: np.random.Generator) -> None:
        """Shows other notes and numbers in the answers' places."""
        shown = np.flatnonzero(of_row["weights"][:-1]) + 1
        kinds = self._mistakable[of_row["tokens"][shown]]
        for kind in range(1, kinds.max(initial=0) + 1):
            there = shown[kinds == kind]
            wrong = there[rng.random(len(there)) < self.config.corrupt]
            of_row["tokens"][wrong] = of_row["tokens"][rng.permutation(there)[: len(wrong)]]

    def _rng(self, purpose: int, step: int, number: int) -> np.random.Generator:
        """Of the `number`-th row of a global batch."""
        return np.random.default_rng([order.derived_seed(self.seed, purpose), step, number])

    def _shifts(self, step: int, n: int) -> np.ndarray:
        """How far a global batch's pictures move, [n, 2] pixels: by seed and step alone."""
        rng = np.random.default_rng([order.derived_seed(self.seed, 1), step])
        return rng.integers(-self.config.jitter, self.config.jitter + 1, (n, 2))

    def __iter__(self) -> BatchIterator:
        options = grain.ReadOptions(
            num_threads=self.config.threads,
            prefetch_buffer_size=self.config.prefetch if self.config.threads else 0,
        )
        return BatchIterator(iter(self._dataset.to_iter_dataset(options)), self._identity())

    def _identity(self) -> dict[str, Any]:
        """What has to be the same for a saved position to mean the same batches."""
        balance = json.loads(json.dumps(self.config.balance))  # a checkpoint holds it as JSON
        return {
            "rows": self.plan.fingerprint,
            "rows_per_batch": self.rows_per_batch,
            "lengths": sorted(self.config.lengths),
            "seed": self.seed,
            "jitter": self.config.jitter,
            "degrade": self.config.degrade,
            "corrupt": self.config.corrupt,
            "misread": self.config.misread,
            "curriculum": self.config.curriculum,
            "weights": [list(pair) for pair in self.config.weights],
            # What older checkpoints do not name.
            **({"balance": balance} if balance else {}),
            **({"letters": self.config.letters} if self.config.letters else {}),
        }

    def report(self) -> dict[str, Any]:
        """Counts for the log: pages, rows, questions, steps, padding and what was dropped."""
        plan = self.plan
        held = sum(length * n for length, n in self.steps_by_length.items())
        held *= self.rows_with_padding
        used = plan.row_lengths.mean() * self.steps_per_epoch * self.rows_per_batch
        return {
            "pages": len(self.pages),
            "rows": plan.n_rows,
            "questions": plan.n_turns,
            "dropped": plan.dropped,
            "rows_per_batch": self.rows_per_batch,
            "questions_per_batch": round(self.rows_per_batch * plan.n_turns / plan.n_rows, 1),
            "steps_per_epoch": self.steps_per_epoch,
            "steps_by_length": self.steps_by_length,
            "padding_share": round(1 - used / held, 3),
        }


class BatchIterator(Iterator[dict[str, Any]]):
    """Batches from one position on; `get_state` is JSON and stands behind the last one taken.

    A batch holds images uint8 [B, S, S, 3]; tokens, turn_ids, positions, targets int32 [B, T];
    weights float32 [B, T]; what `extras` name; and on the host "ids", per row the "PAGE:SUBTASK" of
    each turn, and "rows", how many the global batch has.  B is this process's share, with rows of
    padding at its end, of which "ids" says nothing.  See rows.py for what the arrays mean.
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
        names = [*self._identity, *(state.keys() - self._identity.keys() - {"step"})]
        changed = [name for name in names if state.get(name) != self._identity.get(name)]
        if changed:
            meaning = {"rows": "the dataset, the tokenizer or the row settings"}
            raise UserError(
                "cannot continue the data where it was left: "
                f"{', '.join(meaning.get(name, name) for name in changed)} changed since; "
                "undo the change or start a new run directory"
            )
        self._batches.set_state({"next_index": state["step"]})
