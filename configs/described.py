"""Before phase 1: the decoder learns to read pages that are described to it, patch by patch.

    python -m nota_jax.main --config=configs/described.py:small

No tower works: what lies in each patch is told from the engraving's labels, some of them wrongly
(`data.misread`), and the aids of reading say where to look.  What comes out is the tower of
`configs/vision.py`, this decoder, and a connector between them that is still random: phase 1 trains
that alone, as in the paper.
"""

from configs import common


def get_config(size: str = "small"):
    c = common.get_config(size or "small", phase=1)
    c.phase, c.run_dir = 0, f"runs/{c.size}/described"
    c.data.tasks = ("extraction", "alignment")
    c.data.batch_size = 20 if c.size in common.ON_CPU else 128
    common.look_at_the_page(c, "described")
    c.trainable = ((r"(language_model|aids)/.*", True), (r".*", False))
    c.optim.learning_rate, c.epochs = 2e-5, 3.0
    c.data.misread = 0.1
    c = common.from_scratch(c)
    c.steps = 4000 if c.size in common.ON_CPU else 0
    if c.size != "7b":
        c.optim.learning_rate = 2e-3
        c.init_from, c.tokenizer = "", f"runs/{c.size}/vision"
        c.parts = (
            (r"vision_tower/.*", f"runs/{c.size}/vision"),
            (r"language_model/.*", f"runs/{c.size}/text"),
        )
    c.eval.split = ""  # it sees nothing yet
    return c
