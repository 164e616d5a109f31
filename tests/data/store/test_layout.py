"""A page in a record, and the names of splits."""

import dataclasses
import io
import os
import subprocess
import sys
from pathlib import Path

from tensorflow_datasets.proto import tf_example_pb2

from nota_jax.data.records import PLAIN
from nota_jax.data.store import layout
from tests.data.make_dataset import make_page


def test_a_page_survives_its_record():
    page = make_page("extraction", 3)
    page.metadata.update(staff_spacing=4.75, transposition=-3, credits="Jack Campin; Mairéad")
    page = dataclasses.replace(page, symbols=b"\x00\xff packed")
    assert layout.decode(layout.encode(page)) == page


def test_a_record_is_the_one_that_tensorflow_datasets_writes():
    first = make_page("extraction", 3)
    first.metadata.update(staff_spacing=4.7, transposition=-3, credits="Jack Campin; Mairéad")
    bare = dataclasses.replace(first, turns=(), symbols=b"\x00\xff packed")
    for page in (first, bare):
        serialized = layout.FEATURES.serialize_example(
            {
                "id": page.id,
                "task": page.task,
                "image": io.BytesIO(page.png),
                "turns": [dataclasses.asdict(turn) for turn in page.turns],
                "symbols": page.symbols,
                **page.metadata,
            }
        )
        theirs = tf_example_pb2.Example.FromString(serialized)
        assert layout.encode(page) == theirs.SerializeToString(deterministic=True)


def test_a_record_of_before_symbols_is_read():
    page = make_page("extraction", 3)
    example = tf_example_pb2.Example.FromString(layout.encode(page))
    del example.features.feature["symbols"]
    assert layout.decode(example.SerializeToString()) == page


def test_what_is_not_known_of_a_page_is_empty():
    page = dataclasses.replace(make_page("extraction", 3), metadata={"region": "China"})
    found = layout.decode(layout.encode(page))
    assert found.png == page.png and found.turns == page.turns
    known = {name: value for name, value in found.metadata.items() if value}
    assert known == {"region": "China"}
    assert found.metadata.keys() == make_page("extraction", 3).metadata.keys()


def test_the_same_page_gives_the_same_bytes_in_another_process():
    code = (
        "import hashlib; from nota_jax.data.store import layout; "
        "from tests.data.make_dataset import make_page; "
        "print(hashlib.sha256(layout.encode(make_page('extraction', 3))).hexdigest())"
    )
    digests = set()
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3])}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        digests.add(done.stdout.strip())
    assert len(digests) == 1 and len(digests.pop()) == 64, done.stderr


def test_every_part_has_a_split_in_every_task():
    assert len(layout.SPLITS) == 20  # plain pages too
    assert {layout.part_of_split(split) for split in layout.SPLITS} == set(layout.PARTS)


def test_a_plain_page_is_read_as_one_page_for_each_task():
    extraction, analysis = make_page("extraction", 3), make_page("analysis", 3)
    turns = extraction.turns + analysis.turns
    plain = dataclasses.replace(extraction, id="tune/0", task=PLAIN, turns=turns)
    found = layout.decode(layout.encode(plain))
    for page in (extraction, analysis):
        seen = layout.view(found, page.task)
        assert seen == dataclasses.replace(extraction, id=f"tune/0/{page.task}", task=page.task,
                                           turns=page.turns)  # fmt: skip
    assert layout.view(extraction, "extraction") == extraction


def test_a_split_on_disk_is_read_as_the_splits_of_its_tasks():
    assert layout.views("alignment_test") == {"alignment_test": "alignment"}
    assert layout.views("analysis_train") == {"analysis_train": "analysis"}
    assert layout.views("plain_test_style") == {
        "extraction_test_style": "extraction", "analysis_test_style": "analysis",
    }  # fmt: skip
    assert layout.views("plain_test_scan") == {"extraction_test_scan": "extraction"}
