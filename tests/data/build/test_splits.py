"""Splits by cluster: no twin on the other side, the same in any order, and tunes stay put."""

from __future__ import annotations

import json
import random

import pytest

from nota_jax.data.build import corpora, splits
from nota_jax.data.build.__main__ import main
from nota_jax.data.store.reader import PageReader
from nota_jax.tools import twins as tool
from tests.data.build.test_build import tune_text

COUNT = 60


def ornamented(text: str) -> str:
    """Another book's writing: one note in twelve with another behind it, in half the time each."""
    head, body = text.rstrip().split("K:")
    key, body = body.split("\n")
    notes = [f"{n}/{'B' if n != 'B' else 'A'}/" if i % 12 == 0 else n for i, n in enumerate(body)]
    notes = [n if body[i] not in "|]" else body[i] for i, n in enumerate(notes)]
    return f"{head}K:{key}\n{''.join(notes)}\n\n".replace("T:Tune", "T:Another book's tune")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tunes, and each once more in an ornamented writing."""
    folder = tmp_path_factory.mktemp("corpora") / "books"
    folder.mkdir()
    texts = [tune_text(number) for number in range(COUNT)]
    (folder / "one.abc").write_text("".join(texts))
    (folder / "other.abc").write_text("".join(map(ornamented, texts)))
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return splits.melodies([f"path:{folder}"])


def parts_of(of_tune, homes):
    return {tune: splits.part_of(homes.get(m, m)) for tune, m in of_tune.items()}


def test_every_tune_is_with_its_twin_and_by_hash_some_are_not(found):
    of_tune, twins = found
    by_cluster = parts_of(of_tune, splits.representatives(twins))
    by_hash = parts_of(of_tune, {})
    pairs = [(f"books/one.abc#{n}", f"books/other.abc#{n}") for n in range(1, COUNT + 1)]
    assert all(of_tune[one] != of_tune[other] for one, other in pairs)
    assert all(by_cluster[one] == by_cluster[other] for one, other in pairs)
    assert sum(by_hash[one] != by_hash[other] for one, other in pairs) >= 5
    report = splits.summary(list(of_tune.values()), twins, splits.representatives(twins))
    assert (report["clusters"], report["tunes_in_clusters"]) == (COUNT, 2 * COUNT)
    for part in splits.HELD_OUT:
        held, before = report["held_out"][part]["clusters"], report["held_out"][part]["hash"]
        assert held["with_training_twin"] == 0 < before["with_training_twin"]
        assert before["tunes"] == sum(place == part for place in by_hash.values())


def test_clusters_do_not_depend_on_the_order_of_files_and_tunes(folder, found, tmp_path):
    turned = tmp_path / "books"
    turned.mkdir()
    (turned / "a.abc").write_text((folder / "other.abc").read_text())
    (turned / "z.abc").write_text((folder / "one.abc").read_text())
    of_tune, twins = splits.melodies([f"path:{turned}"])
    assert set(of_tune.values()) == set(found[0].values())
    assert splits.representatives(twins) == splits.representatives(found[1])
    assert splits.clusters(twins) == splits.clusters(found[1])


def test_tunes_without_twins_stay_and_added_ones_move_few(found):
    """Clusters of two get a third member: a third of them another representative, and of those
    nearly all are in training as before."""
    twins = found[1]
    before = splits.representatives(twins)
    rng = random.Random(0)
    more = {melody: dict(alike) for melody, alike in twins.items()}
    for group in splits.clusters(twins):
        new = f"{rng.getrandbits(64):016x}"
        more[new] = {group[0]: 1.0}
        more[group[0]][new] = 1.0
    after = splits.representatives(more)
    moved = [m for m in before if splits.part_of(after[m]) != splits.part_of(before[m])]
    assert 0 < sum(after[m] != before[m] for m in before) < 2 * COUNT * 0.5
    assert len(moved) < 2 * COUNT * 0.15
    assert splits.representatives({}) == {}


def test_clusters_are_held_out_no_more_often_than_tunes():
    """The smallest hash of three would put 14 % of the clusters into the test part."""
    rng = random.Random(1)
    names = [[f"{rng.getrandbits(64):016x}" for _ in range(3)] for _ in range(2000)]
    found = {a: {b: 1.0 for b in group if b != a} for group in names for a in group}
    homes = splits.representatives(found)
    share = sum(splits.part_of(homes[group[0]]) == "test" for group in names) / len(names)
    assert 0.035 < share < 0.065


def test_twins_of_twins_are_one_cluster():
    found = {
        "a": {"b": 1.0},
        "b": {"a": 1.0, "c": 0.8},
        "c": {"b": 0.8},
        "x": {"y": 1},
        "y": {"x": 1},
    }
    assert splits.clusters(found) == [["a", "b", "c"], ["x", "y"]]


def test_any_corpus_of_music21_is_compared_with_all_of_them():
    everything = list(corpora.CORPORA)
    assert splits.compared_with(None) == splits.compared_with(["miscFolk"]) == everything
    assert splits.compared_with(["path:mine"]) == ["path:mine"]
    assert splits.compared_with(["path:mine", "miscFolk"]) == [*everything, "path:mine"]


def test_what_is_built_leaks_nothing_and_the_tool_says_what_a_split_by_hash_leaks(
    found, tmp_path, capsys
):
    by_hash = parts_of(found[0], {})
    split = [
        n
        for n in range(COUNT)
        if by_hash[f"books/one.abc#{n + 1}"] != by_hash[f"books/other.abc#{n + 1}"]
    ]
    texts = [tune_text(n) for n in split[:5]]
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "both.abc").write_text("".join([*texts, *map(ornamented, texts)]))
    leaks = {}
    for by in splits.SPLITS_BY:
        out = tmp_path / by
        arguments = ["--out", str(out), "--corpora", f"path:{tmp_path / 'books'}"]
        assert main([*arguments, "--workers", "1", "--split-by", by]) == 0
        assert ("With a twin in training: " in capsys.readouterr().out) == (by == "clusters")
        assert "twin in training" in (out / "build_report.md").read_text()
        assert tool.main(["--data", str(out), "--out", str(tmp_path / f"{by}.json")]) == 0
        assert "with a training twin" in capsys.readouterr().out
        leaks[by] = json.loads((tmp_path / f"{by}.json").read_text())
    report = json.loads((tmp_path / "clusters" / "build_report.json").read_text())["split"]
    told = {}
    for part in splits.HELD_OUT:
        counted = report["held_out"][part]
        assert leaks["clusters"][part]["with_training_twin"] == {}
        assert leaks["clusters"][part]["tunes"] == counted["clusters"]["tunes"]
        told |= leaks["hash"][part]["with_training_twin"]
        n = len(leaks["hash"][part]["with_training_twin"])
        assert n == counted["hash"]["with_training_twin"]
    pages = PageReader(tmp_path / "hash", ["extraction_train"])
    train = {page.metadata["source_id"] for page in pages}
    assert told and all(twin["id"] in train for twins in told.values() for twin in twins)


def test_another_split_is_refused_by_its_name(folder, tmp_path, capsys):
    arguments = ["--out", str(tmp_path / "set"), "--corpora", f"path:{folder}"]
    assert main([*arguments, "--split-by", "title"]) == 2
    assert "error: split_by is 'title': clusters or hash is needed" in capsys.readouterr().err
