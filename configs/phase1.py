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
    c.trainable = common.CONNECTOR_ONLY
    c.optim.learning_rate, c.epochs = 2e-4, 10.0
    c = common.from_scratch(c, learning_rate=5e-4, data__batch_size=16, epochs=0.5)
    return common.from_parts(c, data__batch_size=8, steps=600, optim__final=0.5)
