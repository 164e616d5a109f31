"""Wrong notes, marked and told, worked out by hand; texts with their differences."""

import pytest

from nota_jax.evaluation.display import beside as module
from nota_jax.evaluation.display.beside import beside, kinds, shortened
from nota_jax.evaluation.display.diff import sides, visible
from nota_jax.evaluation.reading import Place, before_fault, music

HEAD = "X:1\nM:2/4\nL:1/8\nK:G\n"
TRUTH = HEAD + "d|GABc|dBcA|e2 [df]2|G4|]\n"


def compared(said):
    return beside(music(TRUTH, Place("")), music(HEAD + said, Place("")))


def test_what_is_right_is_not_marked():
    found = compared("d|GABc|dBcA|e2 [df]2|G4|]\n")
    assert (found.truth, found.read, found.words) == ({}, {}, ())


def test_each_kind_of_wrong_note_is_marked_where_it_stands():
    # bar 1: c as d; bar 2: A missing; bar 3: the chord's d as e; bar 4: half as quarter; and one
    # that is not there.
    found = compared("d|GABd|dBc|e2 [ef]2|G2 A|]\n")
    assert found.truth == {
        "b1e3": ("pitch", "bar 1: C5, eighth note read as D5, eighth note"),
        "b2e3": ("missing", "bar 2: A4, eighth note is missing"),
        "b3e1n0": ("pitch", "bar 3: D5, quarter note read as E5, quarter note"),
        "b4e0": ("rhythm", "bar 4: G4, half note read as G4, quarter note"),
    }
    assert found.read["b3e1n0"] == found.truth["b3e1n0"] and "b3e1n1" not in found.read
    assert found.read["b4e1"] == ("invented", "bar 4: A4, eighth note is not there")
    assert len(found.words) == 5 and found.more == 0
    assert kinds(found.truth, found.read) == ["pitch", "rhythm", "missing", "invented"]


def test_both_wrong_and_the_pick_up():
    found = compared("e2|GABc|dBcA|e2 [df]2|G4|]\n")
    assert found.truth["b0e0"] == ("both", "pick-up: D5, eighth note read as E5, quarter note")


def test_a_tied_note_is_marked_at_all_its_heads():
    found = beside(music(HEAD + "G4-|G4|]", Place("")), music(HEAD + "A4-|A4|]", Place("")))
    assert set(found.truth) == {"b0e0", "b1e0"} == set(found.read)
    assert found.words == ("bar 1: G4, whole note read as A4, whole note",)


def test_only_so_many_are_told_in_words(monkeypatch):
    monkeypatch.setattr(module, "MOST_WORDS", 3)
    found = compared("")
    assert found is None  # nothing to compare: it is no tune with notes, nor anything else
    found = compared("z|z4|z4|z4|z4|]\n")
    assert len(found.words) == 3 and found.more == 10


def test_a_model_that_goes_on_and_on_is_drawn_so_far(monkeypatch):
    monkeypatch.setattr(module, "MOST_EVENTS", 9)
    tune = music(TRUTH, Place("")).tune
    short, left = shortened(tune)
    assert (len(short.bars), left) == (3, 2)  # 1 + 4 + 4 events
    monkeypatch.setattr(module, "MOST_EVENTS", 0)
    assert shortened(tune)[1] == 4


@pytest.mark.parametrize(
    ("said", "bars"),
    [("d|GABc|dBcA|e2 [df2|G4|]", 3), ('d|GABc|"dBcA|e2 [df]2|G4|]', 2), ("d|G^^^A|", 1)],
)
def test_what_stands_before_a_fault_is_still_music(said, bars):
    assert music(HEAD + said, Place("")).tune is None
    reason, before = before_fault(HEAD + said, Place(""))
    assert reason and len(before.tune.bars) == bars


def test_behind_a_beginning_the_end_is_missing_and_nothing_before():
    place = Place("")
    truth, begun = music(HEAD + "dDFD|dDDB|]", place), music(HEAD + "dDFD|]", place)
    found = beside(truth, begun, beginning=True)
    assert list(found.truth) == ["b1e0", "b1e1", "b1e2", "b1e3"]
    assert found.notes == beside(truth, begun).notes  # it costs the same


def test_what_is_no_music_at_all_is_none():
    reason, before = before_fault("A lovely tune.", Place(""))
    assert reason and before is None
    assert before_fault(TRUTH, Place("")) == ("", None)


def marked(pieces):
    return "".join(f"[{piece.text}]" if piece.wrong else piece.text for piece in pieces)


def test_as_many_characters_are_marked_as_the_distance_counts():
    found = sides("GABc|dBcA", "GAB|dBccA")
    assert (marked(found.truth), marked(found.said)) == ("GAB[c]|dBcA", "GAB|dB[c]cA")
    found = sides("X:1\nK:G", "X:1\nK:Am")
    assert marked(found.said) == "X:1\nK:[Am]"


def test_a_lines_end_that_differs_is_seen():
    assert marked(sides("a\nb", "ab").truth) == "a[↵\n]b"


def test_long_texts_are_cut_and_that_is_said():
    found = sides("a" * 10, "a" * 25, most=10)
    assert (found.truth_left, found.said_left) == (0, 15)
    assert "".join(piece.text for piece in found.said) == "a" * 10


def test_what_cannot_be_shown_is_shown_as_such():
    assert visible("a\x00b\x1b[2J\u202ec\ud800d\n\té") == "a\ufffdb\ufffd[2J\ufffdc\ufffdd\n\té"
