"""The pool's promises: order, determinism, and a crash or a hang that costs one tune."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import unittest.mock
from pathlib import Path

import psutil
import pytest

from nota_jax.errors import UserError
from nota_jax.notation.abc import parse
from nota_jax.notation.engraving import pool as pool_module
from nota_jax.notation.engraving.layout import Picture, Style, engrave, engrave_each
from nota_jax.notation.engraving.pool import CRASHED, NOT_STARTED, TIMED_OUT, EngravePool

ROOT = Path(__file__).parents[2]


def tune(n: int):
    music = " | ".join(f"{note}2 G2 A2 B2" for note in "CDEFGAB"[: n % 7 + 1])
    return parse(f"X:1\nT:Tune {n}\nM:4/4\nL:1/8\nK:C\n{music} |]\n")


def fragile(tune, style, highlights):
    """Engraves, unless the title asks for a disaster."""
    for word, signum in (("segfault", signal.SIGSEGV), ("abort", signal.SIGABRT)):
        if word in tune.title:
            os.kill(os.getpid(), signum)
    if "hang" in tune.title:
        time.sleep(60)
    if "half a message" in tune.title:  # what a process leaves that is stopped while it writes
        os.write(int(sys.argv[1]), b"\0\0\1\0ab")
        os.kill(os.getpid(), signal.SIGSTOP)
    if "nonsense" in tune.title:
        os.write(int(sys.argv[1]), b"\0\0\0\2ab")
    if "memory" in tune.title:
        bytearray(64 * 2**30)
    if "unlucky" in tune.title:  # the first worker that has it is killed, as by a full machine
        mark = Path(os.environ["MARK"])
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if "bug" in tune.title:
        raise KeyError("a bug")
    return engrave_each(tune, style, highlights)


def jobs(titles):
    for n, title in enumerate(titles):
        music = parse(f"X:1\nT:{title}\nM:4/4\nL:1/8\nK:C\nC2 D2 E2 F2 |]\n")
        yield n, music, Style(), (None,)


def test_results_are_those_of_one_process_and_in_order():
    marks = [(None,), ((0, 0),), (None, (0, 0))]
    work = [(f"key {n}", tune(n), Style(), marks[n % 3]) for n in range(12)]
    expected = [
        (key, tuple(engrave(t, style, highlight=mark) for mark in marked))
        for key, t, style, marked in work
    ]
    for n_workers in (1, 2):
        with EngravePool(n_workers) as pool:
            assert list(pool.map(iter(work))) == expected


def test_a_crash_costs_one_tune_and_the_pool_goes_on():
    titles = ["one", "segfault", "two", "abort", "segfault", "three"]
    with EngravePool(2, work=fragile) as pool:
        results = dict(pool.map(jobs(titles)))
        crashed = [n for n in range(6) if results[n] == CRASHED]
        assert crashed == [1, 3, 4]
        assert all(isinstance(results[n][0], Picture) for n in (0, 2, 5))
        assert pool.deaths == {CRASHED: 6}  # each of them cost two workers
        again = dict(pool.map(jobs(["four"])))
    assert isinstance(again[0][0], Picture)


def test_a_worker_that_was_killed_by_chance_costs_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    with EngravePool(2, work=fragile) as pool:
        results = dict(pool.map(jobs(["one", "unlucky", "two"])))
        assert all(isinstance(result[0], Picture) for result in results.values())
        assert pool.deaths == {CRASHED: 1}


@pytest.mark.parametrize("title", ["half a message", "nonsense"])
def test_what_a_worker_leaves_of_a_message_costs_one_tune(title, monkeypatch):
    monkeypatch.setattr(pool_module, "_MESSAGE_SECONDS", 1)
    with EngravePool(1, timeout=20.0, work=fragile) as pool:
        results = dict(pool.map(jobs(["one", title, "two"])))
        assert results[1] == CRASHED and pool.deaths == {CRASHED: 2}
    assert isinstance(results[0][0], Picture) and isinstance(results[2][0], Picture)


def test_a_tune_that_asks_for_all_the_memory_there_is_gets_none():
    with EngravePool(1, work=fragile) as pool:
        results = dict(pool.map(jobs(["memory", "two"])))
    assert results[0] == "unexpected MemoryError: " and isinstance(results[1][0], Picture)


def test_workers_that_do_not_start_are_no_fault_of_the_tunes(tmp_path, monkeypatch):
    (tmp_path / "verovio.py").write_text("raise ImportError('its library is of another system')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with EngravePool(1) as pool:
        with pytest.raises(UserError, match="no engraving worker starts"):
            list(pool.map(jobs(["one", "two"])))
        assert pool.deaths == {NOT_STARTED: 3}


def test_a_hanging_worker_ends_itself_where_its_parent_was_killed(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, signal, sys
            sys.path[:0] = [{str(ROOT.parent)!r}]
            from nota_jax.notation.engraving import pool
            from tests.notation.engraving.test_pool import fragile, jobs
            pool._MESSAGE_SECONDS = 1
            with pool.EngravePool(1, timeout=1.0, work=fragile) as engravers:
                for number, _ in engravers.map(jobs(["one", "hang"])):
                    print(engravers._workers[0].process.pid, flush=True)
                    os.kill(os.getpid(), signal.SIGKILL)
            """
        )
    )
    told = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert told.returncode == -signal.SIGKILL
    pid, deadline = int(told.stdout), time.monotonic() + 120
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.1)


def test_a_tune_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(pool_module, "_START_SECONDS", 30.0)
    with EngravePool(1, timeout=3.0, work=fragile) as pool:
        results = list(pool.map(jobs(["one", "hang", "two"])))
        assert pool.deaths == {TIMED_OUT: 2}
    assert [type(r) is tuple or r for _, r in results] == [True, TIMED_OUT, True]


def test_reasons_are_told_and_a_bug_costs_one_tune():
    long = parse("X:1\nT:t\nM:4/4\nL:1/8\nK:C\n" + "CDEF GABc|" * 100 + "\n")
    with EngravePool(1, work=fragile) as pool:
        results = list(pool.map([*jobs(["bug"]), (1, long, Style(), (None,))]))
    assert results[0] == (0, "unexpected KeyError: 'a bug'")
    assert results[1][1].startswith("EngraveError: too long for one legible page")


def test_jobs_are_drawn_only_a_little_ahead():
    drawn = []

    def source():
        for n in range(200):
            drawn.append(n)
            yield n, tune(n), Style(), (None,)

    with EngravePool(1) as pool:
        results = pool.map(source())
        next(results)
        assert len(drawn) < 20


def test_a_worker_that_died_between_two_maps_is_replaced():
    with EngravePool(1) as pool:
        assert isinstance(dict(pool.map(jobs(["one"])))[0][0], Picture)
        os.kill(pool._workers[0].process.pid, signal.SIGKILL)
        pool._workers[0].process.wait()
        assert isinstance(dict(pool.map(jobs(["two"])))[0][0], Picture)


def test_a_pool_needs_workers_and_its_with_block():
    with pytest.raises(ValueError, match="at least one"):
        EngravePool(0)
    with pytest.raises(ValueError, match="with"):
        list(EngravePool(1).map([]))


def test_workers_do_not_import_jax():
    code = (
        "import sys, nota_jax.notation.engraving.pool, nota_jax.notation.engraving.layout\n"
        "assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_ctrl_c_ends_the_workers_and_says_nothing_of_them(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import itertools, sys
            sys.path[:0] = [{str(ROOT)!r}]
            from nota_jax.notation.abc import parse
            from nota_jax.notation.engraving.layout import Style
            from nota_jax.notation.engraving.pool import EngravePool
            tune = parse("X:1\\nT:t\\nM:4/4\\nL:1/8\\nK:C\\nC2 D2 E2 F2 |]\\n")
            try:
                with EngravePool(2) as pool:
                    pids = [worker.process.pid for worker in pool._workers]
                    for n, _ in pool.map((n, tune, Style(), (None,)) for n in itertools.count()):
                        if n == 3:
                            print(*pids, flush=True)
            except KeyboardInterrupt:
                print("interrupted")
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Background jobs and nohup ignore it, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    pids = [int(pid) for pid in process.stdout.readline().split()]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert (out.strip(), err) == ("interrupted", "")
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_worker_that_waits_for_a_processor_is_not_given_up():
    """Ten times its limit by the clock, none of it by the processor's."""
    with EngravePool(1) as pool:
        list(pool.map(jobs(["one"])))
        (worker,) = pool._workers
        worker.given, worker.began = time.monotonic(), worker.used()
        seen = psutil.Process(worker.process.pid)
        with unittest.mock.patch.object(psutil.Process, "status", lambda self: "running"):
            assert worker.starved(30.0) and worker.deadline > time.monotonic()
            worker.began -= 31.0  # as if it had computed for so long
            assert not worker.starved(30.0)
            worker.began, worker.given = worker.used(), time.monotonic() - 301
            assert not worker.starved(30.0)
        worker.given, until = time.monotonic(), time.monotonic() + 120
        while seen.status() != psutil.STATUS_SLEEPING and time.monotonic() < until:
            time.sleep(0.1)  # until it waits for its next job
        assert seen.status() == psutil.STATUS_SLEEPING and not worker.starved(30.0)  # as a hang is
