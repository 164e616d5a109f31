"""Hugging Face → ours → Hugging Face gives back the same bytes, from every layout."""

import json

import pytest
import torch

from conversion import fill, from_hf, hf_config, to_hf
from nota_jax.errors import UserError
from tests.conversion import hf_directories as hf
from tests.conversion.hf_directories import quiet
from tests.models.hf_reference import tiny

TIED = tiny(text=dict(tie_word_embeddings=True))
MODELS = {
    "plain": tiny(),
    "tied": TIED,
    "wide heads": tiny(text=dict(head_dim=20)),
    "theta 1e6": tiny(text=dict(rope_theta=1e6)),
    "window": tiny(text=dict(sliding_window=11, rms_norm_eps=1e-6)),
}


VOCABULARY = ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight")


def there_and_back(tmp_path, **directories):
    """(what was read, tensors of the export)."""
    reading = from_hf.read(**directories)
    from_hf.convert(reading, tmp_path / "ckpt", quiet)
    to_hf.export(to_hf.open_run(tmp_path / "ckpt"), tmp_path / "back", say=quiet)
    return reading, hf.exported(tmp_path / "back")


def assert_same(got, want):
    assert got.keys() == want.keys()
    different = [name for name in want if not hf.same_bytes(got[name], want[name])]
    assert not different


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("layout", hf.LAYOUTS)
def test_every_layout_comes_back_byte_for_byte(tmp_path, layout, dtype):
    want = hf.llava_directory(tmp_path / "hf", tiny(), layout, dtype)
    reading, got = there_and_back(tmp_path, llava=tmp_path / "hf")
    assert reading.sources[0].layout == layout
    if layout == "original":  # it has no <image> token, so the vocabulary grows
        assert reading.architecture.text.vocab_size == 128
        for name in VOCABULARY:
            got[name] = got[name][:101]
    assert_same(got, want)


@pytest.mark.parametrize("model", MODELS)
def test_every_kind_of_decoder_comes_back_with_its_configuration(tmp_path, model):
    config = MODELS[model]
    want = hf.llava_directory(tmp_path / "hf", config, "transformers-5-saved")
    reading, got = there_and_back(tmp_path, llava=tmp_path / "hf")
    assert_same(got, want)
    assert hf_config.architecture(reading.architecture) == hf_config.architecture(config)
    again = from_hf.read(llava=tmp_path / "back").architecture
    assert hf_config.architecture(again) == hf_config.architecture(config)
    written = json.loads((tmp_path / "back" / "config.json").read_text())["text_config"]
    assert written["rope_theta"] == written["rope_parameters"]["rope_theta"]


def test_shards_in_and_shards_out(tmp_path):
    want = hf.llava_directory(tmp_path / "hf", tiny(), "transformers-4.57")
    hf.shard(tmp_path / "hf", 4)
    from_hf.convert(from_hf.read(llava=tmp_path / "hf"), tmp_path / "ckpt", quiet)
    to_hf.export(to_hf.open_run(tmp_path / "ckpt"), tmp_path / "back", max_shard=10**5, say=quiet)
    assert_same(hf.exported(tmp_path / "back"), want)
    files = sorted(tmp_path.glob("back/*.safetensors"))
    assert len(files) > 2 and all(file.stat().st_size < 1.2 * 10**5 for file in files)
    index = json.loads((tmp_path / "back/model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == want.keys()
    assert index["metadata"]["total_size"] == sum(x.nbytes for x in want.values())


def test_clip_and_mistral_become_one_model(tmp_path):
    config = tiny()
    want = hf.clip_and_mistral(tmp_path, config, torch.bfloat16)
    reading, got = there_and_back(tmp_path, clip=tmp_path / "clip", mistral=tmp_path / "mistral")
    # 101 tokens and <image>, <pad> make 103, which is rounded up.
    text = reading.architecture.text
    assert (text.vocab_size, reading.architecture.image_token_id) == (128, 101)
    for name, tensor in want.items():
        assert hf.same_bytes(got[name][: len(tensor)], tensor)
    embedding = got["language_model.model.embed_tokens.weight"].float()
    torch.testing.assert_close(embedding[101], embedding[:101].mean(0), atol=1e-2, rtol=1e-2)
    assert torch.equal(embedding[101], embedding[127])
    connector = got["multi_modal_projector.linear_1.weight"]
    assert connector.dtype == torch.bfloat16 and connector.float().std() > 0.05
    why = {reason for _, reason in reading.plan.initialised}
    assert why == {fill.MEAN_RULE, fill.CONNECTOR_RULE}
    left_out = dict(reading.plan.left_out)
    assert {"logit_scale", "text_projection.weight", "visual_projection.weight"} < left_out.keys()


def test_a_clip_without_its_text_tower_serves_as_well(tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    hf.clip_and_mistral(tmp_path, tiny())
    model = CLIPVisionModel(CLIPVisionConfig(**hf.vision_config(tiny())))
    model.save_pretrained(tmp_path / "tower")
    reading = from_hf.read(clip=tmp_path / "tower", mistral=tmp_path / "mistral")
    assert reading.sources[1].layout == "clip-flat" and not reading.plan.left_out


def test_llava_next_leaves_its_newline_out_by_name(tmp_path):
    want = hf.llava_next_directory(tmp_path / "hf", tiny())
    reading, got = there_and_back(tmp_path, llava=tmp_path / "hf")
    assert [name for name, _ in reading.plan.left_out] == ["image_newline"]
    assert "left out: image_newline (LLaVA-NeXT's tiling" in from_hf.report(reading)
    assert_same(got, want)


def test_an_original_llava_takes_its_vision_tower_from_clip(tmp_path):
    """LLaVA 1.5's own files hold connector and decoder only."""
    want = hf.llava_directory(tmp_path / "hf", tiny(), "original")
    hf.clip_and_mistral(tmp_path, tiny())
    file = tmp_path / "hf/model.safetensors"
    tensors = {k: v for k, v in hf.load_file(file).items() if "vision_tower" not in k}
    hf.save_file(tensors, file)
    with pytest.raises(UserError, match="missing tensor model.vision_tower.vision_tower"):
        from_hf.read(llava=tmp_path / "hf")
    reading, got = there_and_back(tmp_path, llava=tmp_path / "hf", clip=tmp_path / "clip")
    assert got.keys() == want.keys()
    decoder = [k for k in want if k.startswith("language_model") and k not in VOCABULARY]
    assert_same({k: got[k] for k in decoder}, {k: want[k] for k in decoder})
    assert [source.layout for source in reading.sources] == ["original", "clip"]


def test_a_tied_head_is_filled_from_the_embedding_by_name(tmp_path):
    want = hf.llava_directory(tmp_path / "hf", TIED)
    reading, got = there_and_back(tmp_path, llava=tmp_path / "hf")
    assert (fill.HEAD, fill.TIED_RULE) in reading.plan.initialised
    assert_same(got, want)
    # Some files hold the head all the same: fine if it is the embedding, a mistake if it is not.
    file, head = tmp_path / "hf/model.safetensors", "language_model.lm_head.weight"
    tensors = hf.load_file(file)
    copy = tensors["language_model.model.embed_tokens.weight"].clone()
    hf.save_file(tensors | {head: copy}, file)
    assert (head, fill.TIED_RULE) in from_hf.read(llava=tmp_path / "hf").plan.left_out
    hf.save_file(tensors | {head: copy + 1}, file)
    with pytest.raises(UserError, match="lm_head.weight differs from the embedding"):
        from_hf.read(llava=tmp_path / "hf")


def test_what_a_configuration_leaves_out_has_transformers_defaults(tmp_path):
    """4.x writes only what differs from the class's defaults, which are traps."""
    from transformers import LlavaConfig

    hf.llava_directory(tmp_path / "hf", tiny())
    path = tmp_path / "hf/config.json"
    values = json.loads(path.read_text())
    for key in ("sliding_window", "rms_norm_eps", "rope_parameters", "head_dim"):
        del values["text_config"][key]
    path.write_text(json.dumps(values))
    theirs = LlavaConfig.from_pretrained(tmp_path / "hf").text_config
    ours = from_hf.read(llava=tmp_path / "hf").architecture.text
    assert (ours.sliding_window, ours.rms_norm_eps) == (theirs.sliding_window, theirs.rms_norm_eps)
    assert (ours.sliding_window, ours.rms_norm_eps, ours.rope_theta) == (4096, 1e-6, 1e4)
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
    assert ours.head_dim == theirs.hidden_size // theirs.num_attention_heads


def test_a_cast_is_the_nearest_bfloat16(tmp_path):
    want = hf.llava_directory(tmp_path / "hf", tiny())
    from_hf.convert(from_hf.read(llava=tmp_path / "hf"), tmp_path / "ckpt", quiet)
    to_hf.export(to_hf.open_run(tmp_path / "ckpt"), tmp_path / "back", "bfloat16", say=quiet)
    assert_same(hf.exported(tmp_path / "back"), {k: v.bfloat16() for k, v in want.items()})
    assert json.loads((tmp_path / "back/config.json").read_text())["torch_dtype"] == "bfloat16"


def test_buffers_of_old_files_are_left_out_by_name(tmp_path):
    want = hf.llava_directory(tmp_path / "hf", tiny())
    buffers = {
        "vision_tower.vision_model.embeddings.position_ids": torch.arange(17)[None],
        "language_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6),
    }
    file = tmp_path / "hf/model.safetensors"
    hf.save_file(hf.load_file(file) | buffers, file)
    reading, got = there_and_back(tmp_path, llava=tmp_path / "hf")
    assert dict(reading.plan.left_out).keys() == buffers.keys()
    assert_same(got, want)
