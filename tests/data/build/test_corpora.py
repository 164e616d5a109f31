"""Corpora: regions, credits, dances, encodings, ids, limits."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from nota_jax.data.build import corpora
from nota_jax.errors import UserError


@pytest.fixture(scope="module")
def tunes() -> list[corpora.SourceTune]:
    return list(corpora.read())


def test_the_table_holds_the_12949_folk_tunes(tunes):
    assert len(tunes) == len({tune.id for tune in tunes}) == 12_949
    assert Counter(tune.corpus for tune in tunes) == {
        "essenFolksong": 8_514, "oneills1850": 2_009, "airdsAirs": 1_180, "ryansMammoth": 1_059,
        "miscFolk": 185, "nottingham-dataset": 2,
    }  # fmt: skip


def test_regions_follow_the_corpus_and_the_origin_field(tunes):
    regions = Counter((tune.corpus, tune.region) for tune in tunes)
    assert regions["essenFolksong", "China"] >= 1_224  # han1 and han2, and a few elsewhere
    assert regions["ryansMammoth", "America"] == 1_059
    assert regions["miscFolk", "America"] == 56
    assert regions["oneills1850", "Europe"] == 2_009
    assert {tune.region for tune in tunes} <= {*corpora.REGIONS, corpora.OTHER}


@pytest.mark.parametrize(
    ("origin", "region"),
    [
        ("Europa, Mitteleuropa, Deutschland", "Europe"),
        ("Asien, Ostasien, China, Sichuan", "China"),
        ("Asien, Ostasien, Japan", "Other"),
        ("Nord - Amerika, Kanada, Saskatchewan", "America"),
        ("Sued - Amerika, Brasilien", "America"),
        ("Ireland", "Europe"),
        ("0109C 08  F 3/4", ""),
    ],
)
def test_origin_names_its_region(origin, region):
    assert corpora.region_of(origin) == region


def test_credits_are_carried_through(tunes):
    by_id = {tune.id: tune for tune in tunes}
    assert by_id["airdsAirs/book1.abc#1"].credits == "Jack Campin * www.campin.me.uk * 2009"
    assert by_id["oneills1850/0001-0050.abc#1"].credits.startswith("Transcribed by Norbert Paap")
    essen = by_id["essenFolksong/han1.abc#1"]
    assert "Schaffrath" in essen.credits and "non-commercial" in essen.licence


@pytest.mark.parametrize(
    ("text", "dance"),
    [
        ("Acacia -- Reel", "reel"),
        (" slipjig", "slip jig"),
        ("double jig", "double jig"),
        ("Fisher's Hornpipe", "hornpipe"),
        ("KERRY JIG, THE", "jig"),
        ("Reel of Tulloch", ""),
        ("Jiggery", ""),
        ("", ""),
    ],
)
def test_a_dance_is_named_by_the_last_words(text, dance):
    assert corpora.dance_type_of(text) == dance


def test_subjects_of_essen_songs_are_no_dances(tunes):
    assert {tune.dance_type for tune in tunes if tune.corpus == "essenFolksong"} == {""}


def test_dos_bytes_taken_for_latin_1_are_mended(tunes):
    by_id = {tune.id: tune.text for tune in tunes}
    assert "Die Flucht nach Ägypten" in by_id["essenFolksong/lot.abc#6"]
    assert "Rádái na scadán" in by_id["essenFolksong/irl.abc#7"]  # was right already
    titles = [line for text in by_id.values() for line in text.splitlines() if line[:2] == "T:"]
    assert not [title for title in titles if any("\x80" <= char <= "\x9f" for char in title)]


def test_a_limit_takes_the_regions_in_turn_and_smaller_ones_are_subsets():
    few, many = list(corpora.read(limit=90)), list(corpora.read(limit=600))
    assert Counter(tune.region for tune in few) == dict.fromkeys(corpora.REGIONS, 30)
    assert len({tune.corpus for tune in few}) == 6
    assert {tune.id for tune in few} < {tune.id for tune in many}
    assert len(many) == 600


def test_a_limit_beyond_the_corpora_gives_all(tunes):
    assert list(corpora.read(limit=10**6)) == tunes


def test_a_folder_of_ones_own_is_a_corpus(tmp_path):
    folder = tmp_path / "mine" / "deep"
    folder.mkdir(parents=True)
    (folder / "two.abc").write_bytes(
        b"O:Sweden\n\nX:7\nT:Sk\xe4nklat\nR:polka\nZ:me\nK:D\nDEF|]\n\nX:7\nT:B\nO:China\nK:C\nC|]\n"
    )
    first, second = corpora.read([f"path:{tmp_path / 'mine'}"])
    assert (first.id, second.id) == ("mine/deep/two.abc#1", "mine/deep/two.abc#2")
    assert (first.region, first.dance_type, first.credits) == ("Europe", "polka", "me")
    assert "Skänklat" in first.text
    assert second.region == "China"


def test_a_file_of_ones_own_is_a_corpus_with_the_same_ids_as_its_folder(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.abc").write_text(f"X:1\nT:{name}\nK:C\nC|]\n")
    _, two = corpora.read([f"path:{tmp_path}"])
    assert list(corpora.read([f"path:{tmp_path / 'two.abc'}"])) == [two]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["essen"], "unknown corpus 'essen': choose from essenFolksong"),
        (["path:/nowhere/at/all"], "there is no folder /nowhere/at/all"),
        ([], "no corpus is named"),
    ],
)
def test_what_cannot_be_read_is_said(names, said):
    with pytest.raises(UserError, match=said):
        list(corpora.read(names))


def test_a_folder_without_tunes_is_said(tmp_path):
    (tmp_path / "empty.abc").write_text("no tune here\n")
    with pytest.raises(UserError, match="no tunes"):
        list(corpora.read([f"path:{tmp_path}"]))
    with pytest.raises(UserError, match="at least 1"):
        list(corpora.read(limit=0))


def test_music21_is_never_imported():
    code = (
        "import sys; from nota_jax.data.build import corpora; next(corpora.read()); "
        "sys.exit('music21' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
