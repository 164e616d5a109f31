"""How much there is to train on: questions, rows and their lengths, at NOTA's size.

Where the configured dataset and tokenizer are there, they say how questions fill rows.  Where they
are not, the figures below do; the number of records is NOTA's in either case.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from nota_jax.data.feed import packing, tokenizer
from nota_jax.data.feed.lengths import batches_by_length, length_classes
from nota_jax.data.store.reader import PageReader, holds_dataset
from nota_jax.training.program import model_config, pipeline_config

# Records of NOTA (arXiv 2502.14893); of extraction about 161,000 × 6.
NOTA_RECORDS = {"alignment": 28_125, "extraction": 970_000, "analysis": 700}

# Measured on 1,039 pages of the embedded corpora (data/tiny, train) with Mistral-7B's tokenizer,
# 576 image tokens and rows of at most 2,048: questions that share a row, share of rows longer
# than 1,024.  Alignment: rows of 598 on average.  Extraction: 879.  Analysis is asked here as NOTA
# has it, one question an image (rows of 652); our own nine short ones share rows of 983.
QUESTIONS_PER_ROW = {"alignment": 1.0, "extraction": 6.0, "analysis": 1.0}
LONG_ROWS = {"alignment": 0.0, "extraction": 0.05, "analysis": 0.0}


@dataclass(frozen=True)
class Work:
    """questions: of an epoch; shares: static length → share of the steps that have it; source:
    where this comes from."""

    questions: int
    questions_per_row: float
    shares: dict[int, float]
    source: str


def work_of(config: ConfigDict, say: Callable[[str], None] = print) -> Work:
    """The work of a phase; from its dataset if that and a tokenizer are there."""
    home = tokenizer.find(config.run_dir, config.tokenizer)
    if home is not None and holds_dataset(config.data.dir):
        return _measured(config, home)
    lengths = sorted(config.data.lengths)
    per_row = questions_per_row(config)
    long = max(LONG_ROWS[task] for task in config.data.tasks) if len(lengths) > 1 else 0.0
    say(
        f"no dataset at {config.data.dir} (or no tokenizer), so rows are assumed: "
        f"{per_row:g} question(s) each, {long:.0%} of them long"
    )
    shares = {lengths[0]: 1 - long, lengths[-1]: long} if long else {lengths[0]: 1.0}
    return Work(records(config), per_row, shares, "assumed (nota_jax/plan/workload.py)")


def records(config: ConfigDict) -> int:
    """Of NOTA, of the configured tasks."""
    return sum(NOTA_RECORDS[task] for task in config.data.tasks)


def questions_per_row(config: ConfigDict) -> float:
    """On average over the tasks' rows."""
    n_rows = sum(NOTA_RECORDS[task] / QUESTIONS_PER_ROW[task] for task in config.data.tasks)
    return min(records(config) / n_rows, config.data.turns_per_row or 99)


def _measured(config: ConfigDict, home: Path) -> Work:
    d = config.data
    settings = pipeline_config(config, image_tokens(config), 1)
    pages = PageReader(d.dir, [f"{task}_train" for task in d.tasks])
    plan = packing.plan_rows(pages, tokenizer.load_tokenizer(home), settings)
    classes = length_classes(plan.row_lengths, sorted(d.lengths), 1, d.length_multiple)
    shares = {t: n / plan.n_rows for t, n in batches_by_length(classes, 1).items()}
    source = f"measured on {d.dir}"
    return Work(records(config), plan.n_turns / plan.n_rows, shares, source)


def only_longest(work: Work) -> Work:
    """The same rows at the length that needs most memory."""
    return dataclasses.replace(work, shares={max(work.shares): 1.0})


def image_tokens(config: ConfigDict) -> int:
    """Of one image, in the decoder's rows."""
    vocabulary = config.model.text.vocab_size or config.vocab_size
    return model_config(config, 0, vocabulary).num_image_tokens
