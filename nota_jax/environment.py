"""What is set in a process before it works: third-party chatter, memory, the compilation cache."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from absl import logging

# Of a GPU's memory, what XLA takes (its own default is 0.75).  The rest is for what only the card
# itself can tell: NCCL's buffers, CUDA's context, kernels that tuning picks.
GPU_MEMORY_FRACTION = 0.9


@contextlib.contextmanager
def without_torch() -> Iterator[None]:
    """For imports of packages that would import PyTorch where it is installed, two seconds of a
    processor, for what we do not ask of them: inside the block it seems not to be there."""
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules["torch"]


def quiet() -> None:
    """Leaves the terminal to our own lines: third-party chatter starts at warnings."""
    logging.set_verbosity(logging.ERROR)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(GPU_MEMORY_FRACTION))
    # Compiled programs are kept, so that a run that continues does not compile again.
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nota_jax" / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "2")
    if "jax" in sys.modules:  # by a package's __init__: it has read its settings already
        from jax import config

        config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
        seconds = os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"]
        config.update("jax_persistent_cache_min_compile_time_secs", float(seconds))
