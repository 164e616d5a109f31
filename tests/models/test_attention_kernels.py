"""The accelerators' kernels against the reference, without an accelerator.

Splash attention runs interpreted, value and gradient.  cuDNN can only be lowered here.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nota_jax.errors import UserError
from nota_jax.models import attention_kernels as kernels
from nota_jax.models.attention import attention, turn_mask

LENGTH = 256
IDS = np.stack([
    np.repeat([0, 1, 2, -1], [100, 60, 70, 26]),  # turns cross the kernel's blocks of 128
    np.repeat([0, 1, 2, 3], [20, 100, 100, 36]),  # turn 3 reads nothing of the first block
])  # fmt: skip
POSITIONS = np.stack([
    np.r_[0:100, 100:160, 100:170, [0] * 26], np.r_[0:20, 20:120, 20:120, 20:56]
])  # fmt: skip


def operands(heads=4, groups=2, dim=64, dtype=np.float32, length=LENGTH):
    rng = np.random.default_rng(0)
    shapes = [(2, length, n, dim) for n in (heads, groups, groups)]
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


@pytest.mark.parametrize("window", [None, 50])
def test_splash_has_the_reference_s_values_and_gradients(window):
    q, k, v = operands()
    pull = jnp.asarray(np.random.default_rng(1).normal(size=q.shape), np.float32)

    def run(impl):
        def total(q, k, v):
            out = attention(
                q, k, v, turn_ids=IDS, positions=POSITIONS, sliding_window=window, impl=impl
            )
            return (out * pull).sum(), out

        return jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(q, k, v)

    (gradients, out), (expected, reference) = run("splash"), run("reference")
    np.testing.assert_allclose(out, reference, atol=2e-5)
    for found, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_cudnn_is_lowered_with_the_mask_forward_and_backward(monkeypatch):
    """The programs name cuDNN's kernels with a bias; whether they run only a GPU can tell."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)

    def total(q, k, v, mask):
        return kernels.cudnn(q, k, v, mask).astype(jnp.float32).sum()

    mask = turn_mask(jnp.asarray(IDS), jnp.asarray(POSITIONS))
    traced = jax.jit(jax.grad(total, argnums=(0, 1, 2))).trace(*operands(dtype="bfloat16"), mask)
    program = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "__cudnn$fmhaScaleBiasSoftmax" in program
    assert "__cudnn$fmhaScaleBiasSoftmaxBackward" in program
    assert "CAUSAL" in program


@pytest.mark.parametrize(
    ("backend", "devices", "changes", "chosen"),
    [
        ("cpu", 1, {}, None),
        ("tpu", 1, {}, "splash"),
        ("tpu", 8, {}, None),  # without a mesh nobody cuts the kernel
        ("tpu", 1, {"length": 200}, None),
        ("gpu", 8, {"dtype": "bfloat16"}, "cudnn"),
        ("gpu", 8, {"dtype": "float32"}, None),
        ("gpu", 8, {"dtype": "bfloat16", "length": 37}, None),  # jax would refuse its gradient
        ("gpu", 8, {"dtype": "bfloat16", "dim": 60}, None),
    ],
)
def test_auto_takes_a_kernel_where_everything_suits_it(
    monkeypatch, backend, devices, changes, chosen
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    version = "cuda 13" if backend == "gpu" else backend
    fake = type("Backend", (), {"platform": backend, "platform_version": version})
    monkeypatch.setattr(jax.extend.backend, "get_backend", lambda: fake)
    q, k, _ = operands(**changes)
    assert kernels.best(q, k, by_turns=True) == chosen


@pytest.mark.parametrize(
    ("platform", "dtype", "chosen"),
    [("gpu", "bfloat16", "cudnn"), ("tpu", "float32", "splash"), ("cpu", "bfloat16", None)],
)
def test_auto_asks_what_is_compiled_for_and_not_where(platform, dtype, chosen):
    q, k, _ = operands(dtype=dtype)
    assert kernels.best(q, k, by_turns=True, platform=platform) == chosen


def test_auto_on_a_cpu_is_the_blocked_path():
    q, k, v = operands(length=LENGTH)
    auto, blocked = (
        attention(q, k, v, turn_ids=IDS, positions=POSITIONS, impl=impl)
        for impl in ("auto", "blocked")
    )
    np.testing.assert_array_equal(auto, blocked)


def test_a_kernel_that_cannot_is_refused_with_the_reason():
    q, k, v = operands(length=200)
    ids, positions = IDS[:, :200], POSITIONS[:, :200]
    with pytest.raises(UserError, match="200 tokens; it takes multiples of 128; take 'auto'"):
        attention(q, k, v, turn_ids=ids, positions=positions, impl="splash")
    with pytest.raises(UserError, match="no NVIDIA device; take 'auto'"):
        attention(q, k, v, turn_ids=ids, positions=positions, impl="cudnn")
