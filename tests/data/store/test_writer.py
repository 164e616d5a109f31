"""Pages on disk: what is written is read back, by us and by TensorFlow Datasets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from nota_jax.data.store import reader, writer
from nota_jax.data.store.reader import PageReader
from nota_jax.errors import UserError
from tests.data.make_dataset import SIZE, write_dataset

SIZES = {"extraction_train": 5, "extraction_test_style": 1, "alignment_train": 2}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("storage") / "set", SIZES)


def test_sizes_are_those_written(dataset):
    assert reader.split_sizes(dataset) == SIZES


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


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    class Full:
        def __init__(self, path, options): ...
        def write(self, record): ...
        def close(self):  # what ArrayRecord says on a full tmpfs
            raise RuntimeError("write() failed: No space left on device; writing x; at byte 8")

    monkeypatch.setattr(writer, "ArrayRecordWriter", Full)
    with pytest.raises(UserError, match="the disk is full: .* make room and start again"):
        writer.write_shard(tmp_path / "shard", [b"record"])


def test_records_that_did_not_reach_the_disk_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "ArrayRecordDataSource", lambda paths: [b"one"])
    with pytest.raises(UserError, match="does not hold the 2 records"):
        writer.write_shard(tmp_path / "shard", [b"one", b"two"])
