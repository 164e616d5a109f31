"""Directories of small random runs, as training leaves them."""

import json

import jax
import numpy as np

from nota_jax.checkpoint.base import save_base
from nota_jax.checkpoint.steps import Checkpoints
from nota_jax.data.feed import chat
from nota_jax.data.feed.tokenizer import save_tokenizer
from nota_jax.parallel.mesh import make_mesh, param_shardings
from nota_jax.params import resolve, split_tree
from nota_jax.training import state
from nota_jax.training.optimizer import OptimizerConfig, make_optimizer
from tests.models.hf_reference import random_params, tiny

# Phase 2: connector and decoder train, the vision tower is the frozen base.
TABLE = ((r"vision_tower/.*", False), (r".*", True))


def random_weights(config, seed=0):
    return jax.tree.map(np.float32, random_params(config, seed))


def run_directory(folder, config, tok, *, step=3, image_mode="pad", template="mistral_instruct"):
    """A phase-2 run at a step, as training leaves it; returns its parameters."""
    params = random_weights(config)
    trainable = resolve(TABLE, params, table="trainable")
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1), 10)
    shardings = param_shardings(make_mesh(devices=jax.devices()[:1]), params)
    base = save_base(folder, split_tree(params, trainable)[1])
    made = state.create(params, trainable, optimizer, shardings)
    model = {key: config.to_dict()[key] for key in ("vision", "text", "connector")}
    model["text"] |= {"vocab_size": 0, "sliding_window": model["text"]["sliding_window"] or 0}
    record = {
        "size": "tiny",
        "phase": 2,
        "model": model,
        "previous": "",
        "init_from": "",
        "seed": 5,
    }
    record |= {"data": {"image_mode": image_mode, "tasks": ["extraction"], "dir": "data/x",
                        "batch_size": 4, "template": template}}  # fmt: skip
    record |= {"trainable": [list(rule) for rule in TABLE], "optim": {"learning_rate": 2e-5}}
    (folder / "config.json").write_text(json.dumps(record))
    if tok is not None:
        save_tokenizer(tok, folder / "tokenizer")
    with Checkpoints(folder) as checkpoints:
        for number in (1, step):
            checkpoints.save(
                number, made.trainable, made.progress, base,
                about={"config": record},
            )  # fmt: skip
    return params


def with_tokenizer(config, tok, vocab_size=320):
    text = {**config.to_dict()["text"], "vocab_size": vocab_size}
    vision = config.to_dict()["vision"]
    return tiny(text=text, vision=vision, image_token_id=chat.image_token_id(tok))
