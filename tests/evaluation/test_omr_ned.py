"""OMR-NED on tunes whose symbols can be counted."""

import pytest

from nota_jax.evaluation import omr_ned
from nota_jax.evaluation.answers import Answer

pytest.importorskip("musicdiff")
PAGE = "X:1\nM:2/4\nL:1/8\nK:C\nc4|c4|c4|c4|]\n"


def mark(said):
    return omr_ned.mark(Answer("p:abc", "p", "abc", PAGE, said, about={"abc": PAGE}))


def test_the_same_score_has_no_edit():
    found = mark(PAGE)
    assert found["abc.omr_ned"][0] == 0 and found["abc.omr_ned_compared"] == (1, 1)


def test_another_pitch_is_a_note_of_two_symbols_taken_out_and_another_put_in():
    edits, symbols = mark(PAGE.replace("c4|c4|]", "c4|d4|]"))["abc.omr_ned"]
    assert edits == 4 and symbols == mark(PAGE)["abc.omr_ned"][1]


def test_what_cannot_be_read_is_an_empty_score():
    edits, symbols = mark("no music")["abc.omr_ned"]
    assert edits == symbols == mark(PAGE)["abc.omr_ned"][1] / 2


def test_what_breaks_in_musicdiff_is_not_compared_and_counted(monkeypatch):
    monkeypatch.setattr(omr_ned, "_annotated", lambda tune: 1 / 0)
    assert mark(PAGE) == {"abc.omr_ned_compared": (0, 1)}


def test_versions_and_parser_are_said_and_a_missing_extra_is_a_sentence(monkeypatch):
    assert "musicdiff 5.2" in omr_ned.about() and "music21" in omr_ned.about()
    monkeypatch.setattr(omr_ned, "import_module", _absent)
    with pytest.raises(omr_ned.UserError, match=r"pip install 'nota_jax\[omr-ned\]'"):
        omr_ned.needed()


def _absent(name):
    raise ImportError(name)


def test_of_a_file_only_whole_pages_are_compared():
    answers = [
        Answer("p:key", "p", "key", "C", "C"),
        Answer("p:abc", "p", "abc", PAGE, PAGE, about={"abc": PAGE}),
    ]
    assert [sorted(m) for m in omr_ned.marks(answers)] == [
        [], ["abc.omr_ned", "abc.omr_ned_compared"],
    ]  # fmt: skip


@pytest.mark.timeout(600)
def test_a_page_that_takes_too_long_is_left_out_and_the_next_is_compared():
    answers = [Answer(f"{n}:abc", "p", "abc", PAGE, PAGE, about={"abc": PAGE}) for n in range(2)]
    # No time at all for either: both processes are ended, and nothing hangs.
    assert omr_ned.marks(answers, seconds=0.0) == [{"abc.omr_ned_compared": (0, 1)}] * 2
