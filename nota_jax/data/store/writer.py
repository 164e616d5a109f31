"""Writing a dataset: shards of records, and the metadata that makes them one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from nota_jax.data.store import layout
from nota_jax.errors import UserError
from nota_jax.files import full_disk_is_an_error

# One record a chunk, so that any record is read alone; pictures are compressed already.
_WRITER_OPTIONS = "group_size:1"


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


def write_metadata(
    directory: Path, splits: Mapping[str, tuple[list[int], int]], description: str
) -> None:
    """dataset_info.json and features.json for the shards in a folder.

    splits: per split the lengths of its shards and the bytes of its records.  Empty splits have no
    shards and are left out, as TFDS does.
    """
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=lengths,
            num_bytes=n_bytes,
            filename_template=layout.shard_template(directory, split),
        )
        for split, (lengths, n_bytes) in splits.items()
    ]
    with full_disk_is_an_error(directory):
        tfds.folder_dataset.write_metadata(
            data_dir=directory,
            features=layout.FEATURES,
            split_infos=infos,
            version=layout.VERSION,
            description=description,
            check_data=False,
        )
