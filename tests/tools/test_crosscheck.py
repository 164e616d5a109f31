"""The comparison with music21's parser."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from nota_jax.errors import UserError
from nota_jax.notation.walk import Sounding
from nota_jax.tools import crosscheck

BOOK = """X:1
M:2/4
L:1/8
K:D
FG {b}AB|(3cde ^c-c|"A"[df]4|z2 =f2|]

X:2
M:2/4
L:1/8
K:D
AB)|]
"""


def note(onset, duration, midi) -> Sounding:
    return Sounding(Fraction(onset), Fraction(duration), midi)


@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [
        ([note(0, 1, 60), note(1, 1, 62)], "agree"),
        ([note(0, 1, 60), note(1, 1, 63)], "pitch"),
        ([note(0, 1, 60), note(1, 2, 62)], "duration"),
        ([note(0, 1, 60), note(2, 1, 62)], "rests"),
        ([note(0, 1, 60)], "notes"),
        ([note(0, 2, 60), note(2, 1, 63)], "notes"),
    ],
)
def test_every_kind_of_difference_has_its_verdict(theirs, verdict):
    ours = [note(0, 1, 60), note(1, 1, 62)]
    found, detail = crosscheck.compare(ours, theirs)
    assert found == verdict
    assert (detail == "") == (verdict == "agree")


def test_the_command_writes_verdicts_and_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch):
    book, out = tmp_path / "book.abc", tmp_path / "out.jsonl"
    book.write_text(BOOK)
    crosscheck.main([f"path:{book}", "--out", str(out)])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["line"], row["verdict"]) for row in rows] == [(1, "agree"), (7, "refused")]
    table = capsys.readouterr().out

    monkeypatch.setattr(crosscheck, "judge", lambda *_, **__: pytest.fail("read again"))
    crosscheck.main([f"path:{book}", "--out", str(out)])
    assert capsys.readouterr().out == table
    assert len(out.read_text().splitlines()) == 2


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.abc"):
        crosscheck.main([f"path:{tmp_path / 'nowhere.abc'}", "--out", str(tmp_path / "out")])
