"""What `to_mei` writes, and what it refuses to write."""

import xml.etree.ElementTree as ET
from fractions import Fraction

import pytest

from nota_jax.notation.abc import parse
from nota_jax.notation.engraving.errors import EngraveError
from nota_jax.notation.engraving.mei import drawn_key, split_clef, split_duration, to_mei
from nota_jax.notation.tune import Bar, Event, Key, Note, Tune

MEI = "{http://www.music-encoding.org/ns/mei}"
ID = "{http://www.w3.org/XML/1998/namespace}id"


def body(music: str, key: str = "C", meter: str = "4/4") -> Tune:
    return parse(f"X:1\nT:t\nM:{meter}\nL:1/8\nK:{key}\n{music}\n")


def tree(tune: Tune) -> ET.Element:
    return ET.fromstring(to_mei(tune))


def attributes(element: ET.Element) -> dict[str, str]:
    return {key: value for key, value in element.attrib.items() if key != ID}


def ids(root: ET.Element, tag: str) -> list[str]:
    return [element.get(ID, "") for element in root.iter(MEI + tag)]


def test_ids_name_bar_event_and_head():
    root = tree(body("A2 z2 [CE]4 | {g}A8 |]"))
    assert ids(root, "measure") == ["b0", "b1"]
    assert ids(root, "note") == ["b0e0", "b0e2n0", "b0e2n1", "b1e0g0", "b1e0"]
    assert ids(root, "rest") == ["b0e1"]
    assert ids(root, "chord") == ["b0e2"]


@pytest.mark.parametrize(
    ("duration", "base", "dots"),
    [("1", "1", 0), ("3/8", "1/4", 1), ("7/8", "1/2", 2), ("3/64", "1/32", 1), ("2", "2", 0)],
)
def test_durations_split_into_a_value_and_dots(duration, base, dots):
    assert split_duration(Fraction(duration)) == (Fraction(base), dots)


@pytest.mark.parametrize("duration", ["5/8", "1/3", "9/16"])
def test_a_duration_that_is_no_single_note_is_refused(duration):
    with pytest.raises(EngraveError, match="no single note"):
        split_duration(Fraction(duration))


@pytest.mark.parametrize(
    ("key", "drawn"),
    [
        (Key("D"), [("F", 1), ("C", 1)]),
        (Key("C", "minor"), [("B", -1), ("E", -1), ("A", -1)]),
        (Key(""), []),
        (Key("D", "major", (("C", 0),)), [("F", 1), ("C", 0)]),
        (Key("", "major", (("F", 1), ("B", -1))), [("F", 1), ("B", -1)]),
    ],
)
def test_a_signature_is_drawn_in_its_order_with_added_accidentals_last(key, drawn):
    assert drawn_key(key) == drawn


def test_octave_clefs_are_split():
    assert split_clef("treble-8") == ("G", 2, -1)
    assert split_clef("bass") == ("F", 4, 0)


def test_grace_notes_stand_before_the_beam():
    """Inside it Verovio would beam them together with the main notes."""
    layer = next(tree(body("{g}ABcd efga |]")).iter(MEI + "layer"))
    assert [child.tag for child in layer] == [MEI + "graceGrp", MEI + "beam", MEI + "beam"]


def test_a_tuplet_inside_a_beam_and_a_beam_inside_a_tuplet_both_nest():
    layer = next(tree(body("(3ABc d2 (3A2B2c2 |]")).iter(MEI + "layer"))
    assert [child.tag for child in layer] == [MEI + "tuplet", MEI + "note", MEI + "tuplet"]
    assert [child.tag for child in layer[0]] == [MEI + "beam"]


def test_a_change_at_a_bar_line_stands_between_the_measures():
    section = next(tree(body("A8 | [K:G][M:C|] A8 |]")).iter(MEI + "section"))
    assert [child.tag for child in section] == [MEI + "measure", MEI + "scoreDef", MEI + "measure"]
    assert [attributes(sign) for sign in section[1].iter() if len(sign) == 0] == [
        {"sig": "1s"},
        {"sym": "cut"},
    ]


def test_endings_hold_their_measures():
    endings = list(tree(body("A8 |1 B8 :|2 c8 | d8 |]")).iter(MEI + "ending"))
    assert [(e.get("n"), ids(e, "measure")) for e in endings][0] == ("1", ["b1"])
    assert endings[1].get("n") == "2" and "b2" in ids(endings[1], "measure")


def test_a_note_that_ends_one_slur_and_begins_another_belongs_to_both():
    slurs = list(tree(body("(ABc(d)efg) A |]")).iter(MEI + "slur"))
    assert [(s.get("startid"), s.get("endid")) for s in slurs] == [
        ("#b0e0", "#b0e3"),
        ("#b0e3", "#b0e6"),
    ]


@pytest.mark.parametrize(
    ("tune", "reason"),
    [
        (Tune(bars=(Bar((Event((Note("C", 4),), Fraction(5, 8)),)),)), "bar 1: the duration 5/8"),
        (Tune(bars=(Bar((Event((Note("C", 4, tie=True),)),)),)), "bar 1: a tie leads to no note"),
        (Tune(bars=(Bar((Event((Note("C", 4),), slurs_open=1),)),)), "begins that never ends"),
        (Tune(bars=(Bar((Event((Note("C", 4),), slurs_close=1),)),)), "ends that never began"),
        (Tune(bars=(Bar((Event((Note("C", 4),), decorations=("zigzag",)),)),)), "'zigzag'"),
        (Tune(bars=(Bar((Event((Note("C", 4),)),), barline="[|"),)), r"bar line '\[\|'"),
        (Tune(key=Key(clef="perc"), bars=(Bar((Event((Note("C", 4),)),)),)), "clef 'perc'"),
        (Tune(bars=(Bar(()),)), "no notes"),
    ],
)
def test_what_is_not_drawn_is_refused_with_its_bar(tune, reason):
    with pytest.raises(EngraveError, match=reason):
        to_mei(tune)
