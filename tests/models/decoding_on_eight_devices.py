"""Run by test_decode_on_a_mesh.py in a process in which XLA shows eight virtual CPU devices.

    python decoding_on_eight_devices.py OUT.json

OUT gets the answers of a small model on several meshes; and of one with more in its weights than
in its activations, sharded by fsdp, what the compiled program sends and holds.
"""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np

from nota_jax.models import decode
from nota_jax.models.config import NotaGPTConfig, TextConfig, VisionConfig
from nota_jax.models.notagpt import NotaGPT, init_params
from nota_jax.parallel.mesh import make_mesh, param_shardings, place_params, place_whole
from nota_jax.params import n_bytes
from nota_jax.plan import traffic

MESHES = ((1, 1, 1), (1, 8, 1), (1, 2, 4))
IMAGES, QUESTIONS, NEW = 8, 3, 6


SMALL = NotaGPTConfig(
    vision=VisionConfig(
        image_size=28, patch_size=7, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4,
    ),
    text=TextConfig(
        vocab_size=128, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=8, num_key_value_heads=4, head_dim=8, rope_theta=1e4,
        rms_norm_eps=1e-5, sliding_window=9,
    ),
    image_token_id=7,
)  # fmt: skip
WIDE = dataclasses.replace(
    SMALL,
    text=dataclasses.replace(
        SMALL.text, hidden_size=512, intermediate_size=1024, num_hidden_layers=4, vocab_size=512,
        num_attention_heads=16, num_key_value_heads=8, head_dim=32, sliding_window=None,
    ),
)  # fmt: skip


def inputs(config):
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(IMAGES, 28, 28, 3)).astype(np.float32)
    prefix = np.full((IMAGES, config.num_image_tokens + 2), config.image_token_id)
    prefix[:, 0], prefix[:, -1] = 1, 3
    turns = rng.integers(8, config.text.vocab_size, (IMAGES, QUESTIONS, 8))
    lengths = rng.integers(0, 9, (IMAGES, QUESTIONS))
    return pixels, prefix, turns, lengths


def answers(config, params, mesh):
    found = decode.generate(
        NotaGPT(config), place_params(params, param_shardings(mesh, params)), *inputs(config),
        max_new_tokens=NEW, eos_ids=(config.text.vocab_size,), place=partial(place_whole, mesh),
    )  # fmt: skip
    return found.tokens.tolist()


def compiled(config):
    """Bytes of the weights, of activations in a step, sent for a batch and for a token, and held
    beside the weights, on one of eight devices."""
    mesh = make_mesh(1, 8, 1)
    params = init_params(config, jax.random.key(0))
    placed = place_params(params, param_shardings(mesh, params))
    pixels, prefix, turns, lengths = map(partial(place_whole, mesh), inputs(config))
    turns = jax.numpy.pad(turns, ((0, 0), (0, 0), (0, decode.TURN_BUCKET - turns.shape[2])))
    program = decode.trace(
        NotaGPT(config), placed, pixels, prefix, turns, lengths,
        max_new_tokens=NEW, eos_ids=(2,),
    ).lower().compile()  # fmt: skip
    collectives = traffic.read(program.as_text()).collectives
    return {
        "weights": n_bytes(params),
        "step": 4 * IMAGES * QUESTIONS * config.text.hidden_size,
        "batch": sum(c.sent for c in collectives if not c.token),
        "token": sum(c.sent for c in collectives if c.token),
        "temporaries": program.memory_analysis().temp_size_in_bytes,
    }


params = jax.tree.map(np.asarray, init_params(SMALL, jax.random.key(0)))
results = {
    "answers": [
        answers(SMALL, params, make_mesh(*sizes, devices=jax.devices()[: np.prod(sizes)]))
        for sizes in MESHES
    ],
    "compiled": compiled(WIDE),
    "layers": WIDE.text.num_hidden_layers,
}
Path(sys.argv[1]).write_text(json.dumps(results))
