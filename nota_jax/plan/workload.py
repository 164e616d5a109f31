"""How much there is to train on: questions, rows and their lengths, at NOTA's size.

Where the configured dataset and tokenizer are there, they say how questions fill rows.  Where they
are not, the figures below do; the number of records is NOTA's in either case.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from nota_jax.data.feed import packing, tokenizer
from nota_jax.data.feed.lengths import batches_by_length, length_classes
from nota_jax.data.store.reader import PageReader, holds_dataset
from nota_jax.models.config import ConnectorConfig, VisionConfig
from nota_jax.training.program import pipeline_config

# Records of NOTA (arXiv 2502.14893): alignment, extraction (about 161,000 × 6), analysis.
NOTA_RECORDS = {1: 28_125, 2: 970_000, 3: 700}

# Measured on 1,039 pages of the embedded corpora (data/tiny, train) with Mistral-7B's tokenizer,
# 576 image positions and rows of at most 2,048: questions that share a row, share of rows longer
# than 1,024.  Alignment: rows of 598 on average.  Extraction: 879.  Analysis is asked here as NOTA
# has it, one question an image (rows of 652); our own nine short ones share rows of 983.
QUESTIONS_PER_ROW = {1: 1.0, 2: 6.0, 3: 1.0}
LONG_ROWS = {1: 0.0, 2: 0.05, 3: 0.0}


@dataclass(frozen=True)
class Work:
    """questions: of an epoch; shares: static length → share of the steps that have it; tokens:
    positions of a row that are not padding, on average; source: where this comes from."""

    questions: int
    questions_per_row: float
    shares: dict[int, float]
    source: str

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def work_of(config: ConfigDict, say: Callable[[str], None] = print) -> Work:
    """The work of a phase; from its dataset if that and a tokenizer are there."""
    questions = NOTA_RECORDS[config.phase]
    home = tokenizer.find(config.run_dir, config.tokenizer)
    lengths = sorted(config.data.lengths)
    if home is None or not holds_dataset(config.data.dir):
        many, long = min(QUESTIONS_PER_ROW[config.phase], config.data.turns_per_row or 99), 0.0
        if len(lengths) > 1:
            long = LONG_ROWS[config.phase]
        shares = {lengths[0]: 1 - long, **({lengths[-1]: long} if long else {})}
        say(
            f"no dataset at {config.data.dir} (or no tokenizer), so rows are assumed: "
            f"{many:g} questions each, {long:.0%} of them long"
        )
        return Work(questions, many, shares, "assumed (nota_jax/plan/workload.py)")
    d = config.data
    settings = pipeline_config(config, image_tokens(config), 1)
    pages = PageReader(d.dir, [f"{task}_train" for task in d.tasks])
    plan = packing.plan_rows(pages, tokenizer.load_tokenizer(home), settings)
    classes = length_classes(plan.row_lengths, lengths, 1, d.length_multiple)
    shares = {t: n / plan.n_rows for t, n in batches_by_length(classes, 1).items()}
    return Work(questions, plan.n_turns / plan.n_rows, shares, f"measured on {d.dir}")


def only_longest(work: Work) -> Work:
    """The same rows at the length that needs most memory."""
    return dataclasses.replace(work, shares={max(work.shares): 1.0})


def image_tokens(config: ConfigDict) -> int:
    connector = ConnectorConfig(**config.model.connector.to_dict())
    if connector.kind == "resampler":
        return connector.num_queries
    return VisionConfig(**config.model.vision.to_dict()).num_patches
