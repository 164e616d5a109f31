"""Pictures of somebody else's dataset: looked at before they are decoded, stored as PNG.

Every kind that the reader of pages knows (`data.feed.pictures`), upright, on white paper, in grey
or colour; a PNG that is so already is kept byte for byte.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path

from PIL import Image

from nota_jax.data.build.foreign.records import Bad
from nota_jax.data.feed import images
from nota_jax.data.feed import pictures as kinds
from nota_jax.errors import UserError

MOST_BYTES = 256 * 2**20  # of a file; one of the most pixels, uncompressed, has 192 MB


def look(folder: Path, name: str) -> bytes:
    """A digest of the picture's content; of the picture itself only the header is read.

    Raises:
      Bad: it is missing, of an absurd size, or no picture.
    """
    path = folder / name
    data = _content(path)
    try:
        if not kinds.is_pdf(data):
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", Image.DecompressionBombWarning
                )  # we say it ourselves
                with Image.open(io.BytesIO(data)) as image:
                    kinds.check_size(image.size, name)
                    _one(getattr(image, "n_frames", 1) if image.format == "TIFF" else 1, name)
    except UserError as error:
        raise Bad(str(error)) from None
    except images.BROKEN as error:
        raise Bad(f"cannot read {name}: {images.reason(error)}") from None
    return hashlib.sha256(data).digest()[:16]


def as_png(folder: Path, name: str) -> bytes:
    """The picture as it is stored.

    Raises:
      Bad: it cannot be decoded.
    """
    data = _content(folder / name)
    try:
        found = kinds.pages(data, Path(name))
    except UserError as error:
        raise Bad(str(error)) from None
    _one(len(found), name)
    return data if _is_plain(data) else kinds.encode(found[0].image)


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise Bad(f"there is no picture {path.name}")
        if path.stat().st_size > MOST_BYTES:
            raise Bad(f"{path.name} is a file of more than {MOST_BYTES // 2**20} MB")
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a name that can be none is a ValueError
        raise Bad(f"cannot read {path.name}: {getattr(error, 'strerror', error)}") from None
    if not data:
        raise Bad(f"{path.name} is empty")
    return data


def _one(pages: int, name: str) -> None:
    if pages != 1:
        raise Bad(f"{name} holds {pages} pages: a record is about one")


def _is_plain(data: bytes) -> bool:
    """A PNG in 8 bits of grey or colour, to be shown as it stands."""
    if not data.startswith(b"\x89PNG"):
        return False
    with Image.open(io.BytesIO(data)) as image:
        return (
            image.mode in ("L", "RGB")
            and not image.has_transparency_data
            and not any(mark in data for mark in images.TURNING)
            and getattr(image, "n_frames", 1) == 1
        )
