"""A picture of a page of ours, as a browser shows it.

    python -m nota_jax.read docs/page.png --out read
    python -m nota_jax.tools.screenshot read/page.html docs/read.png [--width 1280] [--dark]
    python -m nota_jax.tools.screenshot RUN/evaluation_test/report.html out.png --at '#gallery'

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
    parser.add_argument("--at", metavar="SELECTOR", help="what stands at the top of the window")
    parser.add_argument("--height", type=int, default=800, help="of the window, with --at")
    parser.add_argument("--dark", action="store_true")
    return exit_status(lambda: shoot(parser.parse_args(argv)))


def browser() -> str | None:
    """The first of `BROWSERS` that is installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def shoot(given: argparse.Namespace) -> None:
    """Raises `UserError` where there is no page, no Playwright or browser, or nothing to show."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise UserError(f"{error.name} is missing: pip install 'nota_jax[dev]'") from None

    page: Path = given.page
    if (found := browser()) is None:
        raise UserError(f"no browser is installed: one of {', '.join(BROWSERS)} is needed")
    if not page.is_file():
        raise UserError(f"there is no page {page}")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        tab = running.new_page(
            viewport={"width": given.width, "height": given.height},
            color_scheme="dark" if given.dark else "light",
        )
        tab.goto(page.absolute().as_uri())
        if tab.locator("#engraved").count():  # a reading, which a script engraves
            tab.wait_for_selector("#engraved svg")
        if given.bar:
            tab.click(f'#picture [data-bar="{given.bar - 1}"]')
        if given.at:
            if not tab.locator(given.at).count():
                raise UserError(f"{page} has nothing that {given.at} names")
            tab.locator(given.at).first.evaluate("element => element.scrollIntoView()")
        tab.screenshot(path=str(given.out), full_page=not given.at)
        running.close()


if __name__ == "__main__":
    sys.exit(main())
