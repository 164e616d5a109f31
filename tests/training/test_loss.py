"""The chunked cross-entropy is the plain one, without its memory."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nota_jax.training.loss import chunked_cross_entropy

B, T, D, V = 2, 24, 8, 40


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(B, T, D)).astype(np.float32)
    kernel = rng.normal(size=(D, V)).astype(np.float32)
    weights = (rng.random((B, T)) < 0.5).astype(np.float32)
    # What stands where nothing is supervised must not matter, an impossible token included.
    targets = np.where(weights > 0, rng.integers(0, V, (B, T)), -100).astype(np.int32)
    return hidden, kernel, targets, weights


def plain(hidden, kernel, targets, weights):
    logits = hidden @ kernel
    safe = jnp.maximum(targets, 0)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, safe)
    return jnp.sum(losses * weights)


@pytest.mark.parametrize("chunk", [1, 5, 8, 24, 1000])
def test_loss_and_gradients_equal_plain_cross_entropy(inputs, chunk):
    hidden, kernel, targets, weights = inputs

    def chunked(hidden, kernel):
        return chunked_cross_entropy(hidden, kernel, targets, weights, chunk=chunk)[0]

    got = jax.value_and_grad(chunked, (0, 1))(hidden, kernel)
    want = jax.value_and_grad(plain, (0, 1))(hidden, kernel, targets, weights)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, want)


def test_weights_and_correct_tokens_are_counted(inputs):
    hidden, kernel, targets, weights = inputs
    _, total, correct = chunked_cross_entropy(hidden, kernel, targets, weights, chunk=7)
    hits = (np.argmax(hidden @ kernel, -1) == targets) * weights
    assert 0 < hits.sum() == correct
    assert total == weights.sum()


def test_no_buffer_of_the_compiled_gradient_holds_all_logits(inputs):
    hidden, kernel, targets, weights = inputs

    def chunked(hidden, kernel):
        return chunked_cross_entropy(hidden, kernel, targets, weights, chunk=4)[0]

    def largest(loss):
        """Elements of the largest array in the compiled gradient."""
        text = jax.jit(jax.grad(loss, (0, 1))).lower(hidden, kernel).compile().as_text()
        shapes = re.findall(r"f32\[([\d,]+)\]", text)
        return max(math.prod(map(int, shape.split(","))) for shape in shapes)

    assert largest(lambda h, k: plain(h, k, targets, weights)) >= B * T * V
    assert largest(chunked) == max(B * T * D, B * 4 * V)


def test_bf16_hidden_states_lose_nothing_behind_the_product(inputs):
    hidden, kernel, targets, weights = inputs
    rounded = [jnp.asarray(x).astype(jnp.bfloat16) for x in (hidden, kernel)]
    loss, _, _ = chunked_cross_entropy(*rounded, targets, weights, chunk=8)
    want = plain(*(x.astype(jnp.float32) for x in rounded), targets, weights)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, want, rtol=1e-5)


def test_a_bf16_heads_gradient_is_summed_in_its_own_dtype(inputs):
    hidden, kernel, targets, weights = inputs
    rounded = jnp.asarray(hidden).astype(jnp.bfloat16)

    def loss(hidden, kernel, chunk):
        return chunked_cross_entropy(hidden, kernel, targets, weights, chunk=chunk)[0]

    def plain_rounded(hidden, kernel):
        return plain(hidden.astype(jnp.float32), kernel.astype(jnp.bfloat16).astype(jnp.float32),
                     targets, weights)  # fmt: skip

    want = jax.grad(plain_rounded, (0, 1))(rounded, jnp.asarray(kernel))
    for chunk in (8, 1000):
        got = jax.grad(loss, (0, 1))(rounded, jnp.asarray(kernel), chunk)
        assert [x.dtype for x in got] == [jnp.bfloat16, jnp.float32]
        for a, b in zip(got, want, strict=True):
            a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
            np.testing.assert_allclose(a, b, atol=0.01 * np.abs(b).max())
