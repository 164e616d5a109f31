"""Compilers that do not answer become sentences."""

import json
import signal
import subprocess
import sys
import time

import pytest

from configs import phase2
from nota_jax.errors import UserError
from nota_jax.plan import worker


def job(target="v5e:16"):
    return {"config": {}, "target": target, "virtual": False, "rows": 8, "length": 32}


def dying(how):
    return (sys.executable, "-c", f"import os, sys, signal\n{how}")


@pytest.mark.parametrize(
    "how, said",
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed (SIGSEGV), on NVIDIA targets mostly"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "crashed (SIGKILL), mostly because this host's"),
        ("sys.exit('ValueError: no such topology')", "failed: ValueError: no such topology"),
        ("sys.exit(0)", "failed: it said nothing"),
    ],
)
def test_a_compiler_that_dies_becomes_a_sentence(how, said):
    with pytest.raises(UserError) as caught:
        worker.compile_apart(job(), dying(how))
    assert said in str(caught.value) and "v5e:16" in str(caught.value)


def test_a_lock_that_is_held_becomes_a_sentence():
    # libtpu's own words.
    words = "ABORTED: Internal error when accessing libtpu multi-process lockfile. Run ..."
    with pytest.raises(UserError, match="holds the TPU compiler's lock"):
        worker.compile_apart(job(), dying(f"sys.exit({words!r})"))


def test_a_compiler_without_end_becomes_a_sentence(monkeypatch):
    monkeypatch.setattr(worker, "TIMEOUT_S", 0.5)
    with pytest.raises(UserError, match="no answer after"):
        worker.compile_apart(job(), dying("import time; time.sleep(60)"))


def test_a_compiler_ends_with_the_process_that_asked_it(tmp_path):
    """Else a killed plan would hold libtpu's lock until its compiler is done."""
    worker = (
        "import time; from nota_jax.plan import compile as p; p._end_with_parent();"
        f"open({str(tmp_path / 'up')!r}, 'w').close(); time.sleep(60)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {worker!r}])"
    asking = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    while not (tmp_path / "up").exists():
        assert asking.poll() is None
        time.sleep(0.1)
    asking.kill()
    asking.communicate(timeout=300)  # the worker holds the other end of the pipe until it ends


def test_a_mistake_that_only_the_worker_sees_stays_a_sentence(tmp_path):
    config = json.loads(phase2.get_config("tiny").to_json_best_effort())
    config["mesh"]["tensor"] = 3
    with pytest.raises(UserError, match="tensor 3 does not fill 4 devices"):
        worker.compile_apart(job("cpu:4") | {"config": config})


def test_signals_that_have_no_hint_show_the_last_words():
    said = worker.why_it_died("h200:8", -signal.SIGABRT, "first\nCheck failed: x\n")
    assert "SIGABRT" in said and "Check failed: x" in said
