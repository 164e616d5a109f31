"""The measurement of a large dataset, with a small one."""

import json
import os
import subprocess
import sys

from nota_jax.data.store.reader import split_sizes
from nota_jax.tools import feed_scale


def test_a_dataset_in_the_papers_proportions_is_made_and_read(tmp_path):
    feed_scale.make(tmp_path / "data", 600)
    # 600/998,825 of 28,125 pages, of 970,000 questions at six a page, of 700 at seven.
    sizes = {"alignment_train": 17, "extraction_train": 97, "analysis_train": 1}
    assert split_sizes(tmp_path / "data") == sizes
    arguments = ["--measure", "--out", str(tmp_path / "data"), "--seconds", "0.1"]
    command = [sys.executable, "-m", "nota_jax.tools.feed_scale", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["questions"] == 17 + 97 * 6 + 7 and found["rows"] >= 115
    assert found["own_mb"] > 0 and found["questions_per_core_second"] > 0
