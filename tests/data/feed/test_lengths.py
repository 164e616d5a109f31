"""Static lengths: which rows share a batch, and how long its arrays are."""

import itertools

import numpy as np

from nota_jax.data.feed.lengths import batches_by_length, length_classes, static_length


def test_length_classes_are_whole_batches_and_rows_fit():
    rng = np.random.default_rng(0)
    for n, batch in itertools.product((8, 9, 23, 100, 500), (1, 3, 8)):
        for low, high in ((10, 60), (10, 300), (250, 300)):
            needed = rng.integers(low, high, n)
            classes = length_classes(needed, (300, 100, 50), batch)
            assert [members.limit for members in classes] == [50, 100, 300]
            assert sorted(np.concatenate([members.rows for members in classes])) == [*range(n)]
            for members in classes:
                assert (needed[members.rows] <= members.limit).all()
                assert len(members.rows) % batch == 0 or members.limit == 300
            assert not 0 < len(classes[-1].rows) < batch
            whole = sum(len(members.rows) // batch for members in classes)
            assert sum(batches_by_length(classes, batch).values()) == whole


def test_a_row_goes_to_the_smallest_length_that_holds_it():
    classes = length_classes(np.array([10, 50, 51, 100, 101, 300]), (50, 100, 300), 1)
    assert {members.limit: list(members.rows) for members in classes} == {
        50: [0, 1], 100: [2, 3], 300: [4, 5],
    }  # fmt: skip
    assert [members.static for members in classes] == [50, 100, 300]


def test_a_length_shrinks_to_its_longest_row():
    needed = np.array([17, 40, 33])
    assert [static_length(50, needed, multiple) for multiple in (0, 1, 8, 16, 32)] == [
        50,
        40,
        40,
        48,
        50,
    ]
    assert static_length(50, needed[:0], 8) == 50


def test_classes_that_shrink_to_the_same_length_are_counted_together():
    needed = np.array([40, 40, 40, 41, 41, 48])  # of four short rows three make a whole batch
    classes = length_classes(needed, (45, 64), 3, multiple=16)
    assert [(c.limit, c.static, len(c.rows)) for c in classes] == [(45, 45, 3), (64, 48, 3)]
    classes = length_classes(needed[:5], (48, 64), 2, multiple=48)
    assert batches_by_length(classes, 2) == {48: 2} and batches_by_length(classes, 1) == {48: 5}
