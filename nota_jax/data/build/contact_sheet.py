"""One picture that shows what a dataset holds: a spread of pages, each with a question."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from nota_jax.data.records import Page
from nota_jax.data.store.reader import PageReader, split_sizes
from nota_jax.notation.engraving.fonts import text_font

# Pixels.
_COLUMNS, _CELL, _GAP, _TEXT_HEIGHT, _FONT_SIZE = 4, 336, 20, 180, 11
_SHEET_TASKS = ("extraction", "alignment", "analysis")


def contact_sheet(directory: Path, count: int = 16) -> bytes:
    """PNG of a spread of pages: picture, where it comes from, one question and its answer."""
    shown = _samples(directory, count)
    rows = -(-len(shown) // _COLUMNS)
    cell_width, cell_height = _CELL + _GAP, _CELL + _TEXT_HEIGHT + _GAP
    sheet = Image.new("RGB", (_COLUMNS * cell_width + _GAP, rows * cell_height + _GAP), "#e8e8e8")
    for i, page in enumerate(shown):
        cell = _cell(page, turn=i // len(_SHEET_TASKS))
        row, column = divmod(i, _COLUMNS)
        sheet.paste(cell, (_GAP + column * cell_width, _GAP + row * cell_height))
    png = io.BytesIO()
    sheet.save(png, "PNG")
    return png.getvalue()


def _samples(directory: Path, count: int) -> list[Page]:
    """Pages from the tasks in turn and, within a task, from its splits and regions in turn."""
    sizes = split_sizes(directory)
    by_task: list[list[Page]] = []
    for place, task in enumerate(_SHEET_TASKS):
        groups: dict[tuple[str, str], list[Page]] = defaultdict(list)
        for split in sizes:
            if split.startswith(task + "_"):
                for page in islice(PageReader(directory, [split]), 4 * count):
                    groups[str(page.metadata["region"]), split].append(page)
        # Train first, then other splits; one of each region before a second one; and other tunes
        # for each task.
        ranked = [
            ((rank - place) % len(pages), split != f"{task}_train", region, page)
            for (region, split), pages in groups.items()
            for rank, page in enumerate(pages)
        ]
        by_task.append([page for *_, page in sorted(ranked, key=lambda item: item[:3])])
    in_turn = [pages[i] for i in range(count) for pages in by_task if i < len(pages)]
    return in_turn[:count]


def _cell(page: Page, turn: int) -> Image.Image:
    cell = Image.new("RGB", (_CELL, _CELL + _TEXT_HEIGHT), "white")
    with Image.open(io.BytesIO(page.png)) as picture:
        picture = picture.convert("RGB")
        picture.thumbnail((_CELL, _CELL), Image.Resampling.LANCZOS)
        cell.paste(picture, ((_CELL - picture.width) // 2, 0))
    draw = ImageDraw.Draw(cell)
    draw.line([(0, _CELL), (_CELL, _CELL)], fill="#c8c8c8")
    asked = page.turns[turn % len(page.turns)]
    said = page.metadata
    about = (
        f"{page.task}, {said['split']}, {said['region']}: {said['music_font']} and "
        f"{said['text_font']}, {said['staff_spacing']:.1f} px, {said['source_id']}"
    )
    plain, bold, _ = text_font("DejaVu Sans").files
    is_abc = asked.subtask in ("abc", "alignment")
    answer_font = str(Path(plain).with_name("DejaVuSansMono.ttf")) if is_abc else plain
    y = _CELL + 6.0
    for text, font, colour, most in (
        (about, plain, "#808080", 2), (asked.question, bold, "black", 2),
        (asked.answer, answer_font, "#103080", 20),
    ):  # fmt: skip
        y = _write(draw, y, text, ImageFont.truetype(font, _FONT_SIZE), colour, most)
    return cell


def _write(
    draw: ImageDraw.ImageDraw,
    y: float,
    text: str,
    font: ImageFont.FreeTypeFont,
    colour: str,
    most: int,
) -> float:
    """Draws wrapped text inside a cell, at most so many lines; returns where the next begins."""
    lines = [part for line in text.splitlines() for part in _wrap(line, font, _CELL - 12)]
    step = _FONT_SIZE * 1.3
    room = min(most, int((_CELL + _TEXT_HEIGHT - 4 - y) / step))
    if len(lines) > room:
        lines = [*lines[: room - 1], "…"]
    for line in lines:
        draw.text((6, y), line, font=font, fill=colour)
        y += step
    return y + 3


def _wrap(line: str, font: ImageFont.FreeTypeFont, width: int) -> Iterator[str]:
    """Breaks a line at spaces, and inside a word that is too long by itself."""
    start = ""
    for word in re.findall(r"\S+\s*|^$", line):
        if start and font.getlength((start + word).rstrip()) > width:
            yield start
            start = ""
        start += word
        while font.getlength(start.rstrip()) > width:
            lengths = range(len(start), 0, -1)
            fitting = next(n for n in lengths if font.getlength(start[:n]) <= width)
            yield start[:fitting]
            start = start[fitting:]
    yield start
