"""What is compiled for a target is what a run there does."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import pytest

from configs import phase2
from nota_jax.models.notagpt import NotaGPT, param_shapes
from nota_jax.parallel.mesh import make_mesh
from nota_jax.params import flatten
from nota_jax.plan import compile
from nota_jax.training import program
from nota_jax.training.loss import chunked_cross_entropy
from nota_jax.training.objectives import answers
from nota_jax.training.optimizer import OptimizerConfig

PHASE_2 = ((r"vision_tower/.*", False), (r".*", True))
ROWS, LENGTH = 6, 20


@pytest.fixture(scope="module")
def lowered(nano_config):
    """`make(chunk, attention)`: the traced and the lowered training step of the nano model."""

    def make(chunk, **changes):
        config = dataclasses.replace(nano_config, **changes)
        phase = program.prepare(
            program.TrainConfig(
                10, PHASE_2, OptimizerConfig(1e-3), objective=answers.of_chunks(chunk)
            ),
            NotaGPT(config), param_shapes(config), make_mesh(devices=jax.devices()[:1]),
        )  # fmt: skip
        state = phase.abstract_state()
        batch = phase.abstract_batch(ROWS, LENGTH)
        traced = phase.step(state).trace(state, batch)
        return phase, traced, traced.lower()

    return make


def test_a_planned_batch_is_the_pipelines(nano_batch, nano_config):
    planned = answers.arrays(nano_config, ROWS, LENGTH)
    real = nano_batch(ROWS, length=LENGTH)
    assert {k: (x.shape, x.dtype) for k, x in planned.items()} == {
        k: (x.shape, x.dtype) for k, x in real.items()
    }


def test_a_chunked_loss_makes_no_logits_of_the_whole_length(lowered, nano_config):
    vocabulary = nano_config.text.vocab_size
    for chunk, largest in ((4, [1, ROWS, 4, vocabulary]), (LENGTH, [ROWS, LENGTH, vocabulary])):
        phase, _, low = lowered(chunk)
        own = flatten(phase.shapes)
        assert compile.largest_logits(low.as_text(), vocabulary, own) == largest


def test_a_compiled_chunked_loss_makes_no_logits_of_the_whole_length():
    width, vocabulary = 16, 64

    def loss(hidden, kernel, targets, weights, chunk):
        return chunked_cross_entropy(hidden, kernel, targets, weights, chunk=chunk)[0]

    hidden, kernel = jnp.ones((ROWS, LENGTH, width)), jnp.ones((width, vocabulary))
    rest = jnp.zeros((ROWS, LENGTH), jnp.int32), jnp.ones((ROWS, LENGTH))
    for chunk in (4, LENGTH):
        gradient = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=4)
        text = gradient.lower(hidden, kernel, *rest, chunk).compile().as_text()
        sizes = {
            math.prod(map(int, dims.split(",")))
            for dims in re.findall(r"f32\[([\d,]+)\]", text)
            if str(vocabulary) in dims.split(",")
        }
        assert (ROWS * LENGTH * vocabulary in sizes) == (chunk == LENGTH)


@pytest.mark.parametrize(
    ("platform", "kernel"),
    [("gpu", "dot_product_attention_bwd"), ("tpu", "pallas_call"), ("cpu", None)],
)
def test_the_planned_step_takes_the_attention_of_its_target(monkeypatch, platform, kernel):
    """As a run there would, and not that of the process that plans."""
    monkeypatch.setattr(compile.fused_attention_stablehlo, "check_cudnn_version", lambda: 0)
    compile.assume_cudnn()
    config = phase2.get_config("tiny")
    config.model.text.head_dim = 64
    architecture = program.model_config(config, 0, 1024, platform)
    mesh = make_mesh(devices=jax.devices()[:1])
    recipe = program.train_config(config, 10, {})
    shapes = param_shapes(architecture)
    phase = program.prepare(recipe, NotaGPT(architecture), shapes, mesh)
    state = phase.abstract_state(platform)
    batch = phase.abstract_batch(2, 128)
    traced = str(phase.step(state).trace(state, batch).jaxpr)
    for other in ("dot_product_attention_bwd", "pallas_call"):
        assert (other in traced) == (other == kernel)


def test_what_xla_refuses_is_read_from_its_words():
    words = (
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (390.62G) exceeds available HBM (15.75G)."
    )
    assert compile._needed(words)["needed"] == int(390.62 * 2**30)
    words = (
        "RESOURCE_EXHAUSTED: … Ran out of memory in memory space hbm. Used 21.50G of 15.75G hbm."
    )
    assert compile._needed(words)["needed"] == int(21.5 * 2**30)
    assert compile._needed("RESOURCE_EXHAUSTED")["needed"] is None
