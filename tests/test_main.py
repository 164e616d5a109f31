"""The command line: what it refuses, and how."""

import os
import subprocess
import sys
import types
import weakref

import jax
import pytest

from configs import common, phase1, phase2, phase3
from nota_jax import main, ready, run
from nota_jax.errors import UserError, exit_status


def parse(*arguments):
    return main.parse(["main", *arguments])


def error_of(*arguments) -> str:
    with pytest.raises(UserError) as caught:
        parse(*arguments)
    return str(caught.value)


def test_a_configuration_is_read_with_its_size_and_overrides():
    config, mode, _ = parse("--config=configs/phase2.py:mini", "--config.optim.learning_rate=3e-4")
    assert (config.size, mode) == ("mini", "train")
    assert config.optim.learning_rate == 3e-4


def test_an_unknown_key_is_answered_with_the_nearest_one():
    text = error_of("--config=configs/phase2.py", "--config.optim.learning_rte=1")
    assert "no key 'optim.learning_rte'" in text and "optim.learning_rate" in text


def test_a_key_in_the_wrong_place_is_answered_with_its_place():
    text = error_of("--config=configs/phase2.py", "--config.learning_rate=1")
    assert "did you mean optim.learning_rate" in text


def test_an_unknown_size_names_the_sizes():
    assert "choose one of tiny, small, mini, 7b" in error_of("--config=configs/phase2.py:8b")


def test_a_missing_configuration_file_names_those_that_are_there():
    assert "configs/phase2.py" in error_of("--config=configs/phase22.py")


def test_a_value_of_the_wrong_type_is_named():
    text = error_of("--config=configs/phase2.py", "--config.optim.learning_rate=fast")
    assert "fast" in text


def test_the_plans_flags_are_read_and_belong_to_it():
    _, mode, chosen = parse("--config=configs/phase2.py:7b", "--mode=plan", "--target=v5e:16")
    assert mode == "plan"
    assert chosen == {"target": "v5e:16", "fit": False, "out": ""}
    assert "needs a --target" in error_of("--config=configs/phase2.py", "--mode=plan")
    assert "--fit belongs to --mode=plan" in error_of("--config=configs/phase2.py", "--fit")


def test_no_configuration_at_all_names_the_choices():
    assert "configs/phase1.py" in error_of()


@pytest.mark.parametrize("phase", [phase1, phase2, phase3])
@pytest.mark.parametrize("size", common.SIZES)
def test_every_phase_has_every_size(phase, size):
    assert phase.get_config(size).model == common.model(size)


def test_the_papers_phases_freeze_what_the_paper_freezes():
    assert phase1.get_config("7b").trainable == common.CONNECTOR_ONLY
    assert phase2.get_config("7b").trainable == common.ALL_BUT_VISION
    assert phase3.get_config("7b").trainable == common.EVERYTHING
    assert phase3.get_config("7b,frozen_vision").trainable == common.ALL_BUT_VISION


def test_the_papers_epochs_and_learning_rates():
    one, two = phase1.get_config("7b"), phase2.get_config("7b")
    assert (one.epochs, one.optim.learning_rate) == (10, 2e-4)
    assert (two.epochs, two.optim.learning_rate) == (3, 2e-5)


def test_compiled_programs_are_kept_on_disk(tmp_path):
    """A run that continues finds them, where the user's cache is."""
    code = (
        "from nota_jax import main; main.quiet()\n"
        "import jax; jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\n"
        "jax.jit(lambda x: x * 2 + 1)(3.0)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=600)
    assert list((tmp_path / "nota_jax" / "xla").iterdir())


def test_the_optimizer_is_let_go_before_the_evaluation(monkeypatch):
    """As the plan counts: evaluation has the parameters on the devices, and not its moments."""

    class Moments:
        pass

    moments = Moments()
    alive = weakref.ref(moments)
    state = types.SimpleNamespace(params="parameters", opt_state=moments)
    outcomes = [types.SimpleNamespace(state=state, interrupted=None)]
    del moments, state
    seen = []
    monkeypatch.setattr(run, "prepare", lambda config, say: None)
    monkeypatch.setattr(ready, "require_split", lambda config: None)
    monkeypatch.setattr(run, "train", lambda prepared, say: outcomes.pop())
    monkeypatch.setattr(
        run, "evaluate_run", lambda prepared, params, say, which: seen.append((params, alive()))
    )
    config = phase1.get_config()
    assert not main.run_mode(config, "train", {})
    assert seen == [("parameters", None)]


def test_a_step_that_does_not_fit_is_a_sentence_that_says_how_it_would(monkeypatch, capsys):
    monkeypatch.setattr(run, "prepare", lambda config, say: None)
    monkeypatch.setattr(ready, "require_split", lambda config: None)
    monkeypatch.setattr(run, "train", lambda prepared, say: jax.numpy.zeros(2**45))
    config = phase2.get_config()
    assert exit_status(lambda: main.run_mode(config, "train", {})) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: memory does not suffice (RESOURCE_EXHAUSTED: Out of memory")
    for way in ("accumulation=2", "remat=full", "batch_size", "--mode=plan"):
        assert way in said
    monkeypatch.setattr(run, "evaluate_run", lambda *_: jax.numpy.zeros(2**45))
    assert exit_status(lambda: main.run_mode(config, "evaluate", {})) == 2
    assert "eval.batch_size" in capsys.readouterr().err
