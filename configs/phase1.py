"""Phase 1, alignment: the connector learns to hand the score to the language model.

    python -m nota_jax.main --config=configs/phase1.py        # size tiny, embedded corpus
    python -m nota_jax.main --config=configs/phase1.py:7b     # the paper's run

Paper: connector only; alignment records (highlighted region → its ABC); 10 epochs, 2e-4.
Stand-in from LLaVA: global batch 256, the question dropped (its `plain` template).
"""

from configs import common


def get_config(size: str = "tiny"):
    c = common.get_config(size, phase=1)
    c.data.tasks = ("alignment",)
    c.data.template, c.data.turns_per_row = "plain", 1
    c.data.batch_size = 256
    if c.size != "7b":  # from a bar to a few, a system, a whole page
        c.data.tasks, c.data.subtasks = ("alignment", "extraction"), ("alignment", "abc")
        c.data.lengths = (352, 368, *c.data.lengths)
    c.trainable = common.CONNECTOR_ONLY
    c.optim.learning_rate, c.epochs = 2e-4, 10.0
    return common.from_parts(
        c,
        tiny={"data.batch_size": 8, "steps": 300, "data.curriculum": 200},
        small={"data.batch_size": 8, "steps": 600, "data.curriculum": 400},
        mini={"data.batch_size": 64, "steps": 600, "data.curriculum": 400},
    )
