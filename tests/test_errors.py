"""What a command makes of an error: a sentence, the right status, behind everything else."""

import errno
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from nota_jax.errors import TryAgain, UserError, exit_status, fitting


def raising(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    "number, status",
    [
        (errno.ENOENT, 2), (errno.EACCES, 2), (errno.ENOTDIR, 2), (errno.EISDIR, 2),
        (errno.EROFS, 2), (errno.ENOSPC, 2), (errno.EDQUOT, 2), (errno.EEXIST, 2),
        (errno.EIO, 1), (errno.ESTALE, 1), (errno.ETIMEDOUT, 1), (errno.ENOMEM, 1),
        (errno.EMFILE, 1),
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_a_sentence_and_tried_again_only_where_that_may_help(
    number, status, capsys
):
    error = OSError(number, os.strerror(number), "/data/run/config.json")
    assert exit_status(raising(error)) == status
    said = capsys.readouterr().err
    assert said.startswith("error: /data/run/config.json: ") and os.strerror(number) in said
    assert said.count("\n") == 1


def test_a_file_that_is_renamed_names_both(capsys):
    exit_status(raising(OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b")))
    assert "a → b: Invalid cross-device link" in capsys.readouterr().err


def test_a_librarys_own_error_keeps_its_traceback():
    with pytest.raises(OSError, match="not a PNG"):
        exit_status(raising(OSError("not a PNG")))


def test_a_mistake_and_an_interruption_have_their_status(capsys):
    assert exit_status(raising(UserError("no"))) == 2
    assert exit_status(raising(KeyboardInterrupt()), interrupted="go on") == 130
    assert capsys.readouterr().err == "error: no\ninterrupted: go on\n"


def test_memory_that_does_not_suffice_is_a_sentence(capsys):
    """The host's and a device's, whichever command asks for it."""
    for asked in (lambda: np.zeros(2**50), lambda: jax.numpy.zeros(2**45), raising(MemoryError())):
        assert exit_status(lambda: asked().sum()) == 2  # noqa: B023 (called at once)
        said = capsys.readouterr().err
        assert said.startswith("error: memory does not suffice (") and said.count("\n") == 1


def test_other_failures_of_a_library_are_no_lack_of_memory():
    with pytest.raises(RuntimeError, match="INTERNAL"), fitting("less"):
        raise RuntimeError("INTERNAL: a bug")
    with pytest.raises(UserError, match=r"does not suffice \(MemoryError\): ask for less"):
        with fitting("ask for less"):
            raise MemoryError


SAYS = """
import sys, time
from tqdm import tqdm
from nota_jax.errors import UserError, exit_status, lines_at_once

def command():
    print("resuming")
    bar = tqdm(total=9, desc="evaluate", mininterval=0)
    bar.update(3)
    raise UserError("the disk is full")

lines_at_once()
sys.exit(exit_status(command))
"""


def test_a_mistake_is_told_on_a_page_whatever_a_file_has_put_into_it(capsys):
    def command():
        raise TryAgain(f"the name {'x' * 100_000} is too long: choose another")

    assert exit_status(command) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: the name xxx") and said.endswith(
        "x is too long: choose another\n"
    )
    assert len(said) < 3100


def test_in_a_file_the_error_stands_last_and_on_a_line_of_its_own(tmp_path):
    path = tmp_path / "log"
    with path.open("w") as log:
        ended = subprocess.run([sys.executable, "-c", SAYS], stdout=log, stderr=log, timeout=600)
    *before, last = path.read_text().splitlines()
    assert ended.returncode == 2 and last == "error: the disk is full"
    assert before[0] == "resuming" and any("3/9" in line for line in before)


WAITS = """
import sys
from nota_jax.errors import lines_at_once
lines_at_once()
print("step 10/60")
sys.stdin.readline()
"""


def test_a_line_is_in_the_file_as_soon_as_it_is_said():
    waiting = subprocess.Popen(
        [sys.executable, "-c", WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert waiting.stdout.readline() == "step 10/60\n"  # it has not ended
    waiting.communicate("\n", timeout=300)


GONE = """
import sys
from nota_jax.errors import exit_status, lines_at_once
lines_at_once()

def command():
    while True:
        print("step")

sys.exit(exit_status(command))
"""


def test_a_reader_that_leaves_is_no_traceback():
    talking = subprocess.Popen(
        [sys.executable, "-c", GONE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    talking.stdout.readline()
    talking.stdout.close()
    assert talking.wait(timeout=300) == 141 and talking.stderr.read() == ""
