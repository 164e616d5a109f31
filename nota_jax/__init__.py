"""nota_jax: models that read sheet music, in JAX."""

import os

# We ask transformers for tokenizers; that it finds no PyTorch for its models is no news to a user.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

__version__ = "0.1.0"
