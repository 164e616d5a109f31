"""The objectives that teach reading: symbols of patches, text alone, and the aids of reading."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import described as of_described
from configs import phase1, phase2, phase3, text, vision
from nota_jax.checkpoint.steps import load_parts
from nota_jax.data.feed import labels
from nota_jax.errors import UserError
from nota_jax.models import ink
from nota_jax.models.notagpt import NotaGPT
from nota_jax.parallel.mesh import make_mesh, param_shardings
from nota_jax.params import flatten
from nota_jax.pixels import normalize
from nota_jax.run import Run, known_aids, parts_weights
from nota_jax.training import objectives
from nota_jax.training.loop import TrainConfig, train
from nota_jax.training.objectives import answers, described, reading, symbols
from nota_jax.training.objectives import text as text_alone
from nota_jax.training.optimizer import OptimizerConfig
from nota_jax.training.program import fresh_params

FIELDS = len(labels.FIELDS)


def told(rows, patches, seed=0):
    """Random labels: a symbol in the first place of every second patch."""
    rng = np.random.default_rng(seed)
    out = np.full((rows, patches, labels.SLOTS, FIELDS), labels.NONE, np.int8)
    out[..., 0] = 0
    for i, size in enumerate(labels.FIELDS.values()):
        out[:, ::2, 0, i] = rng.integers(1 if i == 0 else 0, size, (rows, patches))[:, ::2]
    return out


@pytest.fixture(scope="module")
def batch(nano_batch):
    batch = nano_batch(3)
    batch["symbols"] = told(3, 4)
    batch["look"] = np.full((*batch["tokens"].shape, 2), labels.NONE, np.int16)
    batch["address"] = np.full((*batch["tokens"].shape, 3), labels.NONE, np.int8)
    for row in range(3):
        supervised = np.flatnonzero(batch["weights"][row])
        batch["look"][row, supervised] = (np.arange(len(supervised)) % 4)[:, None]
        batch["address"][row, supervised] = [1, 2, 3]
    return batch


@pytest.fixture(scope="module")
def with_aids(nano_config, nano_params):
    return {**nano_params, "aids": reading.aids(nano_config, jax.random.key(1))}


def test_a_configuration_names_them_all(nano_config):
    for config, kind in (
        (vision.get_config("small"), "symbols"),
        (text.get_config("small"), "text"),
        (of_described.get_config("small"), "described"),
        (phase1.get_config("small"), "reading"),
        (phase2.get_config("small"), "reading"),
        (phase3.get_config("small"), "reading"),
    ):
        chosen = objectives.from_config(config)
        assert config.objective == kind and chosen.factors
        arrays = chosen.arrays(nano_config, 2, 8)
        assert set(chosen.extras) <= set(arrays)
        assert all(x.shape[0] == 2 for x in arrays.values())
        assert ("symbols" in arrays) == bool(
            kind in ("symbols", "described") or config.aids.symbols
        )


# ---- symbols


def test_symbols_are_learned_by_heads_that_see_their_patch(nano_config, with_aids, batch):
    """The sums are those of a plain cross-entropy over the labelled places, written out."""
    model = NotaGPT(nano_config)
    found = jax.jit(lambda p, b: symbols.sums(model, p, b))(with_aids, batch)
    features = model.apply({"params": with_aids}, normalize(batch["images"]), method="see")
    head = with_aids["aids"]["symbols"]
    logits = np.asarray(features @ head["kernel"] + head["bias"]).reshape(3, 4, labels.SLOTS, -1)
    start = 0
    for i, (name, size) in enumerate(labels.FIELDS.items()):
        part, label = logits[..., start : start + size], batch["symbols"][..., i].astype(int)
        start += size
        loss = weight = 0.0
        for place in np.argwhere(label != labels.NONE):
            scores, which = part[tuple(place)], label[tuple(place)]
            usual = labels.USUAL.get(name)
            w = 1.0 if usual in (None, which) else symbols.RARE
            if name == "kind" and which == 0:
                w = symbols.EMPTY
            loss += w * (np.log(np.exp(scores).sum()) - scores[which])
            weight += w
        np.testing.assert_allclose(found[name], (loss, weight), rtol=1e-4, err_msg=name)
    assert found["kind_right"][1] == 6  # three rows with a symbol in two patches of four


def test_labels_follow_the_patches_that_are_looked_at(nano_config, batch):
    """With inked patches each feature meets the labels of its own place."""
    small = dataclasses.replace(
        nano_config,
        vision=dataclasses.replace(nano_config.vision, patches="inked", most_patches=2),
    )
    images = np.full((3, 28, 28, 3), 255, np.uint8)
    images[:, 16:20, 3:9] = images[:, 2:6, 16:20] = 0  # patches 2 and 1
    chosen = ink.choose(jnp.asarray(normalize(images)), small.vision)
    assert chosen.tolist() == [[1, 2]] * 3
    head = symbols.heads(small, jax.random.key(0))
    features = jnp.ones((3, 2, 16))
    label = batch["symbols"].copy()
    one = symbols.of_features(features, chosen, jnp.asarray(label), head, small)
    label[:, [0, 3]] = 7 % 2  # what lies elsewhere does not matter
    other = symbols.of_features(features, chosen, jnp.asarray(label), head, small)
    jax.tree.map(np.testing.assert_array_equal, one, other)


# ---- text alone


def test_text_alone_has_the_loss_of_a_row_without_an_image(nano_config, nano_params, batch):
    model = NotaGPT(nano_config)
    plain = {k: batch[k].copy() for k in answers.KEYS}
    plain["tokens"][plain["tokens"] == nano_config.image_token_id] = 5
    want = answers.sums(model, nano_params, plain, chunk=8)
    without = {k: x for k, x in plain.items() if k != "images"}
    got = text_alone.sums(model, nano_params, without, chunk=8)
    np.testing.assert_allclose(got["answers"], want["answers"], rtol=1e-6)


# ---- described pages


def test_a_described_page_is_the_sum_of_what_its_patches_hold(nano_config, batch):
    tables = described.aids(nano_config, jax.random.key(1))["described"]
    chosen = jnp.tile(jnp.array([0, 2, 3]), (3, 1))
    got = described.describe(jnp.asarray(batch["symbols"]), chosen, tables, nano_config)
    sizes = list(labels.FIELDS.values())
    for row, place in np.ndindex(3, 3):
        patch = int(chosen[row, place])
        want = np.array(tables["places"][patch])
        for slot, i in np.ndindex(labels.SLOTS, FIELDS):
            if (label := int(batch["symbols"][row, patch, slot, i])) != labels.NONE:
                want += tables["symbols"][slot * sum(sizes) + sum(sizes[:i]) + label]
        np.testing.assert_allclose(got[row, place], want, rtol=1e-4, atol=1e-5)


def test_the_decoder_learns_from_described_pages_without_a_tower(nano_config, nano_params, batch):
    """Gradients reach the decoder and the descriptions, and neither tower nor connector."""
    model = NotaGPT(nano_config)
    params = {**nano_params, "aids": described.aids(nano_config, jax.random.key(1))}
    objective = described.objective(of_described.get_config("tiny"))

    def loss(p):
        found = described.sums(model, p, batch, chunk=8)
        return objective.loss(found, {name: w for name, (_, w) in found.items()})

    for path, gradient in flatten(jax.grad(loss)(params)).items():
        seeing = path.startswith(("vision_tower/", "multi_modal_projector/"))
        assert (np.abs(gradient).max() == 0) == seeing, path


# ---- aids


def test_answers_are_the_same_with_and_without_aids(nano_config, with_aids, batch):
    model = NotaGPT(nano_config)
    got = reading.sums(model, with_aids, batch, chunk=8)
    want = answers.sums(model, with_aids, batch, chunk=8)
    for name, (total, weight) in want.items():
        np.testing.assert_allclose(got[name], (total, weight), rtol=1e-5)
    assert got["gaze"][1] == 2 * batch["weights"].sum() == 2 * got["at_bar"][1]
    assert all(np.isfinite(x).all() for pair in got.values() for x in pair)


def test_gaze_is_the_attention_of_two_heads_on_the_patch(nano_config, batch):
    """Queries and keys made so that every token sees image token 2 and nothing else."""
    rows, length = batch["tokens"].shape
    queries = np.ones((rows, length, 4, 8), np.float32)
    keys = np.full((rows, length, 2, 8), -10.0, np.float32)
    keys[:, 1 + 2] = 10.0
    chosen = jnp.tile(jnp.arange(4), (rows, 1))
    looks = batch | {"look": np.where(batch["look"] >= 0, 2, -1).astype(np.int16)}
    found = reading.gaze(queries, keys, chosen, looks, nano_config)
    np.testing.assert_allclose(found["gaze_right"][0] / found["gaze_right"][1], 1.0, atol=1e-5)
    looks["look"] = np.where(batch["look"] >= 0, 1, -1).astype(np.int16)
    elsewhere = reading.gaze(queries, keys, chosen, looks, nano_config)
    assert elsewhere["gaze_right"][0] < 1e-3 and elsewhere["gaze"][0] > 100
    # Of a patch that is not among those looked at nothing is asked.
    gone = reading.gaze(
        queries, keys, jnp.tile(jnp.array([0, 2, 3, 5]), (rows, 1)), looks, nano_config
    )
    assert gone["gaze"] == (0.0, 0.0)


def test_reading_trains_resumes_and_hands_its_parts_on(nano_config, nano_params, batch, tmp_path):
    config = phase3.get_config("small")
    objective = objectives.from_config(config)

    class Batches:
        def __iter__(self):
            return self

        def __next__(self):
            return batch

        def get_state(self):
            return {}

        def set_state(self, state):
            pass

    def run(folder, **options):
        settings = dict(total_steps=6, trainable=((r".*", True),), objective=objective)
        settings |= dict(log_every=1, save_every=100, accumulation=3)
        settings["optimizer"] = OptimizerConfig(learning_rate=1e-2)
        return train(
            TrainConfig(**(settings | options)), NotaGPT(nano_config), nano_params,
            lambda shardings: nano_params, Batches(), make_mesh(devices=jax.devices()[:1]), folder,
            say=lambda _: None,
        )  # fmt: skip

    whole = run(tmp_path / "whole")
    first = json.loads((tmp_path / "whole/metrics.jsonl").read_text().splitlines()[0])
    assert whole.report["loss"] < first["loss"] and whole.report["kind"] < first["kind"]
    run(tmp_path / "again", stop_after=2)
    again = run(tmp_path / "again")
    jax.tree.map(np.testing.assert_array_equal, again.state.params, whole.state.params)

    # ---- the tower and its heads go on into another run, the rest begins anew
    config.parts = ((r"(vision_tower|aids/symbols)/.*", str(tmp_path / "whole")),)
    shapes = jax.eval_shape(lambda: nano_params)
    prepared = Run(config, NotaGPT(nano_config), None, shapes)
    said, rest = [], partial(fresh_params, nano_config, 0)
    place = param_shardings(make_mesh(devices=jax.devices()[:1]), shapes)
    started = flatten(parts_weights(prepared, rest, said.append)(place))
    trained = flatten(whole.state.params)
    for path, leaf in started.items():
        same = np.array_equal(leaf, trained[path])
        assert same == path.startswith(("vision_tower/", "aids/symbols/")) or leaf.std() == 0, path
    assert "aids/address/kernel" not in started and len(said) == 1
    assert load_parts(tmp_path / "whole", "nothing/.*") == {}
    # A next phase has all aids that either of them has.
    aids = flatten(known_aids(prepared, str(tmp_path / "again")))
    assert {path.split("/")[1] for path in aids} == {"symbols", "address"}
    config.parts = ((r"speech/.*", str(tmp_path / "whole")),)
    with pytest.raises(UserError, match="has no speech"):
        parts_weights(prepared, rest, said.append)(place)
