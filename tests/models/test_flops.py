"""FLOPs as counted on traced programs, against the mathematics and XLA."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax._src.cudnn import fused_attention_stablehlo as cudnn_attention

from nota_jax.models import attention_kernels as kernels
from nota_jax.models import flops
from nota_jax.models.mistral import CausalLM
from nota_jax.models.notagpt import NotaGPT, param_shapes
from nota_jax.parallel.mesh import make_mesh
from nota_jax.training import program
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


@pytest.mark.parametrize(("chunk", "again"), [(LENGTH, 0), (4, 1)])
def test_counted_operations_are_the_mathematics_and_a_chunked_loss_twice(
    lowered, nano_config, chunk, again
):
    _, traced, _ = lowered(chunk, attention="reference")
    trains = {"vision_tower": False, "multi_modal_projector": True, "language_model": True}
    asked = flops.step_flops(nano_config, ROWS, LENGTH, trains)
    text, width = nano_config.text, nano_config.text.hidden_size
    head = again * 2 * LENGTH * width * text.vocab_size  # made again in the backward pass
    # step_flops leaves out that the connector's second map hands a gradient to its first.
    inside = 2 * nano_config.vision.num_patches * width**2
    done = flops.traced_flops(traced.jaxpr)
    assert done == pytest.approx(asked + ROWS * (head + inside), rel=1e-3)


def test_counted_operations_of_a_layer_are_xlas(nano_config):
    config = dataclasses.replace(
        nano_config,
        attention="reference",
        text=dataclasses.replace(
            nano_config.text, hidden_size=256, intermediate_size=512, head_dim=64,
            num_hidden_layers=1, vocab_size=64,
        ),
    )  # fmt: skip
    length = 128
    shapes = param_shapes(config)["language_model"]

    def run(params, x, ids, positions):
        return CausalLM(config).apply({"params": params}, x, ids, positions)

    x = jax.ShapeDtypeStruct((2, length, 256), jnp.float32)
    ids = jax.ShapeDtypeStruct((2, length), jnp.int32)
    counted = flops.traced_flops(jax.make_jaxpr(run)(shapes, x, ids, ids))
    # XLA also counts the element-wise operations; a scan of one layer counts once, as it should.
    by_xla = jax.jit(run).lower(shapes, x, ids, ids).compile().cost_analysis()["flops"]
    assert counted <= by_xla <= 1.05 * counted
    head = 2 * length * 256 * 64
    assert counted == pytest.approx(2 * (flops.forward_flops(config, length).text - head))


def test_attention_kernels_count_as_their_products(monkeypatch):
    """cuDNN's and splash's attention hide them; splash's blocks count as if none were skipped."""
    monkeypatch.setattr(cudnn_attention, "check_cudnn_version", lambda: 91000)
    q = jnp.ones((2, 256, 4, 64), jnp.bfloat16)
    k = jnp.ones((2, 256, 2, 64), jnp.bfloat16)
    mask = jnp.ones((2, 1, 256, 256), bool)
    product = 2 * 2 * 4 * 256 * 256 * 64

    def counted(attend, *operands):
        def total(*operands):
            return attend(*operands).astype(jnp.float32).sum()

        return (flops.traced_flops(jax.make_jaxpr(f)(*operands)) for f in (total, jax.grad(total)))

    forward, both = counted(lambda q: kernels.cudnn(q, k, k, None), q)
    assert (forward, both) == (2 * product, 7 * product)
    forward, _ = counted(lambda q: kernels.cudnn(q, k, k, mask), q)
    assert forward == product  # causal: half of each
    forward, both = counted(lambda q: kernels.splash(q, k, k, mask, interpret=True), q)
    assert forward == 2 * product and both > 2 * forward
