"""What accelerators can do, from their makers' data sheets."""

from __future__ import annotations

import jax

# Peak dense bf16 operations per second of one jax device, by a part of its `device_kind`; the
# first that occurs wins.  NVIDIA's figures are without sparsity, SXM cards; on TPU v4, v5p and v6e
# a jax device is a chip.
PEAK_BF16_FLOPS: tuple[tuple[str, float], ...] = (
    ("H200", 989e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("TPU v6 lite", 918e12),
    ("TPU v6e", 918e12),
    ("TPU v5 lite", 197e12),
    ("TPU v5e", 197e12),
    ("TPU v5p", 459e12),
    ("TPU v5", 459e12),
    ("TPU v4", 275e12),
)


def peak_flops(device: jax.Device) -> float | None:
    """Peak bf16 operations per second of a device; None where it is not known (CPUs)."""
    kind = device.device_kind.lower()
    return next((peak for name, peak in PEAK_BF16_FLOPS if name.lower() in kind), None)
