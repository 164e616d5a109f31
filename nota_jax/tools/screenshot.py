"""A picture of a reading's page, as a browser shows it.

    python -m nota_jax.read docs/page.png --out read
    python -m nota_jax.tools.screenshot read/page.html docs/read.png [--width 1280] [--dark]

Needs playwright (among the test extras) and a Chromium that is installed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from nota_jax.errors import UserError, exit_status

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--bar", type=int, default=0, help="that is selected")
    parser.add_argument("--dark", action="store_true")
    given = parser.parse_args(argv)
    return exit_status(lambda: shoot(given.page, given.out, given.width, given.bar, given.dark))


def browser() -> str | None:
    """The first of `BROWSERS` that is installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def shoot(page: Path, out: Path, width: int, bar: int, dark: bool) -> None:
    """Raises `UserError` where there is no page or no browser."""
    from playwright.sync_api import sync_playwright

    if (found := browser()) is None:
        raise UserError(f"no browser is installed: one of {', '.join(BROWSERS)} is needed")
    if not page.is_file():
        raise UserError(f"there is no page {page}")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        tab = running.new_page(
            viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light"
        )
        tab.goto(page.absolute().as_uri())
        tab.wait_for_selector("#engraved svg")
        if bar:
            tab.click(f'#picture [data-bar="{bar - 1}"]')
        tab.screenshot(path=str(out), full_page=True)
        running.close()


if __name__ == "__main__":
    sys.exit(main())
