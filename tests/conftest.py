"""Fixtures that several folders share: the smallest NotaGPT, its parameters, a batch for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests import compiling

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {compiling.FLAGS}"

import jax
import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings

from nota_jax.models.config import NotaGPTConfig, TextConfig, VisionConfig
from nota_jax.models.notagpt import init_params
from nota_jax.params import Tree, flatten

MOST_CACHED = 2**30  # bytes

# The same examples in every run, however slow the machine is: python -m tests.fuzz tries others.
hypothesis_settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis_settings.load_profile("suite")


def pytest_configure(config):
    """Many tests compile the same program, in this process and in those that it starts; what is
    compiled is found by its text, flags and versions, and serves the next run of the suite too."""
    cache = getattr(config, "cache", None)
    folder = Path(cache.mkdir("compiled") if cache else tempfile.mkdtemp())
    if sum(file.stat().st_size for file in folder.iterdir()) > MOST_CACHED:
        shutil.rmtree(folder)
    settings = {
        "compilation_cache_dir": str(folder),
        "persistent_cache_min_compile_time_secs": 0.1,
        "persistent_cache_min_entry_size_bytes": 0,
    }
    for name, value in settings.items():
        jax.config.update(f"jax_{name}", value)
        os.environ[f"JAX_{name.upper()}"] = str(value)


@pytest.fixture(scope="session")
def nano_config() -> NotaGPTConfig:
    """Two layers of width 16 on either side, 4 image tokens, vocabulary of 64."""
    vision = VisionConfig(
        image_size=28,
        patch_size=14,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    text = TextConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rope_theta=1e4,
        rms_norm_eps=1e-5,
        sliding_window=None,
    )
    return NotaGPTConfig(vision=vision, text=text, image_token_id=63)


@pytest.fixture(scope="session")
def nano_params(nano_config) -> dict:
    """Fresh parameters of the nano model, as numpy arrays."""
    params = jax.jit(lambda rng: init_params(nano_config, rng))(jax.random.key(0))
    return jax.tree.map(np.asarray, params)


@pytest.fixture(scope="session")
def nano_batch(nano_config):
    """`make(rows, seed)`: a batch as the data pipeline makes it, of random tokens.

    Every row has two turns of different length, every second answer token is supervised, and rows
    are padded differently, so that a mean over rows is not a mean over tokens.
    """

    def make(rows: int, seed: int = 0, length: int = 20) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        n = nano_config.num_image_tokens
        tokens = rng.integers(1, 60, (rows, length + 1)).astype(np.int32)
        tokens[:, 1 : 1 + n] = nano_config.image_token_id
        turn_ids = np.zeros((rows, length), np.int32)
        positions = np.zeros((rows, length), np.int32)
        for row in range(rows):
            end = length - row % 4
            middle = n + 5 + row % 3
            turn_ids[row, n + 1 : middle], turn_ids[row, middle:end] = 1, 2
            turn_ids[row, end:] = -1
            positions[row, :middle] = np.arange(middle)
            positions[row, middle:] = n + 1 + np.arange(length - middle)
        weights = ((turn_ids > 0) & (np.arange(length) % 2 == 0)).astype(np.float32)
        size = nano_config.vision.image_size
        return {
            "images": rng.integers(0, 256, (rows, size, size, 3), dtype=np.uint8),
            "tokens": tokens[:, :-1],
            "turn_ids": turn_ids,
            "positions": positions,
            "targets": tokens[:, 1:],
            "weights": weights,
        }

    return make


@pytest.fixture(scope="session")
def assert_same_gradients():
    """`check(got, want)`: equal to 1e-5 of each parameter's largest gradient."""

    def check(got: Tree, want: Tree) -> None:
        got, want = flatten(got), flatten(want)
        assert got.keys() == want.keys()
        for path, leaf in got.items():
            # A key's bias shifts all scores of a query alike, so its gradient is zero but for
            # rounding: it is compared on the scale of its kernel's.
            scale = np.abs(want[path.replace("k_proj/bias", "k_proj/kernel")]).max()
            np.testing.assert_allclose(leaf, want[path], rtol=1e-5, atol=1e-5 * scale, err_msg=path)

    return check
