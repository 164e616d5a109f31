"""What surrounds music in books: page numbers, footers, the next tune, a reader's pencil marks.

All of it is put on white paper beside what a proved page shows, so that the page's tune, its
labels and every symbol's box stay as they are; where there is no room, it is left out.  Nothing of
it can be taken for part of the tune: below a tune stands another one with a heading and a meter of
its own; marks keep off staves and text, and are larger than any sign of music.
"""

from __future__ import annotations

import dataclasses
import io
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont

from nota_jax.notation import abc
from nota_jax.notation.engraving import boxes
from nota_jax.notation.engraving.errors import EngraveError, MismatchError
from nota_jax.notation.engraving.fonts import text_font
from nota_jax.notation.engraving.layout import MIN_STAFF_SPACING, Picture, Style, engrave
from nota_jax.notation.engraving.page import MARGIN, larger

KINDS = ("number", "footer", "next tune", "marks")

_EDGE = 3.0  # pixels of the usual page (as all lengths here) that stay white at its edge
_CLEAR = 4.0  # between what surrounds the music and all else; three times that beside text
_PAPER = 250  # a channel darker than this is drawn on
_FINER = 4  # strokes and letters are drawn so much larger first
_MARK_TRIES = 40

_FOOTERS = (
    "Copyright {year} by {house}", "{house}", "{house}, plate {plate}", "All rights reserved",
    "Printed for {house}", "{house}  {year}", "Edition no. {plate}", "www.harbourmusic.example",
    "{plate}", "Reproduction prohibited",
)  # fmt: skip
_HOUSES = ("Harbour Music Press", "Edition Linden", "The Old Mill Press", "Session Books Ltd.")

_HEADINGS = (
    "The Miller's Second Wife", "Old Lantern Waltz", "The Ferry Road", "Snow on the Slates",
    "A Trip to the Quarry", "The Grey Gander", "Captain Orme's March", "The Empty Creel",
    "Lady Tindall", "The Hazel Gate", "Three Steps Down", "The Weaver's Holiday",
)  # fmt: skip
# Meter → its bars, as eighths; a space parts beams.
_BARS = {
    "4/4": ("2222", "3122", "1111 22", "422", "1111 1111"), "3/4": ("222", "312", "42", "2 1111"),
    "6/8": ("111 111", "2121", "321", "33"), "2/4": ("1111", "22", "211", "112"),
}  # fmt: skip
_KEYS = ("C", "G", "D", "A", "F", "Bb", "Am", "Em", "Dm")
_PITCHES = "DEFGABcdefg"
_MOST_BARS = 16  # more than a line, so that the line is full

_INKS = ((40, 40, 40), (120, 120, 120), (35, 55, 150), (175, 35, 35))  # pencils and pens


@dataclass(frozen=True)
class _Part:
    """A piece of paper with something on it, the places (left, top) to try, in turn, and how many
    pixels beside and above it are to be white."""

    paper: Image.Image
    places: Sequence[tuple[int, int]]
    clear: tuple[int, int]


def surrounded(pictures: Sequence[Picture], style: Style, seed: int) -> tuple[Picture, ...]:
    """The pictures of one layout with the same things around the music; the same number, the same.

    Raises nothing of its own: what finds no room is left out.
    """
    rng = random.Random(seed)
    images = [Image.open(io.BytesIO(picture.png)) for picture in pictures]
    taken = _taken(images, pictures[0])
    kinds = rng.sample(KINDS, rng.randint(2, len(KINDS)))
    bottom = int(np.flatnonzero(taken.any(axis=1))[-1])
    for part in _parts(pictures[0], style, kinds, bottom, rng):
        for left, top in part.places:
            if _is_free(taken, left, top, part.paper, part.clear):
                taken[top : top + part.paper.height, left : left + part.paper.width] = True
                for image in images:
                    _lay(image, part.paper, left, top)
                break
    return tuple(
        dataclasses.replace(picture, png=_png(image))
        for picture, image in zip(pictures, images, strict=True)
    )


def _taken(images: Sequence[Image.Image], picture: Picture) -> np.ndarray:
    """bool [size, size]: ink or tint of any picture, symbols' boxes, and the systems as wholes."""
    pixels = [np.asarray(image.convert("RGB")).min(axis=-1) < _PAPER for image in images]
    taken = np.logical_or.reduce(pixels)
    symbols = boxes.unpack(picture.symbols)
    areas = list(symbols["box"])
    for system in set(symbols["system"]) - {-1}:
        rows = symbols["box"][symbols["system"] == system]
        areas.append((*rows[:, :2].min(axis=0), *rows[:, 2:].max(axis=0)))
    areas += picture.bar_boxes
    for left, top, right, bottom in areas:
        taken[int(top) : math.ceil(bottom), int(left) : math.ceil(right)] = True
    return taken


def _is_free(
    taken: np.ndarray, left: int, top: int, paper: Image.Image, clear: tuple[int, int]
) -> bool:
    (width, height), size = paper.size, len(taken)
    edge = round(_EDGE * larger(size))
    inside = min(left, top, size - left - width, size - top - height) >= edge
    beside, above = clear
    around = (
        slice(max(0, top - above), top + height + above),
        slice(max(0, left - beside), left + width + beside),
    )
    return inside and not taken[around].any()


def _lay(image: Image.Image, paper: Image.Image, left: int, top: int) -> None:
    place = (left, top, left + paper.width, top + paper.height)
    image.paste(ImageChops.darker(image.crop(place), paper.convert(image.mode)), place)


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=4)
    return out.getvalue()


def _parts(
    picture: Picture, style: Style, kinds: Sequence[str], bottom: int, rng: random.Random
) -> Iterator[_Part]:
    """What is wanted, in the order in which it takes its room.

    bottom: the last row of pixels with music.
    """
    unit = larger(style.size)
    has_title = bool(picture.tune.titles)
    clear = round(_CLEAR * unit)
    clear_of_text = (3 * clear, clear)
    if "next tune" in kinds:
        gaps = [round(spaces * picture.staff_spacing) for spaces in (rng.uniform(3, 6), 3)]
        found = _next_tune(picture, style, has_title, rng)
        if found is not None:
            paper, left = found
            yield _Part(paper, [(left, bottom + gap) for gap in gaps], (clear, clear))
    if "number" in kinds:
        text = rng.choice(("{}", "{}", "- {} -", "Page {}")).format(rng.randint(1, 400))
        paper = _written(text, style, rng.uniform(7.5, 9.5) * unit, rng)
        corners = _corners(paper, style.size, ("bottom", "top") if has_title else ("bottom",))
        yield _Part(paper, rng.sample(corners, len(corners)), clear_of_text)
    if "footer" in kinds:
        text = rng.choice(_FOOTERS).format(
            year=rng.randint(1850, 2020), house=rng.choice(_HOUSES), plate=rng.randint(1000, 99999)
        )
        paper = _written(text, style, rng.uniform(6.5, 8.5) * unit, rng)
        corners = _corners(paper, style.size, ("bottom",))
        yield _Part(paper, rng.sample(corners, len(corners)), clear_of_text)
    if "marks" in kinds:
        for _ in range(rng.randint(1, 4)):
            paper = _mark(picture.staff_spacing, unit, rng)
            lowest = [style.size, bottom][rng.random() < 0.6]
            places = [
                (rng.randrange(style.size), rng.randrange(lowest)) for _ in range(_MARK_TRIES)
            ]
            yield _Part(paper, places, (max(clear, round(picture.staff_spacing)),) * 2)


# ------------------------------------------------------------------ text


def _written(text: str, style: Style, size: float, rng: random.Random) -> Image.Image:
    """A line of text in the page's own font, close around its ink."""
    file = text_font(style.text_font).files[2 * (rng.random() < 0.2)]
    face = ImageFont.truetype(file, size * _FINER)
    left, top, right, bottom = (round(side) for side in face.getbbox(text))
    paper = _blank((right - left) / _FINER, (bottom - top) / _FINER)
    ImageDraw.Draw(paper).text((-left, -top), text, font=face, fill=(rng.choice((0, 0, 60)),) * 3)
    return paper.reduce(_FINER)


def _blank(width: float, height: float) -> Image.Image:
    """White paper of whole pixels, to be reduced when it is drawn on."""
    size = (_FINER * math.ceil(width), _FINER * math.ceil(height))
    return Image.new("RGB", size, "white")


def _corners(paper: Image.Image, size: int, ends: Sequence[str]) -> list[tuple[int, int]]:
    """The left, middle and right of the page's lower end, and the outer ones of its upper end."""
    edge, margin = (round(side * larger(size)) for side in (_EDGE, MARGIN))
    middle, right = (size - paper.width) // 2, size - margin - paper.width
    low = size - edge - paper.height
    places = [(margin, low), (middle, low), (right, low)]
    return places + [(margin, margin), (right, margin)] * ("top" in ends)


# ------------------------------------------------------------------ the next tune


def _next_tune(
    picture: Picture, style: Style, has_title: bool, rng: random.Random
) -> tuple[Image.Image, int] | None:
    """Heading and first line of a tune made up, as large as the page's own or smaller, and how far
    from the left it stands; None where the line cannot be parted from the next.

    Below a tune without a title there is a number alone, for a title would be the page's only one.
    """
    numbered = not has_title or rng.random() < 0.4
    heading = f"No. {rng.randint(2, 300)}" if numbered else rng.choice(_HEADINGS)
    spacing = max(MIN_STAFF_SPACING, picture.staff_spacing * rng.uniform(0.8, 1.0))
    style = dataclasses.replace(style, staff_spacing=round(spacing, 2))
    try:
        page = engrave(abc.parse(_made_up(heading, rng)), style)
    except (EngraveError, MismatchError):  # the page does without
        return None
    image = Image.open(io.BytesIO(page.png)).convert("L")
    blank = np.asarray(image).min(axis=1) >= _PAPER
    foot = math.ceil(page.bar_boxes[0][3])
    cut = foot + int(blank[foot:].argmax())
    symbols = boxes.unpack(page.symbols)
    others = symbols["box"][symbols["system"] > 0]
    if len(others) and others[:, 1].min() < cut:
        return None
    ink = ImageChops.invert(image.crop((0, 0, image.width, cut))).getbbox()
    assert ink is not None  # of a page that was proved
    return image.crop(ink).convert("RGB"), ink[0]


def _made_up(heading: str, rng: random.Random) -> str:
    """ABC of a tune that goes mostly by step."""
    meter = rng.choice(tuple(_BARS))
    place, bars = rng.randrange(len(_PITCHES)), []
    for _ in range(_MOST_BARS):
        bar = ""
        for eighths in rng.choice(_BARS[meter]):
            if eighths != " ":
                place = min(max(place + rng.choice((-2, -1, -1, 1, 1, 2)), 0), len(_PITCHES) - 1)
                bar += _PITCHES[place] + eighths
            else:
                bar += " "
        bars.append(bar)
    return f"X:1\nT:{heading}\nM:{meter}\nL:1/8\nK:{rng.choice(_KEYS)}\n{'|'.join(bars)}|\n"


# ------------------------------------------------------------------ marks


def _mark(spacing: float, unit: float, rng: random.Random) -> Image.Image:
    """A tick, a ring, an arrow or a curl, four to seven staff spaces long."""
    length = spacing * rng.uniform(4, 7)
    strokes = rng.choice((_tick, _ring, _arrow, _curl))(rng)
    strokes = [length * _by_hand(stroke, rng) for stroke in strokes]
    pen = rng.uniform(0.8, 1.7) * unit
    low = np.min([stroke.min(axis=0) for stroke in strokes], axis=0) - pen
    high = np.max([stroke.max(axis=0) for stroke in strokes], axis=0) + pen
    paper = _blank(*(high - low))
    draw, colour = ImageDraw.Draw(paper), rng.choice(_INKS)
    for stroke in strokes:
        points = [tuple(point) for point in (stroke - low) * _FINER]
        draw.line(points, fill=colour, width=max(1, round(pen * _FINER)), joint="curve")
    return paper.reduce(_FINER)


def _by_hand(stroke: np.ndarray, rng: random.Random) -> np.ndarray:
    """Points [n, 2] of a stroke, in between too, each straight piece bent a little."""
    pieces = []
    for start, end in zip(stroke, stroke[1:], strict=False):
        along = np.linspace(0, 1, 9)[:, None]
        across = np.array([start[1] - end[1], end[0] - start[0]]) * rng.uniform(-0.1, 0.1)
        pieces.append(start + along * (end - start) + 4 * along * (1 - along) * across)
    return np.concatenate(pieces)


def _tick(rng: random.Random) -> list[np.ndarray]:
    return [np.array([(0, rng.uniform(0.4, 0.6)), (rng.uniform(0.2, 0.35), 0.9), (0.8, 0)])]


def _ring(rng: random.Random) -> list[np.ndarray]:
    """Its ends pass each other, as a hand's do."""
    angles = rng.uniform(0, 2 * math.pi) + np.linspace(0, rng.uniform(1.95, 2.2) * math.pi, 25)
    radius = 0.5 * np.linspace(1, rng.uniform(0.85, 1.1), 25)
    flat = rng.uniform(0.7, 0.95)
    return [np.stack([radius * np.cos(angles), flat * radius * np.sin(angles)], axis=1)]


def _arrow(rng: random.Random) -> list[np.ndarray]:
    turn = rng.uniform(0, 2 * math.pi)
    about = np.array([(math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))])
    barb = rng.uniform(0.15, 0.25)
    shaft, head = [(0, 0), (1, 0)], [(1 - barb, -barb), (1, 0), (1 - barb, barb)]
    return [np.array(shaft) @ about, np.array(head) @ about]


def _curl(rng: random.Random) -> list[np.ndarray]:
    """Loops in a row; a zigzag would be a mordent."""
    loops, radius = rng.randint(2, 4), rng.uniform(0.15, 0.25)
    turns = np.linspace(0, 2 * math.pi * loops, 12 * loops)
    along = np.linspace(0, 1, len(turns))
    return [np.stack([along + radius * np.cos(turns), radius * np.sin(turns)], axis=1)]
