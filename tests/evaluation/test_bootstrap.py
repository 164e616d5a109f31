"""Intervals over pages, beside sums that can be done by hand."""

import numpy as np
import pytest

from nota_jax.evaluation.bootstrap import differences, estimates, gather, median


def marks(*rights, name="x"):
    return [{name: (float(right), 1.0)} for right in rights]


def pages(rows):
    return gather((page, mark) for page, of_page in rows.items() for mark in of_page)


def test_a_figure_is_the_sum_over_the_weight():
    sums = pages({"a": [{"x": (1, 2)}, {"x": (3, 4)}], "b": [{"x": (0, 2), "y": (1, 1)}]})
    found = estimates(sums)
    assert found["x"].value == pytest.approx(4 / 8)
    assert (found["x"].count, found["x"].pages) == (3, 2)
    assert (found["y"].value, found["y"].count, found["y"].pages) == (1, 1, 1)
    assert found["y"].low == found["y"].high == 1


def test_what_has_no_weight_has_no_figure():
    assert estimates(pages({"a": [{"x": (0, 0)}]})) == {}
    assert estimates(gather([])) == {}


def test_the_interval_of_a_rate_is_the_binomials():
    rights = [i < 30 for i in range(100)]
    found = estimates(pages({f"p{i}": marks(right) for i, right in enumerate(rights)}), draws=4000)
    error = np.sqrt(0.3 * 0.7 / 100)  # of a mean of 100 independent pages
    assert found["x"].low == pytest.approx(0.3 - 1.96 * error, abs=0.015)
    assert found["x"].high == pytest.approx(0.3 + 1.96 * error, abs=0.015)


def test_questions_of_one_page_are_no_independent_witnesses():
    """Ten times the same answer about a page says no more than one."""
    rights = [i < 30 for i in range(100)]
    once = estimates(pages({f"p{i}": marks(r) for i, r in enumerate(rights)}))["x"]
    ten = estimates(pages({f"p{i}": marks(*[r] * 10) for i, r in enumerate(rights)}))["x"]
    assert (ten.low, ten.high) == pytest.approx((once.low, once.high))
    assert (once.count, ten.count) == (100, 1000)


def test_a_mean_of_figures_needs_all_of_them():
    sums = pages({"a": [*marks(1, name="x"), *marks(0, name="y")], "b": marks(0, 0, name="x")})
    found = estimates(sums, {"both": ("x", "y"), "more": ("x", "z")})
    assert found["both"].value == pytest.approx((1 / 3 + 0) / 2) and found["both"].count == 4
    assert "more" not in found


def test_a_paired_difference_is_surer_than_two_rates():
    """B is right where A is, and on five pages more."""
    a = pages({f"p{i}": marks(i < 30) for i in range(100)})
    b = pages({f"p{i}": marks(i < 35) for i in range(100)})
    found = differences(a, b)["x"]
    assert found.value == pytest.approx(0.05)
    error = np.sqrt(0.05 * 0.95 / 100)
    assert found.low == pytest.approx(0.05 - 1.96 * error, abs=0.015) and found.low > 0
    assert estimates(a)["x"].high > estimates(b)["x"].low  # apart, they overlap


def test_no_difference_has_no_width():
    a = pages({f"p{i}": marks(i < 30) for i in range(100)})
    found = differences(a, a, {"mean": ("x",)})
    assert (found["x"].value, found["x"].low, found["x"].high) == (0, 0, 0)
    assert found["mean"].value == 0


def test_the_median_and_its_interval():
    found = median([5, 1, 9, 3, 100], list("abcde"))
    assert (found.value, found.count, found.pages) == (5, 5, 5)
    assert 1 <= found.low <= 5 <= found.high <= 100
    assert median([1, 2, 3, 4], list("abcd")).value == 2
    assert median([], []) is None
    # All weight on one page: its own median in every draw.
    assert median([4, 8, 6], ["a", "a", "a"]).high == 6
