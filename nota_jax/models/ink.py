"""Which patches of a page hold ink.

About half of a page's patches are blank paper, and a vision tower spends most of its time on
products over patches.  Given `vision.patches = "inked"` it looks at the `most_patches` with the
most ink, in the order in which they lie; each keeps the position embedding of its place.  Ink is
counted in pixels that no channel shows bright, so that the tint of a highlighted bar is none.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nota_jax.models.config import VisionConfig
from nota_jax.pixels import IMAGE_MEAN, IMAGE_STD

DARK = 0.75  # of white: what is darker in every channel is ink


def paper(dtype: Any) -> jax.Array:
    """White, [3], as normalised pixels have it."""
    mean, std = (np.asarray(x, np.float32) for x in (IMAGE_MEAN, IMAGE_STD))
    return jnp.asarray((1 - mean) / std, dtype)


def amount(pixels: jax.Array, patch: int) -> jax.Array:
    """Inked pixels of each patch, float32 [B, (S / patch)²], of normalised pixels [B, S, S, 3]."""
    dark = pixels < paper(pixels.dtype) - (1 - DARK) / jnp.asarray(IMAGE_STD, pixels.dtype)
    n = pixels.shape[1] // patch
    counts = dark.all(-1).reshape(len(pixels), n, patch, n, patch)
    return counts.sum((2, 4), dtype=jnp.float32).reshape(len(pixels), n * n)


def choose(pixels: jax.Array, vision: VisionConfig) -> jax.Array:
    """The patches that are looked at, ascending: int32 [B, N]; all of them where N is all."""
    if vision.patches == "all":
        return jnp.tile(jnp.arange(vision.num_patches), (len(pixels), 1))
    _, chosen = jax.lax.top_k(amount(pixels, vision.patch_size), vision.most_patches)
    return jnp.sort(chosen, axis=1)
