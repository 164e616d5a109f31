"""A flipped bit of a checkpoint is noticed, or means nothing."""

from tests.faults.flip_bits import MISSED, NOTICED, flips


def test_no_flipped_bit_changes_what_a_run_goes_on_with(tmp_path):
    found = flips(tmp_path, 20, seed=1)
    assert not found[MISSED] and found[NOTICED] >= 5
