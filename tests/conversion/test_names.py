import numpy as np
import pytest

from conversion.names import (
    WHOLE,
    LeftOut,
    Slot,
    locate,
    recognise,
    to_tensors,
)
from nota_jax.errors import UserError
from tests.models.hf_reference import to_tree


def small_tensors():
    """A legacy checkpoint of two layers each; every dimension differs, so no transpose hides."""
    rng = np.random.default_rng(0)
    shapes = {
        "vision_tower.vision_model.embeddings.class_embedding": (5,),
        "vision_tower.vision_model.embeddings.patch_embedding.weight": (5, 3, 2, 4),
        "vision_tower.vision_model.pre_layrnorm.bias": (5,),
        "multi_modal_projector.linear_1.weight": (7, 5),
        "language_model.model.embed_tokens.weight": (11, 7),
        "language_model.lm_head.weight": (11, 7),
    }
    for i in range(2):
        shapes[f"vision_tower.vision_model.encoder.layers.{i}.mlp.fc1.weight"] = (9, 5)
        shapes[f"language_model.model.layers.{i}.self_attn.q_proj.weight"] = (6, 7)
    return {name: rng.normal(size=shape).astype(np.float16) for name, shape in shapes.items()}


def test_axes_and_layers_land_where_flax_wants_them():
    tensors = small_tensors()
    tree = to_tree(tensors, "legacy")
    vision, language = tree["vision_tower"], tree["language_model"]
    patches = tensors["vision_tower.vision_model.embeddings.patch_embedding.weight"]
    kernel = vision["embeddings"]["patch_embedding"]["kernel"]
    assert kernel.shape == (2, 4, 3, 5)
    assert kernel[1, 2, 0, 3] == patches[3, 0, 1, 2]
    q_proj = language["model"]["layers"]["self_attn"]["q_proj"]["kernel"]
    assert q_proj.shape == (2, 7, 6) and q_proj.dtype == np.float16
    np.testing.assert_array_equal(
        q_proj[1], tensors["language_model.model.layers.1.self_attn.q_proj.weight"].T
    )
    assert vision["pre_layrnorm"]["bias"].shape == (5,)


@pytest.mark.parametrize("layout", WHOLE)
def test_there_and_back_is_byte_identical(layout):
    tensors = to_tensors(to_tree(small_tensors(), "legacy"), layout)
    assert recognise(tensors) == layout
    back = to_tensors(to_tree(tensors, layout), layout)
    assert back.keys() == tensors.keys()
    assert all(back[name].tobytes() == tensors[name].tobytes() for name in tensors)
    legacy = to_tensors(to_tree(tensors, layout), "legacy")
    assert {k: v.tobytes() for k, v in legacy.items()} == {
        k: v.tobytes() for k, v in small_tensors().items()
    }


def test_buffers_of_old_files_are_left_out_with_a_reason():
    name = "vision_tower.vision_model.embeddings.position_ids"
    assert isinstance(locate(name, "legacy"), LeftOut)
    tree = to_tree(small_tensors() | {name: np.arange(4)}, "legacy")
    assert "position_ids" not in tree["vision_tower"]["embeddings"]


def test_names_of_no_layout_are_refused_by_example():
    with pytest.raises(UserError, match="first names are transformer.h.0"):
        recognise({"transformer.h.0": np.zeros(1)})


def test_a_parameter_that_llava_lacks_is_refused():
    with pytest.raises(UserError, match="multi_modal_projector/resampler/queries"):
        to_tensors({"multi_modal_projector": {"resampler": {"queries": np.zeros((2, 2))}}})


def test_layouts_that_share_names_are_told_apart():
    tensors = to_tree(small_tensors(), "legacy")
    mistral = {k: v for k, v in to_tensors(tensors, "original").items() if "vision" not in k}
    assert recognise(mistral) == "original"  # LLaVA 1.5's own repository: no vision tower
    assert recognise(k for k in mistral if "mm_projector" not in k) == "mistral"
    tower = [k for k in to_tensors(tensors, "transformers-5") if "vision_tower" in k]
    assert recognise(k.removeprefix("model.vision_tower.") for k in tower) == "clip-flat"
    clip = [k.replace("model.vision_tower", "vision_model") for k in tower]
    assert recognise([*clip, "text_model.embeddings.token_embedding.weight"]) == "clip"
    for layout in ("legacy", "transformers-5-saved"):  # these differ in the vision tower alone
        assert recognise(k for k in to_tensors(tensors, layout)) == layout


def test_the_originals_connector_is_numbered():
    slot = locate("model.mm_projector.2.weight", "original")
    assert isinstance(slot, Slot) and slot.path == "multi_modal_projector/linear_2/kernel"
    assert slot.layer is None and locate("model.mm_projector.1.weight", "original") is None


def test_what_is_left_out_depends_on_the_layout():
    assert isinstance(locate("text_model.final_layer_norm.bias", "clip"), LeftOut)
    assert locate("text_model.final_layer_norm.bias", "legacy") is None
    assert isinstance(locate("model.image_newline", "transformers-5"), LeftOut)
    assert locate("image_newline", "mistral") is None


def test_an_unknown_layout_lists_the_layouts():
    with pytest.raises(UserError, match="legacy, transformers-4.57, transformers-5"):
        locate("lm_head.weight", "transformers-6")
