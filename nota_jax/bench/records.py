"""What `bench` works on: batches of the configured dataset, or random ones of its shapes.

The same records in two forms: rows that share an image, and one row per question (LLaVA's).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ml_collections import ConfigDict

from nota_jax.data.feed import rows
from nota_jax.data.feed.chat import image_token_id
from nota_jax.data.feed.lengths import batch_rows, filled_up, static_length
from nota_jax.data.feed.pipeline import Pipeline
from nota_jax.data.feed.tokenizer import find, load_tokenizer, vocabulary_size
from nota_jax.data.store.reader import holds_dataset
from nota_jax.errors import UserError
from nota_jax.plan import workload
from nota_jax.training.objectives.answers import KEYS
from nota_jax.training.program import pipeline_config

Say = Callable[[str], None]
Arrays = Mapping[str, np.ndarray]

N_BATCHES = 2  # different ones, taken in turn


@dataclass(frozen=True)
class Records:
    """What is worked on: batches as the pipeline makes them, all of one static length.

    vocab, image_token, pad, eos: of the tokenizer; source: where the records come from.
    """

    batches: Sequence[Arrays]
    vocab: int
    image_token: int
    pad: int
    eos: int
    source: str


def records_of(config: ConfigDict, multiple: int, say: Say = print) -> Records:
    """Batches of the configured dataset; where it or its tokenizer is missing, random ones.

    multiple: the number of rows is one of this.
    """
    d, n_image = config.data, workload.image_tokens(config)
    home = find(config.run_dir, config.tokenizer)
    if home is None or not holds_dataset(d.dir):
        say(f"no dataset at {d.dir} (or no tokenizer): random records of the same shapes")
        return random_records(config, n_image, multiple)
    tok = load_tokenizer(home)
    settings = pipeline_config(config, n_image, multiple, threads=0)
    pipeline = Pipeline(d.dir, [f"{task}_train" for task in d.tasks], tok, settings)
    common = max(pipeline.steps_by_length, key=pipeline.steps_by_length.__getitem__)
    batches = []
    for batch in pipeline:
        if batch["tokens"].shape[1] == common:
            batches.append({key: batch[key] for key in KEYS})
        if len(batches) == N_BATCHES:
            break
    return Records(
        batches, vocabulary_size(len(tok), config.model.text.vocab_size), image_token_id(tok),
        tok.pad_token_id, tok.eos_token_id, f"{d.dir}, rows of {common} tokens",
    )  # fmt: skip


def random_records(config: ConfigDict, n_image: int, multiple: int) -> Records:
    """Random pixels and tokens; as many turns to a row as `plan.workload` found in real data."""
    d, vocab = config.data, config.model.text.vocab_size or config.vocab_size
    image_token, pad, eos, first = 4, 0, 2, 8
    rng, length = np.random.default_rng(config.seed), min(config.data.lengths)
    per_row = round(workload.questions_per_row(config))
    prefix = np.array([1, 3] + [image_token] * n_image, np.int32)
    if (room := (length - len(prefix)) // per_row) < 8:
        raise UserError(
            f"rows of {length} tokens have no room for {per_row} questions behind "
            f"{len(prefix)} tokens of image: raise config.data.lengths"
        )
    n_rows = filled_up(batch_rows(d.batch_size, per_row), multiple)
    sizes = rng.integers(max(6, room // 2), room + 1, n_rows * per_row)
    plan = rows.RowPlan(
        prefix=prefix, tokens=rng.integers(first, vocab, sizes.sum(), np.int32),
        char_starts=np.zeros(sizes.sum(), np.int16),
        turn_starts=np.cumsum([0, *sizes]), prompt_lengths=(sizes * 2 // 3).astype(np.int32),
        turn_pages=np.repeat(np.arange(n_rows), per_row), turn_numbers=np.arange(len(sizes)),
        row_starts=np.arange(0, len(sizes) + 1, per_row),
        row_lengths=len(prefix) + sizes.reshape(n_rows, per_row).sum(1),
    )  # fmt: skip
    length = static_length(length, int(plan.row_lengths.max()), d.length_multiple)
    batches, side = [], config.model.vision.image_size
    for _ in range(N_BATCHES):
        batch = rows.empty_batch(n_rows, length, pad)
        for place, row in enumerate(rng.permutation(n_rows)):
            rows.fill_row(plan, int(row), {key: a[place] for key, a in batch.items()})
        batch["images"] = rng.integers(0, 256, (n_rows, side, side, 3), np.uint8)
        batches.append(batch)
    return Records(batches, vocab, image_token, pad, eos, f"random, rows of {length} tokens")


def one_row_per_question(batch: Arrays, pad: int, multiple: int) -> dict[str, np.ndarray]:
    """The same records as LLaVA has them: each question in a row of its own, its image repeated.

    multiple: of which the rows' static length is one, the smallest that holds them.
    """
    ids = batch["turn_ids"]
    taken = [(b, (ids[b] == 0) | (ids[b] == t)) for b in range(len(ids))
             for t in range(1, ids[b].max() + 1)]  # fmt: skip
    length = max(int(mask.sum()) for _, mask in taken)
    out = rows.empty_batch(len(taken), -(-length // multiple) * multiple, pad)
    for row, (b, mask) in enumerate(taken):
        n = int(mask.sum())
        for key in out:
            out[key][row, :n] = batch[key][b, mask]
        out["turn_ids"][row, :n] = np.minimum(out["turn_ids"][row, :n], 1)
    return out | {"images": batch["images"][[b for b, _ in taken]]}


@dataclass(frozen=True)
class Asked:
    """Questions about images: images uint8 [B, S, S, 3]; prefix int [P]; turns int [B, Q, L],
    padded; lengths int [B, Q]."""

    images: np.ndarray
    prefix: np.ndarray
    turns: np.ndarray
    lengths: np.ndarray

    def apart(self) -> Asked:
        """Each question with an image of its own, in the same order."""
        images, places = np.nonzero(self.lengths)
        return Asked(
            self.images[images], self.prefix, self.turns[images, places][:, None],
            self.lengths[images, places][:, None],
        )  # fmt: skip


def questions_of(batch: Arrays, n_images: int) -> Asked:
    """The questions of a batch's first rows, up to where their answers start."""
    ids, weights = batch["turn_ids"][:n_images], batch["weights"][:n_images]
    asked = []
    for b, row in enumerate(ids):
        starts = [np.flatnonzero(row == t) for t in range(1, row.max() + 1)]
        asked.append([
            batch["tokens"][b, at[: np.flatnonzero(weights[b, at])[0] + 1]] for at in starts
        ])  # fmt: skip
    most, longest = max(map(len, asked)), max(len(q) for row in asked for q in row)
    turns = np.zeros((len(ids), most, longest), np.int32)
    lengths = np.zeros((len(ids), most), np.int32)
    for b, row in enumerate(asked):
        for i, question in enumerate(row):
            turns[b, i, : len(question)], lengths[b, i] = question, len(question)
    return Asked(batch["images"][:n_images], batch["tokens"][0, ids[0] == 0], turns, lengths)
