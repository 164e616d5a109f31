"""Corpora: regions, credits, dances, encodings, ids, limits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from nota_jax.data.build import corpora
from nota_jax.errors import UserError
from nota_jax.notation import abc


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


# --- Files as they are found --------------------------------------------------------------------

TUNE = "X:1\nT:{}\nK:C\nC|]\n"


def titles(path, passed_over: list[corpora.PassedOver] | None = None) -> list[str]:
    """The titles read from a file or folder of one's own."""
    tunes = corpora.read([f"path:{path}"], passed_over=passed_over)
    return [title for tune in tunes for title in abc.parse(tune.text).titles]


@pytest.mark.parametrize(
    "data, expected",
    [
        (TUNE.format("Paddy’s café").encode("cp1252"), ["Paddy’s café"]),
        # One odd byte spoils no other tune of a file.
        (TUNE.format("Señor Ó Briain").encode() + TUNE.format("Caf\udce9").encode(
            "utf-8", "surrogateescape"), ["Señor Ó Briain", "Café"]),
        (b"%%abc-charset iso-8859-2\n\n" + TUNE.format("Dvořák").encode("iso-8859-2"), ["Dvořák"]),
        (b"X:1\nI:abc-charset koi8-r\n" + "T:Калинка\nK:C\nC|]".encode("koi8-r"), ["Калинка"]),
        (b"%%abc-charset no-such-set\n\n" + TUNE.format("Né").encode(), ["Né"]),
        (b"%%abc-charset utf-16\n\n" + TUNE.format("Né").encode(), ["Né"]),
        (TUNE.format("Né").encode("utf-16"), ["Né"]),
        (b"\xfe\xff" + TUNE.format("Né").encode("utf-16-be"), ["Né"]),
        (TUNE.format("One").encode("utf-8-sig") + TUNE.format("Two").encode("utf-8-sig"),
         ["One", "Two"]),
        (TUNE.format("\x81lvar").encode("latin-1"), ["lvar"]),  # a byte without a character
        (b"T:No number\nK:C\nC|]\n\nfree text\n\nT:Nor here\nK:C\nD|]\n",
         ["No number", "Nor here"]),
        (b"T:First\nK:C\nC|]\n\nX:2\nT:Second\nK:C\nD|]\n", ["First", "Second"]),
        (TUNE.format("One").replace("\n", "\r").encode(), ["One"]),
        (b"  X:1\n  T:Far in\n  K:C\n  C|]\n", ["Far in"]),
        (b"<html><body><pre>\nX:1\nT:Copied\nK:C\nC|]\n</pre></body></html>\n", ["Copied"]),
    ],
)  # fmt: skip
def test_no_title_is_garbled_and_no_tune_lost(tmp_path, data, expected):
    (tmp_path / "tunes.abc").write_bytes(data)
    assert titles(tmp_path) == expected


@pytest.mark.parametrize(
    "text, n_bars",
    [
        ("X:1\nK:C\nC|D|\n\nE|F|]\n", 4),  # music behind a blank line
        ("X:1\nK:C\nC|D|\n\nw:la la\n\nE|F|]\n", 2),  # words alone part them
        ("X:1\nT:A\n\nM:4/4\nK:C\nC|D|]\n", 2),  # the key behind one
        ("X:1\nK:C\nC|D|]\n\nA bad age.\n\nX:2\nK:C\nE|]\n", 2),  # free text
        ("X:1\nK:C\nC|D|\n%%begintext\n\nX:9\n%%endtext\nE|]\n", 3),
    ],
)
def test_a_tune_ends_where_its_music_does(tmp_path, text, n_bars):
    (tmp_path / "tunes.abc").write_text(text)
    tune = next(corpora.read([f"path:{tmp_path}"]))
    assert len(abc.parse(tune.text).bars) == n_bars


def test_every_file_that_brings_nothing_is_named(tmp_path):
    folder = tmp_path / "mine"
    (folder / "folder.abc").mkdir(parents=True)
    (folder / "capitals.ABC").write_text(TUNE.format("Capitals"))
    (folder / "text.txt").write_text(TUNE.format("Text"))
    (folder / "notes.txt").write_text("K: is for key\n")
    (folder / "page.abc").write_text("<!DOCTYPE html><html><body>404</body></html>")
    (folder / "prose.abc").write_text("no tune here\n")
    (folder / "void.abc").write_text("")
    (folder / "link.abc").symlink_to(folder / "nowhere.abc")
    os.mkfifo(folder / "pipe.abc")
    passed_over = list[corpora.PassedOver]()
    assert titles(folder, passed_over) == ["Capitals", "Text"]
    assert {each.file.removeprefix("mine/"): each.reason for each in passed_over} == {
        "folder.abc": "it is a folder",
        "link.abc": "it is a link that leads nowhere",
        "notes.txt": "it holds no tune (`X:` … `K:` …)",
        "page.abc": "it is HTML, not ABC",
        "pipe.abc": "it is no file",
        "prose.abc": "it holds no tune (`X:` … `K:` …)",
        "void.abc": "it is empty",
    }


def test_a_file_that_is_not_there_is_called_a_file(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*tunes\.abc"):
        list(corpora.read([f"path:{tmp_path / 'tunes.abc'}"]))
