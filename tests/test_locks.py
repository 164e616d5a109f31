"""One process at a time works in a folder, and the lock of a dead one is no hindrance."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from nota_jax import files
from nota_jax.errors import UserError

HOLDER = """
import sys
from nota_jax.files import locked
with locked(sys.argv[1], "trains"):
    print("locked", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """`holder()`: another process that holds the lock of tmp_path until it reads a line."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, tmp_path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "locked\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def elsewhere(monkeypatch):
    """A moment in which this process is on another machine, whose locks no other one sees."""

    def go(name="elsewhere"):
        monkeypatch.setattr(files, "_host", lambda: name)
        monkeypatch.setattr(files, "_flock", lambda file: None)

    return go


def test_a_second_process_is_refused_with_the_name_of_the_first(tmp_path, holder):
    first = holder()
    with pytest.raises(UserError) as caught:
        with files.locked(tmp_path, "trains"):
            pass
    assert f"process {first.pid} on {files._host()} trains there since" in str(caught.value)
    first.communicate("\n")
    assert not list(tmp_path.iterdir())  # a lock that is given back leaves nothing
    with files.locked(tmp_path, "trains"):
        assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()


def test_a_second_lock_in_one_process_is_refused_too(tmp_path):
    with files.locked(tmp_path, "trains"), pytest.raises(UserError, match="trains there"):
        with files.locked(tmp_path, "trains"):
            pass


@pytest.mark.parametrize("flock", [True, False])
def test_the_lock_of_a_killed_process_is_taken_over_with_a_word(tmp_path, holder, elsewhere, flock):
    first, said = holder(), []
    if not flock:  # a file system that knows no locks: the process's number decides
        elsewhere(files._host())
        with pytest.raises(UserError, match=f"process {first.pid}"):
            with files.locked(tmp_path, "trains", say=said.append):
                pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    with files.locked(tmp_path, "trains", say=said.append):
        [line] = said
        assert f"left behind by process {first.pid} on" in line and "taken over" in line
    assert not list(tmp_path.iterdir())


def test_a_lock_from_another_machine_counts_while_it_shows_life(tmp_path, elsewhere):
    said, waiting = [], threading.Event()

    def say(text):
        said.append(text)
        waiting.set()

    with files.locked(tmp_path, "trains", beat=0.02):
        elsewhere()
        with pytest.raises(UserError, match="trains there"):
            with files.locked(tmp_path, "trains", say=say, silent=60):
                pass
    assert waiting.is_set() and "waiting up to 60 s for a sign that it lives" in said[0]


def test_a_lock_from_another_machine_that_shows_no_life_is_taken_over(tmp_path, elsewhere):
    owner = {"host": "node7", "process": 12, "does": "trains", "since": "yesterday"}
    (tmp_path / "lock").write_text(json.dumps(owner))
    said = []
    with files.locked(tmp_path, "trains", say=said.append, silent=0.1):
        pass
    assert "left behind by process 12 on node7" in said[-1]


def test_a_lock_from_another_machine_that_is_silent_for_long_is_not_even_watched(tmp_path):
    (tmp_path / "lock").write_text(json.dumps({"host": "node7", "process": 12}))
    os.utime(tmp_path / "lock", (1e9, 1e9))
    said = []
    with files.locked(tmp_path, "trains", say=said.append, silent=60):
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    [line] = said
    assert "left behind by process 12 on node7" in line


def test_a_lock_that_was_taken_over_is_not_given_back_by_its_first_owner(tmp_path, elsewhere):
    with files.locked(tmp_path, "trains", beat=3600):  # stopped, say
        elsewhere()
        second = files.locked(tmp_path, "trains", say=lambda _: None, silent=0.1)
        second.__enter__()
    assert json.loads((tmp_path / "lock").read_text())["host"] == "elsewhere"
    second.__exit__(None, None, None)
    assert not list(tmp_path.iterdir())


def test_the_lock_may_vanish_with_its_folder(tmp_path):
    with files.locked(tmp_path / "work", "builds a dataset"):
        (tmp_path / "work" / "lock").unlink()
        (tmp_path / "work").rmdir()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"since": "now"}'])
def test_a_lock_that_says_nothing_of_its_owner_still_holds(tmp_path, text):
    """So did those of earlier versions."""
    (tmp_path / "lock").write_text(text)
    with (tmp_path / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is at work"):
            with files.locked(tmp_path, "trains"):
                pass
    with files.locked(tmp_path, "trains", say=lambda _: None, silent=0.1):
        pass


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "open", refuse)
    problem = "the disk is full" if code == errno.ENOSPC else "cannot write .*/lock"
    with pytest.raises(UserError, match=problem):
        with files.locked(tmp_path, "trains"):
            pass
    monkeypatch.undo()
    monkeypatch.setattr(files.os, "pwrite", refuse)
    with pytest.raises(UserError, match=problem):
        with files.locked(tmp_path, "trains"):
            pass
