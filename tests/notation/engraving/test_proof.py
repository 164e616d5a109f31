"""The proof reads the drawing: whatever is damaged in it, or in the MEI, it tells."""

import re
import xml.etree.ElementTree as ET

import pytest

from nota_jax.notation.abc import parse
from nota_jax.notation.engraving import layout
from nota_jax.notation.engraving.errors import MismatchError
from nota_jax.notation.engraving.fonts import MUSIC_FONTS, TEST_MUSIC_FONT
from nota_jax.notation.engraving.layout import Style, pages
from nota_jax.notation.engraving.mei import to_mei
from nota_jax.notation.engraving.proof import proof
from nota_jax.notation.engraving.readback import read_page

TUNE = parse(
    """X:1
T:The Lark in the Clear Air
T:An Fhuiseog
C:Turlough O'Carolan
M:6/8
L:1/8
Q:"Slow" 3/8=60
K:D
A | "Bm7".DETF ^G3 |: (DE-E) z {f}G2 |1 (3DDA, HG2 B2 :|2 [DFA]3 "^hello"d3 ||
w: Hel-lo
[K:G] [M:C|] G2 f/g/a/f/ d2 z2 | G>G d2 z4 |[K:C] c8 |]
"""
)


@pytest.fixture(scope="module")
def page() -> str:
    return next(pages(TUNE))


def remove(page: str, group: str) -> str:
    """The page without the group of this id, or without all groups of this class."""
    root = ET.fromstring(page)
    found = 0
    for parent in list(root.iter()):
        for child in list(parent):
            if group in (child.get("id"), *child.get("class", "").split(" ")):
                parent.remove(child)
                found += 1
    assert found, group
    return ET.tostring(root, encoding="unicode")


def within(page: str, group: str, pattern: str, replacement: str) -> str:
    """The page with a replacement made (at least once) in what the group of this id holds."""
    root = ET.fromstring(page)
    element = next(e for e in root.iter() if e.get("id") == group)
    text = ET.tostring(element, encoding="unicode")
    changed, n = re.subn(pattern, replacement, text)
    assert n, pattern
    parent = next(p for p in root.iter() if element in list(p))
    parent[list(parent).index(element)] = ET.fromstring(changed)
    return ET.tostring(root, encoding="unicode")


def everywhere(page: str, pattern: str, replacement: str) -> str:
    changed, n = re.subn(pattern, replacement, page)
    assert n, pattern
    return changed


def lowered(match: re.Match) -> str:
    """A glyph's place, one staff position lower."""
    return f"translate({match[1]}, {int(match[2]) + 90})"


PLACE = r"translate\((\d+), (\d+)\)"

# What is done to the page, and what the proof has to say about it.
DAMAGES = {
    "a note is gone": (lambda p: remove(p, "b1e1"), "bar 2"),
    "a chord's head is gone": (lambda p: remove(p, "b4e0n1"), "bar 5.*heads"),
    "a head is one step lower": (lambda p: within(p, "b1e1", PLACE, lowered), "bar 2.*heads"),
    "an accidental is gone": (lambda p: remove(p, "b1e3x"), "bar 2.*heads"),
    "a sharp is a flat": (lambda p: within(p, "b1e3x", "E262", "E260"), "bar 2.*heads"),
    "a black head is white": (lambda p: within(p, "b1e0", "E0A4", "E0A3"), "bar 2.*duration"),
    "a dot is gone": (lambda p: within(p, "b1e3", "<[a-z0-9:]*ellipse[^>]*>", ""), "duration"),
    "ledger lines are gone": (lambda p: remove(p, "ledgerLines"), "ledger line"),
    "a flag is gone": (lambda p: remove(p, "flag"), "bar 1.*duration"),
    "a second beam is gone": (
        lambda p: within(p, "b5", '<[a-z0-9:]*polygon points="[^"]*" />(?=<[^p])', ""), "bar 6"),
    "a rest is gone": (lambda p: remove(p, "b2e3"), "bar 3"),
    "a rest is shorter": (lambda p: within(p, "b2e3", "E4E6", "E4E7"), "bar 3.*duration"),
    "a bar is gone": (lambda p: remove(p, "b6"), "bars"),
    "the clefs are gone": (lambda p: remove(p, "clef"), "bar 1"),
    "the keys are gone": (lambda p: remove(p, "keySig"), "bar 1.*key"),
    "sharps of the keys are flats": (
        lambda p: everywhere(p, r'(class="keyAccid"><use xlink:href="#)E262', r"\1E260"), "bar 1"),
    "the meters are gone": (lambda p: remove(p, "meterSig"), "bar 1.*meter"),
    "6/8 is 3/8": (lambda p: everywhere(p, r"#E086(?=-)", "#E083"), "bar 1.*meter"),
    "a repeat's dots are gone": (
        lambda p: everywhere(p, r'<use xlink:href="#E044[^>]*>', ""), "no meaning"),
    "bar lines are gone": (lambda p: remove(p, "barLine"), "barline"),
    "volta brackets are gone": (lambda p: remove(p, "ending"), "volta"),
    "a volta has another text": (lambda p: within(p, "v3", ">1<", ">3<"), "volta"),
    "a volta's bracket is short": (
        lambda p: within(p, "v4", r'd="M(\d+) (\d+) L\d+ \2"', r'd="M\1 \2 L\1 \2"'), "volta"),
    "the tie is gone": (lambda p: remove(p, "b2e1t0"), "heads"),
    "the slur is gone": (lambda p: remove(p, "b2e0s0"), "slurs"),
    "the slur ends elsewhere": (
        lambda p: within(p, "b2e0s0", r" (\d+),(\d+) C", r" 11000,\2 C"), "slurs"),
    "the triplet's figure is gone": (lambda p: remove(p, "tupletNum"), "tuplet"),
    "the triplet's figure is another": (lambda p: everywhere(p, "#E883", "#E885"), "tuplet"),
    "the grace note is gone": (lambda p: remove(p, "graceGrp"), "graces"),
    "the trill is gone": (lambda p: remove(p, "trill"), "marks"),
    "the trill is a turn": (lambda p: within(p, "b1e2d0", "E566", "E567"), "marks"),
    "the staccato dot is gone": (lambda p: remove(p, "artic"), "marks"),
    "the chord symbol is gone": (lambda p: remove(p, "harm"), "marks"),
    "the chord symbol is another": (lambda p: everywhere(p, ">Bm7<", ">Bm<"), "marks"),
    "the annotation is another": (lambda p: everywhere(p, ">hello<", ">help<"), "marks"),
    "a syllable is another": (lambda p: everywhere(p, ">Hel<", ">Bel<"), "marks"),
    "the title is gone": (lambda p: remove(p, "title0"), "titles"),
    "the title is another": (lambda p: everywhere(p, "Clear Air", "Clear Hair"), "titles"),
    "the composer is gone": (lambda p: remove(p, "composer"), "composer"),
    "title and composer change places": (
        lambda p: p.replace("An Fhuiseog", "\0").replace("Turlough O'Carolan", "An Fhuiseog")
        .replace("\0", "Turlough O'Carolan"), "titles"),
    "the tempo is another": (lambda p: everywhere(p, "= 60", "= 80"), "tempo"),
    "the tempo's note lost its dot": (lambda p: remove(p, "E1E7"), "tempo"),
}  # fmt: skip


def test_an_undamaged_page_is_proved(page):
    assert proof(TUNE, read_page(page)) == tuple(sorted(_system_ends(page)))


def _system_ends(page: str) -> set[int]:
    """Bars before each further system, read in the simplest way there is."""
    starts = [re.search(r'id="b(\d+)" class="measure"', system)[1]
              for system in page.split('class="system"')[1:]]  # fmt: skip
    return {int(bar) - 1 for bar in starts[1:]}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_the_drawing_is_told(page, damage):
    change, said = DAMAGES[damage]
    with pytest.raises(MismatchError, match=said):
        proof(TUNE, read_page(change(page)))


def test_every_single_head_and_rest_counts(page):
    symbols = re.findall(r'<g id="(b\d+e\d+(?:[ng]\d+)?)" class="(?:note|rest|mRest|chord)"', page)
    assert len(symbols) > 30
    for symbol in symbols:
        with pytest.raises(MismatchError):
            proof(TUNE, read_page(remove(page, symbol)))


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r'<note xml:id="b1e1"[^>]*/>', ""),
        (r'(id="b1e0" pname=")d', r"\1e"),
        (r'(id="b1e0" pname="d" oct=")4', r"\g<1>5"),
        (r'(id="b4e1"[^>]*dur=")4', r"\g<1>2"),
        (r'<accid xml:id="b1e3x"[^>]*/>', ""),
        (r'<keySig sig="2s"', '<keySig sig="3s"'),
        (r'<keySig sig="1s"', '<keySig sig="1f"'),
        (r'<keySig sig="1s" />', ""),
        (r'count="6"', 'count="9"'),
        (r'sym="cut"', 'sym="common"'),
        (r"</?ending[^>]*>", ""),
        (r'(<ending xml:id="v4" n=")2', r"\g<1>3"),
        (r'right="rptend"', 'right="single"'),
        (r'left="rptstart"', ""),
        (r'right="end"', 'right="dbl"'),
        (r"<tie [^>]*/>", ""),
        (r'(<slur [^>]*endid="#b2e)2', r"\g<1>4"),
        (r"</?beam>", ""),
        (r'num="3" numbase="2"', 'num="5" numbase="4"'),
        (r"<graceGrp>.*?</graceGrp>", ""),
        (r">Bm7<", ">Bm<"),
        (r"<measure xml:id=\"b5\".*?</measure>", ""),
    ],
)
def test_damage_to_the_mei_is_told(monkeypatch, pattern, replacement):
    def damaged(tune):
        text, n = re.subn(pattern, replacement, to_mei(tune))
        assert n
        return text

    monkeypatch.setattr(layout, "to_mei", damaged)
    with pytest.raises(MismatchError):
        proof(TUNE, read_page(next(pages(TUNE))))


@pytest.mark.parametrize("font", [*MUSIC_FONTS, TEST_MUSIC_FONT])
def test_every_music_font_is_read_back(font):
    proof(TUNE, read_page(next(pages(TUNE, Style(music_font=font)))))


@pytest.mark.parametrize(
    "music",
    [
        "[K:C clef=bass] C,4 D,4 | [K:C clef=treble] c8 |]",
        "[K:C clef=alto] C4 D4 | [K:F clef=tenor] C8 |]",
        "c4 [K:C clef=bass] C,4 | C,4 [K:C clef=alto] C4 | C4 [K:C clef=treble] c4 |]",
        "[K:D =c] c4 f4 | [K:Gm^f] c4 f4 |]",
        "[K:Gb] g4 c4 | [K:C#] c4 f4 | [K:C] c8 | [K:E] c8 |]",
        "[M:none] cdef gabc'2 |]",
        "[M:2+3/8] c2 d3 | [M:12/8] c6 d6 |]",
        "Z | c4 z4 | Z |]",
        "c16 | d15 d | e6 f2 | ^^f4 __b4 |]",
        "c/d/e/f/ g//a//b//c'// d4 z2 | c>d e>>f g3/2a/ b2 |]",
        "(3cde (3c2d2e2 (5cdefg | (3z/c/d/ e f2 (6cdedcd |]",
        "{c}d4 {cde}f4 | {/g}a4 {c2}d4 |]",
        "[ce]-[ce] [ce-g]e2 [c-e-]4 [ce] |[_B^f]4 [=Bf]4 |]",
        "c4 :: d4 :: e4 :| f4 |: g4 |] |: a4 || |: b4 :|",
        "|: c8 |1,3 d8 :|2 e8 | f8 |]",
        "(ab(c)de) z ({g}a) b | ((3abc (de)) f2 z |]",
        ".~c Td uc vd Hc Md Pc !turn!d | !accent!c2 !tenuto!d2 !wedge!c2 !marcato!d2 |]",
        "!mf!c2 !1!d2 !segno!e2 !coda!f2 | !fine!c2 !D.C.!d2 !breath!e2 !arpeggio![ce]2 |]",
        '"Am"c2 "_low"d2 "^high""G7"e4 |]',
    ],
)
def test_all_kinds_of_notation_are_drawn_and_read_back(music):
    tune = parse(f"X:1\nM:4/4\nL:1/8\nK:C\n{music}\n")
    proof(tune, read_page(next(pages(tune))))


def test_lyrics_of_two_verses_are_read_back():
    tune = parse("X:1\nM:4/4\nL:1/4\nK:C\nc d e f|g a b c|]\nw:one two-three _ four\nw:a b c d e\n")
    proof(tune, read_page(next(pages(tune))))
