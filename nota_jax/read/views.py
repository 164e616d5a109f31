"""A page cut into what a model sees at once.

A model sees a small square.  Where a whole page would be too small in it, its systems are laid out
anew, several to a square, long ones cut at bar lines; what is cut off the left end of a system gets
its clef and key signature, so that every square looks like a page of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from nota_jax.data.feed import images
from nota_jax.read import staves
from nota_jax.read.staves import Layout, Staff

LEAST_SPACING = 4.0  # pixels between staff lines, in the square: below, heads run together
WISHED_SPACING = 5.0  # the middle of what training's pages have
MARGIN = 1.6  # spacings around what is cut out
STRETCH = 1.2  # how much longer than a square a system may be
REACH = 4.5  # spacings above and below a staff that may hold its notes

Box = tuple[int, int, int, int]  # left, top, right, bottom
Piece = tuple[Box, int]  # of the page, and the number of its staff, −1 for a header


@dataclass(frozen=True)
class Part:
    """A piece of the page and where it lies in a square.

    box: left, top, right, bottom in the page; staff: number of its staff, −1 for a header;
    x, y: of its left top corner in the square; scale: square pixels per page pixel.
    """

    box: Box
    staff: int
    x: float
    y: float
    scale: float

    def to_page(self, x: float, y: float) -> tuple[float, float] | None:
        """The page's place of a square's; None where it lies outside this part."""
        left = (x - self.x) / self.scale + self.box[0]
        top = (y - self.y) / self.scale + self.box[1]
        inside = self.box[0] <= left <= self.box[2] and self.box[1] <= top <= self.box[3]
        return (left, top) if inside else None


@dataclass(frozen=True)
class View:
    """One square.  pixels: uint8 [S, S, 3]; spacing: of its staves, 0 where none was found.

    parts: what it shows; lines: of each of its systems, from the top, the number of its staff in
    the page.
    """

    pixels: np.ndarray
    parts: tuple[Part, ...]
    lines: tuple[int, ...]
    spacing: float

    def to_page(self, x: float, y: float) -> tuple[float, float, int] | None:
        """Where a place of the square lies in the page, and on which staff's piece."""
        for part in self.parts:
            if (found := part.to_page(x, y)) is not None:
                return *found, part.staff
        return None


def whole(image: Image.Image, layout: Layout, size: int) -> View:
    """The page at once: cropped to its ink where it would be too small otherwise."""
    width, height = image.size
    scale = size / max(width, height)
    box = (0, 0, width, height)
    if layout.staves and layout.spacing * scale < WISHED_SPACING:
        margin = round(MARGIN * layout.spacing)
        left, top, right, bottom = layout.ink
        tight = (max(0, left - margin), max(0, top - margin),
                 min(width, right + margin), min(height, bottom + margin))  # fmt: skip
        tight_scale = size / max(tight[2] - tight[0], tight[3] - tight[1])
        if tight_scale > 1.05 * scale:
            box, scale = tight, min(tight_scale, WISHED_SPACING / layout.spacing)
            view = _stacked(image, [[(box, -1)]], round(size / scale), size, layout)
            return replace(view, lines=tuple(range(len(layout.staves))))
    pixels = images.square(image, size)
    x, y = ((size - scale * side) / 2 for side in (width, height))
    part = Part(box, -1, x, y, scale)
    return View(pixels, (part,), tuple(range(len(layout.staves))), layout.spacing * scale)


def systems(image: Image.Image, layout: Layout, size: int) -> list[View]:
    """The page laid out anew, so that its staves are as large as training's."""
    margin = round(MARGIN * layout.spacing)
    side = round(layout.spacing * size / WISHED_SPACING)  # of a square, in the page's pixels
    ink = staves.dark(np.asarray(image.convert("L")))
    rows: list[list[Piece]] = []
    for number, staff in enumerate(layout.staves):
        top, bottom = _reach(image, layout, number)
        signs = staves.signs_end(ink, staff)
        for first, last in _cuts(staff, side - 2 * margin, signs - staff.left):
            if first == staff.left:
                rows.append([((max(0, first - margin), top, last, bottom), number)])
            else:  # a system's later piece: clef and key signature stand before it
                head = (max(0, staff.left - margin // 2), top, signs, bottom)
                rows.append([(head, number), ((first, top, last, bottom), number)])
    pending: list[list[Piece]] = []
    if (header := _header(image, layout, margin)) is not None:
        pending.append([(header, -1)])
    views: list[View] = []
    for row in rows:
        height = sum(_height(r) for r in [*pending, row])
        if height > side and any(r[0][1] >= 0 for r in pending):
            views.append(_stacked(image, pending, side, size, layout))
            pending = []
        pending.append(row)
    return [*views, _stacked(image, pending, side, size, layout)]


def _height(row: list[Piece]) -> int:
    _, top, _, bottom = row[0][0]
    return bottom - top


def _header(image: Image.Image, layout: Layout, margin: int) -> Box | None:
    """What stands above the first staff's reach, if anything is printed there."""
    if not layout.staves:
        return None
    left, top, right, _ = layout.ink
    bottom = _reach(image, layout, 0)[0]
    if bottom - top < layout.spacing:
        return None
    return max(0, left - margin), max(0, top - margin), min(image.width, right + margin), bottom


def _reach(image: Image.Image, layout: Layout, number: int) -> tuple[int, int]:
    """First and last row of a staff's piece: to the middle between neighbours at most."""
    staff, reach = layout.staves[number], REACH * layout.spacing
    top, bottom = staff.top - reach, staff.bottom + reach
    if number:
        top = max(top, (layout.staves[number - 1].bottom + staff.top) / 2)
    if number + 1 < len(layout.staves):
        bottom = min(bottom, (staff.bottom + layout.staves[number + 1].top) / 2)
    return max(0, round(top)), min(image.height, round(bottom))


def _cuts(staff: Staff, most: int, signs: int) -> list[tuple[int, int]]:
    """First and last column of each piece of a system: about equal, cut behind bar lines.

    most: columns of a piece; signs: that clef and key signature take away from the later ones.  A
    system that is a little longer is shown a little smaller.
    """
    pieces, start, end = list[tuple[int, int]](), staff.left, staff.right + 2
    while end - start > STRETCH * most:
        room = most - (signs if pieces else 0)
        share = start + (end - start) / -(-(end - start) // room)
        fitting = [x for x in staff.bar_lines if start + room / 4 < x < start + room]
        cut = min(fitting, key=lambda x: abs(x - share), default=round(share)) + 1
        pieces.append((start, cut))
        start = cut
    return [*pieces, (start, end)]


def _stacked(
    image: Image.Image, rows: list[list[Piece]], side: int, size: int, layout: Layout
) -> View:
    """Rows of pieces, one below the other, in a square of `side` page pixels."""
    margin = round(MARGIN * layout.spacing)
    page = Image.new(image.mode, (side, side), 255 if image.mode == "L" else (255,) * 3)
    scale, y, parts, lines = size / side, margin // 2, [], []
    for row in rows:
        shrink = min(1.0, side / sum(box[2] - box[0] for box, _ in row))
        header = row[0][1] < 0
        x = (side - round(shrink * (row[0][0][2] - row[0][0][0]))) // 2 if header else margin // 3
        height = 0
        for box, staff in row:
            piece = image.crop(box)
            if shrink < 1:
                piece = piece.resize((max(1, round(piece.width * shrink)),
                                      max(1, round(piece.height * shrink))))  # fmt: skip
            page.paste(piece, (x, y))
            parts.append(Part(box, staff, x * scale, y * scale, scale * shrink))
            x += piece.width
            height = piece.height
        if not header:
            lines.append(row[-1][1])
        y += height
    # Of a system's later pieces the clef is no place of music: the music's own comes first.
    parts.sort(key=lambda part: part.box[0] - part.box[2])
    return View(images.square(page, size), tuple(parts), tuple(lines), layout.spacing * scale)
