"""Tables show every cell as it is."""

import re
from pathlib import Path

import pytest

from nota_jax import tables

ROOT = Path(__file__).parents[1]
BAR = re.compile(r"(?<!\\)\|")


def test_a_bar_in_a_cell_ends_no_cell():
    table = tables.markdown(("meter", "a|b"), [["C|", "3"], ["`(x|y)/.*`", "4"]])
    assert [len(BAR.findall(line)) for line in table.splitlines()] == [3] * 4
    assert r"C\|" in table and "C|" in tables.text(("meter",), [["C|"]])


@pytest.mark.parametrize("page", ["README.md", "docs/*.md", "checkpoints/*/README.md"])
def test_the_tables_of_our_pages_have_as_many_cells_in_every_row(page):
    for path in ROOT.glob(page):
        cells = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = len(BAR.findall(line)) if line.startswith("|") else None
            assert cells is None or found in (cells, None), f"{path.name}:{number}"
            cells = found and (cells or found)
