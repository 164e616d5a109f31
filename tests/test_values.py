"""The table of values: every key has its row, every configuration passes, and what cannot be run
is named before anything is imported that could run it."""

import math
import subprocess
import sys

import pytest

from configs import common, described, phase1, phase2, phase3, text, vision
from nota_jax import history, values
from nota_jax.errors import UserError

CONFIGS = [
    (module, argument)
    for module, more in (
        (phase1, ()), (phase2, ()), (phase3, ("7b,frozen_vision",)), (text, ()), (described, ()),
        (vision, ("7b,probe",)),
    )
    for argument in (*common.SIZES, *more)
]  # fmt: skip


def of(config, key):
    for name in key.split("."):
        config = config[name]
    return config


def put(config, key, value):
    group, _, name = key.rpartition(".")
    with config.ignore_type():
        (of(config, group) if group else config)[name] = value


def refusal(key, value, config=None):
    config = config or phase2.get_config("tiny")
    put(config, key, value)
    with pytest.raises(UserError) as caught:
        values.check(config)
    return str(caught.value)


@pytest.mark.parametrize("module, argument", CONFIGS)
def test_every_key_of_every_configuration_has_a_row_and_a_value_that_can_be_run(module, argument):
    config = module.get_config(argument)
    assert [key for key in values.flat(config) if values.row_of(key) is None] == []
    values.check(config)
    assert values.notes(config) == []


def test_no_row_is_without_a_key():
    keys = {key for module, argument in CONFIGS for key in values.flat(module.get_config(argument))}
    rows = {key for key in values.TABLE if not key.endswith(".*")}
    assert rows <= keys
    groups = {f"{key.rpartition('.')[0]}.*" for key in keys}
    unused = {f"data.weights.{feature}.*" for feature in values.GROUPED}
    assert {key for key in values.TABLE if key.endswith(".*")} - groups == unused


# Each was once tried by hand: a traceback, a run that meant something else, or a sentence after
# hours of training.
@pytest.mark.parametrize(
    "key, value",
    [
        ("data.lengths", ()), ("data.lengths", (-5, 512)), ("data.lengths", (512, 512)),
        ("data.lengths", (0,)), ("data.lengths", 512), ("data.lengths", ("512",)),
        ("epochs", math.nan), ("epochs", math.inf), ("epochs", 0.0), ("epochs", -1.0),
        ("data.jitter", -1), ("data.jitter", 10**9), ("data.jitter", 336), ("data.jitter", 1.5),
        ("eval.template", "plain"), ("eval.template", ""), ("eval.split", "tset"),
        ("eval.temperature", -0.1), ("eval.temperature", math.nan), ("eval.top_p", 0.0),
        ("eval.top_p", 1.1), ("eval.max_new_tokens", 0), ("eval.max_new_tokens", -5),
        ("eval.batch_size", 0), ("eval.questions", -1), ("eval.grammar", 1),
        ("data.threads", -1), ("data.accumulation", 0), ("data.accumulation", -2),
        ("model.vision.image_size", 0), ("model.vision.image_size", 10**6),
        ("dtype", "float16"), ("dtype", "float64"), ("loss_chunk", 0), ("log_every", 0),
        ("save_every", 0), ("save_every", -1), ("keep", 0), ("keep", -1),
        ("seed", 2**32), ("seed", -1), ("seed", 1.0), ("data.build.seed", 10**30),
        ("data.build.workers", -2), ("data.build.limit", -1), ("data.build.variants", 0),
        ("data.build.look_share", 1.5), ("data.build.surroundings", -0.1),
        ("data.build.corpora", ("nottingham",)),
        ("data.build.corpora", ("path:",)), ("data.batch_size", 0), ("data.batch_size", -8),
        ("data.batch_size", True), ("data.batch_size", "8"), ("steps", -5), ("steps", 2.5),
        ("data.turns_per_row", -1), ("data.length_multiple", -3), ("optim.b2", 1.5),
        ("optim.b1", 1.0), ("optim.b1", -0.1), ("optim.eps", 0.0), ("optim.warmup", 1.0),
        ("optim.final", -0.1), ("optim.learning_rate", math.nan),
        ("optim.learning_rate", -1e-3), ("optim.learning_rate", "fast"),
        ("optim.weight_decay", math.inf), ("optim.clip_norm", 0.0), ("optim.clip_norm", -1.0),
        ("phase", 9), ("phase", -1), ("size", "huge"), ("run_dir", ""), ("run_dir", "  "),
        ("run_dir", "gs://bucket/run"), ("data.dir", "gs://bucket/data"), ("data.dir", ""),
        ("previous", "s3://b/run"), ("init_from", "hf://org/model"), ("run_dir", 7),
        ("parts", (("language_model/.*", ""),)), ("parts", (("(", "runs/x"),)),
        ("trainable", ()), ("trainable", (("(", True),)), ("trainable", ((".*", 1),)),
        ("trainable", ".*"), ("optim.multiplier_rules", ((".*", -1.0),)),
        ("optim.center_rules", ((".*", "yes"),)), ("profile", (10,)), ("profile", (13, 10)),
        ("profile", (0, 3)), ("profile", ("a", "b")), ("mesh.data", 0), ("mesh.fsdp", -2),
        ("objective", "answer"), ("chunks", "coarse"), ("vocab_size", 0), ("vocab_size", -1),
        ("vocab_size", 200), ("data.tasks", ()), ("data.tasks", ("extract",)),
        ("data.tasks", ("analysis", "analysis")), ("data.subtasks", ("keys",)),
        ("data.weights.keys", 2.0), ("data.weights.key", -1.0), ("data.shares.abc", 1.5),
        ("loss_weights.answers", math.nan), ("aids.gaze", -0.5), ("data.template", "llama"),
        ("data.image_mode", "stretch"), ("data.degrade", -0.1), ("data.corrupt", 2.0),
        ("data.misread", math.nan), ("data.curriculum", -1), ("data.pictures", 0),
        ("model.remat", "all"), ("model.attention", "flash"), ("model.unroll", 0),
        ("model.operands", "float16"), ("model.text.head_dim", 63), ("model.text.rope_theta", 0.0),
        ("model.text.sliding_window", -1), ("model.text.num_hidden_layers", 0),
        ("model.vision.hidden_act", "relu"), ("model.connector.kind", "mlp3"),
        ("model.text.tie_word_embeddings", 0), ("model.text.vocab_size", -1),
    ],
)  # fmt: skip
def test_a_value_out_of_its_range_is_refused_by_its_key(key, value):
    text = refusal(key, value)
    assert f"config.{key} is " in text
    assert "read by nobody" in text or f"{value!r}, needed is " in text


@pytest.mark.parametrize("key", [key for key in values.TABLE if not key.endswith(".*")])
def test_nothing_takes_what_is_no_value_at_all(key):
    for nonsense in (object(), math.nan, ({},), -(10**40)):
        assert f"config.{key} is" in refusal(key, nonsense)


@pytest.mark.parametrize(
    "key, value, needed",
    [
        ("model.vision.patch_size", 13, "a multiple of model.vision.patch_size (13)"),
        ("model.vision.hidden_size", 190, "a multiple of model.vision.num_attention_heads (4)"),
        ("model.text.num_key_value_heads", 2, "a multiple of model.text.num_key_value_heads (2)"),
        ("model.vision.feature_layer", 9, "one of -5 to 4, the hidden states of 4 layers"),
        ("model.vision.most_patches", 577, '1 to 576 with patches "inked"'),
        ("model.vision.patches", "all", '0 with patches "all"'),
        ("data.lengths", (64, 128), "a length beyond the 320 tokens that a picture takes"),
        ("data.pictures", False, 'True; rows without pictures are for the objective "text"'),
    ],
)
def test_values_that_do_not_go_together_are_refused(key, value, needed):
    assert needed in refusal(key, value)


def test_the_resampler_and_a_given_vocabulary_have_relations_too():
    config = phase2.get_config("tiny")
    config.model.connector.kind = "resampler"
    text = refusal("model.connector.num_attention_heads", 7, config)
    assert "config.model.text.hidden_size is 192, needed is a multiple of" in text
    config = phase2.get_config("tiny")
    config.tokenizer = ""
    text = refusal("model.text.vocab_size", 300, config)
    assert "config.vocab_size is 512, needed is at most model.text.vocab_size (300)" in text


def test_one_sentence_names_all_that_is_wrong():
    config = phase2.get_config("tiny")
    config.optim.b2, config.keep, config.data.btach_size = 1.5, -1, 5
    text = refusal("epochs", math.nan, config)
    assert "config.optim.b2 is 1.5, needed is a number, 0 to below 1" in text
    assert "config.keep is -1, needed is a whole number, 1 or more" in text
    assert "config.epochs is nan, needed is a number, above 0 to 1e+06" in text
    assert "config.data.btach_size is read by nobody (did you mean data.batch_size?)" in text
    assert "\n" not in text


def test_a_key_that_a_configuration_lacks_is_named():
    config = phase2.get_config("tiny")
    with config.unlocked():
        del config.data.jitter
    with pytest.raises(UserError, match="config.data.jitter is missing"):
        values.check(config)


def test_a_bucket_is_answered_with_how_it_is_reached():
    assert "mount it with gcsfuse" in refusal("run_dir", "gs://bucket/run")


def test_a_name_that_no_file_system_takes_is_refused_before_it_is_looked_for():
    assert values.TABLE["run_dir"].kind.holds("runs/" + "ä" * 127 + "/" + "x" * 255)
    for name in ("x" * 256, "runs/" + "ä" * 128 + "/phase1"):
        assert "longer than 255 bytes" in refusal("run_dir", name)


def test_a_curriculum_that_is_longer_than_the_run_is_said():
    config = phase1.get_config("tiny")
    config.steps = 20
    values.check(config)
    (note,) = values.notes(config)
    assert "data.curriculum is 200 and there are 20 steps" in note


def test_values_at_their_bounds_are_taken():
    config = phase2.get_config("tiny")
    for key, value in (
        ("seed", 2**32 - 1), ("optim.clip_norm", None), ("optim.clip_norm", 1), ("steps", 0),
        ("data.turns_per_row", 0), ("data.threads", 0), ("profile", (10, 13)), ("profile", ()),
        ("data.subtasks", ("-title", "key")), ("data.build.corpora", ("path:my tunes",)),
        ("previous", ""), ("parts", (("language_model/.*", "runs/x"),)), ("eval.split", ""),
        ("mesh.fsdp", -1), ("mesh.fsdp", 8), ("data.shares.abc", 0.25), ("optim.final", 1),
    ):  # fmt: skip
        put(config, key, value)
        values.check(config)


def test_weights_of_groups_of_pages_have_a_range_and_a_feature():
    config = phase2.get_config("tiny")
    config.data.weights.region = {"China": 1.0, "Other": 0.5}
    values.check(config)
    assert history.plain(config)["data.weights.region.Other"] == 0.5
    config.data.weights.region["China"] = -1.0
    config.data.weights.regoin = {"China": 1.0}
    with pytest.raises(UserError, match="region.China .*0 to 1e.06.*") as caught:
        values.check(config)
    assert "config.data.weights.regoin.China is read by nobody" in str(caught.value)


def test_the_choices_are_those_of_their_homes():
    """They are written out in `values`, because their homes are slow to import."""
    from nota_jax.data.build import corpora, questions, splits
    from nota_jax.data.feed import chat, images, packing, tokenizer
    from nota_jax.data.records import OTHER, TASKS
    from nota_jax.data.store import layout
    from nota_jax.models import attention
    from nota_jax.models import config as models
    from nota_jax.training.objectives import OBJECTIVES

    assert set(values.OBJECTIVES) == set(OBJECTIVES)
    assert set(values.TEMPLATES) == set(chat.TEMPLATES)
    assert values.ASKING == tuple(name for name, t in chat.TEMPLATES.items() if t.asks)
    assert set(values.IMAGE_MODES) == set(images.MODES)
    assert set(values.PARTS) == set(layout.PARTS) and values.TASKS == TASKS
    asked = {"alignment", *questions.EXTRACTION_SUBTASKS, *questions.ANALYSIS_SUBTASKS, OTHER}
    assert set(values.SUBTASKS) == asked
    assert set(values.CORPORA) == set(corpora.CORPORA)
    assert values.SPLITS_BY == splits.SPLITS_BY
    assert values.GROUPED == packing.GROUPED
    assert set(values.ATTENTION) == set(attention.IMPLEMENTATIONS)
    assert set(values.CHUNKS) == set(tokenizer.CHUNKS)
    assert values.SMALLEST_VOCABULARY == tokenizer.SMALLEST_VOCABULARY
    assert values.CONNECTORS == models.CONNECTORS and values.ACTIVATIONS == models.ACTIVATIONS
    assert values.PATCHES == models.PATCHES and values.REMAT == models.REMAT_POLICIES
    assert values.SIZES == common.SIZES


def test_the_table_is_asked_without_jax():
    code = "import sys; from nota_jax import typed, values; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
