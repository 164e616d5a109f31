"""The tasks that are written for lmms-eval load and score by themselves, wherever they lie."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from PIL import Image

from nota_jax.errors import UserError
from nota_jax.evaluation import lmms, score
from nota_jax.evaluation.answers import collect
from tests.data.make_dataset import SIZE, write_dataset

SIZES = {"extraction_test": 2, "alignment_test": 1, "analysis_test": 1, "extraction_train": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "d", SIZES)


@pytest.fixture(scope="module")
def moved(data, tmp_path_factory):
    """The folder, written in one place and brought to another."""
    there = tmp_path_factory.mktemp("there")
    command = ["--export-task", str(there / "tasks"), "--dataset", str(data)]
    assert score.main(command) == 0
    return shutil.move(there / "tasks", tmp_path_factory.mktemp("elsewhere") / "tasks")


@pytest.fixture(scope="module")
def module(moved):
    spec = importlib.util.spec_from_file_location("nota_task", moved / "nota_task.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def task(moved, module):
    """`task(split)`: the YAML file as lmms-eval reads it: `!function file.name` is what that is."""

    class Loader(yaml.SafeLoader):
        pass

    def named(loader, node):
        file, _, name = loader.construct_scalar(node).partition(".")
        assert file == "nota_task"
        return getattr(module, name)

    Loader.add_constructor("!function", named)
    return lambda split: yaml.load((moved / f"nota_{split}.yaml").read_text(), Loader)


def documents(moved, split):
    return [json.loads(line) for line in (moved / f"{split}.jsonl").read_text().splitlines()]


def test_a_task_for_every_split_held_out(moved, task):
    names = sorted(path.name for path in moved.glob("*.yaml"))
    assert names == [f"nota_{t}_test.yaml" for t in ("alignment", "analysis", "extraction")]
    found = task("extraction_test")
    assert found["task"] == "nota_extraction_test" and found["tag"] == "nota"
    assert found["cluster_key"] == "page" and found["test_split"] == "test"
    files = found["dataset_kwargs"]
    assert f"{files['data_dir']}/{files['data_files']['test']}" == str(
        moved / "extraction_test.jsonl"
    )
    assert len(documents(moved, "extraction_test")) == 12


def test_a_question_is_asked_with_its_picture(moved, task):
    found, doc = task("extraction_test"), documents(moved, "extraction_test")[1]
    (message,) = found["doc_to_messages"](doc, {"post_prompt": " In ABC."})
    picture, text = message["content"]
    assert picture["url"].size == (SIZE, SIZE) and picture["url"].mode == "RGB"
    assert text == {"type": "text", "text": "What is the key? In ABC."}
    (same,) = found["doc_to_visual"](doc)
    assert same.tobytes() == picture["url"].tobytes()
    with Image.open(moved / doc["picture"]) as page:
        assert page.getpixel((0, 0)) == same.getpixel((0, 0))[0]
    assert found["doc_to_text"](doc) == "What is the key?" and doc[found["doc_to_target"]]


def scored(task, docs, answer):
    """lmms-eval's way: every answer's marks by metric, then each metric's aggregation."""
    marks = {}
    for doc in docs:
        for name, mark in task["process_results"](doc, [answer(doc)]).items():
            assert mark[task["cluster_key"]] == doc["page"] and isinstance(mark["score"], float)
            marks.setdefault(name, []).append(mark)
    assert set(marks) == {metric["metric"] for metric in task["metric_list"]}
    return {m["metric"]: m["aggregation"](marks[m["metric"]]) for m in task["metric_list"]}


def test_extraction_scores_by_hand(moved, task):
    docs = documents(moved, "extraction_test")
    right = scored(task("extraction_test"), docs, lambda doc: f" {doc['answer']}\n")
    assert {name for name, value in right.items() if value != 1} == {
        "abc_normalised_distance", "abc_character_errors",
    }  # fmt: skip
    assert right["abc_normalised_distance"] == right["abc_character_errors"] == 0

    def some(doc):  # keys right, one of two titles right, of the ABC the last character missing
        known = doc["subtask"] == "key" or doc["id"] == "extraction-0:title"
        return doc["answer"] if known else doc["answer"][:-1] if doc["subtask"] == "abc" else "?"

    found = scored(task("extraction_test"), docs, some)
    assert (found["key_strict"], found["title_strict"], found["meter_strict"]) == (1, 0.5, 0)
    assert found["fields_strict"] == pytest.approx((1 + 0.5 + 0 + 0 + 0) / 5)
    lengths = [len(doc["answer"]) for doc in docs if doc["subtask"] == "abc"]
    assert found["abc_strict"] == 0
    assert found["abc_character_errors"] == pytest.approx(2 / sum(lengths))
    assert found["abc_normalised_distance"] == pytest.approx(sum(1 / n for n in lengths) / 2)


def test_a_mean_of_fields_needs_them_all(module):
    marks = [{"score": 1.0, "of": field, "weight": 1} for field in module.FIELDS]
    assert module.mean_of_fields(marks) == 1
    assert module.mean_of_fields(marks[1:]) != module.mean_of_fields(marks[1:])  # NaN


def test_analyses_by_their_words(moved, task, module):
    docs = documents(moved, "analysis_test")  # "analysis of 3"
    found = scored(task("analysis_test"), docs, lambda _: "An analysis, of it: an analysis.")
    # Two of its six words, of the truth's three: 2 · 2 / (6 + 3).
    assert found == {"analysis_rouge1": pytest.approx(4 / 9)}
    assert module.common_words("", "") == 0


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("GABc", "GABd", 1),
     ("flaw", "lawn", 2), ("z" * 200, "z" * 199 + "|", 1)],
)  # fmt: skip
def test_levenshteins_distance(module, a, b, edits):
    assert module.distance(a, b) == module.distance(b, a) == edits


def test_it_needs_nothing_of_ours_and_says_nothing_of_where_it_was_made(moved, data):
    code = "import sys; sys.modules['nota_jax'] = None; import nota_task; print(nota_task.FOLDER)"
    done = subprocess.run([sys.executable, "-c", code], cwd=moved, capture_output=True, text=True)
    assert done.stdout.strip() == str(moved)
    for path in moved.glob("*.*"):
        assert str(data.parent) not in path.read_text() and "/tmp" not in path.read_text()
    assert "14 questions about 4 pictures" in (moved / "README.md").read_text()


def test_samples_of_lmms_eval_are_read(moved, data, tmp_path):
    """A sample is as lmms-eval 0.7.3 writes it."""
    doc = documents(moved, "extraction_test")[1]
    sample = {
        "doc_id": 1, "target": doc["answer"], "resps": " key of 0", "filtered_resps": "key of 0",
        "input_media": [doc["picture"]], "input": doc["question"],
    }  # fmt: skip
    (tmp_path / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    readme = (moved / "README.md").read_text()
    names = score.mapping(re.search(r"--map (\S+)", readme)[1])
    (answer,) = collect(tmp_path / "samples.jsonl", data, names).answers
    assert answer.said == "key of 0" and answer.subtask == "key"
    with pytest.raises(UserError, match="no 'resps.1': it has doc_id"):
        collect(tmp_path / "samples.jsonl", data, names | {"prediction": "resps.1"})


def test_what_cannot_be_written_is_told_in_a_sentence(data, tmp_path, capsys):
    assert score.main(["--export-task", str(tmp_path / "t")]) == 2
    assert "--export-task needs --dataset" in capsys.readouterr().err
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "mine").write_text("")
    with pytest.raises(UserError, match="is there already"):
        lmms.export(lmms.Settings(str(data), ("extraction_test",)), tmp_path / "t")
    with pytest.raises(UserError, match="no pages in split nowhere"):
        lmms.export(lmms.Settings(str(data), ("nowhere",)), tmp_path / "u")
    assert not (tmp_path / "u").exists()
