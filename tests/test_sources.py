"""Nothing that is read from data is ever executed: our own sources say no word that would do so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [
    path for room in ("nota_jax", "conversion", "configs") for path in (ROOT / room).rglob("*.py")
]
CALLS = {
    "eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "marshal.load", "marshal.loads", "shelve.open", "dill.load", "dill.loads", "cloudpickle.load",
    "cloudpickle.loads", "joblib.load", "yaml.load", "yaml.load_all", "yaml.unsafe_load",
    "yaml.full_load", "jsonpickle.decode", "os.system", "os.popen", "os.execv", "os.execvp",
    "subprocess.getoutput", "subprocess.getstatusoutput", "pandas.read_pickle", "runpy.run_path",
    "runpy.run_module",
}  # fmt: skip
KEYWORDS = {"allow_pickle", "trust_remote_code", "shell"}  # whose True lets data run
# A file of configuration is Python, and whoever names one on the command line means to run it.
ALLOWED = {("nota_jax/main.py", "runpy.run_path")}


def dangers(source: str) -> Iterator[tuple[int, str]]:
    """(line, what it is) of every call that could run what it reads."""
    tree, names = ast.parse(source), dict[str, str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = _name(node.func, names)
        keywords = {word.arg: word.value for word in node.keywords}
        if called in CALLS:
            yield node.lineno, called
        if called in ("torch.load", "torch.serialization.load"):
            if not _is(keywords.get("weights_only"), True):
                yield node.lineno, "torch.load without weights_only=True"
        for word in KEYWORDS & keywords.keys():
            if not _is(keywords[word], False):
                yield node.lineno, word


def _name(node: ast.expr, names: dict[str, str]) -> str:
    """The dotted name of what is called, as it was imported; "" for what has none."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (whole := _name(node.value, names)):
        return f"{whole}.{node.attr}"
    return ""


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_nothing_read_is_executed():
    assert len(SOURCES) > 150
    found = {
        (path.relative_to(ROOT).as_posix(), what)
        for path in SOURCES
        for _, what in dangers(path.read_text())
    }
    assert found == ALLOWED


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "import pickle\npickle.loads(data)",
        "from pickle import loads as read\nread(data)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, allow_pickle=asked)",
        "import yaml as y\ny.load(text, y.Loader)",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "AutoModel.from_pretrained(folder, trust_remote_code=True)",
        "import subprocess\nsubprocess.run(text, shell=True)",
    ],
)
def test_the_check_sees_what_would_be_executed(source):
    assert list(dangers(source))


@pytest.mark.parametrize(
    "source",
    [
        "import re\nre.compile(text)",
        "import torch\ntorch.load(path, weights_only=True)",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "jitted.lower(x).compile()",
    ],
)
def test_the_check_lets_the_harmless_be(source):
    assert not list(dangers(source))
