"""A build in parts: the whole, byte for byte, or a sentence about what is missing."""

from __future__ import annotations

import shutil

import pytest

from nota_jax.data.build import dataset as build_module
from nota_jax.data.build.__main__ import main
from nota_jax.data.build.dataset import build, merge
from nota_jax.data.build.pages import Settings
from nota_jax.data.build.shards import Shard
from nota_jax.errors import UserError
from tests.data.build.test_build import InThisProcess, files_of, tune_text

SETTINGS = Settings(variants=2, seed=3, split_by="hash")
NUMBERS = (*range(7), 31, 44)  # five chunks of two; the last two tunes are held out for the test


@pytest.fixture(autouse=True)
def small_chunks_in_this_process(monkeypatch):
    monkeypatch.setattr(build_module, "CHUNK_TUNES", 2)
    monkeypatch.setattr(build_module, "EngravePool", InThisProcess)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("corpora") / "mine"
    folder.mkdir()
    (folder / "tunes.abc").write_text("".join(map(tune_text, NUMBERS)))
    return f"path:{folder}"


@pytest.fixture(scope="module")
def parts(corpus, tmp_path_factory):
    """Four parts, built apart."""
    folder = tmp_path_factory.mktemp("parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "CHUNK_TUNES", 2)
        patch.setattr(build_module, "EngravePool", InThisProcess)
        for number in (3, 1, 4, 2):
            build(folder / "set", [corpus], None, SETTINGS, 1, Shard(number, 4))
    assert not (folder / "set").exists()
    return folder


@pytest.fixture
def copied(parts, tmp_path):
    """The parts, as they come together from four machines."""
    shutil.copytree(parts, tmp_path / "here")
    return tmp_path / "here/set"


def test_four_parts_built_apart_are_the_whole_byte_for_byte(corpus, copied, tmp_path):
    build(tmp_path / "whole", [corpus], None, SETTINGS, 1)
    report = merge(copied)
    assert report["tunes"]["in"] == report["tunes"]["drawn"] == len(NUMBERS)
    assert files_of(copied) == files_of(tmp_path / "whole")
    assert [path.name for path in copied.parent.iterdir()] == ["set"]  # nothing is left beside it


def test_a_part_goes_on_where_it_was_left(corpus, copied, monkeypatch):
    folder = Shard(1, 4).folder(copied)
    chunks = sorted((folder / "chunks").iterdir())
    assert [path.name for path in chunks] == ["000000", "000004"]
    before = chunks[0].stat().st_mtime_ns
    chunks[1].write_bytes(chunks[1].read_bytes()[:-1])  # as a machine that lost power leaves it
    with pytest.raises(UserError, match="000004 is damaged: start its build with --shard 1/4"):
        merge(copied)
    build(copied, [corpus], None, SETTINGS, 1, Shard(1, 4))
    assert chunks[0].stat().st_mtime_ns == before
    assert merge(copied)["tunes"]["in"] == len(NUMBERS)


def test_what_is_missing_or_there_twice_is_said(corpus, copied, tmp_path):
    def refused(said):
        with pytest.raises(UserError, match=said):
            merge(copied)
        assert not copied.exists()

    def moved(path):
        away = tmp_path / "away"
        path.rename(away)
        return lambda: away.rename(path)

    back = moved(Shard(3, 4).folder(copied))
    refused(
        "3/4 of the shards of .* is missing .1 of 4.: build it with --shard 3/4, or copy set.sh"
    )
    back()
    back = moved(Shard(2, 4).folder(copied) / "chunks/000001")
    refused("000001 is missing .1 of 1.: start its build with --shard 2/4 again")
    back()
    back = moved(Shard(2, 4).folder(copied) / "done.json")
    refused("set.shard-2-of-4 is not finished: start its build with --shard 2/4 again")
    back()
    double = Shard(2, 4).folder(copied) / "chunks/000002"  # which is the third part's
    shutil.copy(Shard(3, 4).folder(copied) / "chunks/000002", double)
    refused("000002 belongs to another shard, or to none: remove it")
    double.unlink()
    build(copied, [corpus], None, SETTINGS, 1, Shard(5, 5))
    refused("shards of builds in 4 and in 5 parts, so that tunes would be there twice")
    shutil.rmtree(Shard(5, 5).folder(copied))
    shutil.rmtree(Shard(4, 4).folder(copied))
    other = Settings(variants=2, seed=4, split_by="hash")
    build(copied, [corpus], None, other, 1, Shard(4, 4))
    refused("are not parts of one build: it is of another build .arguments.")


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "1/0", "a/b", "1/1000000"])
def test_a_part_that_cannot_be_is_said(text, tmp_path, capsys):
    assert main(["--out", str(tmp_path / "set"), "--shard", text]) == 2
    assert f"--shard is '{text}': 1/4 to 4/4, for the parts of four" in capsys.readouterr().err


def test_merging_nothing_is_said(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "set"), "--merge"]) == 2
    assert "there are no shards" in capsys.readouterr().err
