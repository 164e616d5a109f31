"""Static lengths: which rows share a batch, and how long its arrays are."""

import itertools

import numpy as np

from nota_jax.data.feed.lengths import (
    batches_by_length,
    class_numbers,
    length_classes,
    static_length,
)


def rows(needed, classes):
    numbers = np.concatenate(list(class_numbers(needed, classes)))
    return [np.flatnonzero(numbers == i) for i in range(len(classes))]


def test_length_classes_are_whole_batches_and_rows_fit():
    rng = np.random.default_rng(0)
    for n, batch in itertools.product((8, 9, 23, 100, 500), (1, 3, 8)):
        for low, high in ((10, 60), (10, 300), (250, 300)):
            needed = rng.integers(low, high, n)
            classes = length_classes(needed, (300, 100, 50), batch)
            assert [members.limit for members in classes] == [50, 100, 300]
            held = rows(needed, classes)
            assert sorted(np.concatenate(held)) == [*range(n)]
            assert [len(some) for some in held] == [members.n_rows for members in classes]
            for members, some in zip(classes, held, strict=True):
                assert (needed[some] <= members.limit).all()
                assert len(some) % batch == 0 or members.limit == 300
            assert not 0 < len(held[-1]) < batch
            whole = sum(len(some) // batch for some in held)
            assert sum(batches_by_length(classes, batch).values()) == whole
            # In the order of lengths, and of two rows of one length the earlier in the shorter one.
            in_order = np.argsort(needed, kind="stable")
            for some, end in zip(held, np.cumsum([len(some) for some in held]), strict=True):
                np.testing.assert_array_equal(some, np.sort(in_order[end - len(some) : end]))


def test_a_row_goes_to_the_smallest_length_that_holds_it():
    needed = np.array([10, 50, 51, 100, 101, 300])
    classes = length_classes(needed, (50, 100, 300), 1)
    assert list(map(list, rows(needed, classes))) == [[0, 1], [2, 3], [4, 5]]
    assert [members.static for members in classes] == [50, 100, 300]


def test_a_length_shrinks_to_its_longest_row():
    lengths = [static_length(50, 40, multiple) for multiple in (0, 1, 8, 16, 32)]
    assert lengths == [50, 40, 40, 48, 50]
    assert static_length(50, 0, 8) == 50


def test_classes_that_shrink_to_the_same_length_are_counted_together():
    needed = np.array([40, 40, 40, 41, 41, 48])  # of four short rows three make a whole batch
    classes = length_classes(needed, (45, 64), 3, multiple=16)
    assert [(c.limit, c.static, c.n_rows) for c in classes] == [(45, 45, 3), (64, 48, 3)]
    classes = length_classes(needed[:5], (48, 64), 2, multiple=48)
    assert batches_by_length(classes, 2) == {48: 2} and batches_by_length(classes, 1) == {48: 5}
