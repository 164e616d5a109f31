"""What is exported loads in the installed transformers and is the same model."""

import io
import json

import jax
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer, LlavaForConditionalGeneration

from conversion import card, from_hf, to_hf, verify
from nota_jax import history
from nota_jax.checkpoint import scores, slices
from nota_jax.checkpoint.base import save_base
from nota_jax.checkpoint.scores import Score
from nota_jax.checkpoint.steps import load_params
from nota_jax.data.feed import chat, images
from nota_jax.data.feed.tokenizer import train_bpe
from nota_jax.errors import UserError
from nota_jax.models.notagpt import NotaGPT, param_shapes
from nota_jax.params import resolve, split_tree
from nota_jax.pixels import IMAGE_STD, normalize
from tests.conversion import hf_directories as hf
from tests.conversion.hf_directories import quiet
from tests.conversion.runs import TABLE, random_weights, run_directory, with_tokenizer
from tests.models.hf_reference import random_inputs, tiny, to_torch_pixels

TEXTS = ["What is the key of this tune?", "X:1\nT:Up\nM:4/4\nL:1/8\nK:G\nGABc d2B2|c2A2 G4|]\n"]
MODELS = {
    "plain": tiny(),
    "tied": tiny(text=dict(tie_word_embeddings=True)),
    "wide heads, window": tiny(text=dict(head_dim=20, rope_theta=1e6, sliding_window=11)),
    "another eps, gelu": tiny(text=dict(rms_norm_eps=1e-6), vision=dict(hidden_act="gelu")),
}


@pytest.fixture(scope="module")
def tok(tmp_path_factory):
    return train_bpe(TEXTS, 270, tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def exported(tok, tmp_path_factory):
    """(configuration, parameters, export) of a phase-2 run."""
    folder = tmp_path_factory.mktemp("phase2")
    config = with_tokenizer(tiny(vision=dict(image_size=56, patch_size=14)), tok)
    params = run_directory(folder / "run", config, tok)
    to_hf.export(to_hf.open_run(folder / "run"), folder / "hf", say=quiet)
    return config, params, folder / "hf"


def load(folder):
    model, info = LlavaForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    return model.eval()


def assert_same_logits(folder, config, params):
    pixels, tokens = random_inputs(config)
    positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    apply = jax.jit(NotaGPT(config).apply)  # op by op it would compile each by itself
    ours = apply({"params": params}, pixels, tokens, 0 * tokens, positions)
    with torch.no_grad():
        theirs = load(folder)(
            input_ids=torch.tensor(tokens), pixel_values=to_torch_pixels(pixels)
        ).logits  # fmt: skip
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("model", MODELS)
def test_imported_and_exported_again_it_computes_the_same(tmp_path, model):
    config = MODELS[model]
    hf.llava_directory(tmp_path / "hf", config, "transformers-5-saved")
    from_hf.convert(from_hf.read(llava=tmp_path / "hf"), tmp_path / "ckpt", quiet)
    to_hf.export(to_hf.open_run(tmp_path / "ckpt"), tmp_path / "back", say=quiet)
    params = load_params(tmp_path / "ckpt", param_shapes(config))
    assert_same_logits(tmp_path / "back", config, params)


def test_a_phase_2_run_is_exported_with_its_frozen_part(exported):
    config, params, folder = exported
    assert_same_logits(folder, config, params)


def test_the_processor_prepares_pictures_and_prompts_as_we_do(exported, tok):
    config, _, folder = exported
    processor = AutoProcessor.from_pretrained(folder)
    rng = np.random.default_rng(0)
    question = TEXTS[0]
    n = config.num_image_tokens
    ours = chat.encode_prefix(tok, "mistral_instruct", n)
    ours += chat.encode_prompts(tok, "mistral_instruct", [question])[0]
    for width, height in ((56, 56), (130, 130), (31, 31), (90, 40), (33, 70)):
        grey = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        png = io.BytesIO()
        grey.save(png, "PNG")
        page = normalize(images.load(png.getvalue(), config.vision.image_size))
        side = max(width, height)  # the model card says to do this: LLaVA's padding is grey
        square = Image.new("RGB", (side, side), "white")
        square.paste(grey, ((side - width) // 2, (side - height) // 2))
        messages = [{"role": "user", "content": [{"type": "image"},
                                                 {"type": "text", "text": question}]}]  # fmt: skip
        text = processor.apply_chat_template(messages, add_generation_prompt=True)
        found = processor(images=square, text=text, return_tensors="np")
        pixels = np.moveaxis(found["pixel_values"][0], 0, -1)
        assert (np.abs(pixels - page) * np.array(IMAGE_STD)).max() <= 1 / 255
        assert found["input_ids"][0].tolist() == ours


def test_a_cropping_run_is_exported_with_a_cropping_processor(tmp_path, tok):
    config = with_tokenizer(tiny(), tok)
    run_directory(tmp_path / "run", config, tok, image_mode="center_crop")
    to_hf.export(to_hf.open_run(tmp_path / "run"), tmp_path / "hf", say=quiet)
    processor = AutoProcessor.from_pretrained(tmp_path / "hf")
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8))
    png = io.BytesIO()
    wide.save(png, "PNG")
    ours = normalize(images.load(png.getvalue(), 28, "center_crop"))
    theirs = processor(images=wide, text="<image>", return_tensors="np")["pixel_values"][0]
    apart = np.abs(np.moveaxis(theirs, 0, -1) - ours) * np.array(IMAGE_STD)
    assert apart.max() <= 1 / 255


def test_the_tokenizer_of_the_export_is_the_runs(exported, tok):
    theirs = AutoTokenizer.from_pretrained(exported[2])
    for text in TEXTS:
        ours = tok(text, add_special_tokens=False)["input_ids"]
        assert theirs(text)["input_ids"] == ours  # BOS is the template's
    assert theirs.model_input_names == ["input_ids", "attention_mask"]
    assert theirs.chat_template == chat.CHAT_TEMPLATE


def test_generation_starts_and_ends_with_the_tokenizers_tokens(exported, tok):
    settings = json.loads((exported[2] / "generation_config.json").read_text())
    assert settings["bos_token_id"] == tok.bos_token_id
    assert settings["eos_token_id"] == tok.eos_token_id
    assert settings["pad_token_id"] == tok.pad_token_id


def test_the_card_says_what_the_model_is_made_of(tmp_path, tok):
    config = with_tokenizer(tiny(), tok)
    run_directory(tmp_path / "run", config, tok)
    scores = {"settings": {"splits": ["extraction_test"]}, "all": {"questions": 17}}
    (tmp_path / "run/evaluation_test").mkdir()
    (tmp_path / "run/evaluation_test/evaluation.json").write_text(json.dumps(scores))
    table = "# Evaluation\n\n| | model |\n|---|---|\n| key extraction | 41.2 % |\n\n## China\n"
    (tmp_path / "run/evaluation_test/evaluation.md").write_text(table)
    to_hf.export(to_hf.open_run(tmp_path / "run"), tmp_path / "hf", say=quiet)
    text = (tmp_path / "hf/README.md").read_text()
    record = json.loads((tmp_path / "run/config.json").read_text())
    assert card.digest(record) in text and "random weights, seed 5" in text
    assert "17 held-out questions (extraction_test)" in text and "key extraction | 41.2 %" in text
    assert "Checkpoint of step 3" in text and "`data/x`" in text


def test_the_card_tells_what_was_changed_on_the_way_and_how_far_a_run_came(tmp_path, tok):
    config = with_tokenizer(tiny(), tok)
    run_directory(tmp_path / "run", config, tok)
    lines = [
        {"step": 0, "total_steps": 9, "config": {"optim.learning_rate": 0.1}, "marks": {}},
        {"step": 1, "total_steps": 8, "changed": {"optim.learning_rate": [0.1, 0.2]}},
    ]
    (tmp_path / "run/history.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    settings = {"splits": ["extraction_test"], "views": 4, "grammar": True, "temperature": 0.0}
    (tmp_path / "run/evaluation_test_0123abcd").mkdir()
    scores = {"settings": settings, "all": {"questions": 5}}
    (tmp_path / "run/evaluation_test_0123abcd/evaluation.json").write_text(json.dumps(scores))
    text = card.write(tmp_path / "run", config, 3)
    assert "3 of 8" in text
    assert "behind step 1: optim.learning_rate 0.1 → 0.2" in text
    assert "behind step 1: steps 9 → 8" in text
    assert "(extraction_test; 4 views of each page; decoding under the grammar of ABC)" in text


def test_the_card_names_the_runs_that_trained_the_parts_and_their_data(tmp_path, tok):
    config = with_tokenizer(tiny(), tok)
    run_directory(tmp_path / "run", config, tok)
    for name, corpora in (("vision", ["essenFolksong"]), ("songs", ["airdsAirs"])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "build_report.json").write_text(
            json.dumps({"arguments": {"corpora": corpora}})
        )
    part = {"objective": "symbols", "steps": 7, "data": {"batch_size": 5}}
    part["data"]["dir"] = str(tmp_path / "vision")
    (tmp_path / "vision/config.json").write_text(json.dumps(part))
    path = tmp_path / "run/config.json"
    record = json.loads(path.read_text())
    record["parts"] = [["vision_tower/.*", str(tmp_path / "vision")]]
    record["data"]["dir"] = str(tmp_path / "songs")
    path.write_text(json.dumps(record))
    text = card.write(tmp_path / "run", config, 3)
    assert "`vision_tower/.*`: trained from random weights by" in text
    assert "objective symbols, 7 steps of 5 questions" in text
    assert "from essenFolksong" in text and "from airdsAirs" in text
    assert "(Essen) is for non-commercial use" in text and "without Essen" not in text


def test_a_tower_that_looks_at_inked_patches_goes_out_and_comes_back(tmp_path, tok):
    vision = dict(patches="inked", most_patches=7, heading="enlarged")
    config = with_tokenizer(tiny(vision=vision), tok)
    params = run_directory(tmp_path / "run", config, tok)
    to_hf.export(to_hf.open_run(tmp_path / "run"), tmp_path / "hf", say=quiet)
    text = (tmp_path / "hf/README.md").read_text()
    assert f"it looks at 7 of a page's {config.vision.num_patches} patches" in text
    assert "title and composer are read from a second picture" in text
    processor = json.loads((tmp_path / "hf/preprocessor_config.json").read_text())
    assert processor["image_mean"] == [1.0, 1.0, 1.0]  # white is zero to it
    back = from_hf.load(tmp_path / "hf", config, None, quiet)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    other = with_tokenizer(tiny(vision=vision | {"most_patches": 8}), tok)
    with pytest.raises(UserError, match="vision.most_patches is 7 there and 8 here"):
        from_hf.load(tmp_path / "hf", other, None, quiet)
    other = with_tokenizer(tiny(vision=vision | {"heading": "page"}), tok)
    with pytest.raises(UserError, match="vision.heading is enlarged there and page here"):
        from_hf.load(tmp_path / "hf", other, None, quiet)
    LlavaForConditionalGeneration.from_pretrained(tmp_path / "hf")  # reads all patches
    with pytest.raises(UserError, match="looks at inked patches alone"):
        verify.verify(tmp_path / "hf", tmp_path / "run", say=quiet)


def test_an_older_step_can_be_asked_for_and_a_missing_one_not(tmp_path, tok):
    run_directory(tmp_path / "run", with_tokenizer(tiny(), tok), tok)
    assert to_hf.open_run(tmp_path / "run@3").place == str(tmp_path / "run@3")
    assert to_hf.open_run(tmp_path / "run").stored.step == 3
    assert to_hf.open_run(tmp_path / "run@1").stored.step == 1
    with pytest.raises(UserError, match="no checkpoint of step 2; there are: 1, 3"):
        to_hf.open_run(tmp_path / "run@2")


def test_the_card_of_an_older_step_tells_of_that_step(tmp_path, tok):
    """Its own evaluations, and which step of the phase before it began from."""
    config = with_tokenizer(tiny(), tok)
    for name in ("one", "two"):
        run_directory(tmp_path / name, config, tok)
    run = tmp_path / "two"
    scores.write(run / "checkpoints/1", Score(0.25, "header fields", "sample", {"error": 0.25}))
    for folder, questions in (("evaluation_test", 17), ("evaluation_test@1", 19)):
        (run / folder).mkdir()
        found = {"settings": {"splits": ["extraction_test"]}, "all": {"questions": questions}}
        (run / folder / "evaluation.json").write_text(json.dumps(found))
    record = json.loads((run / "config.json").read_text()) | {
        "phase": 3, "previous": f"{tmp_path / 'one'}@best",
    }  # fmt: skip
    (run / "config.json").write_text(json.dumps(record))
    began = {"began": f"{tmp_path / 'one'}@1"}
    history.write(run, 3, record, began)
    newest, older = (card.write(run, config, step) for step in (3, 1))
    assert "17 held-out questions" in newest and "19 held-out" not in newest
    assert "with this checkpoint, on 19 held-out questions" in older and "17 held" not in older
    assert "while it trained: 25.0 % of the header fields wrong" in older
    assert "while it trained" not in newest and "Checkpoint of step 1 of" in older
    rows = [line.split("|")[1:3] for line in older.splitlines() if line.startswith(("| 2", "| 3"))]
    assert [[cell.strip() for cell in row] for row in rows] == [["2", "1"], ["3", "1 of 3"]]


def test_a_wrong_base_is_refused(tmp_path, tok):
    config = with_tokenizer(tiny(), tok)
    run_directory(tmp_path / "run", config, tok)
    params = random_weights(config, seed=1)
    other = split_tree(params, resolve(TABLE, params, table="trainable"))[1]
    save_base(tmp_path / "run", other)
    with pytest.raises(UserError, match="base/ is not that of step 3: vision_tower/"):
        to_hf.open_run(tmp_path / "run")


def test_a_base_whose_bytes_changed_is_not_exported(tmp_path, tok):
    config = with_tokenizer(tiny(), tok)
    run_directory(tmp_path / "run", config, tok)
    path = "vision_tower/pre_layrnorm/scale"
    slices.open_array(tmp_path / "run/base/params", path, write=True)[0].write(7.0).result()
    with pytest.raises(UserError, match=f"damaged: {path}"):
        to_hf.export(to_hf.open_run(tmp_path / "run"), tmp_path / "hf", say=quiet)
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("kind", ["mlp1", "resampler"])
def test_connectors_that_llava_lacks_are_refused(tmp_path, tok, kind):
    config = with_tokenizer(tiny(), tok)
    config = tiny(
        text=config.to_dict()["text"], image_token_id=config.image_token_id,
        connector=dict(kind=kind, num_attention_heads=4),
    )  # fmt: skip
    run_directory(tmp_path / "run", config, tok)
    with pytest.raises(UserError, match=f"is a {kind}, which LLaVA has no counterpart for"):
        to_hf.export(to_hf.open_run(tmp_path / "run"), tmp_path / "hf", say=quiet)


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no directory"):
        to_hf.open_run(tmp_path / "none")
    with pytest.raises(UserError, match="has no base/"):
        to_hf.open_run(tmp_path)


def test_what_float16_cannot_hold_is_refused(tmp_path, tok):
    config = with_tokenizer(tiny(), tok)
    params = run_directory(tmp_path / "run", config, tok)
    params["vision_tower"]["pre_layrnorm"]["scale"][0] = 1e6
    save_base(tmp_path / "plain", params)
    (tmp_path / "plain/architecture.json").write_text(json.dumps(config.to_dict()))
    with pytest.raises(UserError, match="pre_layrnorm.weight has numbers that float16 cannot"):
        to_hf.export(to_hf.open_run(tmp_path / "plain"), tmp_path / "hf", "float16", say=quiet)
