"""Each target for a moment, with the same inputs always; and all that was ever found, by name.

`python -m tests.fuzz` goes on for as long as one likes.
"""

from __future__ import annotations

import dataclasses
import io
import random
import subprocess
import time
from pathlib import Path

import pytest

from nota_jax.errors import UserError
from nota_jax.notation.engraving.pool import EngravePool
from tests.fuzz import engine, engraving, mutate
from tests.fuzz.engine import Target, attempt, fuzz, smaller
from tests.fuzz.targets import TARGETS
from tests.notation.engraving.test_pool import fragile

FINDS = Path(__file__).parent / "finds"
# So many that each takes about a second.
INPUTS = {
    "abc": 40, "abc-writer": 40, "mei": 40, "musicxml": 3, "questions": 20, "tunes": 10,
    "json": 80, "safetensors": 100, "labels": 50, "config": 30, "chat": 60,
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name):
    # Of seed 4's first three tunes for MusicXML, which takes its time, two can be read.
    outcome = fuzz(TARGETS[name](), seed=4, inputs=INPUTS[name])
    assert outcome.inputs == INPUTS[name] and outcome.read > 0
    assert not outcome.finds, "\n".join(find.detail for find in outcome.finds.values())


@pytest.mark.parametrize("path", sorted(FINDS.glob("*/*")), ids=lambda path: path.name)
def test_what_was_found_once_stays_mended(path):
    _, find = attempt(TARGETS[path.parent.name](), path.read_bytes())
    assert find is None, f"{find.kind}\n{find.detail}"


# ---- the engine itself finds what there is


_made: set[bytes] = set()


class Endless(UserError):
    def __str__(self):
        return "x" * 5000


def _bad(data: bytes) -> bool:
    if b"refuse" in data:
        raise UserError("a sentence")
    if b"bug" in data:
        raise KeyError("a bug")
    if b"slow" in data:
        begun = time.process_time()
        while time.process_time() < begun + 2:
            pass
    if b"once" in data and data not in _made:
        _made.add(data)
        _bad(b"slow")
    if b"sleep" in data:
        time.sleep(1.5)
    if b"silent" in data:
        raise UserError("")
    if b"endless" in data:
        raise Endless
    return True


BAD = Target("bad", lambda rng: rng.choice((b"refuse", b"..bug..", b"fine")), _bad)


@pytest.mark.parametrize(
    "data, kind",
    [
        (b"fine", None),
        (b"refuse", None),
        (b"once", None),  # what is made for it is there from then on
        (b"sleep", None),  # other work on the machine is no find
        (b"bug", "KeyError in target"),
        (b"slow", "TooSlow in target"),
        (b"large", "memory jumps"),
        (b"silent", "UserError of 0 letters"),
        (b"endless", "Endless of 5000 letters"),
    ],
)
def test_what_is_a_find(data, kind, monkeypatch):
    if data == b"large":  # told: the process may have been as large before, and to be it takes time
        peaks = iter((0, 512 * 2**20))
        monkeypatch.setattr(engine, "_peak", lambda: next(peaks))
    _, find = attempt(BAD, data)
    assert (find.kind if find else None) == kind


def test_a_find_is_made_small_and_told_once():
    outcome = fuzz(BAD, seed=1, inputs=40)
    assert [find.data for find in outcome.finds.values()] == [b"bug"]
    assert outcome.inputs == 40 and 0 < outcome.read < 40
    _, find = attempt(BAD, b"x" * 100 + b"bug" + b"y" * 100)
    assert smaller(BAD, find).data == b"bug"


def test_growing_memory_is_a_find(monkeypatch):
    kept = []
    leaky = Target("leaky", lambda rng: b"", lambda data: kept.append(bytearray(2**21)) or True)
    monkeypatch.setattr(engine, "GROWTH_BYTES", 16 * 2**20)
    assert list(fuzz(leaky, seed=0, inputs=40).finds) == ["memory grows"]


def test_a_process_that_dies_is_a_find_with_its_input(tmp_path, monkeypatch):
    """As native code ends one: the input is in the file that both processes have mapped."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text(
        "import os, random, sys, types\n"
        "from pathlib import Path\n"
        f"sys.path.insert(0, {str(engine.ROOT)!r})\n"
        "from tests.fuzz import engine, targets\n"
        "def die(data):\n"
        "    if data == b'3': os.kill(os.getpid(), 9)\n"
        "    return True\n"
        "numbers = iter(range(3, 9))\n"
        "targets.TARGETS['dies'] = lambda: engine.Target(\n"
        "    'dies', lambda rng: str(next(numbers, 8)).encode(), die)\n"
    )
    said: list[str] = []
    finds = engine.watched("dies", 0, 12.0, tmp_path / "out", said.append)
    (kept,) = {
        path.read_bytes()
        for path in (tmp_path / "out" / "dies").glob("*[!t]")
        if path.suffix != ".txt"
    }
    assert finds >= 1 and kept == b"3" and "the process ended with -9" in said[0]


@pytest.mark.parametrize(("goes_on", "status"), [(True, engine.DONE), (False, None)])
def test_a_hang_is_told_by_its_input_that_stays_and_not_by_the_time_it_takes(
    goes_on, status, monkeypatch
):
    clock, shared = [0.0], io.BytesIO(bytes(16))
    monkeypatch.setattr(engine.time, "monotonic", lambda: clock[0])

    class Process:
        killed = False

        def wait(self, timeout=None):
            clock[0] += 5
            if self.killed or clock[0] > 10 * engine.STUCK:
                return engine.DONE
            if goes_on:
                shared.getbuffer()[:8] = int(clock[0]).to_bytes(8, "little")
            raise subprocess.TimeoutExpired("fuzz", timeout)

        def kill(self):
            self.killed = True

    assert engine._end(Process(), shared) == status


def test_the_same_seed_makes_the_same_inputs():
    for name, target in TARGETS.items():
        one, other = (target().make(random.Random(f"{name}/7")) for _ in range(2))
        assert one == other


def test_mutated_tunes_are_still_tunes_now_and_then():
    texts = [mutate.tune(random.Random(n)) for n in range(40)]
    assert len(set(texts)) == 40
    assert sum("K:" in text for text in texts) > 30


def test_mutated_tunes_go_through_a_build(tmp_path, monkeypatch):
    """The long run's own code: a dozen tunes, and one whose worker dies."""
    monkeypatch.setattr(engraving, "FOLDER_TUNES", 8)
    counts = engraving.run(12, 0, 1, 10.0, tmp_path, lambda text: None)
    assert counts["files"] == 12 and 0 < counts["drawn"] <= counts["pages"]
    assert not any(key.startswith("worker ") for key in counts)
    assert [path.name for path in tmp_path.iterdir()] == ["seed0.json"]  # no tune to keep
    assert engraving.run(12, 0, 1, 10.0, tmp_path, lambda text: None) == counts  # all done before

    monkeypatch.setattr(
        engraving,
        "EngravePool",
        lambda n, work: EngravePool(n, work=dataclasses.replace(work, engrave=fragile)),
    )
    text = "X:1\nT:{}\nM:2/4\nL:1/8\nK:G\nGABc|]\n"
    monkeypatch.setattr(
        engraving, "tune", lambda seed, number: text.format("segfault" if number == 1 else "fine")
    )
    dead = tmp_path / "dead"
    counts = engraving.run(2, 0, 1, 10.0, dead, lambda text: None)
    assert counts["engrave: worker crashed"] == 1 and counts["worker crashed"] == 2
    assert [path.read_text() for path in dead.glob("*.abc")] == [text.format("segfault")]
