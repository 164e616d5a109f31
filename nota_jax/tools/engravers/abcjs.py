"""abcjs: ABC to SVG by JavaScript, in one Chromium for all tunes."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nota_jax.read
from nota_jax.errors import UserError
from nota_jax.notation.engraving.fonts import TextFont
from nota_jax.tools import screenshot
from nota_jax.tools.engravers.drawing import SIDE, Drawn, Undrawn, Wish

_SCRIPT = Path(nota_jax.read.__file__).parent / "assets" / "abcjs-basic-min.js"
_SPACE = 7.75  # of its units between two staff lines
_MILLISECONDS = 20_000
_MARK = "\ue000"  # a character for private use, which no title has

_DRAW = """([text, options]) => {
  const place = document.getElementById("page");
  place.replaceChildren();
  ABCJS.renderAbc(place, text, options);
  const drawn = place.querySelectorAll("svg");
  return drawn.length == 1 ? new XMLSerializer().serializeToString(drawn[0]) : "";
}"""


class Abcjs:
    name = "abcjs"

    def version(self) -> str:
        if importlib.util.find_spec("playwright") is None:
            raise UserError("abcjs needs a browser to draw in: pip install playwright")
        if screenshot.browser() is None:
            raise UserError("abcjs needs a browser to draw in: install the package chromium")
        found = re.search(r"abcjs_basic v([0-9.]+)", _SCRIPT.read_text()[:200])
        return found[1] if found else "of unknown version"

    def draw(self, wishes: Sequence[Wish]) -> list[Drawn | str]:
        from playwright.sync_api import Error, sync_playwright

        drawn: list[Drawn | str] = []
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
            page = Path(folder, "page.html")
            page.write_text(_html({wish.font.family: wish.font for wish in wishes}))
            running = playwright.chromium.launch(
                executable_path=screenshot.browser(), args=["--no-sandbox"]
            )
            try:
                tab = running.new_page()
                tab.set_default_timeout(_MILLISECONDS)
                tab.goto(page.as_uri())
                # It measures texts before it places them: their fonts have to be there.
                tab.evaluate("Promise.all([...document.fonts].map((face) => face.load()))")
                for wish in wishes:
                    try:
                        svg = tab.evaluate(_DRAW, [settings(wish) + text(wish), options(wish)])
                    except Undrawn as reason:
                        drawn.append(str(reason))
                    except Error:
                        drawn.append("abcjs raised an error")
                    else:
                        drawn.append(
                            Drawn(svg.replace(_MARK, ""), _SPACE) if svg else "abcjs drew nothing"
                        )
            finally:
                running.close()
        return drawn


def _html(fonts: dict[str, TextFont]) -> str:
    looks = ("", "font-weight: bold;", "font-style: italic;")
    faces = "".join(
        f'@font-face {{ font-family: "{family}"; src: url("{Path(file).as_uri()}"); {look} }}\n'
        for family, font in fonts.items()
        for file, look in zip(font.files, looks, strict=True)
    )
    return (
        f'<!doctype html><meta charset="utf-8"><style>{faces}</style><div id="page"></div>'
        f"<script>{_SCRIPT.read_text()}</script>"
    )


def text(wish: Wish) -> str:
    """The tune's ABC, with titles that abcjs leaves as they are: it prints "Lass, The" as "The
    Lass" unless something stands behind."""
    return re.sub("^T:.*$", rf"\g<0>{_MARK}", wish.abc, flags=re.M)


def options(wish: Wish) -> dict[str, Any]:
    return {
        "staffwidth": _SPACE * wish.width, "add_classes": False,
        "paddingtop": 10, "paddingbottom": 10, "paddingleft": 10, "paddingright": 10,
    }  # fmt: skip


def settings(wish: Wish) -> str:
    """Its format directives: sizes of texts, no white that a page here lacks."""

    def font(pixels: float, look: str = "") -> str:
        # It takes points, four thirds of its units.
        return f'"{wish.font.family}" {0.75 * _SPACE * wish.spaces(pixels):.1f}{look}'

    titles = [wish.title_size(n) for n in range(len(wish.tune.titles))] + [1.0] * 2
    side = font(SIDE)
    lines = {
        "titlefont": font(titles[0]), "subtitlefont": font(titles[1]),
        "composerfont": font(SIDE, " italic"), "tempofont": font(SIDE, " bold"),
        "annotationfont": side, "gchordfont": side, "repeatfont": side, "vocalfont": side,
        "topspace": 0, "titlespace": 0, "subtitlespace": 0, "composerspace": 0, "musicspace": 0,
        "graceslurs": 0,
        "staffsep": 12 if wish.tight else 36,
    }  # fmt: skip
    return "".join(f"%%{name} {value}\n" for name, value in lines.items())
