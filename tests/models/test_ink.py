"""Inked patches: which are looked at, and that leaving blank ones out changes nothing else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nota_jax.errors import UserError
from nota_jax.models import ink
from nota_jax.models.clip import VisionTower
from nota_jax.models.notagpt import NotaGPT, init_params
from nota_jax.pixels import normalize
from tests.models.hf_reference import tiny

SIZE, PATCH = 32, 8  # 16 patches


@pytest.fixture(scope="module")
def page():
    """Two pages [2, 32, 32, 3] with more and less ink in a few patches, and a tint."""
    pages = np.full((2, SIZE, SIZE, 3), 255, np.uint8)
    for number, (row, column) in enumerate([(0, 1), (1, 3), (2, 0), (3, 2)]):
        place = slice(8 * row, 8 * row + 2 + number), slice(8 * column + 1, 8 * column + 4)
        pages[(0, *place)] = 0
    pages[1, 9:12, 9:12] = 40
    pages[1, 16:, 16:, 2] = 122  # a highlighted bar's yellow is no ink
    return pages


def config(**vision):
    sizes = {"image_size": SIZE, "patch_size": PATCH}
    return tiny(vision=sizes | vision)


def inked(n):
    return config(patches="inked", most_patches=n)


def test_the_patches_with_most_ink_are_chosen_in_the_order_in_which_they_lie(page):
    amount = ink.amount(jnp.asarray(normalize(page)), PATCH)
    assert {int(i): float(amount[0, i]) for i in np.flatnonzero(amount[0])} == {
        1: 6.0, 7: 9.0, 8: 12.0, 14: 15.0,
    }  # fmt: skip
    chosen = ink.choose(jnp.asarray(normalize(page)), inked(3).vision)
    assert chosen[0].tolist() == [7, 8, 14]
    assert 5 in chosen[1].tolist() and (np.diff(chosen) > 0).all()
    assert ink.choose(jnp.asarray(normalize(page)), config().vision).tolist() == [[*range(16)]] * 2


def test_with_all_patches_chosen_it_is_the_same_tower_on_paper_that_is_zero(page):
    params = init_params(config(), jax.random.key(0))["vision_tower"]
    pixels = jnp.asarray(normalize(page))
    whole = VisionTower(inked(16)).apply({"params": params}, pixels)
    same = VisionTower(config()).apply({"params": params}, pixels - ink.paper(pixels.dtype))
    np.testing.assert_allclose(whole, same, atol=1e-5)


def test_blank_patches_lie_where_they_will(page):
    """A feature depends on the patches that are looked at and on their places, on no others."""
    params = init_params(inked(4), jax.random.key(0))["vision_tower"]
    tower = jax.jit(lambda page: VisionTower(inked(4)).apply({"params": params}, normalize(page)))
    features = tower(page)
    assert features.shape == (2, 4, 32)
    faint = page.copy()
    faint[0, 26, 2:5] = 0  # less than any of the four
    np.testing.assert_array_equal(tower(faint), features)
    assert np.abs(tower(np.roll(page, PATCH, axis=1))[0] - features[0]).max() > 1e-3


def test_a_row_has_as_many_image_tokens_as_patches_are_looked_at(page):
    assert inked(5).num_image_tokens == 5
    pixels = jnp.asarray(normalize(page))
    params = init_params(inked(5), jax.random.key(0))
    encoded = NotaGPT(inked(5)).apply({"params": params}, pixels, method="encode_images")
    assert encoded.shape[:2] == (2, 5)


@pytest.mark.parametrize("n", [0, 17])
def test_a_number_of_patches_that_cannot_be_is_refused(n):
    with pytest.raises(UserError, match=f"vision.most_patches is {n}: 1 to 16 are needed"):
        inked(n)
    with pytest.raises(UserError, match="it belongs to patches"):
        dataclasses.replace(config().vision, most_patches=3)


def test_narrow_operands_change_logits_by_their_rounding_alone(page):
    """A float32 model multiplies in bfloat16; what is added up stays float32."""
    params = init_params(config(), jax.random.key(0))
    narrow = dataclasses.replace(config(), operands="bfloat16")
    tokens = jnp.full((2, 18), config().image_token_id).at[:, 16:].set(5)
    row = tokens, jnp.zeros_like(tokens), jnp.tile(jnp.arange(18), (2, 1))
    pixels = jnp.asarray(normalize(page))
    want = jax.jit(NotaGPT(config()).apply)({"params": params}, pixels, *row)
    got = jax.jit(NotaGPT(narrow).apply)({"params": params}, pixels, *row)
    assert got.dtype == want.dtype == jnp.float32
    difference = np.abs(got - want).max()
    assert 0 < difference < 0.05 * np.abs(want).max()
