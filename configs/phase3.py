"""Phase 3, analysis: form, range, rhythm, cadences … in prose.

    python -m nota_jax.main --config=configs/phase3.py                    # size tiny
    python -m nota_jax.main --config=configs/phase3.py:7b                 # the paper's run
    python -m nota_jax.main --config=configs/phase3.py:7b,frozen_vision   # its other reading

Paper: the method's summary says full fine-tuning, another passage says CLIP stays frozen; full is
our default.  Epochs and learning rate are not stated; ours are phase 2's.
Stand-in from LLaVA: global batch 128.
"""

from configs import common
from nota_jax.data.build.phrasings import ANALYSIS_QUESTIONS


def get_config(arg: str = "tiny"):
    size, _, variant = (arg or "tiny").partition(",")
    if variant not in ("", "frozen_vision"):
        raise ValueError(f"unknown variant {variant!r} of phase 3: leave it out, or frozen_vision")
    c = common.get_config(size, phase=3)
    c.data.tasks = ("analysis",)
    c.data.batch_size = 128
    c.trainable = common.ALL_BUT_VISION if variant else common.EVERYTHING
    c.optim.learning_rate, c.epochs = 2e-5, 3.0
    if c.size != "7b":  # who only analyses forgets the notes
        c.data.tasks = ("extraction", "alignment", "analysis")
        # Sentences, whose tokens would outnumber those of the notes by far.
        c.data.weights.update(dict.fromkeys(ANALYSIS_QUESTIONS, 0.1))
    return common.from_parts(
        c,
        tiny={"data.batch_size": 20, "steps": 100, "optim.learning_rate": 3e-4},
        small={"data.batch_size": 20, "steps": 6000},
        mini={"data.batch_size": 128, "epochs": 1.0},
    )
