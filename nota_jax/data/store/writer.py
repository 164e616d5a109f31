"""Pages on disk: ArrayRecord shards with the metadata of TensorFlow Datasets, without TensorFlow.

    builder = tfds.builder_from_directory(DIR)
    page = builder.as_data_source("extraction_train")[0]

reads them anywhere; `reader.py` gives back `Page`s with their encoded pictures.
"""

from __future__ import annotations

import errno
import io
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core import naming
from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tensorflow_datasets.core.folder_dataset.write_metadata_utils import write_metadata
from tensorflow_datasets.proto import tf_example_pb2

from nota_jax.data.records import TASKS, Page, Turn
from nota_jax.errors import UserError

NAME = "nota"
INFO = "dataset_info.json"  # a folder with this file is a dataset
VERSION = "1.0.0"
PARTS = ("train", "validation", "test", "test_style")
SPLITS = tuple(f"{task}_{part}" for task in TASKS for part in PARTS)

TEXTS = (
    "region", "corpus", "split", "music_font", "text_font", "credits", "licence", "source_id",
    "composer_source", "melody_hash", "highlight", "abc", "source_unit",
)  # fmt: skip
TURN_TEXTS = ("task", "subtask", "question", "answer")

FEATURES = tfds.features.FeaturesDict(
    {
        "id": tfds.features.Text(),
        "task": tfds.features.Text(),
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
        "turns": tfds.features.Sequence({name: tfds.features.Text() for name in TURN_TEXTS}),
        "staff_spacing": np.float32,
        "transposition": np.int32,
        **{name: tfds.features.Text() for name in TEXTS},
    }
)
_SERIALIZER = ExampleSerializer(FEATURES.get_serialized_info())

# One record a chunk, so that any record is read alone; pictures are compressed already.
_WRITER_OPTIONS = "group_size:1"


def encode(page: Page) -> bytes:
    """A page as a serialized tf.train.Example; the same page gives the same bytes."""
    example = {
        "id": page.id,
        "task": page.task,
        "image": io.BytesIO(page.png),
        "turns": [{name: getattr(turn, name) for name in TURN_TEXTS} for turn in page.turns],
        **page.metadata,
    }
    encoded = _SERIALIZER.get_tf_example(FEATURES.encode_example(example))
    return encoded.SerializeToString(deterministic=True)


def decode(record: bytes) -> Page:
    """The page in a record; its picture stays encoded."""
    feature = tf_example_pb2.Example.FromString(record).features.feature

    def texts(name: str) -> list[str]:
        return [value.decode() for value in feature[name].bytes_list.value]

    columns = [texts(f"turns/{name}") for name in TURN_TEXTS]
    return Page(
        id=texts("id")[0],
        task=texts("task")[0],
        png=feature["image"].bytes_list.value[0],
        turns=tuple(Turn(*row) for row in zip(*columns, strict=True)),
        metadata={
            **{name: texts(name)[0] for name in TEXTS},
            "staff_spacing": feature["staff_spacing"].float_list.value[0],
            "transposition": feature["transposition"].int64_list.value[0],
        },
    )


def part_of_split(split: str) -> str:
    """The part in a split's name: "test_style" in "extraction_test_style"."""
    return split.partition("_")[2]


def shard_path(directory: Path, split: str, index: int, count: int) -> Path:
    return directory / f"{NAME}-{split}.array_record-{index:05d}-of-{count:05d}"


def write_shard(path: Path, records: Iterable[bytes]) -> int:
    """Writes one shard and reads its length back.  Returns the bytes of the records."""
    written = n_bytes = 0
    with full_disk_is_an_error(path):
        # The writer buffers: what it could not write, it says when it is closed.
        writer = ArrayRecordWriter(str(path), _WRITER_OPTIONS)
        try:
            for record in records:
                writer.write(record)
                written += 1
                n_bytes += len(record)
        finally:
            writer.close()
    if len(ArrayRecordDataSource([str(path)])) != written:
        raise UserError(f"{path} does not hold the {written} records written to it: check the disk")
    return n_bytes


def write_tfds_metadata(
    directory: Path, splits: dict[str, tuple[list[int], int]], description: str
) -> None:
    """dataset_info.json and features.json for the shards in a folder.

    splits: per split the lengths of its shards and the bytes of its records.  Empty splits have no
    shards and are left out, as TFDS does.
    """
    template = naming.ShardedFileTemplate(
        data_dir=directory, dataset_name=NAME, filetype_suffix="array_record"
    )
    infos = [
        tfds.core.SplitInfo(
            name=name,
            shard_lengths=lengths,
            num_bytes=n_bytes,
            filename_template=template.replace(split=name),
        )
        for name, (lengths, n_bytes) in splits.items()
    ]
    with full_disk_is_an_error(directory):
        write_metadata(
            data_dir=directory,
            features=FEATURES,
            split_infos=infos,
            version=VERSION,
            description=description,
            check_data=False,
        )


def missing_shards(directory: Path) -> list[Path]:
    """Shards that the metadata of a finished dataset names and that are not there."""
    splits = tfds.builder_from_directory(directory).info.splits
    paths = [Path(path) for info in splits.values() for path in info.filepaths]
    return [path for path in paths if not path.is_file()]


def split_sizes(directory: Path | str) -> dict[str, int]:
    """Pages per split of a finished dataset.  Raises `UserError` where there is none."""
    if not (Path(directory) / INFO).is_file():
        raise UserError(
            f"{directory} holds no finished dataset (no {INFO}): build one with "
            f"`python -m nota_jax.data.build --out {directory}`"
        )
    splits = tfds.builder_from_directory(directory).info.splits
    return {name: info.num_examples for name, info in splits.items()}


@contextmanager
def full_disk_is_an_error(path: Path) -> Iterator[None]:
    """Turns a full disk into a sentence; ArrayRecord reports it in words only."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        if not full:
            raise
        free = shutil.disk_usage(path if path.is_dir() else path.parent).free
        raise UserError(
            f"the disk is full (writing {path}, {free / 2**20:.1f} MiB free): make room and start "
            "the same command again; it continues from what is finished"
        ) from error
