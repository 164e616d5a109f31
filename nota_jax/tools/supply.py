"""What nota_jax brings with it: the lock file, licences, known vulnerabilities.

    python -m nota_jax.tools.supply lock [--out requirements.lock]
    python -m nota_jax.tools.supply audit

`lock` writes the installed versions of everything that nota_jax and its test extras need; `audit`
ends with 1 where a licence is not accepted or a vulnerability is known, and with 2 where the
database of vulnerabilities could not be asked: not knowing is no clean bill.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nota_jax import tables
from nota_jax.errors import UserError, exit_status
from nota_jax.files import write_atomic

LOCK = Path("requirements.lock")
EXTRAS = ("dev", "fuzz", "audit")

# Licences of what an Apache-2.0 package may need: a word that a licence's text has, and why it is
# accepted.  The first that matches wins; what none matches is refused until somebody looks.
ACCEPTED = (
    (r"apache|ASL 2", "the same licence"),
    (r"\bMIT|expat|\bMIT-0", "permissive"),
    (r"\bBSD|0BSD|new bsd|modified bsd", "permissive"),
    (r"\bISC\b", "permissive"),
    (r"\bPSF|python software foundation|python-2\.0|CNRI", "permissive, of Python itself"),
    (r"HPND|historical permission", "permissive"),
    (r"zlib|unlicense|public domain|CC0|boost|BSL-1", "permissive or no rights kept"),
    (r"\bOFL|open font", "a font's: may be shipped with software, not sold alone"),
    (r"MPL|mozilla", "its own files stay MPL; used unchanged, as installed from its own package"),
    (r"LGPL|lesser general", "a library that is loaded at run time and can be exchanged"),
    (r"matplotlib|freetype", "permissive (PSF's text)"),
)
# How the text of a licence is known, where a package brings nothing but that.
TEXTS = {
    "Permission is hereby granted, free of charge, to any person obtaining": "MIT",
    "Redistribution and use in source and binary forms": "BSD",
    "Apache License Version 2.0": "Apache-2.0",
    "GNU GENERAL PUBLIC LICENSE": "GPL",
}
# What says too little or is refused by its words, looked at by hand: name → why it is accepted.
LOOKED_AT: dict[str, str] = {}
# What no extra of ours may bring in, whatever else its licence says.
REFUSED = (
    r"AGPL|affero|(?<!L)GPL|(?<!lesser )general public|SSPL|commons clause|non-?commercial|"
    r"CC-BY-NC|proprietary"
)


def needed(extras: Iterable[str] = EXTRAS) -> dict[str, metadata.Distribution]:
    """Every installed distribution that nota_jax needs with these extras, by its name."""
    found: dict[str, metadata.Distribution] = {}
    asked: set[tuple[str, str]] = set()
    waiting = [("nota_jax", extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in asked:
            continue
        asked.add((name, extra))
        try:
            home = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed, or only for another system
        found[canonicalize_name(name)] = home
        for text in home.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(requirement.name, e) for e in ("", *requirement.extras)]
    return dict(sorted(found.items()))


def lock_text(found: dict[str, metadata.Distribution]) -> str:
    """The constraints, one a line; local versions (torch's +cpu) are left to whoever installs."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    head = (
        f"# Constraints for Python {version}, with which the suite is run; `make lock` writes them "
        "from what is\n# installed.  Used as: pip install -c requirements.lock -e '.[dev]'\n"
    )
    lines = [
        f"{name}=={home.version.partition('+')[0]}"
        for name, home in found.items()
        if name != "nota-jax"
    ]
    return head + "\n".join(lines) + "\n"


def licence(home: metadata.Distribution) -> str:
    """What a distribution says of its licence, in its shortest form."""
    said: Any = home.metadata
    if expression := said.get("License-Expression"):
        return expression
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in said.get_all("Classifier") or ()
        if line.startswith("License ::") and not line.endswith("OSI Approved")
    ]
    stated = " ".join((said.get("License") or "").split())
    return "; ".join(classifiers) or stated[:80] or _of_its_text(home) or "not stated"


def _of_its_text(home: metadata.Distribution) -> str:
    """The licence whose text a package brings where its metadata name none."""
    for file in home.files or ():
        if re.match(r"(LICEN[CS]E|COPYING)", file.name, re.IGNORECASE):
            text = " ".join(Path(str(home.locate_file(file))).read_text(errors="replace").split())
            for opening, name in TEXTS.items():
                if opening in text:
                    return f"{name} (by its text)"
    return ""


def judged(name: str, words: str) -> str | None:
    """Why a licence is accepted; None where it is not."""
    if name in LOOKED_AT:
        return LOOKED_AT[name]
    parts = re.split(r"\s+OR\s+", words)  # of a choice one is enough
    for part in parts:
        if re.search(REFUSED, part, re.IGNORECASE):
            continue
        for expression, why in ACCEPTED:
            if re.search(expression, part, re.IGNORECASE):
                return why
    return None


def licences(found: dict[str, metadata.Distribution]) -> tuple[str, list[str]]:
    """A table of all, and the names of those that are not accepted."""
    rows, refused = [], []
    for name, home in found.items():
        if name == "nota-jax":
            continue
        words = licence(home)
        why = judged(name, words)
        rows.append((f"{name} {home.version}", words, why or "NOT ACCEPTED"))
        refused += [] if why else [f"{name} ({words})"]
    return tables.text(("package", "licence", "why accepted"), rows, left=3), refused


def vulnerabilities() -> list[str]:
    """Those that are known of what is installed here, a line each.

    Raises:
      UserError: the database could not be asked.
    """
    command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off",
               "--skip-editable", "--local"]  # fmt: skip
    said = ""
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=600)
        said = _last_line(told.stderr)
        answer = json.loads(told.stdout)["dependencies"]
        asked = [package for package in answer if "vulns" in package]
        if not asked or len(asked) < len(answer):
            raise UserError(_unasked(answer, asked))
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
        raise UserError(
            "known vulnerabilities were NOT looked for: the advisory database could not be asked "
            f"({said or type(error).__name__}). Ask again where it can be reached"
        ) from None
    lines = []
    for package in answer:
        for found in package["vulns"]:
            fixed = ", ".join(found.get("fix_versions") or ()) or "no version yet"
            lines.append(
                f"{package['name']} {package['version']}: {found['id']}, mended in {fixed}"
            )
    return lines


def _unasked(answer: Sequence[Mapping[str, Any]], asked: Sequence[object]) -> str:
    """pip-audit passes over what its database does not know, and then says that all is well."""
    first = next((package for package in answer if "vulns" not in package), {})
    return (
        f"known vulnerabilities were NOT looked for: the advisory database told of {len(asked)} of "
        f"{len(answer)} packages ({first.get('skip_reason', 'no reason given')}). Ask again where "
        "it can be reached"
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1][:200]


def audit() -> int:
    """Licences, then vulnerabilities; both are said before the status is."""
    table, refused = licences(needed())
    print(table)
    for name in refused:
        print(f"licence not accepted: {name}; see the table in nota_jax/tools/supply.py")
    try:
        known = vulnerabilities()
    except UserError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1 if refused else 2
    print("\n".join(known) or "no known vulnerability in what is installed here")
    return int(bool(refused or known))


def _lock(out: Path) -> None:
    found = needed()
    write_atomic(out, lock_text(found))
    print(f"{out}: {len(found) - 1} versions")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m nota_jax.tools.supply",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("lock", "audit"))
    parser.add_argument("--out", type=Path, default=LOCK)
    given = parser.parse_args(argv)
    return exit_status(lambda: _lock(given.out) if given.what == "lock" else audit())


if __name__ == "__main__":
    sys.exit(main())
