import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict

from conversion.names import to_tensors
from nota_jax.errors import UserError
from nota_jax.models.config import NotaGPTConfig, TextConfig, VisionConfig
from nota_jax.models.layers import linear
from nota_jax.models.notagpt import NotaGPT, param_shapes, place_images
from tests.models.hf_reference import (
    hf_llava,
    max_difference,
    params_of,
    random_inputs,
    random_params,
    tiny,
    to_torch_pixels,
)


def notagpt_7b() -> NotaGPTConfig:
    return NotaGPTConfig(
        vision=VisionConfig(
            image_size=336, patch_size=14, hidden_size=1024, intermediate_size=4096,
            num_hidden_layers=24, num_attention_heads=16,
        ),
        text=TextConfig(
            vocab_size=32064, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
            num_attention_heads=32, num_key_value_heads=8, head_dim=128, rope_theta=1e6,
            rms_norm_eps=1e-5, sliding_window=None,
        ),
        image_token_id=32000,
    )  # fmt: skip


def test_notagpt_7b_has_the_checkpoints_686_tensors_and_7566743552_parameters():
    config = notagpt_7b()
    assert config.num_image_tokens == 576
    shapes = param_shapes(config)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == 7_566_743_552
    # One scalar in place of each tensor of a stack, so that names can be counted.
    stand_ins = jax.tree.map(lambda s: np.zeros((s.shape[0],) + (1,) * (s.ndim - 1)), shapes)
    assert len(to_tensors(stand_ins)) == 686


@pytest.mark.parametrize(
    "text",
    [{}, {"sliding_window": 9}, {"head_dim": 16}, {"tie_word_embeddings": True}],
    ids=lambda text: ", ".join(text) or "plain",
)
def test_llava_logits_equal_transformers(text):
    config = tiny(text=text)
    model = hf_llava(config)
    pixels, tokens = random_inputs(config)
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor(tokens), pixel_values=to_torch_pixels(pixels)).logits
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    ours = jax.jit(NotaGPT(config).apply)(
        {"params": params_of(model)}, pixels, tokens, jnp.zeros_like(positions), positions
    )
    assert max_difference(ours, theirs) <= 1e-4


# Q turns on one prefix -------------------------------------------------------------------------

TURNS = (5, 9, 2)  # tokens of three turns about each image


def shared_row(config) -> dict[str, np.ndarray]:
    """A batch of two images with three turns each, and padding at the end."""
    pixels, tokens = random_inputs(config, batch=2, text=sum(TURNS) + 4)
    prefix = tokens.shape[1] - sum(TURNS) - 4
    turn_ids, positions = np.full(tokens.shape, -1), np.zeros(tokens.shape, int)
    turn_ids[:, :prefix], positions[:, :prefix] = 0, np.arange(prefix)
    # A target is the next token of the same turn; the last one of a turn predicts token 2.
    targets, weights = np.zeros(tokens.shape, int), np.zeros(tokens.shape, np.float32)
    start = prefix
    for turn, length in enumerate(TURNS, 1):
        here = slice(start, start + length)
        turn_ids[:, here], positions[:, here] = turn, prefix + np.arange(length)
        targets[:, here] = np.roll(tokens[:, here], -1, axis=1)
        targets[:, start + length - 1] = 2
        weights[:, start + length // 2 : start + length] = 1
        start += length
    return dict(pixels=pixels, tokens=tokens, turn_ids=turn_ids, positions=positions,
                targets=targets, weights=weights)  # fmt: skip


def separate_row(shared: dict[str, np.ndarray], turn: int) -> dict[str, np.ndarray]:
    """The same batch with one of the turns behind the prefix, padded to the same length."""
    keep = np.flatnonzero(np.isin(shared["turn_ids"][0], (0, turn)))
    row = {"pixels": shared["pixels"]}
    for key in ("tokens", "turn_ids", "positions", "targets", "weights"):
        row[key] = np.full_like(shared[key], -1 if key == "turn_ids" else 0)
        row[key][:, : len(keep)] = shared[key][:, keep]
    return row


@pytest.mark.parametrize(
    "variant",
    [
        {"text": {"sliding_window": 7}},
        {"connector": {"kind": "resampler", "num_queries": 6, "num_attention_heads": 4}},
    ],
    ids=["sliding window", "resampler"],
)
def test_turns_on_one_prefix_train_like_separate_rows(variant):
    """Loss and every gradient, vision tower included; fp32, relative 1e-5."""
    config = tiny(**variant)

    @jax.jit
    @jax.value_and_grad
    def summed_loss(params, pixels, tokens, turn_ids, positions, targets, weights):
        logits = NotaGPT(config).apply({"params": params}, pixels, tokens, turn_ids, positions)
        log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)
        return -(log_probs[..., 0] * weights).sum()

    params, shared = random_params(config), shared_row(config)
    rows = [separate_row(shared, turn) for turn in (1, 2, 3)]
    assert sum(row["weights"].sum() for row in rows) == shared["weights"].sum()

    one, ones = summed_loss(params, **shared)
    parts = [summed_loss(params, **row) for row in rows]
    np.testing.assert_allclose(one, sum(loss for loss, _ in parts), rtol=1e-5)
    ones = flatten_dict(ones, sep="/")
    manys = flatten_dict(jax.tree.map(lambda *g: sum(g), *(grad for _, grad in parts)), sep="/")
    for path, expected in manys.items():
        size = np.abs(expected).max()
        if path.endswith("k_proj/bias"):
            # Exactly zero but for rounding, since a constant added to all keys cancels in the
            # softmax: held against the gradient of its neighbour.
            size = np.abs(manys[path.replace("k_proj", "q_proj")]).max()
        assert np.abs(ones[path] - expected).max() <= 1e-5 * size, path
        assert (size == 0) == ("post_layernorm" in path), path


def test_another_turn_or_padding_never_changes_a_turn():
    config = tiny()
    params = random_params(config)
    pixels, tokens, turn_ids, positions = list(shared_row(config).values())[:4]
    run = jax.jit(NotaGPT(config).apply)
    before = run({"params": params}, pixels, tokens, turn_ids, positions)
    others = (turn_ids == 2) | (turn_ids == -1)
    after = run({"params": params}, pixels, np.where(others, 9, tokens), turn_ids, positions)
    np.testing.assert_array_equal(before[~others], after[~others])
    assert np.abs(before - after)[turn_ids == 2].max() > 1e-3


# Parts -------------------------------------------------------------------------------------------


def test_the_linear_maps_gradient_is_the_plain_products():
    config, rng = tiny(), np.random.default_rng(0)
    x, dy = (rng.normal(size=(2, 5, size)).astype(np.float32) for size in (3, 4))
    dense = linear(config, 4, None)
    params = dense.init(jax.random.key(0), x)

    def plain(params, x):
        return x @ params["params"]["kernel"] + params["params"]["bias"]

    (ours, ours_back), (theirs, theirs_back) = (jax.vjp(f, params, x) for f in (dense.apply, plain))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    for a, b in zip(*map(jax.tree.leaves, (ours_back(dy), theirs_back(dy))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["mlp2", "resampler"])
def test_gradients_of_bfloat16_compute_are_float32_before_they_are_summed(kind):
    """Rounded to bfloat16 on each device, their sum over the devices would be off by as much."""
    connector = {"kind": kind, "num_queries": 4, "num_attention_heads": 2}
    few = {"num_hidden_layers": 2}
    config = tiny(dtype="bfloat16", connector=connector, text=few, vision=few)
    pixels, tokens = random_inputs(config, text=40)  # tokens come again
    positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)

    @jax.jit
    @jax.grad
    def gradient(params):
        out = NotaGPT(config).apply({"params": params}, pixels, tokens, positions * 0, positions)
        return jax.nn.logsumexp(out, axis=-1).sum()

    for path, found in flatten_dict(gradient(random_params(config)), sep="/").items():
        unused = "post_layernorm" in path  # CLIP's last norm lies behind the features
        assert unused or (found != found.astype(jnp.bfloat16).astype(jnp.float32)).any(), path


def test_image_features_take_the_image_tokens_places_in_order():
    is_image = jnp.array([[0, 1, 1, 0, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], bool)
    features = jnp.arange(1.0, 10).reshape(3, 3, 1)
    placed = place_images(jnp.zeros((3, 5, 1)), features, is_image)
    np.testing.assert_array_equal(
        placed[..., 0], [[0, 1, 2, 0, 3], [4, 5, 6, 0, 0], [0, 0, 0, 0, 0]]
    )


@pytest.mark.parametrize("tied", [False, True])
def test_the_head_kernel_is_what_logits_multiplies_with(tied):
    config = tiny(text={"tie_word_embeddings": tied})
    params = random_params(config)
    hidden = np.random.default_rng(0).normal(size=(2, 3, 48)).astype(np.float32)
    logits = NotaGPT(config).apply({"params": params}, hidden, method="logits")
    np.testing.assert_allclose(logits, hidden @ NotaGPT.head_kernel(params), atol=1e-5)


def test_parameters_and_activations_have_the_configured_dtypes():
    config = tiny(dtype="bfloat16", param_dtype="bfloat16")
    params = param_shapes(config)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("bfloat16")}
    pixels, tokens = random_inputs(config)

    def stages(module):
        features = module.encode_images(pixels)
        hidden = module.hidden(tokens, tokens * 0, tokens, features)
        return features, hidden, module.logits(hidden)

    shapes = jax.eval_shape(lambda p: NotaGPT(config).apply({"params": p}, method=stages), params)
    assert [stage.dtype for stage in shapes] == [jnp.bfloat16, jnp.bfloat16, jnp.float32]


def test_a_configuration_survives_plain_values():
    config = tiny(text={"sliding_window": 5}, connector={"kind": "mlp1"}, remat="dots")
    assert NotaGPTConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision": {"patch_size": 9}}, "vision.image_size is 28, .* patch_size \\(9\\)"),
        ({"text": {"num_key_value_heads": 3}}, "num_attention_heads is 4, .* \\(3\\)"),
        ({"vision": {"feature_layer": -5}}, "3 layers have the hidden states -4 to 3"),
        ({"remat": "some"}, "'some'; choose one of none, full, dots"),
        ({"image_token_id": 101}, "outside the vocabulary of 101"),
    ],
)
def test_an_impossible_configuration_is_refused_with_its_field(change, message):
    with pytest.raises(UserError, match=message):
        tiny(**change)


def test_an_unknown_field_is_refused_by_name():
    values = tiny().to_dict()
    values["text"]["sliding"] = values["text"].pop("sliding_window")
    with pytest.raises(UserError, match="sliding"):
        NotaGPTConfig.from_dict(values)
