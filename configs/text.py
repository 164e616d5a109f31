"""Before phase 1: the decoder learns what ABC, questions and answers look like, as text alone.

    python -m nota_jax.main --config=configs/text.py:small

What Mistral's pre-training is to the paper: a decoder that writes.  No picture is shown.
"""

from configs import common
from configs.common import ConfigDict


def get_config(size: str = "small"):
    c = common.get_config(size or "small", phase=1)
    c.phase, c.run_dir = 0, f"runs/{c.size}/text"
    c.data.tasks, c.data.pictures = ("alignment", "extraction", "analysis"), False
    c.data.batch_size = 32 if c.size in common.ON_CPU else 128
    c.objective, c.loss_weights = "text", ConfigDict()
    c.trainable = ((r"language_model/.*", True), (r".*", False))
    c.optim.learning_rate, c.epochs = 2e-5, 1.0
    c = common.from_scratch(c)
    c.data.lengths, c.data.jitter = (128, 256, 512), 0
    c.steps = 450 if c.size in common.ON_CPU else 0
    if c.size != "7b":
        c.tokenizer = f"runs/{c.size}/vision"  # the parts have to speak the same
    c.eval.split = ""  # it answers nothing yet
    return c
