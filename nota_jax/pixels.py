"""The numbers that a model is shown for pixels: OpenAI CLIP's, as LLaVA has them too."""

from __future__ import annotations

from typing import Any

import numpy as np

# Channel statistics, of values in 0 … 1.
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)


def normalize(images: Any) -> Any:
    """uint8 [..., 3] → float32 [..., 3] with CLIP's statistics, for numpy and jax arrays alike."""
    scale = np.float32(1 / 255) / np.asarray(IMAGE_STD, np.float32)
    shift = np.asarray(IMAGE_MEAN, np.float32) / np.asarray(IMAGE_STD, np.float32)
    return images.astype(np.float32) * scale - shift
