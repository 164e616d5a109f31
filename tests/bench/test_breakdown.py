"""The parts of a step add up to the step, and each beginning computes what it is named after."""

import jax
import pytest

from configs import phase2
from nota_jax.bench import breakdown
from nota_jax.errors import UserError


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    config = phase2.get_config("tiny")
    home = tmp_path_factory.mktemp("breakdown")
    config.run_dir, config.data.dir = str(home / "run"), str(home / "data")
    config.data.batch_size, config.data.lengths = 12, (384,)
    config.model.operands = ""  # in bfloat16 two programs of one sum may round otherwise
    return config


def test_the_parts_are_beginnings_of_one_and_the_same_step(config, monkeypatch):
    made = []

    def kept(*arguments):
        made.extend(beginnings(*arguments))
        return made

    beginnings = breakdown.beginnings
    monkeypatch.setattr(breakdown, "beginnings", kept)
    found = breakdown.measure(config, rounds=3)
    assert tuple(found["parts"]) == breakdown.PARTS and found["step"] > 0
    text = breakdown.table(found)
    assert all(name in text for name in breakdown.PARTS) and "random" in text

    features, hidden = made[0](), made[1]()
    rows, length = found["rows"]
    assert features.shape == (rows, 320, config.model.vision.hidden_size)
    assert hidden.shape == (rows, length, config.model.text.hidden_size)
    sums, (same, grads) = made[2](), made[3]()
    (total, weight), (again, _) = sums["answers"], same["answers"]
    assert float(total) == pytest.approx(float(again))
    trained, stepped = made[4]()
    assert jax.tree.structure(trained) == jax.tree.structure(grads)
    assert float(stepped["loss"]) < float(total / weight)  # the same batch, some steps later


def test_too_few_rounds_are_refused(config):
    with pytest.raises(UserError, match="--rounds is 2"):
        breakdown.measure(config, rounds=2)
