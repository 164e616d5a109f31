"""Figures with intervals: a sum over a weight, and how far it moves when other pages are drawn.

Every score of an answer is a (sum, weight) pair under a name, so that each figure is the sum of all
sums over the sum of all weights: a rate, a mean, errors per note.  Questions about one page are not
independent, so the bootstrap draws pages (with replacement, as many as there are) and not answers:
B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979); the
interval is its 2.5 and 97.5 percentiles.  Where no page errs or all do, all draws are alike and the
interval has no width: the counts beside it say how little that may mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Marks = Mapping[str, tuple[float, float]]
DRAWS = 1000
INTERVAL = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class Estimate:
    """A figure; low and high: of its 95 % interval.  count: answers it rests on; pages: theirs."""

    value: float
    low: float
    high: float
    count: int
    pages: int


@dataclass(frozen=True)
class Sums:
    """What pages add to each figure.

    sums, weights: float64 [pages, names].  counts: answers, int [names].
    """

    pages: tuple[str, ...]
    names: tuple[str, ...]
    sums: np.ndarray
    weights: np.ndarray
    counts: np.ndarray


def gather(marks: Iterable[tuple[str, Marks]]) -> Sums:
    """The sums over the answers, given as (page, marks)."""
    rows = list(marks)
    names = {name: i for i, name in enumerate(dict.fromkeys(n for _, m in rows for n in m))}
    pages = {page: i for i, page in enumerate(dict.fromkeys(page for page, _ in rows))}
    sums, weights = np.zeros((2, len(pages), len(names)))
    counts = np.zeros(len(names), int)
    for page, of_answer in rows:
        row = pages[page]
        for name, (total, weight) in of_answer.items():
            column = names[name]
            sums[row, column] += total
            weights[row, column] += weight
            counts[column] += 1
    return Sums(tuple(pages), tuple(names), sums, weights, counts)


def estimates(
    of: Sums, means: Mapping[str, Sequence[str]] | None = None, draws: int = DRAWS, seed: int = 0
) -> dict[str, Estimate]:
    """Every figure whose weight is not zero.

    means: further figures, the plain mean of others; left out where any of those is missing.
    draws: 0 for no intervals.
    """
    if not of.pages:
        return {}
    values, drawn = _figures(of, _drawings(len(of.pages), draws, seed))
    counts = dict(zip(of.names, of.counts.tolist(), strict=True))
    pages = dict(zip(of.names, (of.weights > 0).sum(axis=0).tolist(), strict=True))
    return _with_means(values, drawn, counts, pages, means or {})


def differences(
    a: Sums, b: Sums, means: Mapping[str, Sequence[str]] | None = None, draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Estimate]:  # fmt: skip
    """b − a of every figure that both have, over the same pages, drawn together."""
    assert a.pages == b.pages, "pairs of pages are compared"
    if not a.pages:
        return {}
    drawings = _drawings(len(a.pages), draws, seed)
    (of_a, drawn_a), (of_b, drawn_b) = (_figures(x, drawings) for x in (a, b))
    both = [name for name in of_a if name in of_b]
    pages = dict(zip(a.names, (a.weights > 0).sum(axis=0).tolist(), strict=True))
    return _with_means(
        {name: of_b[name] - of_a[name] for name in both},
        {name: drawn_b[name] - drawn_a[name] for name in both},
        dict(zip(a.names, a.counts.tolist(), strict=True)),
        pages,
        means or {},
    )


def median(
    values: Sequence[float], pages: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> Estimate | None:
    """The median over answers with its interval; of an even number the lower of the middle two.

    values, pages: of each answer.  None where there are none.
    """
    if not values:
        return None
    ids = {page: i for i, page in enumerate(dict.fromkeys(pages))}
    order = np.argsort(np.asarray(values), kind="stable")
    ordered = np.asarray(values, float)[order]
    page = np.asarray([ids[name] for name in pages])[order]
    weights = np.vstack([np.ones((1, len(ids))), _drawings(len(ids), draws, seed)])[:, page]
    reached = weights.cumsum(axis=1)
    middle = (reached < reached[:, -1:] / 2).sum(axis=1)
    found = ordered[np.minimum(middle, len(ordered) - 1)]
    return _estimate(float(found[0]), found[1:], len(ordered), len(ids))


def _drawings(pages: int, draws: int, seed: int) -> np.ndarray:
    """How often each page is drawn: float64 [draws, pages]."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(pages, np.full(pages, 1 / pages), size=draws).astype(float)


def _figures(of: Sums, drawings: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The value of each figure, and its value in every drawing (NaN where that has no weight)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = of.sums.sum(axis=0) / of.weights.sum(axis=0)
        drawn = (drawings @ of.sums) / (drawings @ of.weights)
    there = [(i, n) for i, n in enumerate(of.names) if of.weights[:, i].sum() > 0]
    return {n: float(values[i]) for i, n in there}, {n: drawn[:, i] for i, n in there}


def _with_means(
    values: dict[str, float],
    drawn: dict[str, np.ndarray],
    counts: Mapping[str, int],
    pages: Mapping[str, int],
    means: Mapping[str, Sequence[str]],
) -> dict[str, Estimate]:
    found = {
        name: _estimate(value, drawn[name], counts[name], pages[name])
        for name, value in values.items()
    }
    for name, parts in means.items():
        if parts and all(part in values for part in parts):
            value = sum(values[part] for part in parts) / len(parts)
            column = np.mean([drawn[part] for part in parts], axis=0)
            count = sum(counts[part] for part in parts)
            found[name] = _estimate(value, column, count, max(pages[part] for part in parts))
    return found


def _estimate(value: float, drawn: np.ndarray, count: int, pages: int) -> Estimate:
    """Draws in which the figure has no weight say nothing of it; without any it has no width."""
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.percentile(drawn, INTERVAL) if drawn.size else (value, value)
    return Estimate(value, float(low), float(high), count, pages)
