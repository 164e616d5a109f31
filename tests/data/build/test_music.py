"""Scores in MusicXML and ABC, in one folder, become pages as our own tunes do."""

import json
import shutil

import pytest

from nota_jax.data.build.__main__ import main
from nota_jax.data.store.reader import PageReader, split_sizes
from nota_jax.notation import abc, musicxml
from tests.notation.musicxml.test_reader import G2, bar, score

TUNE = "X:1\nT:{}\nM:2/4\nL:1/8\nK:G\n{}|GABc|d2 B2|G4|]\n"


@pytest.fixture
def folder(tmp_path):
    """Two tunes in MusicXML, one in ABC, a duet and something broken."""
    music = tmp_path / "scores"
    (music / "more").mkdir(parents=True)
    for name, notes in (("one", "BABG"), ("two", "eccA")):
        tune = abc.parse(TUNE.format(name.title(), notes))
        (music / f"{name}.musicxml").write_text(musicxml.write(tune))
    (music / "more" / "three.abc").write_text(TUNE.format("Three", "cdcB"))
    (music / "duet.xml").write_bytes(score(bar(G2), bar(G2), parts=2))
    (music / "broken.mxl").write_bytes(b"PK\x03\x04")
    return music


def build(folder, *arguments) -> int:
    out = folder.parent / "set"
    given = ["--split-by", "hash", "--composer-share", "0", "--workers", "1"]
    return main(["--out", str(out), "--from", f"music:{folder}", *given, *arguments])


def test_all_our_questions_are_asked_about_them_and_what_is_refused_is_named(folder):
    assert build(folder) == 0
    dataset = folder.parent / "set"
    splits = [name for name in split_sizes(dataset) if not name.endswith(("style", "scan"))]
    pages = {page.id: page for page in PageReader(dataset, splits)}
    names = ("scores/more/three.abc#1", "scores/one.musicxml#1", "scores/two.musicxml#1")
    assert {id.rsplit("/", 2)[0] for id in pages} == set(names)
    asked = {turn.subtask: turn.answer for turn in pages[f"{names[1]}/0/extraction"].turns}
    assert asked["title"] == "One" and asked["key"] == "G"
    assert asked["abc"] == TUNE.format("One", "BABG")
    assert pages[f"{names[2]}/0/alignment"].symbols and pages[f"{names[2]}/0/analysis"].turns
    report = json.loads((dataset / "build_report.json").read_text())
    assert report["tunes"]["in"] == 3 and report["tunes"]["drawn"] == 3
    told = report["files_without_pages"]
    assert set(told) == {"scores/broken.mxl", "scores/duet.xml"}
    assert told["scores/broken.mxl"].startswith("the archive cannot be read")
    assert told["scores/duet.xml"].startswith("2 parts or staves, where a page here has one staff")


def test_one_part_of_several_can_be_asked_for(folder):
    for name in ("broken.mxl", "one.musicxml", "two.musicxml"):
        (folder / name).unlink()
    shutil.rmtree(folder / "more")
    assert build(folder, "--part", "Bass") == 0
    report = json.loads((folder.parent / "set" / "build_report.json").read_text())
    assert report["tunes"]["drawn"] == 1 and report["drops"] == []
