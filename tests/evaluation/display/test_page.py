"""The report as a file: what is in it, what cannot get out of it, how large it is."""

import io
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from nota_jax import run
from nota_jax.errors import UserError
from nota_jax.evaluation import show
from nota_jax.evaluation.display import entries
from tests.data.make_dataset import write_dataset
from tests.evaluation.display.conftest import shown


class _Reader(HTMLParser):
    """Every start tag with its attributes, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text, self.closed = [], [], "", True
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        self.closed &= bool(self.open) and self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data


@pytest.fixture(scope="module")
def text(report):
    return report.read_text()


@pytest.fixture(scope="module")
def read(text):
    return _Reader(text)


def test_it_shows_figures_with_intervals_baselines_and_counts(read):
    words = " ".join(read.text.split())
    assert "38 questions about 7 tunes" in words and "6 answers were cut off" in words
    for part in ("Header fields right", "95 % interval", "without looking", "Failure modes",
                 "How reliable each field is", "Error against staff spacing", "All figures",
                 "NotaGPT-7B", "67.84 %", "Groups of pages", "By region"):  # fmt: skip
        assert part in words, part


def test_failure_modes_lead_to_their_pages(read):
    ids = {attributes["id"] for _, attributes in read.tags if "id" in attributes}
    links = {attributes["href"] for tag, attributes in read.tags if tag == "a"}
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    for mode in ("Answered with the composer", "Bars that are not there", "No valid ABC",
                 "Facts that the tune contradicts", "Cut off by the limit"):  # fmt: skip
        assert mode in read.text


def test_a_page_is_shown_as_picture_text_and_twice_as_music(text, read):
    pictures = [a for tag, a in read.tags if tag == "img"]
    assert len(pictures) == 7 and all(a["alt"] and a["src"].startswith("data:") for a in pictures)
    assert 'aria-label="What was read: 13 notes, 2 of them marked"' in text  # of page 3
    assert "<li>bar 2: C5, half note is not there</li>" in text
    assert re.search(r"dB<ins>A</ins>A", text) and re.search(r"dB<del>c</del>A", text)
    assert "no valid ABC: the text that" in text
    assert '<span class="wrong">The final note is the tonic, C.</span>' in text
    assert "last pitch class: the tune has G" in text


def test_nothing_hostile_gets_out_of_its_place(report, text, read):
    for page in (report, *(report.parent / "report").iterdir()):
        found = _Reader(page.read_text())
        assert found.closed and not found.open
        tags = [tag for tag, _ in found.tags]
        assert tags.count("script") == 1 and tags.count("title") == 1 + sum(
            tag == "title" for tag in tags[tags.index("body") :]
        )
        assert all("evil" not in a.get("src", "") for _, a in found.tags)
        assert not any(name.startswith("on") for _, a in found.tags for name in a)
        assert "\x00" not in page.read_text() and "\u202e" not in page.read_text()
    assert "alert(1)" in read.text  # it is shown, as text


def test_nothing_is_fetched_from_anywhere(report):
    for page in (report, *(report.parent / "report").iterdir()):
        for tag, attributes in _Reader(page.read_text()).tags:
            for name in ("src", "href", "action", "data", "srcset", "poster"):
                where = attributes.get(name, "")
                assert not re.match(r"[a-z]+:(?!image/png;base64)|//", where), (tag, where)
        assert "default-src 'none'" in page.read_text()
        assert "url(" not in page.read_text() and "@import" not in page.read_text()


def test_all_pages_lie_in_the_folder_beside_it(report, read):
    links = {a["href"] for tag, a in read.tags if tag == "a" and "/" in a.get("href", "")}
    files = {path.name for path in (report.parent / "report").iterdir()}
    assert files == {"0001.html"}
    page = _Reader((report.parent / "report" / "0001.html").read_text())
    assert sum(tag == "img" for tag, _ in page.tags) == 7
    back = [a["href"] for tag, a in page.tags if tag == "a" and not a["href"].startswith("#")]
    assert back == ["../report.html"] and links <= {"report/0001.html"}


def test_what_does_not_fit_is_left_out_and_that_is_said(answers, data, monkeypatch, report):
    small = report.stat().st_size - 10_000
    monkeypatch.setattr(show.page, "MOST_BYTES", small)
    text = shown(answers, data, out="small").read_text()
    assert len(text.encode()) <= small
    (left,) = re.findall(r"(\d) of the pages chosen here are left out", text)
    assert text.count("<img") == 7 - int(left) < 7
    assert "All figures" in text


def test_a_file_of_the_folder_stays_small_too(answers, data, monkeypatch):
    monkeypatch.setattr(show.page, "MOST_BYTES", 50_000)
    old = data.parent / "parts" / "report" / "0099.html"
    old.parent.mkdir(parents=True)
    old.write_text("of an evaluation with more pages")
    report = shown(answers, data, "--full", out="parts")
    files = sorted((report.parent / "report").iterdir())
    assert (
        not old.exists() and len(files) > 1 and all(file.stat().st_size < 50_000 for file in files)
    )
    last = files[-1].read_text()
    assert f'href="{files[-2].name}"' in last and "next →" not in last


def encoded(size, kind, noise=False):
    out = io.BytesIO()
    image = Image.effect_noise(size, 80) if noise else Image.new("RGB", size, "white")
    image.save(out, kind)
    return out.getvalue()


def test_pictures_of_any_kind_and_size():
    def shown_as(picture, whole):
        address, size = entries._image(picture, whole)
        return address[:16].partition(";")[0], size, len(address)

    jpeg, tiff = encoded((900, 600), "JPEG"), encoded((900, 600), "TIFF")
    assert shown_as(jpeg, True)[:2] == ("data:image/jpeg", (900, 600))
    assert shown_as(jpeg, False)[:2] == ("data:image/png", (448, 299))
    assert shown_as(tiff, True)[:2] == ("data:image/png", (900, 600))
    kind, size, length = shown_as(encoded((3000, 2000), "PNG", noise=True), True)
    assert (kind, size) == ("data:image/png", (2000, 1333)) and length < 4_000_000
    for broken in (b"", b"no picture", encoded((90, 60), "PNG")[:60]):
        assert shown_as(broken, False) == ("", (1, 1), 0)


def test_a_dataset_of_something_else_is_shown_as_far_as_it_goes(tmp_path):
    """No ABC, no titles, nothing known of the tunes."""
    data = write_dataset(tmp_path / "d", {"extraction_test": 3, "alignment_test": 1})
    lines = [{"id": f"extraction-0:{name}", "prediction": name} for name in ("abc", "title")]
    lines.append({"id": "alignment-3:alignment", "prediction": "G4|"})
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = shown(file, data, out=str(tmp_path / "r")).read_text()
    assert "No music to draw." in text and text.count("<img") == 2


def test_a_dataset_without_pictures_or_answers_is_a_sentence(data, tmp_path, capsys):
    assert show.main([str(tmp_path / "no.jsonl"), "--dataset", str(data)]) == 2
    assert "is not there" in capsys.readouterr().err


def test_a_run_keeps_its_scores_where_no_report_can_be_made(answers, data, monkeypatch):
    def fails(*_, **__):
        raise UserError("no engraving worker starts")

    folder = data.parent / "run"
    folder.mkdir()
    settings = {"settings": {"dataset": str(data), "splits": ["extraction_test"]}}
    extraction = [x for x in answers.read_text().splitlines() if "extraction:key" in x]
    (folder / "predictions.jsonl").write_text("\n".join([json.dumps(settings), *extraction]) + "\n")
    said = []
    monkeypatch.setattr(show, "write", fails)
    run.write_scores(folder, said.append)
    assert said[-1] == "no report to look at: no engraving worker starts"
    assert (folder / "summary.json").is_file()
    monkeypatch.undo()
    run.write_scores(folder, said.append)
    assert (folder / show.REPORT).is_file()
