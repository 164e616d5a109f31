"""What has to be there before a run: made where it can be, a sentence where it cannot."""

import os

import pytest

from configs import phase2
from nota_jax import history, ready
from nota_jax.data.feed import tokenizer
from nota_jax.errors import UserError
from tests.data.make_dataset import write_dataset


@pytest.fixture
def config(tmp_path):
    c = phase2.get_config("tiny")
    c.run_dir, c.data.dir = str(tmp_path / "run"), str(tmp_path / "data")
    c.previous = c.init_from = c.tokenizer = ""
    return c


def refusal(config) -> str:
    with pytest.raises(UserError) as caught:
        ready.check_folders(config)
    return str(caught.value)


def test_folders_that_are_new_empty_or_of_a_run_are_taken_and_nothing_is_made(config, tmp_path):
    ready.check_folders(config)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "data").mkdir()
    (tmp_path / "run").mkdir()
    ready.check_folders(config)
    for name in (".gitkeep", "slurm-7.out"):
        (tmp_path / "run" / name).touch()
    ready.check_folders(config)
    (tmp_path / "run" / "evaluation_test").mkdir()
    ready.check_folders(config)


@pytest.mark.parametrize("key", ["run_dir", "data.dir"])
def test_a_file_where_a_folder_belongs_is_named(config, tmp_path, key):
    (tmp_path / "file").write_text("[]")
    for folder in (tmp_path / "file", tmp_path / "file" / "inner"):
        config.update_from_flattened_dict({key: str(folder)})
        text = refusal(config)
        assert f"config.{key} is {folder}, and {tmp_path / 'file'} is a file" in text


def test_a_link_that_leads_nowhere_is_no_folder(config, tmp_path):
    (tmp_path / "run").symlink_to(tmp_path / "gone")
    assert "is no folder" in refusal(config)


def test_a_folder_that_may_not_be_written_is_named(config, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    text = refusal(config)
    assert f"config.run_dir is {tmp_path / 'run'}, which cannot be made or written" in text


def test_a_run_is_not_written_among_other_things(config, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("README.md", "Makefile", "checkpoints", "tests"):
        (tmp_path / "run" / name).touch()
    text = refusal(config)
    assert "which holds Makefile, README.md, checkpoints and 1 more and is no run's" in text
    (tmp_path / "run/config.json").write_text(
        '{"architectures": ["LlavaForConditionalGeneration"]}'
    )
    assert "config.json is no configuration of a run" in refusal(config)


def test_a_dataset_is_not_built_over_other_things(config, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "llava_v1_5_mix665k.json").write_text("[]")
    text = refusal(config)
    assert "which holds llava_v1_5_mix665k.json and no dataset_info.json" in text


def test_run_and_dataset_do_not_share_a_folder(config):
    config.data.dir = config.run_dir
    assert "are both" in refusal(config)


def test_how_long_a_build_takes_is_said_before_it_begins(config, monkeypatch):
    said, built = [], []
    monkeypatch.setattr(ready, "require_room", lambda *_: None)
    monkeypatch.setattr(ready.corpora, "read", lambda names, limit: iter(range(12_949)))
    monkeypatch.setattr(ready.dataset, "build", lambda *a: built.append((list(said), a)))
    config.data.build.update(limit=0, variants=4, workers=2)
    ready.prepare_dataset(config, said.append)
    ((before, arguments),) = built
    (line,) = before
    assert "12,949 tunes, about 147,000 pages, 3.8 GB, roughly 49 minutes on 2 cores" in line
    assert "--config.data.build.limit=2000" in line
    assert arguments[1:3] == (None, None)


def test_the_number_of_pages_is_about_what_a_build_had():
    """data/small: 4,435 tunes in three drawings, 36,576 pages and 436 scanned ones."""
    assert abs(ready.pages_of(4435, 3) - (36_576 + 436)) < 0.05 * 37_012


def test_a_disk_that_is_too_small_for_the_dataset_is_told_before_it_is_built(config, monkeypatch):
    monkeypatch.setattr(ready.corpora, "read", lambda names, limit: iter(range(9)))
    monkeypatch.setattr(ready, "PAGE_BYTES", 10**18)
    with pytest.raises(UserError, match="while it is built needs .* TB"):
        ready.prepare_dataset(config, lambda _: None)


# ---- the pages that training ends with


def test_an_evaluation_without_pages_is_told_before_training(config, tmp_path):
    write_dataset(tmp_path / "data", {"extraction_train": 3, "alignment_train": 3})
    with pytest.raises(UserError) as caught:
        ready.require_split(config)
    text = str(caught.value)
    assert "has no pages in extraction_test, alignment_test" in text
    assert "--config.eval.split= goes without" in text and "--config.eval.split=train" in text
    config.eval.split = ""
    ready.require_split(config)
    config.eval.split = "train"
    ready.require_split(config)


# ---- the tokenizer


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two tokenizers of other texts."""
    folder = tmp_path_factory.mktemp("tokenizers")
    for name, text in (("one", "X:1 K:G GABc|"), ("two", "title of a reel, a jig, a march")):
        tokenizer.train_bpe([text] * 9, 300, folder / name)
    return folder


def mark(place):
    return history.of_tokenizer(tokenizer.load_tokenizer(place))


def test_a_tokenizers_mark_tells_it_from_another_wherever_it_lies(two, tmp_path):
    tokenizer.save_tokenizer(tokenizer.load_tokenizer(two / "one"), tmp_path / "copy")
    assert mark(two / "one") == mark(tmp_path / "copy") != mark(two / "two")


def test_a_tokenizer_that_no_phase_has_left_yet_is_told_before_anything_is_built(config, two):
    config.tokenizer = str(two / "three")
    with pytest.raises(UserError, match="config.tokenizer is .*/three, where no tokenizer is"):
        ready.require_tokenizer(config)
    config.tokenizer = str(two / "one")
    ready.require_tokenizer(config)


def test_the_tokenizer_of_a_start_that_never_saved_gives_way_to_the_one_that_is_asked_for(
    config, two
):
    config.tokenizer = str(two / "one")
    ready.prepare_tokenizer(config, print)
    config.tokenizer = str(two / "two")
    ready.prepare_tokenizer(config, print)
    assert mark(config.run_dir) == mark(two / "two")


def test_a_run_that_has_trained_keeps_its_tokenizer_and_no_other_is_taken_for_it(
    config, two, tmp_path
):
    tok = tokenizer.load_tokenizer(two / "one")
    tokenizer.save_tokenizer(tok, tmp_path / "run/tokenizer")
    (tmp_path / "run/checkpoints/5").mkdir(parents=True)
    history.write(config.run_dir, 9, config, {"tokenizer": history.of_tokenizer(tok)})
    assert history.of_tokenizer(ready.prepare_tokenizer(config, print)) == mark(two / "one")
    tokenizer.save_tokenizer(tokenizer.load_tokenizer(two / "two"), tmp_path / "run/tokenizer")
    with pytest.raises(UserError, match="is not the one that .* was trained with"):
        ready.prepare_tokenizer(config, print)


def test_weights_are_not_started_from_with_another_tokenizer(two, tmp_path):
    tok = tokenizer.load_tokenizer(two / "one")
    ready.require_same_tokenizer(tok, two / "one", "previous")
    ready.require_same_tokenizer(tok, tmp_path, "previous")  # none there
    with pytest.raises(UserError, match="config.previous is .*/two, whose tokenizer .* is another"):
        ready.require_same_tokenizer(tok, two / "two", "previous")


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("train.json", '[{"id": "a", "image": "a.png", "conversations": []}]', "--from llava:"),
        ("train.jsonl", '{"image_path": "a.png", "q": "?"}', "--from records:"),
        ("a/tune.musicxml", "<score-partwise/>", "--from music:"),
        ("letters.txt", "dear", "docs/datasets.md"),
    ],
)
def test_a_folder_of_other_data_is_answered_with_the_command_that_reads_it(
    config, tmp_path, name, content, said
):
    (tmp_path / "data" / name).parent.mkdir(parents=True)
    (tmp_path / "data" / name).write_text(content)
    text = refusal(config)
    assert said in text and "holds" in text and str(tmp_path / "data") in text
