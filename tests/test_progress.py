"""Progress is a bar on a terminal and lines in a file."""

import contextlib
import io

import pytest

from nota_jax import progress


def said(stream, n=4, **options):
    with contextlib.redirect_stderr(stream):
        for _ in progress.bar(range(n), desc="build", unit="tune", **options):
            pass
    return stream.getvalue()


@pytest.mark.parametrize("leave", [True, False])
def test_in_a_file_it_is_lines_that_follow_each_other(monkeypatch, leave):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    text = said(io.StringIO(), leave=leave)
    assert "\r" not in text and "\n\n" not in text and text.endswith("\n")
    assert [line.split("[")[0].strip() for line in text.splitlines()][:3] == [
        "build:   0% 0/4", "build:  25% 1/4", "build:  50% 2/4",
    ]  # fmt: skip
    assert "tune/s]" in text and "█" not in text


def test_in_a_file_what_is_quickly_done_says_nothing():
    assert said(io.StringIO(), n=1000) == ""


def test_on_a_terminal_it_is_drawn_in_place(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    text = said(stream, mininterval=0)
    assert text.count("\r") >= 4 and text.count("\n") == 1
