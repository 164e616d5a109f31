import jax
import numpy as np
import pytest
import torch

from nota_jax.models import clip
from tests.models.hf_reference import (
    hf_llava,
    max_difference,
    params_of,
    random_inputs,
    tiny,
    to_torch_pixels,
)


@pytest.fixture(scope="module")
def reference():
    model = hf_llava(tiny())
    pixels, _ = random_inputs(tiny())
    with torch.no_grad():
        states = model.model.vision_tower(to_torch_pixels(pixels), output_hidden_states=True)
    return params_of(model)["vision_tower"], pixels, [s.numpy() for s in states.hidden_states]


@pytest.mark.parametrize("hidden_act", ["quick_gelu", "gelu"])
def test_every_layer_equals_transformers(hidden_act):
    config = tiny(vision={"hidden_act": hidden_act})
    model = hf_llava(config)
    params = params_of(model)["vision_tower"]["encoder"]["layers"]
    x = np.random.default_rng(0).normal(size=(2, 17, 32)).astype(np.float32)
    apply = jax.jit(clip.Layer(config).apply)
    for i, layer in enumerate(model.model.vision_tower.encoder.layers):
        theirs = layer(torch.tensor(x), attention_mask=None)
        ours, _ = apply({"params": jax.tree.map(lambda p: p[i], params)}, x)  # noqa: B023
        assert max_difference(ours, theirs) <= 1e-5
        x = np.asarray(ours)


@pytest.mark.parametrize("feature_layer", [-1, -2, -3, -4, 0, 1, 3])
def test_features_are_the_configured_hidden_state_without_cls(reference, feature_layer):
    params, pixels, states = reference
    config = tiny(vision={"feature_layer": feature_layer})
    ours = jax.jit(clip.VisionTower(config).apply)({"params": params}, pixels)
    assert ours.shape == (2, config.vision.num_patches, 32)
    assert max_difference(ours, states[feature_layer][:, 1:]) <= 1e-5


def test_layers_behind_the_features_exist_but_are_never_computed(reference):
    params, pixels, _ = reference
    tower = clip.VisionTower(tiny())
    fresh = jax.eval_shape(tower.init, jax.random.key(0), pixels)["params"]
    assert fresh["encoder"]["layers"]["mlp"]["fc1"]["kernel"].shape == (3, 32, 64)
    assert fresh["post_layernorm"]["scale"].shape == (32,)

    used = {key: value for key, value in params.items() if key != "post_layernorm"}
    jaxpr = jax.make_jaxpr(tower.apply)({"params": used}, pixels)
    assert [e.params["length"] for e in jaxpr.eqns if e.primitive.name == "scan"] == [2]
