"""Before phase 1: the vision tower learns what lies in each patch of a page.

    python -m nota_jax.main --config=configs/vision.py:small

What CLIP's pre-training is to the paper: a tower that sees.  Linear heads (`aids/symbols`, in no
export) say of every symbol what it is and where; the labels come from the engraving.  On a tower
that is already trained this is a probe of whether it sees notes:

    python -m nota_jax.main --config=configs/vision.py:7b,probe
"""

from configs import common
from configs.common import ConfigDict


def get_config(arg: str = "small"):
    size, _, variant = (arg or "small").partition(",")
    if variant not in ("", "probe"):
        raise ValueError(f"unknown variant {variant!r} of vision: leave it out, or probe")
    c = common.get_config(size, phase=1)
    c.phase, c.run_dir = 0, f"runs/{c.size}/vision"
    # A page with or a page without highlighted bars of every drawing, and its heading, where that
    # is a picture of its own; what is asked about them is not read.
    c.data.tasks, c.data.subtasks = ("alignment", "extraction"), ("alignment", "unit_note_length")
    if c.model.vision.heading == "enlarged":
        c.data.subtasks += ("title",)
        c.data.shares = ConfigDict(dict(alignment=0.5, unit_note_length=0.5))
        c.data.letters = 0.0 if variant else 0.4
    c.data.turns_per_row = 1
    c.data.batch_size = 5 if c.size in common.ON_CPU else 128
    c.objective, c.loss_weights = "symbols", ConfigDict()
    c.optim.learning_rate, c.epochs = 1e-3 if variant else 1e-4, 1.0
    c.trainable = ((r"vision_tower/.*", not variant), (r"aids/.*", True), (r".*", False))
    c = common.from_scratch(c)
    c.steps = 10_000 if c.size in common.ON_CPU else 0
    c.eval.split = ""  # it answers nothing yet
    return c
