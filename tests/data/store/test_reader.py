"""Reading a dataset from disk, whole and damaged."""

import pytest

from nota_jax.data.store import layout, reader, writer
from nota_jax.data.store.reader import PageReader, texts
from nota_jax.errors import UserError
from tests.data.make_dataset import make_page, write_dataset

SIZES = {"extraction_train": 7, "alignment_train": 4}


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "dataset", SIZES)


def read_all(directory):
    return list(PageReader(directory, ["extraction_train"]))


def test_splits_are_read_in_the_order_asked_for_and_each_page_once(dataset):
    reader = PageReader(dataset, ["alignment_train", "extraction_train"])
    pages = list(reader)
    assert len(reader) == len(pages) == 11
    assert [page.task for page in pages] == ["alignment"] * 4 + ["extraction"] * 7
    # Two shards a split, every other page each; numbers count through both splits.
    assert pages[:4] == [make_page("alignment", number) for number in (7, 9, 8, 10)]
    assert pages[4:] == [make_page("extraction", number) for number in (0, 2, 4, 6, 1, 3, 5)]


def test_texts_are_all_questions_and_answers(dataset):
    found = list(texts(dataset, SIZES))
    assert len(found) == 2 * (7 * 6 + 4)
    assert {"What is the key?", "key of 3", "alignment of 9"} <= set(found)


def test_a_missing_shard_is_named(dataset):
    path = layout.shard_path(dataset, "extraction_train", 1, 2)
    path.unlink()
    with pytest.raises(UserError, match=f"{path} is missing: copy it there or build"):
        read_all(dataset)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-9],
        lambda data: data[:400] + bytes(255 - byte for byte in data[400:440]) + data[440:],
    ],
    ids=["empty", "half", "end cut", "inside a record"],
)
def test_a_damaged_shard_is_named(dataset, damage):
    path = layout.shard_path(dataset, "extraction_train", 1, 2)
    data = path.read_bytes()
    assert damage(data) != data
    path.write_bytes(damage(data))
    with pytest.raises(UserError, match=f"{path} .*damaged; delete the folder and run"):
        read_all(dataset)


def test_a_shard_of_another_length_is_named(dataset):
    path = layout.shard_path(dataset, "extraction_train", 1, 2)
    path.write_bytes(layout.shard_path(dataset, "extraction_train", 0, 2).read_bytes())
    with pytest.raises(UserError, match=f"{path} holds 4 records instead of 3"):
        read_all(dataset)


def test_a_folder_without_dataset_and_an_unknown_split_say_what_to_do(dataset, tmp_path):
    assert reader.holds_dataset(dataset) and not reader.holds_dataset(tmp_path)
    with pytest.raises(
        UserError, match="no finished dataset .*python -m nota_jax.data.build --out"
    ):
        PageReader(tmp_path, ["extraction_train"])
    with pytest.raises(UserError, match=r"it has .*extraction_train \(7\)"):
        PageReader(dataset, ["extraction_tran"])


@pytest.mark.parametrize(
    "read", [lambda folder: PageReader(folder, ["extraction_train"]), reader.split_sizes]
)
def test_damaged_metadata_is_told_to_the_user(dataset, read):
    (dataset / "dataset_info.json").write_text('{"splits": [')
    with pytest.raises(UserError, match="cannot read dataset_info.json"):
        read(dataset)


def test_the_fingerprint_changes_with_the_files(dataset):
    before = PageReader(dataset, SIZES).fingerprint()
    assert before == PageReader(dataset, SIZES).fingerprint()
    path = layout.shard_path(dataset, "alignment_train", 0, 2)
    writer.write_shard(path, [layout.encode(make_page("alignment", n)) for n in (1, 2)])
    assert PageReader(dataset, SIZES).fingerprint() != before
