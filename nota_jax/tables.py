"""Tables for the terminal and for Markdown pages (`tabulate` lays them out).

Cells are strings that are printed as they are; the first column is set left, the others right
unless `left` says how many are not.
"""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

Rows = Sequence[Sequence[str]]


def text(headers: Sequence[str], rows: Rows, *, left: int = 1) -> str:
    """An aligned table in plain text, lines without trailing blanks."""
    laid_out = _layout(headers, rows, left, "plain")
    return "\n".join(line.rstrip() for line in laid_out.splitlines())


def markdown(headers: Sequence[str], rows: Rows, *, left: int = 1) -> str:
    """A table in GitHub's Markdown; a bar in a cell, as of the meter C|, ends none."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (headers, *rows)]
    return _layout(cells[0], cells[1:], left, "github")


def _layout(headers: Sequence[str], rows: Rows, left: int, style: str) -> str:
    sides = ["left" if i < left else "right" for i in range(len(headers))]
    return tabulate(
        rows,
        headers,
        tablefmt=style,
        colalign=sides if rows else None,
        headersalign=sides if rows else None,
        disable_numparse=True,
        preserve_whitespace=True,
    )
