"""The page of a reading needs nothing but itself."""

import json
import re

import pytest
from PIL import Image

from nota_jax.read import files, page
from nota_jax.read.__main__ import unique
from nota_jax.read.reader import Bar, Reading

ABC = 'X:1\nT:A </script><b>Tune</b> {{picture}}\nM:3/4\nL:1/4\nK:G\nGAB|"Am"c2 d|[GB]3|]'


@pytest.fixture(scope="module")
def reading():
    bars = (
        Bar(1, 56, 60, 0.98, (0.1, 0.1, 0.3, 0.2)),
        Bar(2, 60, 70, 0.31, (0.3, 0.1, 0.6, 0.2)),
        Bar(3, 70, 76, 0.9, None, "3/4 too long"),
    )
    picture = Image.new("L", (600, 400), 255)
    answers, notes, seconds = {"key": "G"}, ("a <note>",), {"model": 1.0}
    return Reading("a & page", ABC, answers, bars, notes, picture, 1, seconds, "checkpoints/small")


def text_of(reading, tmp_path):
    files.write(reading, tmp_path)
    return (tmp_path / f"{reading.name}.html").read_text()


def embedded(text):
    return json.loads(re.search(r'id="reading">(.*?)</script>', text, re.DOTALL)[1])


def test_all_files_are_written_and_say_the_same(reading, tmp_path):
    text = text_of(reading, tmp_path)
    there = {path.suffix for path in tmp_path.iterdir()}
    assert there == {".abc", ".musicxml", ".mid", ".json", ".html"}
    assert (tmp_path / "a & page.abc").read_text().strip() == ABC
    data = json.loads((tmp_path / "a & page.json").read_text())
    assert data["abc"] == ABC == embedded(text)["abc"]
    assert [bar["sure"] for bar in data["bars"]] == [0.98, 0.31, 0.9]
    assert embedded(text)["musicxml"] == (tmp_path / "a & page.musicxml").read_text()


def test_nothing_is_fetched_from_anywhere(reading, tmp_path):
    text = text_of(reading, tmp_path)
    text = text.replace(page.asset("abcjs-basic-min.js"), "")  # whose sound fonts are not asked for
    assert not re.findall(r"(?:src|href)=[\"']?(?!data:|#|https://abcjs\.net)[^\"'>\s]+", text)
    assert "fetch(" not in page.asset("page.js") and "XMLHttpRequest" not in page.asset("page.js")
    assert "MIT licence" in text and "Paul Rosen" in text


def test_the_page_is_small_beside_its_picture(reading, tmp_path):
    assert len(text_of(reading, tmp_path)) < 1_500_000


def test_what_is_read_cannot_break_out_of_the_page(reading, tmp_path):
    text = text_of(reading, tmp_path)
    assert text.count("</script>") == 3
    assert "<b>Tune" not in text.replace(json.dumps("<b>Tune"), "").split('id="reading">')[0]
    assert embedded(text)["notes"] == ["a <note>"]


def test_what_is_no_abc_has_no_musicxml(reading, tmp_path):
    import dataclasses

    files.write(reading, tmp_path)
    files.write(dataclasses.replace(reading, abc="X:1\nK:G\nA B)|"), tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".abc", ".json", ".html"}


def test_several_pages_have_an_index_and_names_of_their_own():
    assert unique(["a", "b", "a", "index", "a"]) == ["a", "b", "a-2", "index-2", "a-3"]


def test_the_index_leads_to_every_page(reading):
    text = page.index([reading, reading])
    assert text.count('href="a &amp; page.html"') == 2
    assert "2 pages" in text
