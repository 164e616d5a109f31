"""A page in, a tune out.

    from nota_jax.read import read
    reading = read("page.png")          # reading.abc, .answers, .bars, .notes

On the command line `python -m nota_jax.read page.png --out DIR`, see `__main__.py`.
"""

from nota_jax.read.asking import load
from nota_jax.read.reader import Bar, Reading, read

__all__ = ["Bar", "Reading", "load", "read"]
