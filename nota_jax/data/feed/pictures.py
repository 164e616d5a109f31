"""Pictures from the world: any file → the pages in it, upright, on white paper.

PNG, JPEG, WebP, TIFF (all its pages), GIF and animations (the first frame), PDF; grey, palette,
transparent, 16 bits or floats a channel, CMYK, turned by EXIF.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from nota_jax.data.feed import images
from nota_jax.errors import UserError

LEAST_SIDE, MOST_PIXELS, MOST_ASPECT = 48, 64_000_000, 12
PDF_DPI = 200
MOST_PAGES = 200


@dataclass(frozen=True)
class Picture:
    """One page.  name: to call it by, "scan" or "book-3"; image: mode "L" or "RGB"."""

    name: str
    image: Image.Image


def read(path: str | Path) -> list[Picture]:
    """The pages of a file.

    Raises:
      UserError: no such file, not a picture, of an absurd size; the file and the page are named.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    return pages(data, path)


def pages(data: bytes, path: Path) -> list[Picture]:
    """The pages in the content of the file `path`; raises as `read` does."""
    if not data:
        raise UserError(f"{path} is empty")
    found = list(_pdf(data, path) if is_pdf(data) else _raster(data, path))
    names = [path.stem] if len(found) == 1 else [f"{path.stem}-{n + 1}" for n in range(len(found))]
    upright = []
    for number, (name, image) in enumerate(zip(names, found, strict=True), 1):
        where = f"page {number} of {path}" if len(found) > 1 else str(path)
        check_size(image.size, where)
        upright.append(Picture(name, paper(image, where)))
    return upright


def is_pdf(data: bytes) -> bool:
    return b"%PDF-" in data[:1024]


def check_size(size: tuple[int, int], where: str) -> None:
    """Raises `UserError` for a picture that can show no page."""
    width, height = size
    shape = f"{where} is {width} × {height} pixels"
    if min(size) < LEAST_SIDE:
        raise UserError(f"{shape}: at least {LEAST_SIDE} on each side are needed to show a staff")
    if width * height > MOST_PIXELS:
        raise UserError(f"{shape}: more than {MOST_PIXELS // 10**6} million; scale it down first")
    if max(size) > MOST_ASPECT * min(size):
        raise UserError(f"{shape}: so narrow a strip is no page; cut it into pages first")


def paper(image: Image.Image, where: str = "the picture") -> Image.Image:
    """In mode "L" or "RGB" as training's pictures are: upright, transparent places white."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":  # floats have no scale of their own
        values = np.nan_to_num(np.asarray(image))
        low, high = float(values.min()), float(values.max())
        image = Image.fromarray(np.uint8((values - low) * (255 / ((high - low) or 1))))
    return images.opaque(image)


def _raster(data: bytes, path: Path) -> Iterator[Image.Image]:
    """A file's frames where they are pages, as in TIFF; otherwise the first."""
    try:
        image: Image.Image = Image.open(io.BytesIO(data))
        check_size(image.size, str(path))  # from the header, before anything is decoded
        if image.format != "TIFF":
            image.load()
            yield image
            return
        for number, frame in enumerate(ImageSequence.Iterator(image)):
            if number == MOST_PAGES:
                raise UserError(f"{path} has more than {MOST_PAGES} pages: split it first")
            check_size(frame.size, f"page {number + 1} of {path}")
            yield frame.copy()
    except images.BROKEN as error:
        raise UserError(
            f"cannot read {path}: {images.reason(error)}; save it as PNG or JPEG and try again"
        ) from None


def _pdf(data: bytes, path: Path) -> Iterator[Image.Image]:
    import pypdfium2  # late: few pictures are PDFs

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise UserError(f"cannot read the PDF {path}: {error}") from None
    if len(document) > MOST_PAGES:
        raise UserError(f"{path} has {len(document)} pages, more than {MOST_PAGES}: split it first")
    for number in range(len(document)):
        page = document[number]
        width, height = (side / 72 * PDF_DPI for side in page.get_size())
        check_size((round(width), round(height)), f"page {number + 1} of {path}, at {PDF_DPI} dpi,")
        yield page.render(scale=PDF_DPI / 72).to_pil()


def encode(image: Image.Image) -> bytes:
    """As a PNG."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
