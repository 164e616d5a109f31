"""Every symbol of a page is where its box is, and is what the tune has there."""

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from nota_jax.notation.abc import parse
from nota_jax.notation.engraving import boxes
from nota_jax.notation.engraving.fonts import (
    MUSIC_FONTS,
    TEST_MUSIC_FONT,
    TEST_TEXT_FONT,
    TEXT_FONTS,
    text_font,
)
from nota_jax.notation.engraving.layout import Style, engrave, pages
from nota_jax.notation.engraving.page import rasterise
from nota_jax.notation.engraving.readback import read_page

TUNE = parse(
    """X:1
T:The Lark in the Clear Air
T:An Fhuiseog, Waffle AVATo “fi” Ťhé Čítÿ
C:Turlough O'Carolan
M:6/8
L:1/8
Q:"Slow" 3/8=60
K:D
A | "Bm7".DETF ^G3 |: (DE-E) z {f}G2 |1 (3DDA, HG2 B2 :|2 [DEA]3 "^hello Fjord"d3 ||
w: Hel-lo you
[K:G] [M:C|] G2 f/g/a/f/ !mf!d2 z2 | {/g}G>~^G !2!d2 "_low" z4 |[K:C clef=bass] C,4 \\
[K:Eb clef=treble-8] !D.C.!E4 | Z |]
"""
)
# Styles so that every font of both kinds is among them.
STYLES = [
    Style(music, text)
    for music, text in zip(
        (*MUSIC_FONTS, TEST_MUSIC_FONT, "Leipzig"), (*TEXT_FONTS, TEST_TEXT_FONT), strict=True
    )
]
ids = [f"{style.music_font}, {style.text_font}" for style in STYLES]

# Kind of symbol, for letters what they are part of → classes of the groups that draw it.
DRAWN_BY = {
    "head": ("notehead",),
    "rest": ("rest", "mRest"),
    "accidental": ("accid",),
    "clef": ("clef",),
    "key": ("keySig",),
    "meter": ("meterSig",),
    "bar line": ("barLine",),
    "tuplet": ("tupletNum",),
    "decoration": ("artic", "trill", "fermata", "dynam"),
    "title": ("title",),
    "composer": ("composer",),
    "chord symbol": ("harm",),
    "annotation": ("dir",),
    "lyric": ("syl",),
    "decoration in letters": ("ornam", "fing", "repeatMark"),
    "tempo": ("tempo",),
    "ending": ("voltaBracket",),
}
SVG = "{http://www.w3.org/2000/svg}"


def grey(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L")).astype(int)


def symbols_of(tune) -> np.ndarray:
    return boxes.unpack(engrave(tune).symbols)


def of_kind(symbols: np.ndarray, name: str) -> np.ndarray:
    """The symbols of a key of `DRAWN_BY`."""
    kinds = np.array(boxes.KINDS)[symbols["kind"]]
    texts = np.array(boxes.TEXTS)[symbols["text"]]
    if name == "tempo":
        return symbols[(texts == name) | (kinds == "tempo note")]
    if name in boxes.KINDS:
        return symbols[kinds == name]
    return symbols[texts == name.removesuffix(" in letters")]


def only(page: str, classes: tuple[str, ...]) -> str:
    """The page with nothing drawn but what groups of these classes hold, and no strokes' lines."""
    ET.register_namespace("", SVG[1:-1])
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ET.fromstring(page)

    def strip(element: ET.Element, inside: bool) -> None:
        for child in list(element):
            if child.tag == SVG + "defs":
                continue
            if child.tag == SVG + "g":
                strip(child, inside or child.get("class", "").split(" ")[0] in classes)
            elif not inside or ("voltaBracket" in classes and child.tag == SVG + "path"):
                element.remove(child)
            elif child.tag == SVG + "rect":  # a hyphen between syllables
                element.remove(child)

    strip(root, inside=False)
    return ET.tostring(root, encoding="unicode")


def outward(box: np.ndarray) -> tuple[slice, slice]:
    left, top = np.floor(box[:2]).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int)
    return slice(top, bottom), slice(left, right)


@pytest.mark.parametrize("style", STYLES, ids=ids)
def test_there_is_ink_in_every_box(style):
    picture = engrave(TUNE, style)
    image, symbols = grey(picture.png), boxes.unpack(picture.symbols)
    assert len(symbols) > 150
    for symbol in symbols:
        assert image[outward(symbol["box"])].min() < 160, (symbol["label"], symbol["box"])


@pytest.mark.parametrize("name", DRAWN_BY)
@pytest.mark.parametrize("style", STYLES, ids=ids)
def test_the_boxes_of_a_kind_hold_all_ink_of_it_and_are_no_larger(style, name):
    page = next(pages(TUNE, style))
    font = text_font(style.text_font)
    drawn = rasterise(only(page, DRAWN_BY[name]), font, style.size, colour=False)
    ink = 255 - grey(drawn)
    found = of_kind(boxes.symbols(read_page(page), font, style.music_font), name)
    assert len(found)
    outside = ink.copy()
    for box in found["box"]:
        rows, columns = outward(box + np.array([-0.5, -0.5, 0.5, 0.5]))
        outside[rows, columns] = 0
    assert outside.max() < 20, (outside.max(), np.argwhere(outside > 20))
    for symbol in found:
        rows, columns = outward(symbol["box"])
        inside = ink[rows, columns] > 20
        ys, xs = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        assert len(ys), (symbol["label"], symbol["box"])
        margins = (xs[0], ys[0], inside.shape[1] - 1 - xs[-1], inside.shape[0] - 1 - ys[-1])
        assert max(margins) <= 1, (symbol["label"], symbol["box"], margins)


def test_heads_and_rests_say_what_the_tune_has_at_their_bar_and_event():
    symbols = symbols_of(TUNE)
    for i, bar in enumerate(TUNE.bars):
        for e, event in enumerate(bar.events):
            here = symbols[(symbols["bar"] == i) & (symbols["event"] == e)]
            heads = of_kind(here, "head")
            heads = heads[np.argsort(heads["number"])]  # of a second, the upper may stand before
            graces, heads = heads[heads["grace"]], heads[~heads["grace"]]
            notes = sorted(event.notes, key=lambda note: note.diatonic)
            written = [note for note, _ in event.grace.notes] if event.grace else []
            assert [note.diatonic for note in notes] == heads["position"].tolist()
            assert [note.diatonic for note in written] == graces["position"].tolist()
            nothing = boxes.NOTHING
            accidentals = [nothing if n.accidental is None else n.accidental for n in notes]
            assert accidentals == heads["accidental"].tolist()
            assert [note.tie for note in notes] == heads["tie_opens"].tolist()
            for drawn in (*heads, *of_kind(here, "rest")):
                if event.bar_rest:
                    assert drawn["halvings"] == nothing
                    continue
                dots = 2 - 2.0 ** -int(drawn["dots"])
                assert float(event.duration) == 2.0 ** -int(drawn["halvings"]) * dots
                assert drawn["slurs_open"] == event.slurs_open
                assert drawn["slurs_close"] == event.slurs_close
                first_or_inside = boxes.SPANS[drawn["beam"]] in ("first", "inside")
                assert first_or_inside == event.beam
                assert bool(drawn["tuplet"]) == (event.tuplet is not None)
    assert of_kind(symbols, "head")["tie_closes"].sum() == 1


def test_signs_and_bar_lines_are_named_in_reading_order():
    symbols = symbols_of(TUNE)
    assert of_kind(symbols, "meter")["label"].tolist() == ["6/8", "C|"]
    lines = of_kind(symbols, "bar line")
    assert (
        lines["label"].tolist() == ["|", "|:", "|", ":|", "||", "|", "|", "|", "|]"][: len(lines)]
    )
    assert lines["bar"].tolist() == list(range(len(TUNE.bars)))
    clefs = of_kind(symbols, "clef")["label"].tolist()
    assert clefs[0] == "treble" and {"bass", "treble-8"} < set(clefs)
    first_key = of_kind(symbols[symbols["bar"] == 0], "key")
    assert first_key["accidental"].tolist() == [1, 1]
    assert first_key["height"].tolist() == [8, 5]  # F5 on the top line, C5 in the third space
    assert np.all(np.diff(symbols["bar"][symbols["bar"] >= 0]) >= 0)


def test_letters_spell_the_texts():
    symbols = symbols_of(TUNE)

    def spelt(name: str, event: int | None = None, bar: int | None = None) -> str:
        letters = of_kind(symbols, name)
        letters = letters[letters["kind"] == boxes.KINDS.index("letter")]
        if bar is not None:
            letters = letters[letters["bar"] == bar]
        if event is not None:
            letters = letters[letters["event"] == event]
        text = [" "] * (letters["number"].max() + 1)
        for letter in letters:
            text[letter["number"]] = str(letter["label"])
        return "".join(text)

    assert spelt("title", 0) == TUNE.titles[0]
    assert spelt("title", 1) == TUNE.titles[1]
    assert spelt("composer") == TUNE.composer
    assert spelt("tempo") == "Slow = 60"
    assert spelt("chord symbol") == "Bm7"
    assert [spelt("lyric", *place) for place in ((0, 0), (0, 1), (1, 1))] == ["Hel", "lo", "you"]


def test_a_title_in_lines_is_counted_through():
    title = "A very long title that goes on and on, as titles of broadside ballads often do"
    letters = of_kind(symbols_of(parse(f"X:1\nT:{title}\nM:4/4\nL:1/8\nK:C\nC8 |]\n")), "title")
    assert len(set(letters["box"][:, 3].round())) > 3  # more than one line
    assert [title[number] for number in letters["number"]] == letters["label"].tolist()


def test_packed_symbols_come_back_as_they_were():
    symbols = symbols_of(TUNE)
    packed = boxes.pack(symbols)
    assert (boxes.unpack(packed) == symbols).all()
    assert len(packed) < 20 * len(symbols)
    assert len(boxes.unpack(boxes.pack(symbols[:0]))) == 0


def test_boxes_move_with_their_picture():
    picture = engrave(TUNE)
    symbols = boxes.unpack(picture.symbols)
    half = np.asarray(
        Image.fromarray(grey(picture.png).astype(np.uint8)).resize((168, 168), Image.BOX)
    )
    shifted = np.full((200, 200), 255)
    shifted[20:188, 10:178] = half
    for symbol in boxes.moved(symbols, 0.5, 10, 20):
        assert shifted[outward(symbol["box"])].min() < 240
    assert (boxes.moved(symbols, 2.0)["box"] == 2 * symbols["box"]).all()


def test_symbols_do_not_depend_on_a_highlight():
    assert engrave(TUNE, highlight=(0, 2)).symbols == engrave(TUNE).symbols
