import jax
import numpy as np
import pytest
import torch

from nota_jax.errors import UserError
from nota_jax.models.connector import Connector
from tests.models.hf_reference import hf_llava, max_difference, params_of, tiny


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(2, 16, 32)).astype(np.float32)


def test_mlp2_equals_transformers(features):
    model = hf_llava(tiny())
    theirs = model.model.multi_modal_projector(torch.tensor(features))
    params = params_of(model)["multi_modal_projector"]
    ours = Connector(tiny()).apply({"params": params}, features)
    assert max_difference(ours, theirs) <= 1e-5


def test_mlp1_is_one_linear_map(features):
    connector = Connector(tiny(connector={"kind": "mlp1"}))
    params = connector.init(jax.random.key(0), features)["params"]
    assert list(params) == ["linear_1"]
    ours = connector.apply({"params": params}, features)
    expected = features @ params["linear_1"]["kernel"] + params["linear_1"]["bias"]
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_resampler_gives_as_many_tokens_as_queries_and_reads_every_feature(features):
    config = tiny(connector={"kind": "resampler", "num_queries": 5, "num_attention_heads": 4})
    assert config.num_image_tokens == 5
    connector = Connector(config)
    params = jax.jit(connector.init)(jax.random.key(0), features)

    def total(features):
        out = connector.apply(params, features)
        return (out**2).sum(), out.shape

    read, shape = jax.jit(jax.grad(total, has_aux=True))(features)
    assert shape == (2, 5, 48)
    assert (np.abs(read).sum(-1) > 0).all()


def test_resampler_does_not_care_about_the_order_of_the_features(features):
    """Positions are the vision tower's business: they are in the features already."""
    config = tiny(connector={"kind": "resampler", "num_attention_heads": 4})
    connector = Connector(config)
    params = jax.jit(connector.init)(jax.random.key(0), features)
    apply = jax.jit(connector.apply)
    forward, backward = (apply(params, x) for x in (features, features[:, ::-1]))
    np.testing.assert_allclose(forward, backward, rtol=1e-5, atol=1e-5)


def test_unknown_kind_is_refused_with_the_choices():
    with pytest.raises(UserError, match="'qformer'; choose one of mlp2, mlp1, resampler"):
        tiny(connector={"kind": "qformer"})
