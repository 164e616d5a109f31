"""nota_jax: models that read sheet music, in JAX."""

__version__ = "0.1.0"
