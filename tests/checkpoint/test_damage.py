"""What a disk did to a checkpoint is noticed, said in a sentence, and does not end a run."""

import json
import os
import random
import shutil

import jax
import numpy as np
import pytest
import tensorstore

from nota_jax.checkpoint import base as bases
from nota_jax.checkpoint import damage, slices, steps
from nota_jax.checkpoint.base import explained, load_base
from nota_jax.checkpoint.fingerprints import by_path
from nota_jax.checkpoint.steps import Checkpoints, load_params
from nota_jax.errors import UserError
from nota_jax.params import flatten
from tests.checkpoint.test_steps import ALL_BUT_VISION, Run, same, small_params


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A run with checkpoints of steps 1, 2 and 3."""
    run = Run(tmp_path_factory.mktemp("run"), small_params(), ALL_BUT_VISION)
    with Checkpoints(run.folder, keep_last=3) as checkpoints:
        for _ in range(3):
            run.step()
            run.save(checkpoints)
    return run


@pytest.fixture
def spoil(sound, tmp_path):
    """`spoil(change)`: a copy of the run whose newest checkpoint `change` was let loose on."""
    count = iter(range(1000))

    def copy(change, step=3):
        folder = tmp_path / str(next(count))
        shutil.copytree(sound.folder, folder)
        change(folder / "checkpoints" / str(step))
        return folder

    return copy


def resumed(run, folder, **options):
    """(step that it goes on from, its state, lines said)."""
    said = []
    with Checkpoints(folder, keep_last=3, say=said.append, **options) as checkpoints:
        restored, _ = run.restore(checkpoints)
    return int(restored.step), restored, said


def largest(folder, item):
    """The file of an item that holds the most of its numbers."""
    return max((folder / item / "d").iterdir(), key=lambda path: path.stat().st_size)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FAULTS = {
    "parameters cut": lambda step: cut(largest(step, "params")),
    "parameters deleted": lambda step: largest(step, "params").unlink(),
    "parameters emptied": lambda step: largest(step, "params").write_bytes(b""),
    "parameters missing": lambda step: shutil.rmtree(step / "params"),
    "their table emptied": lambda step: (step / "params/manifest.ocdbt").write_bytes(b""),
    "their names cut": lambda step: cut(step / "params/_METADATA"),
    "optimizer cut": lambda step: cut(largest(step, "optimizer")),
    "optimizer missing": lambda step: shutil.rmtree(step / "optimizer"),
    "its names deleted": lambda step: (step / "optimizer/_METADATA").unlink(),
    "words cut": lambda step: cut(step / "about/metadata"),
    "words of other bytes": lambda step: (step / "about/metadata").write_bytes(b"\xff\xfe{}"),
    "words missing": lambda step: shutil.rmtree(step / "about"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_checkpoint_is_named_and_set_aside_and_the_one_before_is_used(
    sound, spoil, fault, capfd
):
    folder = spoil(FAULTS[fault])
    step, _, said = resumed(sound, folder)
    assert step == 2
    [line] = said
    assert line.startswith("WARNING: ") and "\n" not in line
    assert f"{folder}/checkpoints/3" in line and "it is kept as 3.damaged" in line
    assert (folder / "checkpoints/3.damaged").is_dir()
    assert resumed(sound, folder)[0::2] == (2, [])  # and there is nothing more to be said
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("fault", ["parameters cut", "parameters missing", "words cut"])
def test_an_evaluation_reads_the_one_before_and_renames_nothing(sound, spoil, fault):
    folder, said = spoil(FAULTS[fault]), []
    before = sorted((folder / "checkpoints").rglob("*"))
    params = load_params(folder, small_params(), say=said.append)
    np.testing.assert_array_equal(
        params["language_model"]["norm"]["scale"],
        small_params()["language_model"]["norm"]["scale"] + np.float32(1) + np.float32(1),
    )
    assert len(said) == 1 and f"{folder}/checkpoints/3" in said[0] and "instead" in said[0]
    assert sorted((folder / "checkpoints").rglob("*")) == before
    with pytest.raises(UserError, match=r"3.* is damaged: .*there are also steps 2, 1"):
        load_params(f"{folder}@3", small_params())


def flip(folder, item, path, rng):
    """Flips one bit of one number, in the file of an array."""
    array = slices.open_array(folder / item, path, write=True)
    values = array.read().result()
    raw = bytearray(values.tobytes())
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    array.write(np.frombuffer(bytes(raw), values.dtype).reshape(values.shape)).result()


def arrays(run):
    """Every (item, path) of a checkpoint."""
    optimizer = [("optimizer", path) for path in by_path(run.state.progress)]
    return [("params", path) for path in flatten(run.state.trainable)] + optimizer


def test_a_flipped_bit_of_any_array_is_noticed(sound, spoil):
    rng = random.Random(0)
    for item, path in arrays(sound):
        folder = spoil(lambda step, i=item, p=path: flip(step, i, p, rng))
        step, restored, said = resumed(sound, folder)
        assert step == 2 and len(said) == 1, path
        assert f"3 is damaged: {path} has checksum" in said[0]
    folder = spoil(lambda step: flip(step, "params", "language_model/norm/scale", rng))
    said = []
    load_params(folder, small_params(), say=said.append)
    assert "language_model/norm/scale has checksum" in said[0]
    with pytest.raises(UserError, match="language_model/norm/scale"):
        stored = slices.Stored(f"{folder}@3")
        for path in stored.forms:
            stored.read(path)
        stored.verify()


def test_a_changed_digit_of_what_is_said_about_a_step_is_noticed(sound, spoil):
    def change(step):
        path = step / "about/metadata"
        path.write_text(path.read_text().replace('"next": 3', '"next": 4'))

    step, _, [line] = resumed(sound, spoil(change))
    assert step == 2 and "its seal is" in line


def test_where_none_is_sound_a_run_says_so_and_never_begins_again(sound, spoil):
    folder = spoil(FAULTS["parameters cut"])
    for step in (1, 2):
        FAULTS["words cut"](folder / f"checkpoints/{step}")
    said = []
    for _ in range(2):
        with pytest.raises(UserError, match="no checkpoint .* 1.damaged, 2.damaged, 3.damaged"):
            with Checkpoints(folder, say=said.append) as checkpoints:
                run = sound
                run.restore(checkpoints)
    assert len(said) == 3
    with pytest.raises(UserError, match="let it train first"):
        (folder / "config.json").write_text("{}")
        load_params(folder, small_params())


def test_a_step_that_is_damaged_twice_is_kept_twice(sound, spoil):
    folder = spoil(FAULTS["words cut"])
    resumed(sound, folder)
    shutil.copytree(sound.folder / "checkpoints/3", folder / "checkpoints/3")
    FAULTS["words cut"](folder / "checkpoints/3")
    resumed(sound, folder)
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {
        "1", "2", "3.damaged", "3.damaged-2"
    }  # fmt: skip


def test_another_optimizer_is_a_sentence_and_no_damage(sound, spoil):
    folder = spoil(lambda step: None)
    other = jax.eval_shape(lambda: {"other": sound.optimizer.init(sound.state.trainable)})
    template = sound.template.replace(opt_state=other)
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(UserError, match="written with another optimizer: opt_state/.* absent"):
            sound.restore(checkpoints, template=template)
    assert resumed(sound, folder)[0] == 3


def test_a_checkpoint_of_an_earlier_version_is_read_and_said_to_be_unverified(sound, spoil):
    def make_old(step):
        path = step / "about/metadata"
        about = json.loads(path.read_text())
        del about[damage.SEAL], about["optimizer"]
        for mark in about["parameters"].values():
            del mark["checksum"]
        path.write_text(json.dumps(about))

    folder = spoil(make_old)
    step, restored, [line] = resumed(sound, folder)
    assert step == 3 and "has no checksums" in line
    assert same(restored.trainable, sound.state.trainable)
    load_params(folder, small_params())
    stored = slices.Stored(f"{folder}@3")
    for path in stored.forms:
        stored.read(path)
    stored.verify()


@pytest.mark.parametrize("name", ["about/metadata", "params/manifest.ocdbt", "params/_METADATA"])
@pytest.mark.parametrize("change", [cut, os.unlink])
def test_a_damaged_base_is_a_sentence_that_says_what_to_do(sound, spoil, name, change):
    folder = spoil(lambda step: change(step.parents[1] / "base" / name))
    frozen = {"vision_tower": small_params()["vision_tower"]}
    if (name, change) == ("params/_METADATA", os.unlink):
        load_base(folder, frozen)  # Orbax does without
        return
    for read in (lambda: load_base(folder, frozen), lambda: load_params(folder, small_params())):
        with pytest.raises(UserError, match=r"base\S* is damaged: .*Put back a copy") as caught:
            read()
        assert "\n" not in str(caught.value)
    assert (folder / "checkpoints/3").is_dir()


def test_an_array_that_vanishes_while_it_is_read_is_called_damage(tmp_path, monkeypatch):
    """As where another process sets it aside; Orbax says it with an error of no kind."""
    params, opened = {"kernel": jax.numpy.arange(4096.0)}, tensorstore.open
    bases.write(tmp_path / "3", params, {})

    def open_and_take_away(*args, **options):
        array = opened(*args, **options)
        array.result()
        damage.set_aside(tmp_path / "3")
        return array

    monkeypatch.setattr(tensorstore, "open", open_and_take_away)
    with pytest.raises(damage.Damaged, match=r"3 is damaged: .*(kernel|/3/params)"):
        bases.read(tmp_path / "3", params=params)


def test_what_is_not_the_files_fault_is_not_called_damage(tmp_path):
    for error in (MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: out of memory")):
        with pytest.raises(type(error)), damage.reading(tmp_path):
            raise error
    with pytest.raises(UserError, match="cannot read .*denied") as caught:
        with damage.reading(tmp_path):
            raise PermissionError(13, "Permission denied")
    assert not isinstance(caught.value, damage.Damaged)


def test_another_processs_end_is_neither_damage_nor_a_full_disk(tmp_path, monkeypatch):
    """Or who outlives it would set aside a sound checkpoint, or give up for good."""
    error = ValueError("UNKNOWN: Gloo AllGather failed: Connection reset by peer")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="Gloo"), damage.reading(tmp_path):
        raise error
    with pytest.raises(ValueError, match="Gloo"), explained("a checkpoint", tmp_path):
        raise error


def test_a_checkpoint_that_training_clears_away_meanwhile_is_not_called_damaged(
    sound, spoil, monkeypatch
):
    folder, said = spoil(lambda step: None), []
    load = steps._load

    def late(run_dir, step, *rest):
        if step == 3:
            shutil.rmtree(folder / "checkpoints/3")
        return load(run_dir, step, *rest)

    monkeypatch.setattr(steps, "_load", late)
    load_params(folder, small_params(), say=said.append)
    assert said == []
