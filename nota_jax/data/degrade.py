"""Pages as scanners and cameras give them: skewed, thick or thin of print, unevenly lit, blurred,
noisy, compressed.

Made with albumentations; boxes of symbols move along.  The same seed gives the same picture.
"""

from __future__ import annotations

import os
import threading

import numpy as np

from nota_jax.environment import without_torch

# albumentations asks the network for a newer version of itself when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

_OF_THREAD = threading.local()  # what albumentations composes has a state


def degrade(image: np.ndarray, boxes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a few of the faults that chance chooses.

    Args:
      image: uint8 [H, W, 3].
      boxes: float [N, 4], left, top, right, bottom in pixels.
      seed: of all that chance decides, 0 … 2³² − 1.

    Returns:
      A picture of the same shape, and the boxes around what has moved, float32 [N, 4].  Some may
      lie outside the picture.
    """
    faults = _faults()
    faults.set_random_seed(seed)
    left, top, right, bottom = np.asarray(boxes, np.float32).reshape(-1, 4).T
    corners = np.stack([left, top, right, top, right, bottom, left, bottom], 1).reshape(-1, 2)
    out = faults(image=image, keypoints=corners)
    moved = np.asarray(out["keypoints"], np.float32).reshape(-1, 4, 2)
    return out["image"], np.concatenate([moved.min(1), moved.max(1)], 1)


def _faults():
    """A thread's own pipeline, made once."""
    if not hasattr(_OF_THREAD, "faults"):
        import cv2

        with without_torch():
            import albumentations as A

        cv2.setNumThreads(0)  # who calls has threads of their own
        white = {"fill": (255, 255, 255), "border_mode": cv2.BORDER_CONSTANT}
        _OF_THREAD.faults = A.Compose(
            [
                A.Affine(
                    rotate=(-2, 2), shear=(-1, 1), scale={"x": (0.92, 1.0), "y": (0.92, 1.0)},
                    p=0.8, **white,
                ),
                A.Perspective(scale=(0.005, 0.025), fit_output=True, p=0.4, **white),
                A.RandomGamma(gamma_limit=(60, 200), p=0.5),  # thick and thin print
                A.Illumination(
                    mode="linear", intensity_range=(0.01, 0.1), effect_type="darken", p=0.4
                ),
                A.RGBShift((-8, 0), (-16, -4), (-40, -16), p=0.25),  # yellowed paper
                A.GaussianBlur(blur_limit=0, sigma_limit=(0.2, 0.8), p=0.5),
                A.GaussNoise(std_range=(0.01, 0.05), per_channel=False, p=0.5),
                A.ImageCompression(quality_range=(40, 95), p=0.5),
            ],
            keypoint_params=A.KeypointParams(format="xy", remove_invisible=False),
        )  # fmt: skip
    return _OF_THREAD.faults
