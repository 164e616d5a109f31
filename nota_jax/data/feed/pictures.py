"""Pictures from the world: any file → the pages in it, upright, on white paper.

PNG, JPEG, WebP, TIFF (all its pages), GIF and animations (the first frame), PDF; grey, palette,
transparent, 16 bits or floats a channel, CMYK, turned by EXIF.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

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
    return [Picture(name, image) for name, image in zip(names, found, strict=True)]


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
    """In mode "L" or "RGB" as training's pictures are (`images.opaque`).

    Raises:
      UserError: it is no page, or cannot be decoded.
    """
    check_size(image.size, where)  # from the header, before anything is decoded
    try:
        return images.opaque(image)
    except (*images.BROKEN, UserError) as error:
        raise _unreadable(where, error) from None


def _unreadable(where: object, error: Exception) -> UserError:
    why = images.reason(error)
    return UserError(f"cannot read {where}: {why}; save it as PNG or JPEG and try again")


def _raster(data: bytes, path: Path) -> Iterator[Image.Image]:
    """A file's frames where they are pages, as in TIFF; otherwise the first."""
    try:
        image = images.open_picture(data)
        pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    except (*images.BROKEN, UserError) as error:
        raise _unreadable(path, error) from None
    if pages > MOST_PAGES:
        raise UserError(f"{path} has {pages} pages, more than {MOST_PAGES}: split it first")
    for number in range(pages):
        where = f"page {number + 1} of {path}" if pages > 1 else str(path)
        try:
            image.seek(number)
        except images.BROKEN as error:
            raise _unreadable(where, error) from None
        shown = paper(image, where)
        yield shown.copy() if pages > 1 else shown  # the next page is read into the same picture


def _pdf(data: bytes, path: Path) -> Iterator[Image.Image]:
    import pypdfium2  # late: few pictures are PDFs

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise UserError(f"cannot read the PDF {path}: {error}") from None
    if len(document) > MOST_PAGES:
        raise UserError(f"{path} has {len(document)} pages, more than {MOST_PAGES}: split it first")
    for number in range(len(document)):
        where = f"page {number + 1} of {path}"
        try:
            page = document[number]
            width, height = (side / 72 * PDF_DPI for side in page.get_size())
            check_size((round(width), round(height)), f"{where}, at {PDF_DPI} dpi,")
            yield paper(page.render(scale=PDF_DPI / 72).to_pil(), where)
        except pypdfium2.PdfiumError as error:
            raise UserError(f"cannot read {where}: {error}") from None


def encode(image: Image.Image) -> bytes:
    """As a PNG."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
