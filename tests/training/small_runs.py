"""Runs of the loop at a size of seconds, on batches that are made from their number.

The fixture `run` is in conftest.py.
"""

from __future__ import annotations

import jax
import numpy as np

PHASE_2 = ((r"vision_tower/.*", False), (r".*", True))


class Batches:
    """A stand-in for the data pipeline: batch i is made from seed i.

    on_batch: called with (i, batch) before it is handed out; it may change the batch, or the world.
    """

    def __init__(self, make, on_batch=lambda i, batch: None, limit=100):
        self.make, self.on_batch, self.limit = make, on_batch, limit

    def __iter__(self):
        return Iterator(self)


class Iterator:
    def __init__(self, batches):
        self.batches, self.next = batches, 0

    def __next__(self):
        if self.next >= self.batches.limit:
            raise StopIteration
        batch = self.batches.make(4, seed=self.next)
        self.batches.on_batch(self.next, batch)
        self.next += 1
        return batch | {"ids": [[f"batch{self.next}-row{i}:title"] for i in range(4)]}

    def get_state(self):
        return {"next": self.next}

    def set_state(self, state):
        self.next = state["next"]


def bits(tree):
    def raw(x):
        is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x).tobytes()

    return [raw(x) for x in jax.tree.leaves(tree)]
