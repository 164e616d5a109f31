"""Compiled programs are kept, whichever command compiles them."""

import os
import subprocess
import sys

import pytest

SHOW = """
import importlib, sys
importlib.import_module(sys.argv[1])
from nota_jax.environment import quiet
quiet()
import jax
print(jax.config.jax_compilation_cache_dir)
print(jax.config.jax_persistent_cache_min_compile_time_secs)
import nota_jax.run
print("torch" in sys.modules)
"""


@pytest.mark.parametrize("command", ["nota_jax.main", "nota_jax.read.__main__"])
def test_a_command_has_its_cache_also_where_jax_was_imported_before_it(command, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    said = subprocess.run(
        [sys.executable, "-c", SHOW, command], env=environment, check=True, text=True,
        capture_output=True,
    ).stdout.split("\n")  # fmt: skip
    assert said[:2] == [str(tmp_path / "nota_jax" / "xla"), "2.0"]
    assert said[2] == "False"  # PyTorch costs a training run seconds, and it asks nothing of it


@pytest.mark.parametrize(
    "command", ["nota_jax.read", "nota_jax.evaluation.score", "conversion.to_hf"]
)
def test_a_user_without_pytorch_is_not_told_of_it(command):
    code = (
        "import runpy, sys; sys.modules['torch'] = None; sys.argv = ['', '--help']; "
        f"runpy.run_module({command!r}, run_name='__main__')"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.returncode == 0 and "usage" in told.stdout
    assert told.stderr == ""


def test_faults_of_pages_need_no_pytorch():
    code = (
        "import sys; from nota_jax.data import degrade; degrade._faults(); "
        "assert 'albumentations' in sys.modules and 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
