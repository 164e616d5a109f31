"""A page in, a tune out: with the shipped checkpoint, as a user calls it."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rapidfuzz.distance import Levenshtein

from nota_jax.errors import UserError
from nota_jax.notation import abc
from nota_jax.notation.engraving.layout import Style, engrave
from nota_jax.read import asking, reader, staves, views
from nota_jax.read.__main__ import main

PAGE = Path(__file__).parents[2] / "docs" / "page.png"
PRINTED = """X:1
T:The Irish Exile
M:6/8
L:1/8
K:G
(G/A/)|(B3/A/G) (EA).A|A3- A2 (G/A/)|(B3/A/G) (EG).G|
G3- G2 (G/A/)|BGB d2 (B/d/)|ece d2 (d/c/)|(B3/A/G) (EA).A|
A3- A2 (G/A/)|BGB d2 (B/d/)|ece d2 (d/c/)|(B3/A/G) (EG).G|
G3- HG2||"""
TUNE = """X:1
T:Plain
M:4/4
L:1/4
K:G
GABc|dBGA|B2A2|G4|
dedc|BABc|A2D2|G4|]
"""


@pytest.fixture(scope="module")
def asked():
    return asking.load()


@pytest.fixture(scope="module")
def reading(asked):
    return reader.read(PAGE, asked)


def test_the_page_is_read(reading):
    tune = abc.parse(reading.abc)
    assert (tune.meter.text, abc.key_text(tune.key)) == ("6/8", "G")
    assert 10 <= len(tune.bars) <= 16
    assert reading.answers["meter"] == "6/8" and reading.answers["key"] == "G"
    assert not reading.notes and reading.parts == 1


def test_every_bar_has_its_text_and_its_place(reading):
    layout = staves.find(np.asarray(Image.open(PAGE).convert("L")))
    assert "".join(reading.abc[b.start : b.end] for b in reading.bars).count("|") >= 12
    for bar in reading.bars:
        assert 0 < bar.sure <= 1
        left, top, right, bottom = (336 * x for x in bar.box)
        assert left < right and top < bottom
        middle = (top + bottom) / 2
        assert any(s.top - 15 < middle < s.bottom + 15 for s in layout.staves)
    first, second = reading.bars[:2]
    assert first.box[0] < second.box[0]


def test_a_bar_looked_for_in_two_systems_lies_in_one_of_them():
    view = views.whole(Image.new("L", (336, 336), 255), staves.Layout((), 0.0, 0.0, (0,) * 4), 336)
    picture = Image.new("L", (336, 336), 255)
    places = [(50.0, 30.0, -1), (80.0, 30.0, -1), (40.0, 200.0, -1), (60.0, 200.0, -1)]
    left, top, right, bottom = reader._box(places, view, picture)
    assert 0 < left < right < 0.3 and 0.5 < top < bottom < 0.7


def test_bars_that_do_not_add_up_are_told(reading):
    tune = abc.parse(reading.abc)
    wrong = {problem.bar for problem in abc.check(tune)}
    assert {bar.number - 1 for bar in reading.bars if bar.problem} == wrong


def test_a_large_crooked_dim_photograph_is_read_in_parts(asked):
    """At once its staves would be too small; the joined text is one tune, with one header."""
    style = Style(staff_spacing=18.0, size=1344)
    tune = abc.parse(TUNE.replace("G4|]", "G4|") + 4 * "GABc|dBGA|B2A2|G4|dedc|BABc|\n" + "G4|]")
    page = Image.open(io.BytesIO(engrave(tune, style).png)).convert("L")
    wide = Image.new("L", (1900, 2200), 255)
    wide.paste(page, (50, 50))
    wide.paste(page.crop((0, 60, 1344, 1000)), (550, 1150))  # more lines, further to the right
    photo = staves.rotated(np.asarray(wide), 1.5)
    photo = (photo * np.linspace(0.6, 0.95, 1900)[None]).astype(np.uint8)
    found = reader.read(photo, dataclasses.replace(asked, views=1), cut="systems")
    assert found.parts >= 2
    assert any("straightened" in note for note in found.notes)
    tune = abc.parse(found.abc)
    assert found.abc.count("K:") == 1 and len(tune.bars) >= 8


def test_without_a_staff_that_is_said(asked):
    blank = np.full((400, 400), 255, np.uint8)
    assert any("no staff" in note for note in reader.read(blank, asked).notes)


def test_an_array_that_is_no_picture_is_told_before_weights_are_loaded(monkeypatch):
    monkeypatch.setattr(asking, "load", None)
    with pytest.raises(UserError, match=r"an array of float64 \(90, 90, 7\) is no picture"):
        reader.read(np.zeros((90, 90, 7)))


def test_the_command_prints_the_tune_and_writes_its_files(tmp_path, capsys, reading):
    assert main([str(PAGE), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip() == reading.abc
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert there == {f"page.{end}" for end in ("abc", "musicxml", "mid", "json", "html")}
    data = json.loads((tmp_path / "out" / "page.json").read_text())
    assert data["abc"] == reading.abc and len(data["bars"]) == len(reading.bars)


def test_a_bad_picture_among_good_ones_loses_nothing(tmp_path, capsys, reading):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert main([str(tmp_path / "bad.png"), str(PAGE)]) == 2
    captured = capsys.readouterr()
    assert reading.abc in captured.out and "bad.png" in captured.err
    assert "Traceback" not in captured.err


def test_from_several_views_fewer_characters_are_wrong(asked, reading):
    once = reader.read(PAGE, dataclasses.replace(asked, views=1))
    assert asked.views == 4
    # As the writer spells them: from one view it says L:1/16 here, and every number is another.
    read = (abc.write(abc.parse(r.abc)).strip() for r in (reading, once))
    several, one = (Levenshtein.distance(text, PRINTED) for text in read)
    assert several < one < len(PRINTED) / 3
    assert several < len(PRINTED) / 10


@pytest.mark.parametrize("views", [0, 9])
def test_an_impossible_number_of_views_is_refused(views):
    with pytest.raises(UserError, match="from 1 to 8"):
        asking.load(views=views)


@pytest.mark.parametrize(
    "arguments, said",
    [(["nothing.png"], "there is no file"), ([str(PAGE), "--ckpt", "nowhere"], "nowhere is not")],
)
def test_mistakes_are_answered_in_a_sentence(arguments, said, capsys):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
