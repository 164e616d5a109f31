"""What a run was begun with and what was changed when it went on: kept, compared, refused, said."""

import json
import shutil

import pytest

from configs import phase1, phase2
from nota_jax import history, values
from nota_jax.errors import UserError

MARKS = {"tokenizer": "aa", "dataset": "bb"}


def config(**fields):
    c = phase2.get_config("tiny")
    c.update_from_flattened_dict({key.replace("__", "."): v for key, v in fields.items()})
    return c


@pytest.fixture
def begun(tmp_path):
    """A run of 300 steps that has a checkpoint of step 120."""
    history.write(tmp_path, 300, config(), MARKS)
    (tmp_path / "checkpoints/120").mkdir(parents=True)
    return tmp_path


def go_on(run_dir, c, total=300, marks=MARKS):
    state = history.read(run_dir)
    changed = history.require_continuable(run_dir, state, c, marks)
    said = history.told(state, changed, total, history.latest_step(run_dir))
    history.add(run_dir, state, changed, total, c, marks)
    return said


def refusal(run_dir, c, marks=MARKS):
    with pytest.raises(UserError) as caught:
        go_on(run_dir, c, marks=marks)
    return str(caught.value)


def test_a_run_that_goes_on_unchanged_says_and_writes_nothing(begun):
    before = (begun / history.FILE).read_text()
    assert go_on(begun, config()) == []
    assert (begun / history.FILE).read_text() == before


def test_a_recipe_that_changes_is_said_and_kept_with_its_step(begun):
    said = go_on(begun, config(optim__learning_rate=3e-4, steps=500), total=500)
    assert said == [
        "changed behind step 120: config.optim.learning_rate was 0.001, is 0.0003",
        "changed behind step 120: config.steps was 700, is 500",
        "changed behind step 120: 500 steps, not 300",
    ]
    line = json.loads((begun / history.FILE).read_text().splitlines()[-1])
    assert line["step"] == 120 and line["total_steps"] == 500
    assert line["changed"]["optim.learning_rate"] == [0.001, 0.0003]
    state = history.read(begun)
    assert state.config["optim.learning_rate"] == 3e-4 and state.total_steps == 500
    assert go_on(begun, config(optim__learning_rate=3e-4, steps=500), total=500) == []
    (back,) = go_on(begun, config(steps=500), total=500)  # a change is told against the last state
    assert "was 0.0003, is 0.001" in back


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"model__text__rope_theta": 1e4}, "the meaning of its parameters"),
        ({"model__vision__hidden_act": "gelu"}, "the meaning of its parameters"),
        ({"chunks": "notes"}, "the meaning of its parameters"),
        ({"vocab_size": 1024}, "the meaning of its parameters"),
        ({"tokenizer": "runs/x"}, "the meaning of its parameters"),
        ({"trainable": ((".*", True),)}, "the meaning of its parameters"),
        ({"objective": "answers"}, "the meaning of its parameters"),
        ({"seed": 1}, "that is where it began"),
        ({"previous": ""}, "that is where it began"),
        ({"init_from": "checkpoints/x"}, "that is where it began"),
        ({"data__batch_size": 40}, "the batches that it has seen"),
        ({"data__tasks": ("analysis",)}, "the batches that it has seen"),
        ({"data__weights__key": 1.0}, "the batches that it has seen"),
        ({"data__jitter": 0}, "the batches that it has seen"),
        ({"optim__weight_decay": 0.0}, "no arrays for that"),
        ({"optim__center_rules": ((".*", True),)}, "no arrays for that"),
        ({"aids__symbols": 0.1}, "no arrays for that"),
    ],
)
def test_what_cannot_change_is_refused_by_its_key(begun, fields, reason):
    (key,) = fields
    before = (begun / history.FILE).read_text()
    text = refusal(begun, config(**fields))
    assert f"config.{key.replace('__', '.')} was " in text and reason in text
    assert (begun / history.FILE).read_text() == before


def test_all_that_cannot_change_is_named_at_once(begun):
    text = refusal(begun, config(seed=1, data__batch_size=40, optim__learning_rate=1e-4))
    assert "config.seed was 0 and is 1" in text
    assert "config.data.batch_size was 20 and is 40" in text and "learning_rate" not in text


@pytest.mark.parametrize("name", ["tokenizer", "dataset"])
def test_another_tokenizer_or_dataset_under_the_same_name_is_refused(begun, name):
    assert f"the {name} is another" in refusal(begun, config(), MARKS | {name: "cc"})


def test_folders_may_move_and_what_changes_nothing_may_change(begun):
    c = config(
        run_dir="/elsewhere", data__dir="/copy", log_every=1, save_every=7, keep=9,
        eval__split="validation", data__threads=8, model__unroll=1, mesh__data=1,
    )  # fmt: skip
    assert go_on(begun, c) == []


def test_a_weight_that_stays_a_weight_may_change(begun):
    (said,) = go_on(begun, config(optim__weight_decay=0.1))
    assert "config.optim.weight_decay was 0.01, is 0.1" in said


def test_a_finished_run_has_nothing_to_say_or_write(begun):
    (begun / "checkpoints/300").mkdir()
    before = (begun / history.FILE).read_text()
    assert go_on(begun, config(optim__learning_rate=1e-5)) == []
    assert (begun / history.FILE).read_text() == before


def test_a_line_that_was_cut_off_is_passed_over_and_gives_way_to_the_next(begun):
    with (begun / history.FILE).open("a") as file:
        file.write('{"step": 120, "chan')
    assert history.read(begun).total_steps == 300
    go_on(begun, config(optim__final=0.5))
    assert history.read(begun).config["optim.final"] == 0.5
    assert len((begun / history.FILE).read_text().splitlines()) == 2


def test_a_damaged_line_is_named(begun):
    go_on(begun, config(optim__final=0.5))
    path = begun / history.FILE
    path.write_text("x" + path.read_text())
    with pytest.raises(UserError, match=r"line 1 of .*history.jsonl is damaged"):
        history.read(begun)


def test_a_run_of_before_there_was_a_history_is_compared_with_its_config_json(tmp_path):
    (tmp_path / "checkpoints/120").mkdir(parents=True)
    (tmp_path / "config.json").write_text(config().to_json_best_effort())
    state = history.read(tmp_path)
    assert state.total_steps == 700 and not state.marks
    assert "config.seed was 0 and is 1" in refusal(tmp_path, config(seed=1))
    go_on(tmp_path, config(optim__learning_rate=3e-4), total=700)
    line = json.loads((tmp_path / history.FILE).read_text())
    assert line["step"] == 120 and line["marks"] == MARKS


def test_a_key_that_the_run_did_not_know_yet_is_nobodys_change(begun):
    state = history.read(begun)
    older = {key: value for key, value in state.config.items() if key != "data.misread"}
    found = history.differences(history.State(older), config())
    assert found == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": {}}', "\x00"])
def test_a_broken_config_json_is_a_sentence(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="config.json is no configuration of a run, or is damaged"):
        history.read(tmp_path)


def test_nothing_is_no_run(tmp_path):
    assert history.read(tmp_path) is None and history.read(tmp_path / "gone") is None
    assert history.latest_step(tmp_path) == 0


def test_the_latest_step_is_that_of_a_whole_checkpoint(tmp_path):
    for name in ("20", "100", "200.orbax-checkpoint-tmp-1", "300.damaged"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert history.latest_step(tmp_path) == 100


def test_the_model_of_a_previous_phase_is_compared_by_what_shapes_do_not_tell():
    state = history.State(history.plain(phase1.get_config("tiny")))
    history.require_same_model("runs/one", state, config(model__vision__most_patches=100))
    history.require_same_model("runs/one", state, config(data__batch_size=7, model__unroll=1))
    with pytest.raises(UserError, match="config.model.vision.feature_layer was -1 and is -2"):
        history.require_same_model("runs/one", state, config(model__vision__feature_layer=-2))


def dataset(folder, sizes, tunes="aa"):
    folder.mkdir()
    splits = [{"name": n, "numBytes": str(b), "shardLengths": ["1"]} for n, b in sizes.items()]
    (folder / "dataset_info.json").write_text(json.dumps({"splits": splits}))
    report = {"arguments": {"tunes_sha256": tunes}}
    (folder / "build_report.json").write_text(json.dumps(report))
    return history.of_dataset(folder, ["alignment_train", "extraction_train"])


def test_a_datasets_mark_is_that_of_its_splits_wherever_they_lie(tmp_path):
    both = {"alignment_train": 10, "extraction_train": 20}
    mark = dataset(tmp_path / "a", both)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert history.of_dataset(tmp_path / "b", ["extraction_train", "alignment_train"]) == mark
    assert dataset(tmp_path / "c", both | {"alignment_test": 5}) == mark
    assert dataset(tmp_path / "d", both, tunes="bb") != mark
    assert dataset(tmp_path / "e", both | {"extraction_train": 21}) != mark
    assert history.of_dataset(tmp_path / "gone", ["x"])  # whoever reads it says so


def test_every_key_has_a_part_in_a_run_that_goes_on():
    roles = {values.MODEL, values.ORIGIN, values.BATCHES, values.RECIPE, values.FREE}
    assert {row.role for row in values.TABLE.values()} == roles
    assert set(history.FORMS) <= set(values.TABLE)
