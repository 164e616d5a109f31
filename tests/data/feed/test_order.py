"""The order of training: what it was before plans were mapped, and groups in given proportions."""

import itertools
from collections import Counter

import grain
import numpy as np
import pytest

from nota_jax.data.feed import order
from nota_jax.data.feed.lengths import length_classes
from nota_jax.data.feed.rows import RowPlan
from nota_jax.errors import UserError

LIMITS, BATCH = (100, 200, 400), 8
REGIONS = ["Europe", "China", "America"]


def made(n=700, seed=0):
    """A plan of rows of which one in twelve is of China, and one in fifty of America."""
    rng = np.random.default_rng(seed)
    needed = rng.integers(20, 400, n).astype(np.int32)
    region = rng.choice(3, n, p=[0.9, 0.08, 0.02]).astype(np.int32)
    some = np.zeros(n, np.int32)
    return RowPlan(
        some, some, some, np.zeros(n + 1, np.int64), some, some, some,
        np.arange(n + 1), needed, {}, "", {"region": region, "task": region % 2},
        {"region": REGIONS, "task": ["extraction", "alignment"]},
    )  # fmt: skip


def batches(plan, **options):
    classes = length_classes(plan.row_lengths, LIMITS, BATCH)
    return order.batches(plan, classes, BATCH, seed=5, **options)


def as_it_was(plan):
    """Rows sorted in memory, as the first runs had them."""
    by_need = np.argsort(plan.row_lengths, kind="stable")
    ends = [0]
    for limit in LIMITS[:-1]:
        fit = int(np.searchsorted(plan.row_lengths[by_need], limit, side="right"))
        ends.append(ends[-1] + (fit - ends[-1]) // BATCH * BATCH)
    parts = [
        grain.MapDataset.source(np.sort(by_need[first:last]))
        .shuffle(order.derived_seed(5, limit))
        .batch(BATCH, drop_remainder=True, batch_fn=np.asarray)
        for limit, (first, last) in zip(
            LIMITS, itertools.pairwise([*ends, len(by_need)]), strict=True
        )
    ]
    return grain.MapDataset.concatenate(parts).shuffle(order.derived_seed(5, 0)).repeat()


def test_the_order_is_that_of_the_first_runs():
    plan = made()
    found, steps = batches(plan)
    assert sum(steps.values()) == 700 // BATCH
    old = as_it_was(plan)
    for step in range(3 * sum(steps.values())):
        np.testing.assert_array_equal(found[step][1], old[step])


def regions(plan, some):
    return Counter(REGIONS[plan.row_groups["region"][row]] for _, rows in some for row in rows)


def test_groups_make_up_an_epoch_in_the_proportion_of_their_weights():
    plan = made()
    for weights, shares in (
        ((("China", 1.0),), (1 / 3, 1 / 3, 1 / 3)),
        ((("China", 2.0), ("Europe", 1.0)), (1 / 4, 2 / 4, 1 / 4)),
        ((("Europe", 0.0),), (0, 1 / 2, 1 / 2)),
    ):
        found, steps = batches(plan, balance=(("region", weights),))
        n = sum(steps.values())
        assert abs(n * BATCH - 700) <= 3 * BATCH  # an epoch is as long as without
        counts = regions(plan, (found[i] for i in range(n)))
        for region, share in zip(REGIONS, shares, strict=True):
            assert abs(counts[region] / (n * BATCH) - share) < 0.02, (weights, counts)
        for i in range(n):  # and each row has the length of its batch
            length, rows = found[i]
            assert plan.row_lengths[rows].max() <= length


def test_a_group_comes_round_whole_before_one_of_its_rows_comes_again():
    plan = made()
    found, steps = batches(plan, balance=(("region", (("China", 1.0),)),))
    n = sum(steps.values())
    epochs = [Counter(int(row) for i in range(e * n, (e + 1) * n) for row in found[i][1])
              for e in range(12)]  # fmt: skip
    assert epochs[0] != epochs[1]
    # Of Europe, which is more than its share, every row within a few epochs; of America, which is
    # less, all rows about as often as each other.
    times = sum(epochs, Counter())
    assert set(times) == set(range(700))
    rows = np.flatnonzero(plan.row_groups["region"] == 2)
    of_class = np.digitize(plan.row_lengths[rows], (100, 200), right=True)
    for number in range(3):
        seen = [times[int(row)] for row in rows[of_class == number]]
        assert max(seen) - min(seen) <= 1 or len(seen) < 2


def test_weights_of_two_features_multiply():
    plan = made()
    balance = (("region", (("America", 0.0),)), ("task", (("alignment", 3.0),)))
    found, steps = batches(plan, balance=balance)
    n = sum(steps.values())
    counts = regions(plan, (found[i] for i in range(n)))
    assert counts["America"] == 0  # the others: Europe is extraction, China alignment here
    assert counts["China"] / counts["Europe"] == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize(
    "balance, said",
    [
        ((("regoin", ()),), "no groups by regoin: there are region, task"),
        ((("region", (("Chian", 1.0),)),), "region.Chian: no page has the region 'Chian'; there "
         "are 'America', 'China', 'Europe'"),
        ((("task", (("extraction", 0.0), ("alignment", 0.0))),), "are 0 for all"),
    ],
)  # fmt: skip
def test_a_group_that_is_not_there_is_answered_with_those_that_are(balance, said):
    with pytest.raises(UserError, match=said):
        batches(made(), balance=balance)
