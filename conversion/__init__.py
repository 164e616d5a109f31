"""Weights into and out of Hugging Face's layouts."""

import nota_jax  # noqa: F401  before transformers, to which it says what it need not tell
