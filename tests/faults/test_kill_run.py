"""SIGKILL at any moment costs time and nothing else (`python -m tests.faults.kill_run`: thirty)."""

import os

import pytest

from tests.faults import kill_run


# Five processes, one after the other, each of which begins by compiling: minutes.
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.skipif("NOTA_JAX_KILLS" not in os.environ, reason="minutes long: set NOTA_JAX_KILLS=1")
def test_a_run_that_was_killed_three_times_is_the_undisturbed_run(tmp_path, processes):
    found, met = kill_run.compare(tmp_path, 3, 9, processes, say=lambda _: None)
    assert found == []
    assert sum(met[kind] for kind in kill_run.MOMENTS) == 3
