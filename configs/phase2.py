"""Phase 2, extraction: title, key, meter, unit note length, composer and the whole ABC.

    python -m nota_jax.main --config=configs/phase2.py        # size tiny, embedded corpus
    python -m nota_jax.main --config=configs/phase2.py:7b     # the paper's run

Paper: connector and Mistral train, CLIP is frozen; 3 epochs, 2e-5.
Stand-in from LLaVA: global batch 128.
"""

from configs import common


def get_config(size: str = "tiny"):
    c = common.get_config(size, phase=2)
    c.data.tasks = ("extraction",)
    c.data.batch_size = 128
    c.trainable = common.ALL_BUT_VISION
    c.optim.learning_rate, c.epochs = 2e-5, 3.0
    if c.size != "7b":  # pages and highlighted bars of the same tunes
        c.data.tasks = ("extraction", "alignment")
    return common.from_parts(
        c,
        tiny={"data.batch_size": 20, "steps": 700},
        small={"data.batch_size": 20, "steps": 1000, "optim.final": 0.5},
        mini={"data.batch_size": 128, "epochs": 3.0},
    )
