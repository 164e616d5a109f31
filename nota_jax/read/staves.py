"""Where the staves of a picture lie: by runs and projections of ink, before any model looks.

    layout = staves.find(np.asarray(image.convert("L")))

What is found decides whether a page is straightened, how it is cut, and what is said about it.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import cv2
import numpy as np

LINES = 5
_STEEPEST = 8.0  # degrees of skew that are looked for
_WORKING_WIDTH = 1000  # of the copy whose skew is measured
_DARK = 0.72  # of the paper around it: what is darker is ink
_CLOSE = 0.7  # spacings between the parts of one sign at most


@dataclass(frozen=True)
class Staff:
    """Five lines.  top, bottom: centres of the outer lines; left, right: their ends, pixels.

    bar_lines: where vertical strokes cross all lines, from left to right.
    joined: a stroke at its left end leads on to the next staff, so that both sound together.
    """

    top: float
    bottom: float
    left: int
    right: int
    bar_lines: tuple[int, ...] = ()
    joined: bool = False


@dataclass(frozen=True)
class Layout:
    """staves: from the top; spacing: pixels between two lines, 0 where there are no staves.

    skew: degrees by which lines fall to the right; the staves are those of the straight picture.
    ink: left, top, right, bottom of all that is printed.
    """

    staves: tuple[Staff, ...]
    spacing: float
    skew: float
    ink: tuple[int, int, int, int]


def find(grey: np.ndarray) -> Layout:
    """The layout of a picture, uint8 [H, W]."""
    ink = dark(grey)
    skew = _skew(ink)
    if skew:
        ink = rotated(ink.astype(np.uint8) * 255, skew, 0) > 127
    about = _spacing(ink)
    found = _staves(ink, about) if about else []
    spacings = [(staff.bottom - staff.top) / (LINES - 1) for staff in found]
    spacing = float(np.median(spacings)) if found else 0.0
    return Layout(tuple(found), spacing, skew, _around(ink))


def dark(grey: np.ndarray) -> np.ndarray:
    """Which pixels are ink: bool [H, W]; the light may be uneven."""
    return grey < _DARK * background(grey).astype(np.float32)


def background(grey: np.ndarray) -> np.ndarray:
    """The paper behind the print: uint8 [H, W]."""
    height, width = grey.shape
    scale = min(1.0, 250 / max(height, width))
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    reach = max(3, round(max(small.shape) / 12)) | 1
    small = cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))
    small = cv2.blur(small, (reach, reach))
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def whitened(pixels: np.ndarray) -> np.ndarray:
    """The picture, uint8 [H, W] or [H, W, 3], on white paper."""
    channels = pixels[..., None] if pixels.ndim == 2 else pixels
    out = np.empty_like(channels)
    for c in range(channels.shape[2]):
        channel = np.ascontiguousarray(channels[..., c])
        paper = np.maximum(background(channel).astype(np.float32), 1)
        out[..., c] = np.minimum(255, channel * (255 / paper))
    return out[..., 0] if pixels.ndim == 2 else out


def rotated(pixels: np.ndarray, degrees: float, fill: int = 255) -> np.ndarray:
    """The picture turned so that lines which fall by so many degrees lie level."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(
        pixels, matrix, (width, height), flags=cv2.INTER_AREA | cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_CONSTANT, borderValue=(fill,) * 3,
    )  # fmt: skip


def signs_end(ink: np.ndarray, staff: Staff) -> int:
    """The column behind a staff's clef and key signature, before a meter or the first note."""
    spacing = (staff.bottom - staff.top) / (LINES - 1)
    rows = np.arange(round(staff.top - spacing), round(staff.bottom + spacing) + 1)
    rows = rows[(rows >= 0) & (rows < len(ink))]
    to_line = np.abs((rows - staff.top + spacing / 2) % spacing - spacing / 2)
    rows = rows[to_line > 0.25 * spacing]
    between = ink[rows, staff.left : staff.right]
    inked = np.concatenate([[False], between.any(0), [False]])
    starts, ends = np.flatnonzero(np.diff(inked.astype(np.int8))).reshape(-1, 2).T
    end, begun = 0, False
    for start, behind in zip(starts, ends, strict=True):
        gap = start - end
        # Behind the clef, whose parts stand as close together as accidentals do.
        if start >= 2.5 * spacing and (begun or gap > _CLOSE * spacing):
            sign = between[:, start:behind]
            far = gap > (_CLOSE if begun else 1.4) * spacing
            if far or not _is_accidental(sign, (rows - staff.top) / spacing, begun):
                return int(staff.left + end + min(gap, spacing) // 2)
            begun = True
        end = behind
    return staff.left + round(4 * spacing)


def _is_accidental(sign: np.ndarray, heights: np.ndarray, begun: bool) -> bool:
    """Whether a group of columns may be an accidental of a key signature.

    A column of a note's stem or of a meter's figures reaches through the staff, one of an
    accidental does not, but further than the arcs of the sign C.
    heights: of the rows, in spaces below the top line.
    """
    tops = np.where(sign, heights[:, None], np.inf).min(0)
    bottoms = np.where(sign, heights[:, None], -np.inf).max(0)
    return bool((-1 if begun else 1.7) < (bottoms - tops).max() < 3.1)


def _skew(ink: np.ndarray) -> float:
    """The angle at which rows of ink stand out most; 0 where none does."""
    height, width = ink.shape
    scale = min(1.0, _WORKING_WIDTH / max(height, width))
    small = cv2.resize(ink.astype(np.float32), None, fx=scale, fy=scale,
                       interpolation=cv2.INTER_AREA)  # fmt: skip

    def sharpness(degrees: float) -> float:
        rows = rotated(small, degrees, 0).sum(1)
        return float(np.square(np.diff(rows)).sum())

    best, level = 0.0, sharpness(0.0)
    for step, reach in ((1.0, _STEEPEST), (0.25, 0.75), (0.05, 0.2)):
        around = best
        for angle in np.arange(around - reach, around + reach + step / 2, step):
            if (value := sharpness(float(angle))) > level:
                best, level = float(angle), value
    return round(best, 2) if abs(best) >= 0.1 else 0.0


def _spacing(ink: np.ndarray) -> int:
    """The most common height of an inked run and the blank one below it (Cardoso et al. 2009)."""
    columns = ink.T
    flat = np.concatenate([columns, np.zeros((len(columns), 1), bool)], 1).ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    if len(changes) < 3:
        return 0
    lengths = np.diff(changes)
    inked = flat[changes[:-2]]
    sums = (lengths[:-1] + lengths[1:])[inked]
    same = changes[:-2][inked] // (ink.shape[0] + 1) == changes[2:][inked] // (ink.shape[0] + 1)
    sums = sums[same & (sums >= 3) & (sums < ink.shape[0] / LINES)]
    counts = np.bincount(sums)
    return int(np.argmax(counts)) if len(counts) and counts.max() >= ink.shape[1] / 4 else 0


def _staves(ink: np.ndarray, spacing: int) -> list[Staff]:
    """Rows of long horizontal strokes that stand five together, `spacing` apart."""
    strokes = cv2.morphologyEx(
        ink.astype(np.uint8), cv2.MORPH_OPEN, np.ones((1, max(8, 4 * spacing)), np.uint8)
    )
    rows = strokes.sum(1).astype(np.float32)
    near = cv2.dilate(rows[:, None], np.ones((3, 1)))[:, 0]  # a line may lie between two rows
    best = np.zeros(len(rows), np.float32)
    pitch = np.zeros(len(rows), np.float32)
    for wanted in np.linspace(spacing - 0.6, spacing + 0.6, 9):
        offsets = np.round(wanted * np.arange(LINES)).astype(int)
        if offsets[-1] >= len(rows):
            continue
        comb = np.stack([near[o : len(near) - offsets[-1] + o] for o in offsets])
        spaces = np.round(wanted * (np.arange(LINES - 1) + 0.5)).astype(int)
        between = sum(rows[o : len(rows) - offsets[-1] + o] for o in spaces) / len(spaces)
        # The weakest line decides; the sum of the exact rows breaks ties.
        exact = sum(rows[o : len(rows) - offsets[-1] + o] for o in offsets)
        score = np.where(between < 0.5 * comb.min(0), comb.min(0) + 1e-3 * exact, 0)
        better = score > best[: len(score)]
        best[: len(score)][better] = score[better]
        pitch[: len(score)][better] = wanted
    found: list[Staff] = []
    left_over = best.copy()
    least = 8 * spacing
    while left_over[y := int(np.argmax(left_over))] >= least:
        reach = round(5.5 * spacing)
        left_over[max(0, y - reach) : y + reach] = 0
        found.append(_staff(ink, strokes, y, y + (LINES - 1) * float(pitch[y]), spacing))
    found.sort(key=lambda staff: staff.top)
    return [
        dataclasses.replace(a, joined=_joined(ink, a, b))
        for a, b in itertools.zip_longest(found, found[1:])
    ]


def _staff(ink: np.ndarray, strokes: np.ndarray, top: float, bottom: float, spacing: int) -> Staff:
    first, last = round(top), round(bottom)
    there = strokes[max(0, first - 1) : last + 2].sum(0) >= LINES - 1
    columns = np.flatnonzero(there)
    left, right = (int(columns[0]), int(columns[-1])) if len(columns) else (0, ink.shape[1] - 1)
    # A bar line crosses all spaces and, unlike a stem with its head, leads nowhere beyond.
    inside = ink[first : last + 1]
    full = inside.mean(0) > 0.95
    above = ink[max(0, round(top - spacing)) : max(1, round(top - 0.4 * spacing))].any(0)
    below = ink[round(bottom + 0.4 * spacing) : round(bottom + spacing)].any(0)
    at = np.flatnonzero(full & ~(above | below))
    groups = np.split(at, np.flatnonzero(np.diff(at) > spacing) + 1) if len(at) else []
    near, bare = max(2, spacing // 2), float(np.percentile(inside[:, left : right + 1].mean(0), 20))

    def stands_alone(group: np.ndarray) -> bool:
        """Beside a bar line are the lines alone; beside a stem or a meter is more."""
        before, behind = inside[:, max(0, group[0] - near) : group[0]], group[-1] + 1
        after = inside[:, behind : behind + near]
        return max(side.mean() if side.size else 0.0 for side in (before, after)) < bare + 0.12

    lines = tuple(int(group[-1]) for group in groups if stands_alone(group))
    return Staff(top, bottom, left, right, lines)


def _joined(ink: np.ndarray, upper: Staff, lower: Staff | None) -> bool:
    """Whether a vertical stroke leads from one staff to the next near their left ends."""
    if lower is None:
        return False
    spacing = (upper.bottom - upper.top) / (LINES - 1)
    between = ink[round(upper.bottom) : round(lower.top) + 1]
    reach = round(1.5 * spacing)
    columns = between[:, max(0, upper.left - reach) : upper.left + reach]
    return bool(columns.size and (columns.mean(0) > 0.95).any())


def _around(ink: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if not len(rows):
        return 0, 0, ink.shape[1], ink.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
