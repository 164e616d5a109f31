"""A journal in which no step occurs twice, and that never stops or delays a run."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from nota_jax.training import journal as journals
from nota_jax.training.journal import Journal


def lines(folder):
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]


def points(folder):
    """(step, value of "loss") as a reader of TensorBoard files finds them, file by file."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        while len(data) >= 12 and len(data) >= 16 + (n := int.from_bytes(data[:8], "little")):
            event = Event.FromString(data[12 : 12 + n])
            found += [(event.step, v.simple_value) for v in event.summary.value if v.tag == "loss"]
            data = data[16 + n :]
    return found


@pytest.fixture
def disk(monkeypatch):
    """A disk that can be full: `disk.full` holds the names of files that nothing fits into."""

    class Disk:
        full: set[str] = set()

    def full(path):
        return any(part in Disk.full for part in Path(path).parts)

    def no_room():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    lines_write, begin, atomic = (
        journals._Lines.write, journals._Board._begin, journals.write_atomic
    )  # fmt: skip

    class Half:
        """A file on a full disk: takes a few bytes, then none."""

        def __init__(self, file, path):
            self.file, self.path = file, path

        def write(self, data):
            if not full(self.path):
                return self.file.write(data)
            self.file.write(bytes(data[:5]))
            no_room()

        def __getattr__(self, name):
            return getattr(self.file, name)

    def write(self, points):
        if self.file is not None and not isinstance(self.file, Half):
            self.file = Half(self.file, self.path)
        lines_write(self, points)

    def board_begin(self):
        if full(self.folder):
            no_room()
        events = begin(self)
        recorder = events._py_recordio_writer
        recorder._writer = Half(recorder._writer, self.folder)
        return events

    def whole(path, content):
        if full(path):
            no_room()
        atomic(path, content)

    monkeypatch.setattr(journals._Lines, "write", write)
    monkeypatch.setattr(journals._Board, "_begin", board_begin)
    monkeypatch.setattr(journals, "write_atomic", whole)
    return Disk


def test_a_resumed_journal_holds_every_step_once(tmp_path):
    with Journal(tmp_path) as journal:
        for step in (1, 2, 3, 4):
            journal.write(step, {"loss": 1.0 / step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # the process died here
    with Journal(tmp_path, resumed_at=2) as journal:
        journal.write(3, {"loss": 0.25})
    assert lines(tmp_path) == [
        {"step": 1, "loss": 1.0},
        {"step": 2, "loss": 0.5},
        {"step": 3, "loss": 0.25},
    ]
    assert len(list((tmp_path / "tensorboard").glob("events.*"))) == 2


def test_what_cannot_be_read_is_left_out_and_said(tmp_path):
    good = [b'{"step": 1, "loss": 1.0}', b'{"step": 2, "loss": 0.5}']
    bad = [b"\xff\xfe\x00", b"{}", b'{"step": "two"}', b"[1]", b'{"step": 2, "lo']
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([good[0], *bad[:4], good[1], bad[4]]))
    said = []
    with Journal(tmp_path, resumed_at=2, say=said.append) as journal:
        journal.write(3, {"loss": 0.25})
    assert [x["step"] for x in lines(tmp_path)] == [1, 2, 3]
    assert len(said) == 1 and "5 lines that are no report are left out (line 2, 3, 4" in said[0]


def test_a_kill_right_behind_a_resume_loses_no_line(tmp_path):
    """What is kept is on the disk before the first new line is."""
    with Journal(tmp_path) as journal:
        for step in range(1, 400):
            journal.write(step, {"loss": 1.0 / step, "accuracy": step / 400})
    before = lines(tmp_path)
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from nota_jax.training.journal import Journal\n"
        "Journal(Path(sys.argv[1]), resumed_at=390)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert lines(tmp_path) == before[:390]


@pytest.mark.parametrize("name", ["metrics.jsonl", "tensorboard"])
def test_a_full_disk_is_warned_of_once_and_later_and_everything_is_written_in_the_end(
    tmp_path, disk, name
):
    said = []
    with Journal(tmp_path, say=said.append) as journal:
        journal.write(1, {"loss": 0.5})
        disk.full = {name}
        for step in range(2, 30):
            journal.write(step, {"loss": 0.5})
            journal.save()
        assert [line.split(":")[0] for line in said] == ["WARNING"] * 2  # 1st and 10th time
        assert f"{name}" in said[0] and "No space left on device" in said[0]
        disk.full = set()
        journal.write(30, {"loss": 0.5})
        assert "is written again" in said[2] and len(said) == 3
    assert [x["step"] for x in lines(tmp_path)] == list(range(1, 31))
    assert sorted({step for step, _ in points(tmp_path)}) == list(range(1, 31))
    assert len(list((tmp_path / "tensorboard").iterdir())) <= 2  # not one for each try


@pytest.mark.parametrize("name", ["metrics.jsonl", "tensorboard"])
def test_a_journal_that_can_never_be_written_stops_nothing(tmp_path, disk, name):
    said, disk.full = [], {name}
    with Journal(tmp_path, say=said.append) as journal:
        for step in range(1, 4):
            journal.write(step, {"loss": 0.5})
            journal.save()
    assert said[-1].startswith("WARNING: 3 reports never reached ")
    other = points(tmp_path) if name == "metrics.jsonl" else lines(tmp_path)
    assert len(other) == 3


def test_a_folder_in_the_way_of_a_file_is_a_warning(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    (tmp_path / "tensorboard").write_text("")
    said = []
    with Journal(tmp_path, resumed_at=3, say=said.append) as journal:
        journal.write(4, {"loss": 0.5})
    assert [line.split(" cannot")[0] for line in said[:2]] == [
        "WARNING: metrics.jsonl", "WARNING: tensorboard/"
    ]  # fmt: skip


def test_points_are_on_the_disk_when_a_report_is_written(tmp_path):
    with Journal(tmp_path) as journal:
        journal.write(1, {"loss": 0.5})
        assert points(tmp_path) == [(1, 0.5)]


def test_the_journal_needs_no_tensorflow(tmp_path):
    with Journal(tmp_path) as journal:
        journal.write(1, {"loss": 1.0})
    assert "tensorflow" not in sys.modules


def test_an_evaluation_that_is_owed_is_forgotten_and_nothing_else(tmp_path):
    """Of the step that is resumed from; what cannot be read is left out as ever."""
    lines = [
        {"step": 2, "loss": 1.0}, {"step": 2, "eval/error": 0.5}, {"step": 4, "loss": 0.5},
        {"step": 4, "eval/error": 0.25}, {"step": 6, "loss": 0.25}, [{"step": 4}],
    ]  # fmt: skip
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    for owed, kept in ((False, lines[:4]), (True, lines[:3])):
        (tmp_path / "metrics.jsonl").write_bytes(content)
        said = []
        with Journal(tmp_path, resumed_at=4, owed=owed, say=said.append) as journal:
            journal.save()
        found = list(map(json.loads, (tmp_path / "metrics.jsonl").open()))
        assert found == kept and "1 lines that are no report are left out (line 6)" in said[0]
