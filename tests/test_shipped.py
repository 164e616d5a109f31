"""What lies in the repository reads: pages that were engraved a moment ago, of tunes made up here."""

import json
from pathlib import Path

import Levenshtein
import pytest

from configs import phase2
from nota_jax import quickstart, run
from nota_jax.data.build import dataset
from nota_jax.data.build.pages import Settings
from nota_jax.data.store import reader
from nota_jax.evaluation import predict

SHIPPED = Path(__file__).parents[1] / quickstart.SHIPPED

TUNES = """X:1
T:Walking Home
C:Anna Berg
M:4/4
L:1/8
K:G
GABc d2B2|c2A2 d4|GABc d2g2|f2d2 g4|

X:2
T:Three Ships
M:6/8
L:1/8
K:D
d3 fed|A3 d3|efg fed|c3 d3|
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    (folder / "tunes").mkdir()
    (folder / "tunes/made_up.abc").write_text(TUNES)
    data = folder / "data"
    dataset.build(data, [f"path:{folder / 'tunes'}"], None, Settings(), 1)
    config = phase2.get_config("small")
    config.run_dir, config.init_from, config.tokenizer = (
        str(folder / "run"),
        str(SHIPPED),
        str(SHIPPED),
    )
    config.previous, config.parts, config.data.dir = "", (), str(data)
    prepared = run.prepare(config, lambda _: None)
    params = run.weights(prepared, lambda _: None)
    splits = [s for s in reader.split_sizes(data) if "extraction" in s and not s.endswith("style")]
    settings = predict.Settings(str(data), tuple(splits), questions=12, pages_per_batch=2)
    return predict.predict(
        prepared.model, params, prepared.tokenizer, settings, folder / "read", lambda _: None
    )


def test_key_and_meter_are_read(read):
    for subtask in ("key", "meter", "unit_note_length"):
        answers = [(p.prediction, p.answer) for p in read if p.subtask == subtask]
        assert len(answers) == 2 and all(said == printed for said, printed in answers)


def test_most_of_the_music_is_read(read):
    for p in read:
        if p.subtask == "abc":
            body, printed = (text.split("K:")[-1] for text in (p.prediction, p.answer))
            assert Levenshtein.distance(body.strip(), printed.strip()) < 0.35 * len(printed)


def test_it_is_small_and_says_where_it_comes_from():
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*")) < 25e6
    config = json.loads((SHIPPED / "config.json").read_text())
    assert config["vision_config"]["patches"] == "inked"
    card = (SHIPPED / "README.md").read_text()
    assert "without Essen" in card and "320 of a page's 576 patches" in card
