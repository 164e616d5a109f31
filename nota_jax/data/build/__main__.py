"""`python -m nota_jax.data.build`: see `dataset`."""

import sys

from nota_jax.data.build.dataset import main

sys.exit(main())
