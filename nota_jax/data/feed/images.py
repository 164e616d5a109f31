"""The image transform of CLIP and LLaVA: encoded picture → uint8 square.

A picture is first what an image viewer shows of it (`opaque`): turned as its EXIF says, with its
transparent places on paper, and in 8 bits of grey or colour.

Resampling happens here on the host with Pillow, as in Hugging Face's `CLIPImageProcessorPil` and
`LlavaImageProcessorPil`; pictures travel to the device as uint8 (a quarter of the bytes) and are
normalised there.
"""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nota_jax.errors import UserError

MODES = ("pad", "center_crop")
WHITE = (255, 255, 255)
SCALES = (1, 255, 65535)  # where white may lie in pictures of integers or floats
WHITE_IS_ZERO, PHOTOMETRIC = 0, 262  # a value and a tag of TIFF
# A picture becomes a square of its longer side, or one of its shorter side with the rest beside it:
# a file of 141 bytes can ask for ten gigabytes.  A3 at 600 dots per inch has 9,921 pixels.
MOST_SIDE, MOST_ASPECT = 12_000, 100
TURNING = (b"eXIf", b"exif", b"Orientation")  # one of them is in a PNG that is to be turned
# Down and right, pixels: the first is the picture as it is.
VIEWS = ((0, 0), (3, 5), (5, -4), (-5, 3), (-2, -6), (-7, 7), (7, -2), (1, 2))
# What Pillow raises for a file that is no readable picture.
BROKEN = (
    UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


def load(
    png: bytes,
    size: int,
    mode: str = "pad",
    *,
    background: tuple[int, int, int] = WHITE,
    name: str = "",
) -> np.ndarray:
    """Decodes a picture and brings it to a square.

    Args:
      png: the encoded picture (any format that Pillow reads).
      size: side of the square in pixels.
      mode: "pad" centres the picture on a square of its longer side and resizes that, so nothing
        is lost (LLaVA's `do_pad`); "center_crop" resizes the shorter side and cuts the ends of
        the longer one off (CLIP).
      background: RGB colour of the padding and behind transparent pixels.  White is paper;
        LLaVA pads with CLIP's mean colour.
      name: the record's name, for the error message.

    Returns:
      uint8 [size, size, 3].

    Raises:
      UserError: the bytes are no readable picture.
    """
    if mode not in MODES:
        raise UserError(f"unknown image mode {mode!r}: choose one of {', '.join(MODES)}")
    return square(decode(png, background=background, name=name), size, mode, background=background)


def square(
    image: Image.Image,
    size: int,
    mode: str = "pad",
    *,
    background: tuple[int, int, int] = WHITE,
) -> np.ndarray:
    """A picture in mode "L" or "RGB" as uint8 [size, size, 3]; the arguments are `load`'s."""
    image = pad(image, background) if mode == "pad" else image
    image = _resize_shorter_side(image, size)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    if image.size != (size, size):
        image = image.crop((left, top, left + size, top + size))
    pixels = np.asarray(image)
    if pixels.ndim == 2:  # a grey score stays one channel until here: decoding it is 3 × cheaper
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return pixels


def decode(png: bytes, *, background: tuple[int, int, int] = WHITE, name: str = "") -> Image.Image:
    """The picture in mode "L" or "RGB", as `opaque` makes it."""
    try:
        with warnings.catch_warnings():
            # Pillow only warns from 90 to 180 million pixels: no score is that large.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return opaque(open_picture(png), background)
    except (*BROKEN, UserError) as error:
        raise UserError(
            f"cannot read the image{f' of record {name}' if name else ''}: {reason(error)}; "
            "build the dataset again or leave this record out"
        ) from None


def open_picture(data: bytes) -> Image.Image:
    """Pillow's picture, its header read; a transparent colour is one of the picture's pixels.

    PNG keeps that colour in the file's bits, and Pillow leaves it there.

    Raises:
      UserError: it is a program: Pillow has Ghostscript run EPS, and nothing that is read is run.
    """
    image: Image.Image = Image.open(io.BytesIO(data))
    if image.format == "EPS":
        raise UserError("it is EPS, a program that draws a picture, and no program is run")
    colour, tile = image.info.get("transparency"), getattr(image, "tile", None)
    raw = tile[0].args if tile else None
    if colour is not None and raw in ("L;2", "L;4"):
        image.info["transparency"] = colour * (85 if raw == "L;2" else 17)
    elif colour is not None and raw == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in colour)
    return image


def reason(error: Exception) -> str:
    """What one of `BROKEN` says."""
    # Whose own text shows a Python object.
    unknown = isinstance(error, UnidentifiedImageError)
    return "it is in no format that Pillow reads" if unknown else str(error)


def opaque(image: Image.Image, background: tuple[int, int, int] = WHITE) -> Image.Image:
    """In mode "L" or "RGB", upright; transparency is laid over `background`.

    Raises:
      UserError: more pixels than a score has, seen before any is decoded; numbers of which nobody
        knows what is white.
    """
    if max(image.size) > min(MOST_SIDE, MOST_ASPECT * min(image.size)):
        raise UserError(
            f"it is {image.width} × {image.height} pixels, and a score has at most {MOST_SIDE:,} "
            f"along a side and {MOST_ASPECT} times as many as along the other"
        )
    image.load()
    inverted = getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO
    with contextlib.suppress(Exception):  # a damaged EXIF, at which viewers turn nothing either
        image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        image = _grey(image, inverted)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(paper, image).convert("RGB")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _grey(image: Image.Image, inverted: bool) -> Image.Image:
    """Integers of 16 or 32 bits and floats, in 8 bits; Pillow's own conversion clips them.

    White is the smallest of `SCALES` that holds the brightest pixel: 16 bits are often said to be
    32, and floats run to 1 or to 255.

    inverted: zero is white, which Pillow leaves to us for such numbers.
    """
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= SCALES[-1]):  # NaN is neither
        raise UserError(
            f"its pixels are numbers from {low} to {high}, and nothing says which is white: save "
            "it with 8 or 16 bits a pixel"
        )
    white = next(scale for scale in SCALES if high <= scale)
    integers = values.dtype.kind in "iu"
    scaled = values >> 8 if integers and white == SCALES[-1] else values * (255 / white)
    grey = scaled.astype(np.uint8)
    if inverted:
        grey = 255 - grey
    colour = image.info.get("transparency")
    if not isinstance(colour, int):
        return Image.fromarray(grey)
    return Image.fromarray(np.dstack([grey, np.where(values == colour, 0, 255).astype(np.uint8)]))


def placement(png: bytes, size: int, mode: str = "pad") -> tuple[float, float, float]:
    """Where `load` puts a picture: the factor of its size, then pixels to the right and down."""
    with Image.open(io.BytesIO(png)) as image:  # reads the header alone
        width, height = image.size
        known = image.format == "PNG" and not any(mark in png for mark in TURNING)
    if not known:
        width, height = decode(png).size
    scale = size / (max if mode == "pad" else min)(width, height)
    return scale, (size - scale * width) / 2, (size - scale * height) / 2


def shift(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """[S, S, C] moved by so many pixels (up, left where negative), white coming in behind it."""
    if not (down or right):
        return image
    moved = np.full_like(image, 255)
    height, width = image.shape[:2]
    moved[max(down, 0) : height + down, max(right, 0) : width + right] = image[
        max(-down, 0) : height - down, max(-right, 0) : width - right
    ]
    return moved


def views(image: np.ndarray, n: int) -> np.ndarray:
    """uint8 [S, S, C] → [n, S, S, C]: a picture and the same moved by a few pixels each time.

    Where patches cut a symbol, they cut it elsewhere in the next view: what one of them mistakes
    the others may see (docs/reading.md).
    """
    return np.stack([shift(image, *VIEWS[i]) for i in range(n)])


def pad(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """The picture in the middle of a square of its longer side."""
    width, height = image.size
    if width == height:
        return image
    if image.mode == "L" and len(set(background)) > 1:
        image = image.convert("RGB")
    side = max(width, height)
    colour = background[0] if image.mode == "L" else background
    square = Image.new(image.mode, (side, side), colour)
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def _resize_shorter_side(image: Image.Image, size: int) -> Image.Image:
    """Bicubic, the longer side truncated to whole pixels (`get_resize_output_image_size`)."""
    width, height = image.size
    if min(width, height) == size:
        return image
    if width <= height:
        shape = (size, int(size * height / width))
    else:
        shape = (int(size * width / height), size)
    return image.resize(shape, Image.Resampling.BICUBIC)
