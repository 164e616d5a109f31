"""One picture that shows what a dataset holds: a spread of pages, each with a question."""

from __future__ import annotations

import io
import textwrap
from collections import defaultdict
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from nota_jax.data.records import Page
from nota_jax.data.store.reader import PageReader, split_sizes
from nota_jax.notation.engraving.fonts import text_font

# Pixels.
_COLUMNS, _CELL, _GAP, _TEXT_HEIGHT, _FONT_SIZE, _LINE = 4, 336, 20, 180, 11, 14
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
    picture = Image.open(io.BytesIO(page.png)).convert("RGB")
    picture.thumbnail((_CELL, _CELL), Image.Resampling.LANCZOS)
    cell.paste(picture, ((_CELL - picture.width) // 2, 0))
    draw = ImageDraw.Draw(cell)
    draw.line([(0, _CELL), (_CELL, _CELL)], fill="#c8c8c8")
    asked, said = page.turns[turn % len(page.turns)], page.metadata
    drawn = f"{said['music_font']} and {said['text_font']}, {said['staff_spacing']:.1f} px"
    known = (page.task, said["split"], said["region"], drawn * bool(said["music_font"]))
    about = ", ".join(map(str, filter(None, (*known, said["source_id"]))))
    plain, bold, _ = text_font("DejaVu Sans").files
    is_abc = asked.subtask in ("abc", "alignment")
    mono = str(Path(plain).with_name("DejaVuSansMono.ttf"))
    y = _CELL + 6
    for text, file, colour, most in (
        (about, plain, "#808080", 3),
        (asked.question, bold, "black", 2),
        (asked.answer, mono if is_abc else plain, "#103080", 20),
    ):
        font = ImageFont.truetype(file, _FONT_SIZE)
        room = min(most, (_CELL + _TEXT_HEIGHT - 4 - y) // _LINE)
        for line in _wrapped(text, font, room):
            draw.text((6, y), line, font=font, fill=colour)
            y += _LINE
        y += 3
    return cell


def _wrapped(text: str, font: ImageFont.FreeTypeFont, most: int) -> list[str]:
    """Lines about as wide as a cell, at most so many: the last one says where more would follow."""
    lines: list[str] = []
    for line in filter(None, text.splitlines()):
        letters = int((_CELL - 36) * len(line) / font.getlength(line))  # on average
        lines += textwrap.wrap(line, letters)
    return lines if len(lines) <= most else [*lines[: most - 1], "…"]
