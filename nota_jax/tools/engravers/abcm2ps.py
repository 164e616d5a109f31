"""abcm2ps: ABC to SVG, one process a tune (a few hundredths of a second)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nota_jax.errors import UserError
from nota_jax.tools.engravers.drawing import SIDE, Drawn, Undrawn, Wish

_SPACE = 6.0  # of its units between two staff lines
_SECONDS = 20
_METER = "font:bold 16px "
_FAMILY = re.compile(r'(style="font:[^"]*?px) [^"]*"')


class Abcm2ps:
    name = "abcm2ps"

    def version(self) -> str:
        if shutil.which(self.name) is None:
            raise UserError("abcm2ps is not installed: install the package abcm2ps")
        said = subprocess.run([self.name, "-V"], capture_output=True, text=True, timeout=_SECONDS)
        found = re.search(r"abcm2ps-([0-9.]+)", said.stdout + said.stderr)
        return found[1] if found else "of unknown version"

    def draw(self, wishes: Sequence[Wish]) -> list[Drawn | str]:
        drawn: list[Drawn | str] = []
        for wish in wishes:
            try:
                drawn.append(self._draw(wish))
            except Undrawn as reason:
                drawn.append(str(reason))
        return drawn

    def _draw(self, wish: Wish) -> Drawn:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "tune.abc").write_text(settings(wish) + wish.abc)
            try:
                said = subprocess.run(
                    [self.name, "-q", "-g", "-O", "page", "tune.abc"],
                    cwd=folder, capture_output=True, timeout=_SECONDS,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise Undrawn("abcm2ps took too long") from None
            made = list(Path(folder).glob("page*.svg"))
            if said.returncode < 0 or len(made) != 1:
                raise Undrawn("abcm2ps drew nothing")
            svg = made[0].read_text()
        # It measures with Times and Helvetica, and names them; the page has its own font, whose
        # digits must not be higher than half a staff in a meter.
        svg = svg.replace(_METER, f"font:bold {16 * wish.font.scale:.2f}px ")
        return Drawn(_FAMILY.sub(r'\1 sans-serif"', svg), _SPACE)


def settings(wish: Wish) -> str:
    """Its format parameters: the page's width, sizes of texts, no white that a page here lacks."""

    def units(pixels: float) -> str:
        return f"{_SPACE * wish.spaces(pixels):.2f}"

    scale = wish.font.scale  # the page's font, fitted into the widths of Times
    titles = [wish.title_size(n) for n in range(len(wish.tune.titles))] + [1.0] * 2
    width = _SPACE * wish.width
    lines = {
        "pagewidth": f"{width + 40:.2f}", "leftmargin": "20", "rightmargin": "20",
        "topmargin": "10", "botmargin": "10", "topspace": "0",
        "titlefont": f"Times {units(titles[0])}", "subtitlefont": f"Times {units(titles[1])}",
        "composerfont": f"Times-Italic {units(SIDE)}",
        "tempofont": f"Times-Bold {units(SIDE * scale)}",
        "titlespace": units(1), "subtitlespace": units(1), "composerspace": units(1),
        "musicspace": "0", "maxshrink": "1", "titletrim": "0", "graceslurs": "0",
        "staffsep": "34" if wish.tight else "46",
    }  # fmt: skip
    return "".join(f"%%{name} {value}\n" for name, value in lines.items())
