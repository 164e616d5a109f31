"""What is set in a process before the libraries that read it are imported."""

from __future__ import annotations

import os
from pathlib import Path

from absl import logging


def quiet() -> None:
    """Leaves the terminal to our own lines: third-party chatter starts at warnings."""
    logging.set_verbosity(logging.ERROR)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # Compiled programs are kept, so that a run that continues does not compile again.
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nota_jax" / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "2")
