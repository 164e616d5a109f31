"""Pages with a box around every symbol: to see by eye that the labels of a picture are true.

    python -m nota_jax.tools.overlay --out FOLDER [--corpora NAME …] [--limit 20] [--scale 4]

writes one PNG a tune, enlarged, in the styles that a build would draw it in.  Colours are kinds of
symbols; beside a head stands its staff position and value, beside a bar line or sign its label.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nota_jax.data.build import corpora
from nota_jax.data.build.pages import Settings, drawings
from nota_jax.errors import UserError, exit_status
from nota_jax.notation.abc import AbcError, parse
from nota_jax.notation.engraving import boxes
from nota_jax.notation.engraving.fonts import text_font
from nota_jax.notation.engraving.layout import Picture, engrave

_COLOURS = {
    "head": "#d00000", "rest": "#d07000", "accidental": "#b000b0", "clef": "#008080",
    "key": "#6020c0", "meter": "#0060d0", "bar line": "#00a000", "tuplet": "#806000",
    "decoration": "#c04080", "tempo note": "#c04080", "letter": "#4080ff",
}  # fmt: skip


def overlay(picture: Picture, scale: int = 4) -> Image.Image:
    """The picture, `scale` times as large, with its symbols' boxes and what they are."""
    with Image.open(io.BytesIO(picture.png)) as image:
        size = (image.width * scale, image.height * scale)
        shown = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(shown)
    font = ImageFont.truetype(text_font("DejaVu Sans").files[0], 3 * scale)
    for symbol in boxes.moved(boxes.unpack(picture.symbols), scale):
        kind = boxes.KINDS[symbol["kind"]]
        left, top, right, bottom = (float(edge) for edge in symbol["box"])
        draw.rectangle((left, top, right, bottom), outline=_COLOURS[kind])
        draw.text((left, bottom), said(symbol), fill=_COLOURS[kind], font=font)
    return shown


def said(symbol: np.void) -> str:
    """A few characters that say what a symbol is."""
    kind = boxes.KINDS[symbol["kind"]]
    value = "" if symbol["halvings"] == boxes.NOTHING else f"/{2.0 ** int(symbol['halvings']):g}"
    value += "." * int(symbol["dots"])
    if kind == "head":
        opens = "(" * int(symbol["slurs_open"]) + "-" * int(symbol["tie_opens"])
        closes = "-" * int(symbol["tie_closes"]) + ")" * int(symbol["slurs_close"])
        beam = ("", "[", "=", "]")[symbol["beam"]]
        return f"{closes}{symbol['position']}{value}{beam}{opens}"
    if kind in ("rest", "tempo note"):
        return value
    if kind in ("key", "accidental"):
        return f"{symbol['accidental']:+d}"
    return "" if kind == "letter" else str(symbol["label"])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draw the boxes of a page's symbols over it.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--corpora", nargs="+", help="names of corpora, or path:FOLDER")
    parser.add_argument("--limit", type=int, default=20, help="number of tunes")
    parser.add_argument("--scale", type=int, default=4, help="how many times as large")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for source in corpora.read(options.corpora, options.limit):
        try:
            tune = parse(source.text, source=source.file, line=source.line)
            for drawing in drawings(source, tune, Settings()):
                name = drawing.id.replace("/", "_").replace("#", "_") + ".png"
                overlay(engrave(drawing.tune, drawing.style), options.scale).save(
                    options.out / name
                )
                print(options.out / name)
        except (AbcError, UserError) as error:
            print(f"{source.id}: {error}")


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
