"""The script that waits for a GPU: every stage gets its turn, and nothing that was done is lost."""

import json
import sys

import pytest

from nota_jax.bench import gpu, kernels
from nota_jax.errors import UserError
from nota_jax.main import parse


def test_stages_are_run_in_order_recorded_and_not_run_again(tmp_path, capsys):
    mark = tmp_path / "mark"
    twice = (
        f"import pathlib, sys; p = pathlib.Path({str(mark)!r}); sys.exit(p.exists() or p.touch())"
    )
    todo = [
        gpu.Stage("fine", ("-c", twice), 0.5),  # a second time it would fail
        gpu.Stage("broken", ("-c", "print('why'); raise SystemExit(3)"), 0.5),
        gpu.Stage("last", ("-c", "print('| done |')"), 0.5),
    ]
    for _ in range(2):
        assert not gpu.run("tiny", 1, tmp_path / "out", todo)
    found = json.loads((tmp_path / "out/gpu.json").read_text())
    assert [found[s.name]["ended"] for s in todo] == ["well", "with status 3", "well"]
    table = (tmp_path / "out/gpu.md").read_text()
    assert "why" in table and "/ done /" in table and "fine" in capsys.readouterr().out


def test_a_stage_that_takes_too_long_is_asked_to_stop_and_may_save(tmp_path):
    saves = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: (print('saved'), sys.exit(130)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)"
    )
    todo = [gpu.Stage("slow", ("-c", saves), 1.0), gpu.Stage("next", ("-c", "1"), 1.0)]
    assert not gpu.run("tiny", 0.05, tmp_path, todo)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["slow"]["ended"] == "asked to stop"
    assert found["next"]["ended"].startswith("not begun")
    with pytest.raises(UserError, match="--minutes is 0"):
        gpu.run("tiny", 0, tmp_path, todo)


@pytest.mark.parametrize("size", ["tiny", "mini"])
def test_the_trainings_among_the_stages_are_commands_that_exist(size, tmp_path, monkeypatch):
    named = [stage for stage in gpu.stages(size, tmp_path) if "nota_jax.main" in stage.command]
    assert len(named) == 5
    for stage in named:
        config, mode, _ = parse([sys.executable, *stage.command[2:]])
        assert mode == "train" and config.run_dir == str(tmp_path / stage.name)


def test_kernels_agree_with_the_reference():
    found = kernels.measure((2, 64, 4, 2, 16), rounds=1)
    assert set(found) >= {"reference", "blocked"}
    for x in found.values():
        assert max(x["errors"]) < 0.03 and min(x["forward"], x["gradients"]) > 0  # bf16
    assert "reference" in kernels.table(found)
    with pytest.raises(UserError, match="H a multiple of K"):
        kernels.measure((2, 64, 4, 3, 16))
