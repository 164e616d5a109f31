"""Checkpoints: what is written is what is read, and nothing else is accepted."""

import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from orbax.checkpoint._src.path import deleter

from nota_jax.checkpoint import steps
from nota_jax.checkpoint.base import load_base, save_base
from nota_jax.checkpoint.fingerprints import fingerprint
from nota_jax.checkpoint.steps import Checkpoints, load_params
from nota_jax.errors import UserError
from nota_jax.parallel.mesh import make_mesh, param_shardings
from nota_jax.params import flatten, resolve, split_tree
from nota_jax.training import state
from nota_jax.training.optimizer import OptimizerConfig, make_optimizer

CONNECTOR = ((r"multi_modal_projector/.*", True), (".*", False))
ALL_BUT_VISION = ((r"vision_tower/.*", False), (".*", True))
EVERYTHING = ((".*", True),)


def small_params(width=4, seed=0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return {
        "vision_tower": {"fc1": {"kernel": normal(2, width, 8), "bias": normal(2, 8)}},
        "multi_modal_projector": {"linear_1": {"kernel": normal(8, width)}},
        "language_model": {
            "norm": {"scale": normal(width)},
            "lm_head": {"kernel": normal(width, 6)},
        },
    }


class Run:
    """A phase without its training: `step` moves every trainable parameter by `add`."""

    def __init__(self, folder, params, table):
        self.folder = folder
        self.trainable = resolve(table, params, table="trainable")
        self.optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1), 10)
        self.shardings = param_shardings(
            make_mesh(devices=jax.devices()[:1]), params, [(".*", PartitionSpec())]
        )
        self.base = save_base(folder, split_tree(params, self.trainable)[1])
        self.state = state.create(params, self.trainable, self.optimizer, self.shardings)
        self.template = state.abstract_state(self.state.trainable, self.optimizer, self.shardings)

    def step(self, add=1.0):
        self.state = self.state.replace(
            step=self.state.step + 1,
            trainable=jax.tree.map(lambda x: x + add, self.state.trainable),
        )

    def save(self, checkpoints):
        number = int(self.state.step)
        about = {"data": {"next": number}, "config": {"size": "tiny"}}
        checkpoints.save(
            number,
            self.state.trainable,
            self.state.progress,
            self.base,
            about=about,
        )

    def restore(self, checkpoints, base=None, template=None):
        """The state, and what was saved about it."""
        template = template or self.template
        base = self.base if base is None else base
        restored = checkpoints.restore(template.trainable, template.progress, base)
        _, params, progress, about = restored
        return template.replace(trainable=params, **progress), about


def same(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool(np.all(x == y)), a, b)))


def test_a_checkpoint_restores_bit_for_bit(tmp_path):
    run = Run(tmp_path, small_params(), ALL_BUT_VISION)
    run.step()
    with Checkpoints(tmp_path) as checkpoints:
        run.save(checkpoints)
        checkpoints.wait()
        restored, about = run.restore(checkpoints)
    assert same(restored.trainable, run.state.trainable)
    assert same(restored.opt_state, run.state.opt_state)
    assert restored.step == 1
    assert (about["data"], about["config"]) == ({"next": 1}, {"size": "tiny"})


def test_what_is_saved_is_unharmed_by_donating_the_state(tmp_path):
    run = Run(tmp_path, small_params(), EVERYTHING)
    want = jax.tree.map(np.array, run.state.trainable)
    overwrite = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0 - 1, tree), donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        run.save(checkpoints)
        overwrite(run.state.trainable)
        checkpoints.wait()
        assert same(run.restore(checkpoints)[0].trainable, want)


def test_a_kill_while_a_checkpoint_is_let_go_leaves_no_half_of_it(tmp_path, monkeypatch):
    run = Run(tmp_path, small_params(), EVERYTHING)
    with monkeypatch.context() as patch:  # killed as it, or Orbax, begins to remove
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        patch.setattr(deleter._ParallelDirectoryDeleter, "delete", lambda *_: None)
        with Checkpoints(tmp_path, keep_last=1) as checkpoints:
            for _ in range(2):
                run.step()
                run.save(checkpoints)
                checkpoints.wait()
    folder = tmp_path / "checkpoints"
    assert {path.name for path in folder.iterdir()} == {"2", steps.LEAVING}
    shutil.rmtree(folder / steps.LEAVING / "1" / "about")
    said = []
    with Checkpoints(tmp_path, keep_last=1, say=said.append) as checkpoints:
        assert checkpoints.latest_step() == 2
    assert not said and [path.name for path in folder.iterdir()] == ["2"]


def test_phases_chain_though_each_trains_another_part(tmp_path):
    params = small_params()
    for phase, table in enumerate((CONNECTOR, ALL_BUT_VISION, EVERYTHING), 1):
        folder = tmp_path / f"phase{phase}"
        run = Run(folder, params, table)
        run.step(add=10.0**phase)
        with Checkpoints(folder) as checkpoints:
            run.save(checkpoints)
        params = load_params(folder, params)
    start, end = flatten(small_params()), flatten(params)
    for path, phases in {
        "multi_modal_projector/linear_1/kernel": (10, 100, 1000),
        "language_model/norm/scale": (100, 1000),
        "vision_tower/fc1/bias": (1000,),
    }.items():
        want = start[path]
        for add in phases:
            want = want + np.float32(add)
        np.testing.assert_array_equal(end[path], want)


def test_a_base_without_checkpoints_is_a_place_to_start_from(tmp_path):
    params = small_params()
    save_base(tmp_path, params)
    assert same(load_params(tmp_path, params), params)


def test_a_checkpoint_of_another_size_is_refused_by_name(tmp_path):
    save_base(tmp_path, small_params())
    with pytest.raises(
        UserError, match=r"language_model/lm_head/kernel has shape \(4, 6\), .*\(8, 6\)"
    ):
        load_params(tmp_path, small_params(width=8))
    with pytest.raises(UserError, match="it also has multi_modal_projector/linear_1/kernel"):
        fewer = {k: v for k, v in small_params().items() if k != "multi_modal_projector"}
        load_params(tmp_path, fewer, shardings={})
    other = small_params()
    other["language_model"]["extra"] = {"scale": np.ones(3)}
    with pytest.raises(UserError, match=r"it has no language_model/extra/scale \(3,\)"):
        load_params(tmp_path, other)


def test_a_checkpoint_is_refused_on_another_base_or_split(tmp_path):
    run = Run(tmp_path, small_params(), ALL_BUT_VISION)
    other = small_params(seed=1)
    with Checkpoints(tmp_path) as checkpoints:
        run.save(checkpoints)
        checkpoints.wait()
        frozen = split_tree(other, run.trainable)[1]
        with pytest.raises(UserError, match="other frozen parameters: vision_tower/fc1/bias is"):
            run.restore(checkpoints, fingerprint(frozen))
        wider = state.abstract_state(other, run.optimizer, run.shardings)
        with pytest.raises(UserError, match="does not fit what is to train: it has no vision_tow"):
            run.restore(checkpoints, template=wider)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_fingerprint_sees_a_flipped_bit_and_a_swap(dtype):
    x = jnp.arange(24.0, dtype=dtype).reshape(4, 6)
    marks = [
        fingerprint({"x": y})["x"]["checksum"]
        for y in (x, x.at[2, 3].multiply(-1), x[::-1], x.at[0, 0].set(1e-30), jnp.array(x))
    ]
    assert marks[0] == marks[4]
    assert len(set(marks)) == 4


def test_a_damaged_base_is_noticed(tmp_path):
    params = small_params()
    save_base(tmp_path, params)
    save_base(tmp_path / "other", small_params(seed=1))
    shutil.rmtree(tmp_path / "base" / "params")
    shutil.move(tmp_path / "other" / "base" / "params", tmp_path / "base" / "params")
    with pytest.raises(UserError, match="base is damaged: language_model/lm_head/kernel"):
        load_base(tmp_path, params)


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no base/"):
        load_params(tmp_path, small_params())


def test_a_full_disk_is_a_sentence_and_the_last_checkpoint_stays(tmp_path, monkeypatch):
    run = Run(tmp_path, small_params(), EVERYTHING)
    with Checkpoints(tmp_path) as checkpoints:
        run.save(checkpoints)
        checkpoints.wait()
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
        run.step()
        with pytest.raises(
            UserError, match="the checkpoint of step 1 needs .* 1 B are free: .*before stays"
        ):
            run.save(checkpoints)
        monkeypatch.undo()
        assert checkpoints.latest_step() == 0
        assert run.restore(checkpoints)[0].step == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax's threads
def test_a_write_that_breaks_off_is_a_sentence_and_no_checkpoint(tmp_path):
    run = Run(tmp_path, small_params(), EVERYTHING)
    with Checkpoints(tmp_path) as checkpoints:
        run.save(checkpoints)
    run.step()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (
        pytest.raises(UserError, match="cannot write a checkpoint.*before stays"),
        Checkpoints(tmp_path) as checkpoints,
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # no file beyond 100 bytes
        try:
            run.save(checkpoints)
            checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.manager.all_steps() == [0]
        assert run.restore(checkpoints)[0].step == 0
