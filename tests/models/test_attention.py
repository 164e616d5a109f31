import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nota_jax.errors import UserError
from nota_jax.models.attention import attention, cached_attention, turn_mask

TURNS = jnp.array([[0, 0, 0, 1, 1, 2, 2, 2, -1, -1]])
POSITIONS = jnp.array([[0, 1, 2, 3, 4, 3, 4, 5, 0, 0]])


def random(*shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def test_a_token_sees_the_prefix_and_its_own_turn_causally():
    seen = [set(np.flatnonzero(row)) for row in turn_mask(TURNS, POSITIONS)[0, 0]]
    assert seen == [
        {0}, {0, 1}, {0, 1, 2},
        {0, 1, 2, 3}, {0, 1, 2, 3, 4},
        {0, 1, 2, 5}, {0, 1, 2, 5, 6}, {0, 1, 2, 5, 6, 7},
        {8}, {9},
    ]  # fmt: skip


def test_the_sliding_window_counts_positions_not_places_in_the_row():
    seen = [set(np.flatnonzero(row)) for row in turn_mask(TURNS, POSITIONS, 3)[0, 0]]
    assert seen[4] == {2, 3, 4}
    assert seen[5] == {1, 2, 5}  # position 3 behind the prefix, though turn 1 lies between
    assert seen[7] == {5, 6, 7}


def test_one_turn_per_row_is_plain_causal_attention():
    turn_ids = jnp.array([[0, 0, 1, 1, 1]])
    mask = turn_mask(turn_ids, jnp.arange(5)[None])
    np.testing.assert_array_equal(mask[0, 0], np.tril(np.ones((5, 5), bool)))


def test_grouped_queries_equal_repeated_keys():
    q, k, v = random(2, 10, 6, 8), random(2, 10, 2, 8, seed=1), random(2, 10, 2, 8, seed=2)
    turn_ids, positions = (jnp.repeat(x, 2, axis=0) for x in (TURNS, POSITIONS))
    out = jax.jit(attention)(q, k, v, turn_ids=turn_ids, positions=positions)
    k, v = (np.repeat(x, 3, axis=2) for x in (k, v))
    scores = np.einsum("bthd,bshd->bhts", q, k) / 8**0.5
    scores = np.where(turn_mask(turn_ids, positions), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(out, np.einsum("bhts,bshd->bthd", weights, v), atol=1e-6)


def test_blocks_change_neither_values_nor_gradients():
    """T = 300 is three blocks, the last one short; turns and padding cross their borders."""
    ids = np.repeat([0, 1, 2, 3, -1], [70, 100, 60, 50, 20])[None]
    positions = np.r_[0:70, 70:170, 70:130, 70:120, [0] * 20][None]
    inputs = [random(1, 300, heads, 8, seed=i) for i, heads in enumerate((4, 2, 2))]

    def run(impl):
        def total(q, k, v):
            return (attention(q, k, v, turn_ids=ids, positions=positions, impl=impl) ** 2).sum()

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))(*inputs)

    for a, b in zip(*map(jax.tree.leaves, (run("blocked"), run("reference"))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_padding_gives_numbers_and_gradients_without_nan():
    turn_ids = jnp.full((1, 10), -1)

    def total(q, k, v):
        return attention(q, k, v, turn_ids=turn_ids, positions=POSITIONS).sum()

    inputs = [random(1, 10, 2, 4, seed=i) for i in range(3)]
    value, gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))(*inputs)
    np.testing.assert_allclose(value, inputs[2].sum(), rtol=1e-5)  # each reads its own value
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("impl", ["reference", "blocked"])
def test_softmax_is_in_float32_under_bfloat16(impl):
    """Logits of tens, where bfloat16 knows quarters only: softmax of such would miss by tenths."""
    q, k, v = (random(1, 64, 1, 32, seed=i).astype(jnp.bfloat16) for i in range(3))
    k = (k + 30).astype(jnp.bfloat16)
    places = jnp.zeros((1, 64), int), jnp.arange(64)[None]
    out = attention(q, k, v, turn_ids=places[0], positions=places[1], impl=impl)[0, :, 0]

    def exact(logits_dtype):
        a, b, c = (np.asarray(x[0, :, 0], np.float64) for x in (q, k, v))
        logits = np.asarray(jnp.asarray(a @ b.T / 32**0.5, logits_dtype), np.float64)
        weights = np.exp(logits - logits.max(-1, keepdims=True)) * np.tril(np.ones((64, 64)))
        return weights / weights.sum(-1, keepdims=True) @ c

    def worst(want):
        return np.abs(np.asarray(out, np.float64) - want).max()

    # Weights and output are rounded to bfloat16 (2⁻⁹ of values up to 4), logits are not.
    assert worst(exact(jnp.float32)) < 0.02
    assert worst(exact(jnp.bfloat16)) > 0.05, "logits in bfloat16 would not have been noticed"


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
def test_a_cached_token_sees_what_the_row_would_show_it(heads):
    """2 questions on a prefix of 3; their turns fill 4 and 2 of 5 slots."""
    h, kh = heads
    lengths = (4, 2)
    q = random(1, 2, h, 8)
    prefix_k, prefix_v = random(1, kh, 3, 8, seed=1), random(1, kh, 3, 8, seed=2)
    own_k, own_v = random(2, kh, 5, 8, seed=3), random(2, kh, 5, 8, seed=4)
    own_mask = jnp.arange(5) < jnp.array(lengths)[None, :, None]
    out = jax.jit(cached_attention)(
        q, prefix_k.swapaxes(-1, -2), prefix_v, own_k.swapaxes(-1, -2), own_v,
        jnp.ones((1, 2, 3), bool), own_mask,
    )  # fmt: skip

    def row(prefix, own, i):  # [1, S, K, D] as `attention` takes it
        return np.concatenate([prefix, own[i : i + 1, :, : lengths[i]]], axis=2).swapaxes(1, 2)

    for i in range(2):
        expected = attention(q[:, i : i + 1], row(prefix_k, own_k, i), row(prefix_v, own_v, i))
        np.testing.assert_allclose(out[:, i : i + 1], expected, atol=1e-6)


def test_unknown_implementation_is_refused_with_the_choices():
    x = random(1, 2, 1, 4)
    with pytest.raises(UserError, match="'magic'; choose one of auto, reference"):
        attention(x, x, x, impl="magic")


@pytest.mark.parametrize("operands, tolerance", [("float32", 1e-5), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("by_turns", [True, False])
def test_narrow_operands_change_result_and_gradients_by_their_rounding_alone(
    operands, tolerance, by_turns
):
    shape = (2, 150, 4, 8)
    q, k, v = (random(*shape, seed=seed) for seed in range(3))
    where = {}
    if by_turns:
        ids = jnp.repeat(jnp.array([[0] * 90 + [1] * 30 + [2] * 25 + [-1] * 5]), 2, axis=0)
        places = jnp.r_[jnp.arange(120), 90 + jnp.arange(25), jnp.zeros(5, int)][None]
        where = {"turn_ids": ids, "positions": jnp.repeat(places, 2, axis=0)}
        k, v = k[:, :, :2], v[:, :, :2]
    used = jnp.ones(150) if not by_turns else jnp.arange(150) < 145

    def made(operands):
        def loss(q, k, v):
            out = attention(q, k, v, operands=operands, **where)
            return jnp.sum(jnp.sin(out) * used[:, None, None]), out

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(q, k, v)

    (gradients, out), (wanted, exact) = made(operands), made("")
    for found, want in zip((out, *gradients), (exact, *wanted), strict=True):
        assert found.dtype == want.dtype
        scale = np.abs(want[:, :145]).max()
        np.testing.assert_allclose(found[:, :145], want[:, :145], atol=tolerance * scale)
