"""Files of answers, of ours and of others, joined with a dataset."""

import json

import pytest

from nota_jax.errors import UserError
from nota_jax.evaluation import compare, score
from nota_jax.evaluation.answers import ANSWERS, collect, folder_of, picture_name
from tests.data.make_dataset import make_page, write_dataset

SPLITS = {"extraction_test": 2, "alignment_test": 1, "extraction_train": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "d", SPLITS)


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_answers_by_the_questions_id(data, tmp_path):
    file = write(tmp_path / "a.jsonl", {"id": "extraction-0:key", "prediction": "G", "cut": True},
                 {"id": "alignment-2:alignment", "prediction": None, "too_long": True})  # fmt: skip
    found = collect(file, data)
    key, bars = found.answers
    assert (key.truth, key.said, key.cut, key.page) == ("key of 0", "G", True, "extraction-0")
    assert (bars.said, bars.cut, bars.too_long) == (None, None, True)
    assert found.splits == ("alignment_test", "extraction_test")
    assert found.left_out == 11  # of 2 · 6 + 1 questions; training's do not count


@pytest.mark.parametrize("name", ["extraction-1", "some/where/extraction-1.png"])
def test_answers_by_picture_and_question_or_subtask(data, tmp_path, name):
    file = write(tmp_path / "a.jsonl",
                 {"image": name, "question": "what is the  KEY?", "prediction": "G"},
                 {"image": name, "subtask": "title", "prediction": "T"})  # fmt: skip
    assert [a.id for a in collect(file, data).answers] == ["extraction-1:key", "extraction-1:title"]


def test_a_pages_id_as_a_files_name():
    assert picture_name("oneills1850/1-35.abc#35/0/extraction") == (
        "oneills1850_1-35_abc_35_0_extraction"
    )


def test_other_names_are_mapped(data, tmp_path):
    file = write(tmp_path / "a.jsonl", {"qid": "extraction-0:key", "output": "G"})
    names = score.mapping("id=qid,prediction=output")
    assert collect(file, data, names).answers[0].said == "G"
    with pytest.raises(UserError, match="no 'answer' to map"):
        collect(file, data, {"answer": "output"})
    with pytest.raises(UserError, match="write it as id=NAME"):
        score.mapping("id")


def test_a_file_of_ours_names_its_dataset_and_ends_where_it_was_killed(data, tmp_path):
    settings = {"dataset": str(data), "splits": ["extraction_test"]}
    file = write(tmp_path / ANSWERS, {"settings": settings},
                 {"id": "extraction-0:key", "prediction": "old"},
                 {"id": "extraction-0:key", "prediction": "G"})  # fmt: skip
    file.write_text(file.read_text() + '{"id": "extraction-0:ti')
    found = collect(tmp_path)  # the folder does
    assert [a.said for a in found.answers] == ["G"] and found.settings == settings


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([{"id": "extraction-0:key", "prediction": "G"}] * 2, "twice, in lines 1 and 2"),
        ([{"id": "nowhere:key", "prediction": "G"}], "none of the 1 answers.*'nowhere:key'"),
        ([{"id": "extraction-0:key", "output": "G"}], "no 'prediction': it has id, output"),
        ([{"id": "extraction-0:key", "prediction": 3}], "the answer 3 is no text"),
        ([[1]], "line 1 is no JSON object"),
        ([], "holds no answers"),
    ],
)
def test_what_is_no_file_of_answers_is_told_in_a_sentence(data, tmp_path, lines, words):
    with pytest.raises(UserError, match=words):
        collect(write(tmp_path / "a.jsonl", *lines), data)


def test_more_that_is_told(data, tmp_path):
    with pytest.raises(UserError, match="is not there"):
        collect(tmp_path / "none.jsonl", data)
    file = tmp_path / "a.jsonl"
    file.write_text('{"id": "extrac\n{"id": "extraction-0:key", "prediction": "G"}\n')
    with pytest.raises(UserError, match="line 1 is no JSON"):
        collect(file, data)
    write(file, {"id": "extraction-0:key", "prediction": "G"}, {"id": "x", "prediction": "G"})
    with pytest.raises(UserError, match="name it with --dataset"):
        collect(file)
    assert collect(file, data).unknown == ("x",)


def right_answers(path, right):
    """Answers to all questions about two pages; `right` says of which subtasks they are right."""
    return write(path, *(
        {"id": f"extraction-{n}:{turn.subtask}",
         "prediction": turn.answer if turn.subtask in right else "wrong"}
        for n in range(2)
        for turn in make_page("extraction", n).turns
    ))  # fmt: skip


def test_the_command_scores_a_file_and_writes_beside_it(data, tmp_path, capsys):
    file = right_answers(tmp_path / "a.jsonl", ("key", "meter"))
    assert score.main(["--predictions", str(file), "--dataset", str(data)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    figures = summary["figures"]
    assert figures["fields.strict"]["value"] == pytest.approx(2 / 5)
    assert figures["six.strict"]["value"] == pytest.approx(2 / 6)
    assert figures["key.strict"]["trivial"] == 0 and summary["training_pages"] == [3, 3]
    said = capsys.readouterr().out
    assert "12 questions about 2 tunes of extraction_test" in said
    assert "key, strict" in said and "| key, strict" in (tmp_path / "summary.md").read_text()
    assert score.main(["--predictions", str(tmp_path / "no"), "--dataset", str(data)]) == 2


def test_two_models_are_compared_on_what_both_answer(data, tmp_path, capsys):
    a = right_answers(tmp_path / "a.jsonl", ("key",))
    b = right_answers(tmp_path / "b.jsonl", ("key", "meter"))
    b.write_text("".join(b.read_text().splitlines(keepends=True)[:-1]))  # one answer less
    assert compare.main([str(a), str(b), "--dataset", str(data)]) == 0
    said = capsys.readouterr().out
    assert "11 questions about 2 tunes; 1 that only A and 0 that only B" in said
    (meter,) = [line.split() for line in said.splitlines() if "meter, strict" in line]
    assert meter[3:] == "0.0 % 100.0 % +100.0 % +100.0 % … +100.0 % + 2".split()
    (key,) = [line.split() for line in said.splitlines() if "key, strict" in line]
    assert key[3:] == "100.0 % 100.0 % 0.0 % 0.0 % … 0.0 % 2".split()
    (wrong,) = [line for line in said.splitlines() if "whole page: characters wrong, of" in line]
    assert wrong.split()[-2] != "−"  # nothing was lost


def test_answers_to_different_questions_cannot_be_compared(data, tmp_path, capsys):
    a = write(tmp_path / "a.jsonl", {"id": "extraction-0:key", "prediction": "G"})
    b = write(tmp_path / "b.jsonl", {"id": "extraction-0:meter", "prediction": "G"})
    assert compare.main([str(a), str(b), "--dataset", str(data)]) == 2
    assert "none that both answer" in capsys.readouterr().err


def test_what_is_said_of_answers_lies_beside_them(tmp_path):
    file = tmp_path / "evaluation_test" / ANSWERS
    file.parent.mkdir()
    file.touch()
    assert folder_of(file) == folder_of(file.parent) == file.parent
