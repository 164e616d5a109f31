"""Lock file, licences, vulnerabilities: what is said, and that not knowing is said too."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from nota_jax.errors import UserError
from nota_jax.tools import supply

ROOT = Path(__file__).parents[2]


def test_all_that_the_core_needs_has_a_licence_that_is_accepted():
    found = supply.needed(())
    assert {"jax", "numpy", "verovio", "huggingface-hub"} <= found.keys() and len(found) > 40
    table, refused = supply.licences(found)
    assert not refused
    assert all(name in table for name in ("jax", "verovio"))


@pytest.mark.parametrize(
    "words, accepted",
    [
        ("Apache-2.0", True), ("MIT License", True), ("BSD-3-Clause", True), ("MPL-2.0", True),
        ("LGPL-3.0-only", True), ("GNU Lesser General Public License v3 (LGPLv3)", True),
        ("GPL-3.0-only", False), ("GNU General Public License v3 (GPLv3)", False),
        ("AGPL-3.0", False), ("GPL-2.0-or-later OR MIT", True), ("MIT AND GPL-3.0-only", False),
        ("CC-BY-NC-4.0", False), ("not stated", False), ("Proprietary", False),
    ],
)  # fmt: skip
def test_which_licences_are_accepted(words, accepted):
    assert (supply.judged("some-package", words) is not None) == accepted


def test_the_lock_names_versions_and_no_machines():
    text = supply.lock_text(supply.needed(()))
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert f"numpy=={metadata.version('numpy')}" in lines
    assert all(line.count("==") == 1 and not set(line) & set("/@+ ") for line in lines)
    assert not any(line.startswith("nota") for line in lines)


def test_the_committed_lock_is_for_one_python_and_has_what_the_core_needs():
    text = (ROOT / supply.LOCK).read_text()
    makefile = (ROOT / "Makefile").read_text()
    assert "# Constraints for Python 3.11" in text and "LOCKED_FOR := 3.11" in makefile
    assert "://" not in text and "file:" not in text
    names = {line.partition("==")[0] for line in text.splitlines() if "==" in line}
    if sys.version_info[:2] == (3, 11):
        assert supply.needed(()).keys() - {"nota-jax"} <= names


def _told(monkeypatch, answer: str, stderr: str = "") -> None:
    monkeypatch.setattr(
        subprocess, "run", lambda *a, **k: SimpleNamespace(stdout=answer, stderr=stderr)
    )


def test_a_known_vulnerability_is_said(monkeypatch):
    vulns = [{"id": "PYSEC-1", "fix_versions": ["2.0"]}]
    _told(monkeypatch, json.dumps({"dependencies": [
        {"name": "a", "version": "1.0", "vulns": vulns}, {"name": "b", "version": "1", "vulns": []}
    ]}))  # fmt: skip
    assert supply.vulnerabilities() == ["a 1.0: PYSEC-1, mended in 2.0"]


@pytest.mark.parametrize(
    "answer, stderr",
    [
        ("", "ConnectionError: no route"),
        ('{"dependencies": []}', ""),
        ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}', ""),
        ('{"dependencies": [{"name": "a", "vulns": []}, {"name": "b", "skip_reason": "x"}]}', ""),
    ],
)
def test_a_database_that_was_not_asked_is_no_clean_bill(answer, stderr, monkeypatch, capsys):
    _told(monkeypatch, answer, stderr)
    with pytest.raises(UserError, match="NOT looked for"):
        supply.vulnerabilities()
    monkeypatch.setattr(supply, "licences", lambda found: ("table", []))
    assert supply.audit() == 2
    assert "NOT looked for" in capsys.readouterr().err
