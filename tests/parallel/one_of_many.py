"""Run by test_processes.py: one process of a training run, alone or among others.

    python one_of_many.py JOB.pkl RUN_DIR DATA FSDP TENSOR [WORD …]

JOB holds (config, parameters, batches, questions).  Words: `stop=N` leaves off behind step N;
`answer` answers the questions too, into RUN_DIR/answers.pkl; `die=I:N` lets process I kill itself
before batch N, `err=I:N` makes it raise a UserError there, `break=I:N` an unexpected error;
`pause` makes every batch take a fifth of a second; `save=N` saves every N steps; `spoil=I` lets
process I find the checkpoint damaged that it goes on from.
"""

import os
import pickle
import signal
import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np

from nota_jax.checkpoint import verified
from nota_jax.checkpoint.damage import Damaged
from nota_jax.errors import UserError, exit_status
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.decode import generate
from nota_jax.models.notagpt import NotaGPT
from nota_jax.parallel import processes
from nota_jax.parallel.mesh import make_mesh, place_params, place_whole, row_share
from nota_jax.training.loop import TrainConfig, train
from nota_jax.training.optimizer import OptimizerConfig

jax.config.update("jax_compilation_cache_dir", None)  # a warm cache would hide what is compared

JOB, RUN_DIR, *SIZES = sys.argv[1:6]
WORDS = dict((*word.split("="), "")[:2] for word in sys.argv[6:])


class Batches:
    """The job's batches, this process's share of each."""

    def __init__(self, batches, share, shares):
        self.batches, self.share, self.shares, self.next = batches, share, shares, 0

    def __iter__(self):
        return self

    def __next__(self):
        for word in ("die", "err", "break"):
            who, _, when = WORDS.get(word, "").partition(":")
            if (who, when) == (str(jax.process_index()), str(self.next)):
                trouble(word)
        if "pause" in WORDS:
            time.sleep(0.2)
        batch = self.batches[self.next]
        self.next += 1
        rows = len(batch["tokens"]) // self.shares
        return {k: x[self.share * rows : (self.share + 1) * rows] for k, x in batch.items()}

    def get_state(self):
        return {"next": self.next}

    def set_state(self, state):
        self.next = state["next"]


def trouble(kind):
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "err":
        raise UserError("the page is damaged")
    raise RuntimeError("a bug")


def spoil():
    def state(folder, *_):
        raise Damaged(f"{folder} is damaged: a disk that only this process reads")

    verified.state = state


def job():
    if WORDS.get("spoil") == str(jax.process_index()):
        spoil()
    config, params, batches, questions = pickle.loads(Path(JOB).read_bytes())
    model = NotaGPT(NotaGPTConfig.from_dict(config))
    mesh = make_mesh(*map(int, SIZES))
    options = {"stop_after": int(WORDS["stop"])} if "stop" in WORDS else {}
    outcome = train(
        TrainConfig(
            total_steps=len(batches),
            trainable=((r"vision_tower/.*", False), (r".*", True)),
            optimizer=OptimizerConfig(learning_rate=1e-2),
            log_every=1,
            save_every=int(WORDS.get("save", 100)),
            keep_last=3,
            **options,
        ),
        model,
        params,
        partial(place_params, params),
        Batches(batches, *row_share(mesh)),
        mesh,
        RUN_DIR,
    )
    if "answer" in WORDS:
        *arrays, eos = questions
        seeds = np.arange(arrays[-1].size).reshape(arrays[-1].shape)
        place = partial(place_whole, mesh)
        answers = generate(
            model, outcome.state.params, *arrays, max_new_tokens=6, eos_ids=(eos,),
            temperature=1.0, seeds=seeds, place=place,
        )  # fmt: skip
        if processes.is_main():
            Path(RUN_DIR, "answers.pkl").write_bytes(pickle.dumps(answers))
    return outcome.interrupted


def main():
    with processes.together():
        return bool(job())


if __name__ == "__main__":
    sys.exit(exit_status(lambda: 130 if main() else 0))
