"""What was typed is what happens, or is answered with what may have been meant."""

import json

import pytest

from configs import phase2
from nota_jax import main, typed, values
from nota_jax.errors import UserError

TINY = "--config=configs/phase2.py"


def refused(*arguments) -> str:
    with pytest.raises(UserError) as caught:
        main.parse(["main", TINY, *arguments])
    return str(caught.value)


def test_every_other_name_stands_for_a_key_that_exists_and_for_one_alone():
    assert set(typed.OTHER_NAMES) <= set(values.TABLE)
    names = [name for names in typed.OTHER_NAMES.values() for name in names.split()]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    "name, key",
    [
        ("optim.lr", "optim.learning_rate"), ("lr", "optim.learning_rate"),
        ("wd", "optim.weight_decay"), ("bs", "data.batch_size"), ("batch", "data.batch_size"),
        ("data.bs", "data.batch_size"), ("num_epochs", "epochs"), ("num_train_epochs", "epochs"),
        ("output_dir", "run_dir"), ("output-dir", "run_dir"), ("max_steps", "steps"),
        ("warmup_ratio", "optim.warmup"), ("optim.warmup_steps", "optim.warmup"),
        ("gradient_accumulation_steps", "data.accumulation"), ("model_name", "init_from"),
        ("model_name_or_path", "init_from"), ("resume_from_checkpoint", "previous"),
        ("data.path", "data.dir"), ("data_dir", "data.dir"), ("num_workers", "data.threads"),
        ("max_grad_norm", "optim.clip_norm"), ("logging_steps", "log_every"),
        ("save_total_limit", "keep"), ("fp16", "dtype"), ("gradient_checkpointing", "model.remat"),
        ("beta2", "optim.b2"), ("max_seq_length", "data.lengths"), ("LR", "optim.learning_rate"),
        ("per_device_eval_batch_size", "eval.batch_size"), ("eval_steps", "eval.every"),
    ],
)  # fmt: skip
def test_the_name_of_another_trainer_is_answered_with_ours(name, key):
    assert f"no key {name!r}: did you mean {key}?" in refused(f"--config.{name}=1")


def test_a_name_that_is_ours_elsewhere_is_answered_with_its_places():
    text = refused("--config.batch_size=8")
    assert "did you mean data.batch_size or eval.batch_size?" in text
    assert "did you mean model.vision.patch_size?" in refused("--config.model.patch_size=14")


def test_a_field_without_its_config_is_answered_with_how_it_is_written():
    assert "--lr is no flag: " in refused("--lr=1") and "optim.learning_rate" in refused("--lr=1")
    assert "--steps is no flag: write --config.steps=" in refused("--steps=5")


def test_a_new_field_of_an_open_group_is_a_matter_of_a_file():
    text = refused("--config.data.shares.abc=0.5")
    assert "write c.data.shares.abc = … in a configuration file" in text


def test_values_that_cannot_be_run_end_the_command_line_and_all_are_named():
    text = refused("--config.optim.b2=1.5", "--config.keep=-1", "--config.data.lengths=()")
    for key in ("optim.b2", "keep", "data.lengths"):
        assert f"config.{key} is" in text


def test_size_and_phase_are_no_labels_to_be_changed():
    assert "choose --config=configs/phase2.py:SIZE" in refused("--config.size=mini")
    assert "choose another file" in refused("--config.phase=3")


def test_an_evaluation_of_no_pages_is_refused():
    assert "--config.eval.split=test" in refused("--mode=evaluate", "--config.eval.split=")


# ---- folders


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a run and a dataset, and the configuration's own names beside them."""
    (tmp_path / "runs/mine/base").mkdir(parents=True)
    (tmp_path / "runs/empty").mkdir()
    (tmp_path / "data/mine").mkdir(parents=True)
    (tmp_path / "data/mine/dataset_info.json").write_text("{}")
    report = {"arguments": {"limit": None, "variants": 3, "seed": 0}}
    (tmp_path / "data/mine/build_report.json").write_text(json.dumps(report))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(begun=False, **fields):
    config = phase2.get_config("tiny")
    config.update_from_flattened_dict({key.replace("__", "."): v for key, v in fields.items()})
    keys = typed.changed(config, phase2.get_config("tiny"))
    assert keys == {key.replace("__", ".") for key in fields}
    typed.require_places(config, keys, keys, begun)


def error_of(**fields) -> str:
    with pytest.raises(UserError) as caught:
        asked(**fields)
    return str(caught.value)


def test_the_configurations_own_folders_may_be_missing(here):
    asked()
    asked(steps=5)


@pytest.mark.parametrize("key", ["previous", "init_from", "tokenizer"])
def test_a_folder_that_was_typed_has_to_be_there(here, key):
    text = error_of(**{key: "runs/mien"})
    assert f"config.{key} is runs/mien, which is not there (beside it: runs/mine)" in text
    assert "which is empty" in error_of(**{key: "runs/empty"})
    assert f"--config.{key}= goes without" in text
    asked(**{key: "runs/mine"})
    if phase2.get_config("tiny")[key]:
        asked(**{key: ""})


def test_a_part_that_was_typed_has_to_be_there(here):
    assert "config.parts is runs/txet" in error_of(parts=(("language_model/.*", "runs/txet"),))


def test_a_run_that_goes_on_does_not_ask_where_it_began(here):
    asked(begun=True, previous="runs/gone", init_from="checkpoints/gone")


def test_a_dataset_that_was_mistyped_is_not_built(here):
    text = error_of(data__dir="data/mien")
    assert "config.data.dir is data/mien, where no dataset is (beside it: data/mine)" in text
    assert "--config.data.build.limit=0" in text and "nota_jax.data.build --out data/mien" in text


def test_a_dataset_whose_making_was_asked_for_is_built(here):
    asked(data__dir="data/new", data__build__limit=60)


def test_a_field_of_the_build_asks_for_it_though_its_value_is_the_files_own(here):
    arguments = ["--config.data.dir=data/new", "--config.data.build.limit=2000"]
    config, _, _ = main.parse(["main", f"--config={phase2.__file__}", *arguments])
    changed = typed.changed(config, phase2.get_config("tiny"))
    assert changed == {"data.dir"}
    typed.require_places(config, typed.named(arguments), changed, False)
    with pytest.raises(UserError):
        typed.require_places(config, typed.named(arguments[:1]), changed, False)


def test_a_dataset_that_was_built_otherwise_than_typed_is_not_taken_for_it(here):
    text = error_of(data__dir="data/mine", data__build__limit=60)
    assert "config.data.build.limit is 60, and data/mine is there already, built with None" in text
    asked(data__dir="data/mine", data__build__limit=0)
    asked(data__dir="data/mine", data__build__variants=3)


def test_the_command_ends_with_status_2_and_makes_nothing(here, capsys, monkeypatch):
    (here / "configs").symlink_to(main.Path(phase2.__file__).parent)
    before = sorted(here.rglob("*"))
    assert main.main(["main", TINY, "--config.previous=runs/mien"]) == 2
    assert capsys.readouterr().err.startswith("error: config.previous is runs/mien")
    assert main.main(["main", TINY, "--config.run_dir=gs://bucket/x"]) == 2
    assert "gcsfuse" in capsys.readouterr().err
    assert sorted(here.rglob("*")) == before
