"""Files are there whole or not at all, and a full disk is a sentence."""

import errno
import os
from pathlib import Path

import pytest

from nota_jax import files, tables, units
from nota_jax.data.build import staging
from nota_jax.errors import UserError


def test_a_file_appears_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "a.json"
    files.write_json(path, {"title": "Señor"})
    files.write_json(path, {"title": "Ó"})
    assert path.read_text() == '{\n  "title": "Ó"\n}\n'
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_said_and_the_old_file_stays(tmp_path, monkeypatch, code):
    path = tmp_path / "a.txt"
    files.write_atomic(path, "old")

    def full(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", full)  # many file systems say it no sooner
    with pytest.raises(UserError, match=r"the disk is full: .* free for .*a\.txt"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("write", [
    lambda place: files.write_atomic(f"{place}/x.json", "{}"),
    lambda place: files.new_folder(place, 0).__enter__(),
    lambda place: files.new_folder(Path(place).absolute(), 0).__enter__(),
    lambda place: files.locked(place, "trains").__enter__(),
    lambda place: staging.opened(Path(place), {}).__enter__(),
])  # fmt: skip
def test_a_buckets_address_becomes_no_folder(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"\(gs://…\).*gcsfuse"):
        write("gs://bucket/x")
    assert not list(tmp_path.iterdir())


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(PermissionError), files.full_disk_is_an_error(tmp_path):
        raise PermissionError("no")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOTDIR])
def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch, code):
    def refuse(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(UserError, match=r"cannot write .*a\.txt: .*; make it writable, or choose"):
        files.write_atomic(tmp_path / "a.txt", "new")
    assert not list(tmp_path.iterdir())


def test_room_is_asked_for_before_anything_is_written(tmp_path):
    files.require_room(tmp_path / "not" / "there", 1, "the checkpoint")
    with pytest.raises(UserError, match=r"the checkpoint needs 1000000\.0 TB at .*, .* are free"):
        files.require_room(tmp_path, 10**18, "the checkpoint")


def test_tables_are_aligned_and_cells_stay_as_they_are():
    rows = [["1 alignment", "82", "1e3"], ["2", "700", "–"]]
    assert tables.text(["phase", "steps", "x"], rows).splitlines() == [
        "phase          steps    x",
        "1 alignment       82  1e3",
        "2                700    –",
    ]
    assert tables.markdown(["a", "b"], [["x", "1.50"]]).splitlines()[-1] == "| x   | 1.50 |"


def test_sizes_and_durations():
    assert [units.human_bytes(n) for n in (7, 1536, 2.5e9, 3e12)] == [
        "7 B", "1.5 KB", "2.5 GB", "3.0 TB"
    ]  # fmt: skip
    assert [units.duration(s) for s in (75, 4000, 0.2)] == ["1:15", "1:06:40", "0:01"]
