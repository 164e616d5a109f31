import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from nota_jax.models import mistral
from nota_jax.models.attention import turn_mask
from tests.models.hf_reference import hf_llava, max_difference, params_of, random_params, tiny

VARIANTS = {
    "plain": {},
    "sliding window": {"sliding_window": 6},
    "head_dim is not hidden / heads": {"head_dim": 16},
    "one key head": {"num_key_value_heads": 1},
    "as many key heads as heads": {"num_key_value_heads": 4},
    "rope theta 1e6, other epsilon": {"rope_theta": 1e6, "rms_norm_eps": 1e-3},
    "tied embeddings": {"tie_word_embeddings": True},
}


def scope(config, length):
    positions = jnp.broadcast_to(jnp.arange(length), (2, length))
    turn_ids, text = jnp.zeros_like(positions), config.text
    return mistral.Scope(
        mistral.rotary_angles(positions, text.head_dim, text.rope_theta), positions, turn_ids,
        mask=turn_mask(turn_ids, positions, text.sliding_window),
    )  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_layer_and_the_logits_equal_transformers(variant):
    config, length = tiny(text=VARIANTS[variant]), 21
    model = hf_llava(config)
    params = params_of(model)["language_model"]
    tokens = np.random.default_rng(0).integers(8, 101, (2, length))
    states = []
    for layer in model.model.language_model.layers:
        layer.register_forward_hook(lambda _, inputs, output: states.append((inputs[0], output)))
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor(tokens)).logits

    assert len(states) == config.text.num_hidden_layers
    apply = jax.jit(mistral.Layer(config, keep="").apply)
    for i, (before, after) in enumerate(states):
        layer_params = jax.tree.map(lambda p: p[i], params["model"]["layers"])  # noqa: B023
        ours, _ = apply({"params": layer_params}, before.numpy(), scope(config, length))
        assert max_difference(ours, after) <= 1e-5

    def whole(module):
        positions = jnp.broadcast_to(jnp.arange(length), tokens.shape)
        return module.logits(module(module.embed(tokens), jnp.zeros_like(positions), positions))

    logits = jax.jit(lambda p: mistral.CausalLM(config).apply({"params": p}, method=whole))(params)
    assert max_difference(logits, theirs) <= 1e-4
    assert logits.dtype == jnp.float32


def test_the_sliding_window_changes_the_result():
    """Guards the parity test above: a window of 6 in 21 tokens is not a no-op."""
    x = np.random.default_rng(0).normal(size=(2, 21, 48)).astype(np.float32)
    outputs = []
    for window in (None, 6, 21):
        config = tiny(text={"sliding_window": window})
        layer = mistral.Layer(config, keep="")
        params = jax.jit(layer.init)(jax.random.key(0), x, scope(config, 21))
        outputs.append(jax.jit(layer.apply)(params, x, scope(config, 21))[0])
    np.testing.assert_array_equal(outputs[0][:, :6], outputs[1][:, :6])
    assert np.abs(outputs[0] - outputs[1])[:, 6:].max() > 1e-3
    np.testing.assert_array_equal(outputs[0], outputs[2])


def test_bfloat16_keeps_norms_and_logits_in_float32():
    config = tiny(dtype="bfloat16")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 500, 48)), jnp.bfloat16)
    norm = mistral.RMSNorm(config)
    params = norm.init(jax.random.key(0), x)
    assert params["params"]["scale"].dtype == jnp.float32
    assert norm.apply(params, x).dtype == jnp.bfloat16
    exact = np.asarray(x, np.float64)
    exact /= np.sqrt((exact**2).mean(-1, keepdims=True) + config.text.rms_norm_eps)
    # All but ties are rounded once, to the nearest; a norm computed in bfloat16 rounds thrice.
    nearest = jnp.asarray(exact, jnp.bfloat16)
    assert (norm.apply(params, x) == nearest).mean() > 0.999
    square = jnp.square(x).mean(-1, keepdims=True, dtype=jnp.bfloat16)
    assert (x * jax.lax.rsqrt(square) == nearest).mean() < 0.9

    def logits(module):
        return module.logits(module.embed(jnp.zeros((1, 3), int)))

    model = mistral.CausalLM(config)
    params = model.init(jax.random.key(0), method=logits)
    assert model.apply(params, method=logits).dtype == jnp.float32


def test_rematerialisation_saves_memory_and_changes_no_gradient():
    tokens = np.random.default_rng(0).integers(8, 101, (2, 64))
    positions = jnp.broadcast_to(jnp.arange(64), tokens.shape)

    def squares(module):
        hidden = module(module.embed(tokens), jnp.zeros_like(positions), positions)
        return (module.logits(hidden) ** 2).mean()

    def compiled(remat, params):
        model = mistral.CausalLM(tiny(remat=remat, text={"num_hidden_layers": 6}))
        step = jax.grad(lambda p: model.apply({"params": p}, method=squares))
        return jax.jit(step).lower(params).compile()

    params = random_params(tiny(text={"num_hidden_layers": 6}))["language_model"]
    steps = {remat: compiled(remat, params) for remat in ("none", "dots", "full")}
    memory = {k: step.memory_analysis().temp_size_in_bytes for k, step in steps.items()}
    assert memory["none"] > memory["dots"] > memory["full"]
    plain = jax.tree_util.tree_leaves_with_path(steps["none"](params))
    for remat in ("dots", "full"):
        for (path, expected), ours in zip(
            plain, jax.tree.leaves(steps[remat](params)), strict=True
        ):
            assert np.abs(ours - expected).max() <= 1e-5 * np.abs(expected).max(), path
