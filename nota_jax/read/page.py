"""One HTML page for each reading, which opens from disk: no server, no network.

The picture and the engraved text side by side, bars marked in both, playback, editing, downloads.
abcjs (MIT), which engraves and times the text, is part of the page: `assets/abcjs-basic-min.js` is
the file of its npm package.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from nota_jax.data.feed import pictures
from nota_jax.read.reader import UNSURE, Reading, as_dict
from nota_jax.web import look

ASSETS = Path(__file__).parent / "assets"
ABCJS = "6.7.2"
MOST_PICTURE = 1600  # pixels of the picture's longer side in the page


@cache
def asset(name: str) -> str:
    return (ASSETS / name).read_text()


def page(reading: Reading, musicxml: str, midi: bytes, others: Sequence[str] = ()) -> str:
    """The page.

    musicxml, midi: as files beside it have them, empty where there are none; others: names of the
    readings before and behind it, "" for none.
    """
    picture = reading.picture.copy()
    picture.thumbnail((MOST_PICTURE, MOST_PICTURE))
    data = as_dict(reading) | {
        "said": said(reading),
        "unsure": UNSURE,
        "musicxml": musicxml,
        "midi": base64.b64encode(midi).decode(),
    }
    links = ['<a href="index.html">All pages</a>'] if others else []
    for name, text in zip(others, ("← before", "next →"), strict=False):
        if name:
            links.append(f'<a href="{html.escape(name)}.html">{text}</a>')
    encoded = base64.b64encode(pictures.encode(picture)).decode()
    return _filled(
        asset("page.html"),
        title=html.escape(title(reading)),
        style=look() + asset("page.css"),
        links=" ".join(links),
        picture=f"data:image/png;base64,{encoded}",
        model=html.escape(Path(reading.model).name),
        abcjs=ABCJS,
        # Inside a script nothing but "</" ends it.
        reading=json.dumps(data, ensure_ascii=False).replace("</", "<\\/"),
        engraver=asset("abcjs-basic-min.js"),
        script=asset("page.js"),
    )


def index(readings: Sequence[Reading]) -> str:
    """A page that leads to several readings."""
    rows = "\n".join(
        f'<li><a href="{html.escape(r.name)}.html">{html.escape(title(r))}</a> '
        f"<small>{html.escape(r.name)}: {html.escape(said(r))}</small></li>"
        for r in readings
    )
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{len(readings)} pages</title>\n<style>{look()}</style>\n"
        f"<h1>{len(readings)} pages</h1>\n<ol>\n{rows}\n</ol>\n</html>\n"
    )


def title(reading: Reading) -> str:
    found = re.search(r"^T:\s*(.+)$", reading.abc, re.MULTILINE)
    return found[1] if found else reading.name


def said(reading: Reading) -> str:
    """A line about the reading as a whole."""
    wrong = sum(bool(bar.problem) for bar in reading.bars)
    unsure = sum(bar.sure < UNSURE and not bar.problem for bar in reading.bars)
    parts = [f"{len(reading.bars)} bars"]
    if wrong:
        parts.append(f"{wrong} {'does' if wrong == 1 else 'do'} not add up")
    if unsure:
        parts.append(f"{unsure} less than {UNSURE:.0%} sure")
    return ", ".join(parts)


def _filled(template: str, **values: str) -> str:
    """In one pass, so that nothing which is filled in is looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)
