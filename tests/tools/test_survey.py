"""The survey of a folder of ABC files."""

from __future__ import annotations

import pytest

from nota_jax.data.build import corpora
from nota_jax.notation.abc import AbcError
from nota_jax.tools import survey


def test_refusals_are_printed_and_the_rest_counted(tmp_path, capsys):
    (tmp_path / "tunes").mkdir()
    (tmp_path / "tunes" / "book.abc").write_text(
        "X:1\nM:3/4\nL:1/4\nK:C\nABc|ABc|]\n\nX:2\nM:3/4\nL:1/4\nK:C\nABc|AB|ABc|]\n\nX:3\nK:C\nA)|\n"
    )
    (tmp_path / "tunes" / "prose.abc").write_text("no tune here\n")
    survey.main(["--problems", f"path:{tmp_path / 'tunes'}"])
    out = capsys.readouterr().out
    assert "tunes/prose.abc: it holds no tune" in out
    assert "tunes/book.abc: tune 3, line 15, column 2: a slur ends here" in out
    assert "tunes/book.abc: tune 2, bar 2: 1/2 of a whole note" in out
    assert out.splitlines()[-1].startswith("all")
    assert [int(row) for row in out.splitlines()[-1].split()[1:]] == [3, 2, 2, 1, 1, 0, 0]


@pytest.mark.parametrize("arguments", [[], ["miscFolk"]])
def test_what_is_measured_is_exactly_the_text_that_the_build_reads(arguments, monkeypatch, capsys):
    seen = []

    def note(text, **where):
        seen.append(text)
        raise AbcError("not now")

    monkeypatch.setattr(survey, "parse", note)
    survey.main(arguments)
    assert seen == [tune.text for tune in corpora.read(arguments or None)]
