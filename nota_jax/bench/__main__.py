"""`python -m nota_jax.bench`: see `speed`."""

import sys

from nota_jax.bench.speed import main

sys.exit(main())
