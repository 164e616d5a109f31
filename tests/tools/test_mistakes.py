"""What was read wrongly is named as music."""

import json
from collections import Counter

import pytest
from PIL import Image

from nota_jax.tools import mistakes

HEAD = "X:1\nT:The First\nM:6/8\nL:1/8\nK:G\n"
TUNE = HEAD + "G|GAB c2d|(ed)c B3|\n.A2B z3|G3-G2:|"


@pytest.mark.parametrize(
    "read, named",
    [
        (TUNE, {}),
        (TUNE.replace("First", "Fist"), {"title": 1}),
        (TUNE.replace("K:G", "K:Em"), {"key's mode, the signature right": 1}),
        (TUNE.replace("K:G", "K:C"), {"key signature": 1}),
        (TUNE.replace("K:G", "C:Me"), {"no valid ABC": 1}),
        (TUNE.replace("M:6/8", "M:3/4"), {"meter": 1}),
        (TUNE.replace("GAB", "GAc"), {"pitch, by a step": 1}),
        (TUNE.replace("GAB", "GAg"), {"pitch, by more": 1}),
        (TUNE.replace("GAB", "G^AB"), {"accidental": 1}),
        (TUNE.replace("c2d", "cd2"), {"duration": 2}),
        (TUNE.replace("GAB c2d|", ""), {"bar left out": 1}),
        (TUNE.replace("GAB c2d|", "GAB c2d|GAB c2d|"), {"bar invented": 1}),
        (TUNE.replace("GAB", "GB"), {"note or rest left out": 1}),
        (TUNE.replace("z3", "z3d"), {"note or rest invented": 1}),
        (TUNE.replace("z3", "d3"), {"rest for a note, or a note for a rest": 1}),
        (TUNE.replace("(ed)", "ed"), {"slur": 2}),
        (TUNE.replace("3-", "3"), {"tie": 1}),
        (TUNE.replace(".A", "A"), {"decoration": 1}),
        (TUNE.replace("GAB", "{d}GAB"), {"grace notes": 1}),
        (TUNE.replace("GAB", "[GB]AB"), {"heads of a chord": 1}),
        (TUNE.replace(":|", "||"), {"repeat or ending": 1}),
        (TUNE.replace("|\n", "||\n"), {"bar line": 1}),
        (TUNE.replace("|\n", "|"), {"line end": 1}),
    ],
)
def test_each_kind_of_mistake_is_named(read, named):
    assert mistakes.mistakes(TUNE, read) == Counter(named)
    assert set(named) <= set(mistakes.KINDS)


def test_a_sequence_is_put_beside_itself():
    pairs = mistakes.aligned("abcd", "acxd", lambda a, b: float(a != b), 0.4)
    assert pairs == [("a", "a"), ("b", None), ("c", "c"), (None, "x"), ("d", "d")]


def test_an_evaluations_answers_are_counted(tmp_path, capsys):
    lines = [{"settings": {"dataset": "nowhere", "splits": ["extraction_test"]}}] + [
        {"id": f"{n}:{name}", "subtask": name, "answer": TUNE, "prediction": read}
        for n, read in enumerate((TUNE, TUNE.replace("GAB", "GAc")))
        for name in ("abc", "title")
    ]
    (tmp_path / "predictions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert mistakes.main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "2 pages, 1 without a mistake" in out
    (line,) = (line for line in out.splitlines() if line.startswith("pitch, by a step"))
    assert line.split()[-4:] == ["1", "50.0", "%", "1"]


def test_a_folder_without_an_evaluation_is_refused(tmp_path, capsys):
    assert mistakes.main([str(tmp_path)]) == 2
    assert "predictions.jsonl is not there" in capsys.readouterr().err


def test_sheets_show_pages_with_both_texts(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from nota_jax.notation import abc
    from nota_jax.notation.engraving.layout import engrave

    page = SimpleNamespace(id="a/0/extraction", png=engrave(abc.parse(TUNE)).png)
    monkeypatch.setattr(mistakes, "PageReader", lambda *_: [page])
    answer = {"id": f"{page.id}:abc", "answer": TUNE, "prediction": TUNE + "||"}
    settings = {"dataset": "", "splits": ["extraction_test"]}
    mistakes.sheets([answer] * 5, [Counter()] * 5, settings, tmp_path / "sheets")
    drawn = sorted((tmp_path / "sheets").iterdir())
    assert [file.name for file in drawn] == ["000.png", "001.png"]
    with Image.open(drawn[0]) as sheet:
        assert sheet.convert("L").getextrema()[0] < 50
