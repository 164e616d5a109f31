"""Other engravers' pages show the same tune on a page of the same make."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from nota_jax.data.records import Page, Turn
from nota_jax.data.store import layout, writer
from nota_jax.data.store.reader import PageReader, split_sizes
from nota_jax.errors import UserError
from nota_jax.notation.abc import parse, write
from nota_jax.notation.engraving.fonts import text_font
from nota_jax.notation.engraving.layout import Style, engrave
from nota_jax.read import staves
from nota_jax.tools import screenshot
from nota_jax.tools.engravers import __main__ as command
from nota_jax.tools.engravers import drawing, lilypond
from nota_jax.tools.engravers.drawing import Drawn, Wish

TUNE = """X:1
T:The Irish Exile
C:R. Lindqvist
M:6/8
L:1/8
Q:3/8=90
K:G
(G/A/)|(B3/A/G) (EA).A|A3- A2 (G/A/)|
(B3/A/G) (EG).G|G3- HG2:|
"""
PROGRAMS = {
    "abcm2ps": shutil.which("abcm2ps"),
    "abcjs": screenshot.browser(),
    "lilypond": shutil.which("lilypond"),
}
installed = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(not there, reason=f"no program for {name}"))
        for name, there in PROGRAMS.items()
    ],
)


def wish(text: str = TUNE, **changes) -> Wish:
    given = {"spacing": 5.0, "size": 336, "font": text_font("DejaVu Serif")} | changes
    return Wish(parse(text), **given)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


class Fake:
    """Five lines a system, so many units high; what was wished is kept."""

    name = "fake"

    def __init__(self, height: float, systems: int = 2):
        self.height, self.systems, self.wishes = height, systems, list[Wish]()

    def version(self) -> str:
        return "1"

    def draw(self, wishes):
        self.wishes += wishes
        return [self.drawn(wish) for wish in wishes]

    def drawn(self, wish: Wish) -> Drawn:
        high, step = self.height, 8 + 4 * (not wish.tight)
        rows = [step * system + line for system in range(self.systems) for line in range(5)]
        lines = "".join(f'<path d="M0 {row}h{wish.width}" stroke="#000" stroke-width=".15"/>'
                        for row in [*rows, high])  # fmt: skip
        return Drawn(f'<svg xmlns="http://www.w3.org/2000/svg" width="{wish.width}" '
                     f'height="{high}">{lines}</svg>', 1.0)  # fmt: skip


@installed
def test_each_engraver_draws_our_systems_at_our_size(name):
    engraver = command.ENGRAVERS[name]()
    drawn = drawing.pages(engraver, {"tune": wish()})["tune"]
    assert not isinstance(drawn, str), drawn
    page = pixels(drawn[0])
    found = staves.find(page)
    assert page.shape == (336, 336) and drawn[1] == 5.0
    assert [len(found.staves), round(found.spacing)] == [2, 5]
    assert abs(found.ink[0] - 8) <= 1 and abs(found.ink[1] - 8) <= 1  # our margins
    ours = staves.find(pixels(engrave(parse(TUNE), Style()).png))
    assert found.staves[0].right == pytest.approx(ours.staves[0].right, abs=2)
    assert page[: round(found.staves[0].top) - 10].min() < 100  # a title


def test_what_is_too_high_is_drawn_with_systems_closer_and_then_smaller():
    fake = Fake(height=75)
    done = drawing.pages(fake, {"tune": wish()})["tune"]
    assert [wish.tight for wish in fake.wishes] == [False, True, True]
    assert [wish.spacing for wish in fake.wishes[:2]] == [5, 5]
    assert done[1] == fake.wishes[2].spacing < 5


def test_what_was_broken_into_more_lines_is_drawn_smaller():
    class Breaking(Fake):
        def drawn(self, wish: Wish) -> Drawn:
            self.systems = 3 if wish.spacing > 4.7 else 2
            return super().drawn(wish)

    fake = Breaking(height=40)
    assert drawing.pages(fake, {"tune": wish()})["tune"][1] == pytest.approx(5 * 0.96**2)


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        (Fake(height=200), "our systems do not fit the page, even with the smallest staves"),
        (Fake(height=20, systems=1), "its systems are fewer than ours"),
    ],
)
def test_what_is_no_page_of_ours_is_left_out_with_a_reason(fake, reason):
    assert drawing.pages(fake, {"tune": wish()}) == {"tune": reason}


def test_other_programs_are_not_told_what_our_page_does_not_print():
    text = TUNE.replace("M:6/8", "R:jig\nS:a book\nZ:somebody\nM:6/8")
    assert not {"R:", "S:", "Z:"} & {line[:2] for line in wish(text).abc.splitlines()}
    assert parse(wish(text).abc) == parse(write(parse(text)))


def test_lilypond_is_told_every_accidental_beam_and_bar_line():
    text = "X:1\nT:t\nM:2/4\nL:1/8\nK:D\n|:^A2- A(B|c)=f z2::(3efg {g}f2||f4|]\n"
    assert lilypond.music(parse(text)).splitlines()[2:] == [
        r'\clef "treble"', r"\key d \major", r"\numericTimeSignature \time 2/4", r'\bar ".|:"',
        r"<ais'!~>4 <ais'>8[ <b'>8]\=0(", r'\bar "|"',
        r"<cis''>8[\=0) <f''!>8] r4", r'\bar ":|.|:"',
        r"\tuplet 3/2 { <e''>8[ <fis''>8 <g''>8] } \grace { g''8 } <fis''>4", r'\bar "||"',
        r"<fis''>2", r'\bar "|."',
    ]  # fmt: skip


@pytest.fixture
def dataset(tmp_path):
    """Two test pages, of which one has nothing that fits, a training and a validation page."""
    long = TUNE.replace("Exile", "Exile " * 30)
    pages = [
        Page(
            f"{n}/0/extraction", "extraction", engrave(parse(TUNE)).png,
            (Turn("extraction", "key", "?", "G"),),
            {"abc": text, "staff_spacing": 5.0, "text_font": "DejaVu Serif", "region": "Europe"},
            b"known",
        )
        for n, text in enumerate((TUNE, long, TUNE, TUNE))
    ]  # fmt: skip
    splits = {}
    for split, records in (
        ("extraction_test", pages[:2]),
        ("extraction_train", pages[2:3]),
        ("extraction_validation", pages[3:]),
    ):
        path = layout.shard_path(tmp_path / "old", split, 0, 1)
        path.parent.mkdir(exist_ok=True)
        splits[split] = ([len(records)], writer.write_shard(path, map(layout.encode, records)))
    writer.write_metadata(tmp_path / "old", splits, "")
    return tmp_path / "old"


@pytest.mark.skipif(not PROGRAMS["abcm2ps"], reason="abcm2ps is not installed")
def test_the_new_dataset_has_the_old_questions_about_other_pictures(dataset, tmp_path, capsys):
    out = tmp_path / "new"
    arguments = ["--data", str(dataset), "--engraver", "abcm2ps", "--out", str(out)]
    assert command.main(arguments) == 0
    said = capsys.readouterr().out
    assert "1 of 2 tunes drawn by abcm2ps" in said
    assert "1 left out: its title is too long" in said
    assert split_sizes(out) == {"extraction_test": 1, "extraction_train": 1}
    (page,), old = PageReader(out, ["extraction_test"]), PageReader(dataset, ["extraction_test"])[0]
    assert (page.id, page.turns, page.symbols) == (old.id, old.turns, b"")
    assert page.png != old.png and page.metadata["music_font"].startswith("abcm2ps 8")
    assert list(PageReader(out, ["extraction_train"])) == list(
        PageReader(dataset, ["extraction_train"])
    )


@pytest.mark.skipif(not PROGRAMS["abcm2ps"], reason="abcm2ps is not installed")
def test_what_weights_are_chosen_by_is_drawn_too(dataset, tmp_path):
    out = tmp_path / "new"
    arguments = ["--data", str(dataset), "--engraver", "abcm2ps", "--split", "validation"]
    assert command.main([*arguments, "--out", str(out)]) == 0
    assert split_sizes(out) == {"extraction_validation": 1, "extraction_train": 1}
    assert [page.id for page in PageReader(out, ["extraction_validation"])] == ["3/0/extraction"]


@pytest.mark.parametrize(
    ("name", "package"), [("abcm2ps", "abcm2ps"), ("abcjs", "chromium"), ("lilypond", "lilypond")]
)
def test_an_engraver_that_is_not_there_is_named_with_its_package(name, package, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UserError, match=f"install the package {package}"):
        command.ENGRAVERS[name]().version()
