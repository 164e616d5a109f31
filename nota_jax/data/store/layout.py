"""What lies on disk, and under which names.

A dataset is a folder of ArrayRecord shards with the metadata of TensorFlow Datasets, so that

    builder = tfds.builder_from_directory(DIR)
    page = builder.as_data_source("plain_train")[0]

reads it anywhere, without TensorFlow.  A record is one page, as a serialized tf.train.Example.

A split of the store holds the pages of one task, or plain pages, which are two splits to whoever
reads them (`views`): a picture that two tasks ask about is stored once.  Datasets before version
1.2 have only splits of one task.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from nota_jax.data.records import PLAIN, TASKS, Page, Turn

NAME = "nota"
VERSION = "1.2.0"
INFO = "dataset_info.json"  # a folder with this file is a dataset
PARTS = ("train", "validation", "test", "test_style", "test_scan")
SPLITS = tuple(f"{task}_{part}" for task in (*TASKS, PLAIN) for part in PARTS)

TEXTS = (
    "region", "corpus", "split", "music_font", "text_font", "credits", "licence", "source_id",
    "composer_source", "melody_hash", "highlight", "abc", "source_unit",
)  # fmt: skip
TURN_TEXTS = tuple(field.name for field in dataclasses.fields(Turn))

FEATURES = tfds.features.FeaturesDict(
    {
        "id": tfds.features.Text(),
        "task": tfds.features.Text(),
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
        "turns": tfds.features.Sequence({name: tfds.features.Text() for name in TURN_TEXTS}),
        "staff_spacing": np.float32,
        "transposition": np.int32,
        "symbols": tfds.features.Text(),  # bytes, see Page.symbols
        **{name: tfds.features.Text() for name in TEXTS},
    }
)


# What is not known of a page is empty.
_NOTHING_KNOWN: dict[str, Any] = {
    **dict.fromkeys(TEXTS, ""),
    "staff_spacing": 0.0,
    "transposition": 0,
}


def encode(page: Page) -> bytes:
    """A page as a serialized tf.train.Example; the same page gives the same bytes.

    They are those of `FEATURES.serialize_example`, in a fixed order and in a tenth of its time.
    """
    example = tf_example_pb2.Example()
    feature = example.features.feature
    known = _NOTHING_KNOWN | page.metadata
    feature["staff_spacing"].float_list.value.append(float(known.pop("staff_spacing")))
    feature["transposition"].int64_list.value.append(int(known.pop("transposition")))
    texts = {name: [known.pop(name)] for name in TEXTS} | {"id": [page.id], "task": [page.task]}
    columns = {f"turns/{n}": [getattr(turn, n) for turn in page.turns] for n in TURN_TEXTS}
    for name, values in (texts | columns).items():
        feature[name].bytes_list.value.extend(str(value).encode() for value in values)
    feature["image"].bytes_list.value.append(page.png)
    feature["symbols"].bytes_list.value.append(page.symbols)
    if known:
        raise ValueError(f"a record holds no {', '.join(known)}")
    return example.SerializeToString(deterministic=True)


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
        symbols=b"".join(feature["symbols"].bytes_list.value),  # none before version 1.1
        metadata={
            **{name: texts(name)[0] for name in TEXTS},
            "staff_spacing": feature["staff_spacing"].float_list.value[0],
            "transposition": feature["transposition"].int64_list.value[0],
        },
    )


def views(split: str) -> dict[str, str]:
    """The splits as which one on disk is read, each with its task.

    A plain page's degraded copy is not asked to be analysed.
    """
    kind, _, part = split.partition("_")
    tasks = [kind] if kind != PLAIN else TASKS[1:2] if part == "test_scan" else TASKS[1:]
    return {f"{task}_{part}": task for task in tasks}


def view(page: Page, task: str) -> Page:
    """What one task asks about a plain page; a page of one task as it is."""
    if page.task != PLAIN:
        return page
    turns = tuple(turn for turn in page.turns if turn.task == task)
    return dataclasses.replace(page, id=f"{page.id}/{task}", task=task, turns=turns)


def part_of_split(split: str) -> str:
    """The part in a split's name: "test_style" in "extraction_test_style"."""
    return split.partition("_")[2]


def shard_template(directory: Path | str, split: str) -> tfds.core.ShardedFileTemplate:
    return tfds.core.ShardedFileTemplate(
        data_dir=directory, dataset_name=NAME, split=split, filetype_suffix="array_record"
    )


def shard_path(directory: Path | str, split: str, index: int, count: int) -> Path:
    """Where one of a split's shards lies, as TFDS will look for it."""
    template = shard_template(directory, split)
    return Path(template.sharded_filepath(shard_index=index, num_shards=count))
