"""Objectives: chosen by name, factors by term, parameters of their own that stay behind."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import phase2
from nota_jax.checkpoint.slices import Stored
from nota_jax.checkpoint.steps import load_params
from nota_jax.errors import UserError
from nota_jax.models.notagpt import NotaGPT
from nota_jax.parallel.mesh import make_mesh
from nota_jax.params import flatten
from nota_jax.pixels import normalize
from nota_jax.training import objectives, program
from nota_jax.training.loop import TrainConfig, train
from nota_jax.training.objectives import answers
from nota_jax.training.optimizer import OptimizerConfig
from nota_jax.training.terms import Objective


def configured(**changes):
    config = phase2.get_config("7b")
    config.update_from_flattened_dict(changes)
    return config


def test_the_configuration_chooses_the_objective_and_its_factors():
    chosen = objectives.from_config(configured(**{"loss_weights.answers": 0.5}))
    assert chosen.factors == {"answers": 0.5}
    with pytest.raises(UserError, match="config.objective is 'answer'; there is answers"):
        objectives.from_config(configured(objective="answer"))
    with pytest.raises(UserError, match="all 0: there is nothing to train for"):
        objectives.from_config(configured(**{"loss_weights.answers": 0.0}))
    unknown = configured()
    unknown.loss_weights.gaze = 0.1
    with pytest.raises(UserError, match="loss_weights.gaze: the objective 'answers' has no such"):
        objectives.from_config(unknown)


def test_the_loss_is_the_sum_of_the_terms_means_by_their_factors():
    objective = dataclasses.replace(answers.of_chunks(8), factors={"a": 1.0, "b": 0.25})
    sums = {"a": (6.0, 3.0), "b": (8.0, 0.0), "c": (5.0, 1.0)}
    weights = {"a": jnp.float32(3.0), "b": jnp.float32(4.0), "c": jnp.float32(1.0)}
    assert objective.loss(sums, weights) == 2.0 + 0.25 * 2.0
    assert objective.loss(sums, weights | {"b": jnp.float32(0.0)}) == 2.0 + 0.25 * 8.0


# ---- an objective with heads of its own, on pictures alone


def brightness(model, params, batch):
    """Linear heads that tell how bright a picture is, and how many rows they were asked for."""
    variables = {"params": params}
    features = model.apply(variables, normalize(batch["images"]), method="encode_images")
    told = features.mean(axis=1) @ params["aids"]["bright"]["kernel"]
    want = batch["images"].astype(jnp.float32).mean(axis=(1, 2, 3)) / 255
    rows = jnp.float32(len(want))
    return {"bright": (jnp.sum((told[:, 0] - want) ** 2), rows), "rows": (rows, jnp.float32(1))}


def heads(architecture, key):
    width = architecture.text.hidden_size
    return {"bright": {"kernel": 0.1 * jax.random.normal(key, (width, 1))}}


def pictures(architecture, rows, length):
    size = architecture.vision.image_size
    return {"images": jax.ShapeDtypeStruct((rows, size, size, 3), np.uint8)}


BRIGHTNESS = Objective(
    sums=brightness,
    factors={"bright": 1.0},
    arrays=pictures,
    flops=lambda architecture, arrays, trains: 1.0,
    aids=heads,
)


class Pictures:
    """The same four pictures again and again, with a key that no device is to see."""

    def __init__(self, make):
        self.batch = {"images": make(4)["images"], "comment": "stays on the host"}

    def __iter__(self):
        return self

    def __next__(self):
        return self.batch

    def get_state(self):
        return {}

    def set_state(self, state):
        pass


@pytest.fixture
def run(nano_config, nano_params, nano_batch):
    def start(folder, **options):
        config = dict(total_steps=8, trainable=((".*/embed_tokens/.*", False), (".*", True)))
        config |= dict(objective=BRIGHTNESS, log_every=1, save_every=100)
        config["optimizer"] = OptimizerConfig(learning_rate=1e-2)
        return train(
            TrainConfig(**(config | options)),
            NotaGPT(nano_config),
            nano_params,
            lambda shardings: nano_params,
            Pictures(nano_batch),
            make_mesh(devices=jax.devices()[:1]),
            folder,
            say=lambda _: None,
        )

    return start


def test_an_objectives_own_parameters_train_are_resumed_and_stay_out_of_what_others_load(
    run, tmp_path, nano_params
):
    whole = run(tmp_path / "whole")
    assert whole.report["bright"] == whole.report["loss"] < 0.05
    assert (whole.report["rows"], whole.totals.images, whole.totals.tokens) == (4.0, 32, 0)

    run(tmp_path / "parts", stop_after=3)
    parts = run(tmp_path / "parts")
    kernel = "aids/bright/kernel"
    assert kernel in flatten(parts.state.trainable)
    jax.tree.map(np.testing.assert_array_equal, parts.state.params, whole.state.params)

    loaded = load_params(tmp_path / "whole", nano_params)
    assert flatten(loaded).keys() == flatten(nano_params).keys()
    assert Stored(tmp_path / "whole").forms.keys() == flatten(nano_params).keys()
    with_heads = load_params(tmp_path / "whole", whole.state.params)
    np.testing.assert_array_equal(flatten(with_heads)[kernel], flatten(parts.state.params)[kernel])


def test_tables_speak_of_an_objectives_own_parameters_too(nano_config, nano_params):
    config = TrainConfig(
        total_steps=1,
        trainable=(("aids/.*", True), (".*", False)),
        optimizer=OptimizerConfig(learning_rate=1e-2),
        objective=BRIGHTNESS,
    )
    mesh = make_mesh(devices=jax.devices()[:1])
    phase = program.prepare(config, NotaGPT(nano_config), nano_params, mesh)
    assert [path for path, on in phase.trainable.items() if on] == ["aids/bright/kernel"]
    assert "1 of" not in phase.describe() and "16 of" in phase.describe()


# ---- a profile of chosen steps


def test_a_profile_of_chosen_steps_is_a_trace_that_perfetto_opens(run, tmp_path):
    run(tmp_path, total_steps=4, profile=(2, 3))
    (trace,) = (tmp_path / "profile").rglob("perfetto_trace.json.gz")
    assert trace.stat().st_size > 1000
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_a_run_that_ends_within_its_profile_leaves_what_there_is(run, tmp_path):
    run(tmp_path, total_steps=2, profile=(1, 50))
    assert list((tmp_path / "profile").rglob("perfetto_trace.json.gz"))


@pytest.mark.parametrize("steps", [(3,), (5, 4), (0, 2), (1.5, 2)])
def test_a_profile_of_impossible_steps_is_a_sentence(run, tmp_path, steps):
    with pytest.raises(UserError, match="config.profile is .* the first and the last step"):
        run(tmp_path, profile=steps)
