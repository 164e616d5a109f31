"""Pages on disk: what is written is read back, by us and by TensorFlow Datasets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from nota_jax.data.store import writer
from nota_jax.data.store.reader import PageReader
from nota_jax.errors import UserError
from tests.data.make_dataset import SIZE, make_page, write_dataset

SIZES = {"extraction_train": 5, "extraction_test_style": 1, "alignment_train": 2}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("storage") / "set", SIZES)


def test_a_page_survives_its_record():
    page = make_page("extraction", 3)
    page.metadata.update(staff_spacing=4.75, transposition=-3, credits="Jack Campin; Mairéad")
    assert writer.decode(writer.encode(page)) == page


def test_the_same_page_gives_the_same_bytes_in_another_process():
    code = (
        "import hashlib; from nota_jax.data.store import writer; "
        "from tests.data.make_dataset import make_page; "
        "print(hashlib.sha256(writer.encode(make_page('extraction', 3))).hexdigest())"
    )
    digests = set()
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3])}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        digests.add(done.stdout.strip())
    assert len(digests) == 1 and len(digests.pop()) == 64, done.stderr


def test_sizes_are_those_written(dataset):
    assert writer.split_sizes(dataset) == SIZES


def test_tfds_reads_what_was_written_with_pictures_in_three_channels(dataset):
    source = tfds.builder_from_directory(dataset).as_data_source("extraction_train")
    written = PageReader(dataset, ["extraction_train"])
    assert len(source) == len(written) == 5
    for example, page in zip(source, written, strict=True):
        assert example["id"].decode() == page.id
        assert example["image"].shape == (SIZE, SIZE, 3)
        assert (example["image"] == int(page.id.split("-")[1])).all()
        answers = [answer.decode() for answer in example["turns"]["answer"]]
        assert answers == [turn.answer for turn in page.turns]
        assert example["staff_spacing"] == np.float32(5.0)


def test_tfds_reads_it_without_tensorflow(dataset):
    code = (
        "import sys; import tensorflow_datasets as tfds; "
        f"source = tfds.builder_from_directory({str(dataset)!r}).as_data_source('alignment_train');"
        "print(len(source), source[1]['image'].shape, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f"2 ({SIZE}, {SIZE}, 3) False\n", done.stderr


def test_every_part_has_a_split_in_every_task():
    assert len(writer.SPLITS) == 12
    assert {writer.part_of_split(split) for split in writer.SPLITS} == set(writer.PARTS)


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    class Full:
        def __init__(self, path, options): ...
        def write(self, record): ...
        def close(self):  # what ArrayRecord says on a full tmpfs
            raise RuntimeError("write() failed: No space left on device; writing x; at byte 8")

    monkeypatch.setattr(writer, "ArrayRecordWriter", Full)
    with pytest.raises(UserError, match="the disk is full .*start the same command again"):
        writer.write_shard(tmp_path / "shard", [b"record"])


def test_records_that_did_not_reach_the_disk_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "ArrayRecordDataSource", lambda paths: [b"one"])
    with pytest.raises(UserError, match="does not hold the 2 records"):
        writer.write_shard(tmp_path / "shard", [b"one", b"two"])


def test_a_folder_without_a_dataset_is_said(tmp_path):
    with pytest.raises(UserError, match="no finished dataset .* build one with"):
        writer.split_sizes(tmp_path)
