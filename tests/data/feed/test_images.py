"""The image transform against Hugging Face's processors, and what it does with odd files."""

import io
import struct
import zlib

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageFile

from nota_jax.data.feed import images
from nota_jax.errors import UserError
from nota_jax.pixels import IMAGE_MEAN, IMAGE_STD, normalize

CLIP_MEAN_COLOUR = tuple(int(255 * mean) for mean in IMAGE_MEAN)
SHAPES = [(336, 336), (500, 500), (700, 300), (301, 640), (90, 120), (1000, 37)]


def encode(pixels: np.ndarray, **kwargs) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=kwargs.pop("format", "PNG"), **kwargs)
    return file.getvalue()


def random_pixels(width: int, height: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    coarse = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    coarse[: height // 2] = coarse[: height // 2] // 128 * 255  # hard edges as in a score
    return coarse


def theirs(processor, png: bytes) -> np.ndarray:
    values = processor(Image.open(io.BytesIO(png)), return_tensors="np")["pixel_values"][0]
    return np.asarray(values).transpose(1, 2, 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_center_crop_equals_the_clip_image_processor(shape):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    png = encode(random_pixels(*shape))
    ours = normalize(images.load(png, 336, "center_crop"))
    np.testing.assert_allclose(ours, theirs(processor, png), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_pad_equals_the_llava_image_processor(shape):
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    processor = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    png = encode(random_pixels(*shape))
    ours = images.load(png, 336, "pad", background=CLIP_MEAN_COLOUR)
    np.testing.assert_allclose(normalize(ours), theirs(processor, png), atol=1e-6)


def test_a_grey_picture_equals_the_same_picture_in_colour():
    grey = random_pixels(640, 480, channels=1)
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    for mode in images.MODES:
        for background in (images.WHITE, CLIP_MEAN_COLOUR):
            np.testing.assert_array_equal(
                images.load(encode(grey), 96, mode, background=background),
                images.load(encode(colour), 96, mode, background=background),
            )


def test_a_picture_of_the_right_size_is_left_alone():
    pixels = random_pixels(336, 336)
    for mode in images.MODES:
        np.testing.assert_array_equal(images.load(encode(pixels), 336, mode), pixels)


def test_padding_is_white_and_keeps_both_ends_of_a_wide_score():
    pixels = np.full((50, 200), 255, np.uint8)
    pixels[:, :10] = pixels[:, -10:] = 0
    padded = images.load(encode(pixels), 100, "pad")
    assert padded.shape == (100, 100, 3)
    assert (padded[:20] == 255).all() and (padded[-20:] == 255).all()
    assert (padded[45:55, :4] == 0).all() and (padded[45:55, -4:] == 0).all()
    assert images.load(encode(pixels), 100, "center_crop").min() == 255


def test_transparent_paper_is_white():
    pixels = np.zeros((40, 40, 4), np.uint8)  # black ink, fully transparent
    pixels[10:20, 10:20, 3] = 255
    loaded = images.load(encode(pixels), 40)
    assert (loaded[:10] == 255).all() and (loaded[10:20, 10:20] == 0).all()


def test_sixteen_bit_grey_is_scaled_and_one_bit_is_black_and_white():
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    np.testing.assert_array_equal(images.load(encode(grey), 64)[:, :, 0], grey >> 8)
    bits = random_pixels(64, 64, channels=1) > 127
    np.testing.assert_array_equal(images.load(encode(bits), 64)[:, :, 0], bits * np.uint8(255))


def png(depth: int, kind: int, row: bytes, width: int, transparent: bytes, height=1) -> bytes:
    """A PNG of equal rows, by hand: Pillow writes no grey of 2 bits and no colour of 16."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * height)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(name, data)
        for name, data in (
            (b"IHDR", header), (b"tRNS", transparent), (b"IDAT", pixels), (b"IEND", b""),
        )
    )  # fmt: skip


BLACK, GREY, RED = (0, 0, 0), (170, 170, 170), (255, 0, 0)
WITH_A_TRANSPARENT_COLOUR = {
    # two pixels: one that stays, and one of the transparent colour
    "grey of 8 bits": (png(8, 0, b"\xaa\x00", 2, b"\0\0"), GREY),
    "grey of 16 bits": (png(16, 0, b"\xaa\x10\x00\x05", 2, b"\0\5"), GREY),
    "grey of 4 bits": (png(4, 0, b"\xa3", 2, b"\0\3"), GREY),
    "grey of 2 bits": (png(2, 0, b"\x90", 2, b"\0\1"), GREY),
    "1 bit": (png(1, 0, b"\x80", 2, b"\0\0"), images.WHITE),
    "colours": (png(8, 2, b"\xff\0\0\0\0\0", 2, bytes(6)), RED),
    "colours of 16 bits": (png(16, 2, b"\xff\xff" + bytes(4) + b"\1\2" * 3, 2, b"\1\2" * 3), RED),
}


@pytest.mark.parametrize("kind", WITH_A_TRANSPARENT_COLOUR)
def test_a_transparent_colour_is_paper(kind):
    data, stays = WITH_A_TRANSPARENT_COLOUR[kind]
    first, second = np.asarray(images.decode(data).convert("RGB"))[0].tolist()
    assert (tuple(first), tuple(second)) == (stays, images.WHITE)


def test_a_palette_with_transparent_colours_is_on_paper():
    palette = Image.new("P", (3, 1))
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    palette.putdata([0, 1, 2])
    for transparency, seen in ((0, [images.WHITE, RED]), (b"\xff\x00\xff", [BLACK, images.WHITE])):
        file = io.BytesIO()
        palette.save(file, "PNG", transparency=transparency)
        pixels = np.asarray(images.decode(file.getvalue()))[0].tolist()
        assert [tuple(pixel) for pixel in pixels] == [*seen, (0, 0, 255)]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(form, orientation):
    upright = np.full((24, 48), 255, np.uint8)
    upright[:8, :16] = 0  # ink in one corner of a wide page
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: upright.T[::-1], 7: upright.T[::-1, ::-1], 8: upright.T[:, ::-1],
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if form == "WEBP" else {}
    data = encode(np.ascontiguousarray(stored), format=form, exif=exif, **lossless)
    shown = np.asarray(images.decode(data).convert("L")).astype(int)
    assert shown.shape == upright.shape and np.abs(shown - upright).max() < 30
    assert images.placement(data, 48) == (1, 0, 12)


def test_a_damaged_exif_turns_nothing():
    pixels = random_pixels(20, 10)
    data = encode(pixels, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    np.testing.assert_array_equal(np.asarray(images.decode(data)), pixels)


def tiff(values: np.ndarray, **options) -> bytes:
    return encode(values, format="TIFF", **options)


RAMP = np.linspace(0, 255, 40 * 40).reshape(40, 40).astype(np.uint8)
NUMBERS = {
    "floats to 1": (RAMP / 255).astype(np.float32),
    "floats to 255": RAMP.astype(np.float32),
    "floats to 65535": RAMP.astype(np.float32) * 257,
    "32 bits that hold 8": RAMP.astype(np.int32),
    "32 bits that hold 16": RAMP.astype(np.int32) * 257,
    "16 bits": RAMP.astype(np.uint16) * 257,
    "16 bits that hold 8": RAMP.astype(np.uint16),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_integers_and_floats_are_shades_of_grey(kind):
    shown = np.asarray(images.decode(tiff(NUMBERS[kind]))).astype(int)
    assert np.abs(shown - RAMP).max() <= 1


@pytest.mark.parametrize("kind", ["16 bits", "32 bits that hold 8", "floats to 255"])
def test_where_zero_is_white_it_is_shown_white(kind):
    data = tiff(NUMBERS[kind], tiffinfo={images.PHOTOMETRIC: images.WHITE_IS_ZERO})
    try:
        shown = np.asarray(images.decode(data, name="r")).astype(int)
    except UserError as refused:  # Pillow reads it in no such form
        assert "record r" in str(refused)
    else:
        assert np.abs(shown - (255 - RAMP)).max() <= 1


@pytest.mark.parametrize("value", [-1, 70000, 2**31 - 1, np.float32(-0.5), np.nan, np.inf])
def test_numbers_of_which_none_is_known_to_be_white_are_refused_by_name(value):
    values = np.full((40, 40), value, np.int32 if isinstance(value, int) else np.float32)
    with pytest.raises(UserError, match="record x-7: its pixels are numbers from .* 8 or 16 bits"):
        images.load(tiff(values), 40, name="x-7")


def test_normalize_is_the_same_in_numpy_and_jax():
    pixels = random_pixels(17, 9)
    ours = normalize(pixels)
    assert ours.dtype == np.float32
    expected = (pixels / 255 - np.array(IMAGE_MEAN)) / np.array(IMAGE_STD)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    on_device = normalize(jnp.asarray(pixels))
    assert on_device.dtype == jnp.float32
    np.testing.assert_allclose(on_device, ours, atol=1e-6)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped"])
def test_an_unreadable_image_names_its_record(damage):
    png = encode(random_pixels(64, 64))
    broken = {
        "empty": b"",
        "text": b"X:1\nT:no picture\n",
        "cut": png[: len(png) // 2],
        "flipped": png[:60] + bytes(255 - b for b in png[60:100]) + png[100:],
    }[damage]
    with pytest.raises(UserError, match="record oneills-12"):
        images.load(broken, 64, name="oneills-12")


def test_an_unknown_mode_lists_the_modes():
    with pytest.raises(UserError, match="pad, center_crop"):
        images.load(encode(random_pixels(8, 8)), 8, "stretch")


def test_views_are_the_picture_and_the_same_moved():
    image = random_pixels(40, 40)
    first, *others = images.views(image, len(images.VIEWS))
    np.testing.assert_array_equal(first, image)
    assert len({other.tobytes() for other in others} | {image.tobytes()}) == len(images.VIEWS)
    for other, (down, right) in zip(others, images.VIEWS[1:], strict=True):
        moved = np.roll(image, (down, right), (0, 1))
        np.testing.assert_array_equal(other[7:-7, 7:-7], moved[7:-7, 7:-7])


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, -2), (-4, 5), (7, 0)])
def test_a_shift_moves_the_ink_and_fills_with_white(down, right):
    image = np.full((20, 20, 3), 255, np.uint8)
    image[8:11, 9:12] = 0
    expected = np.roll(image, (down, right), (0, 1))  # the ink stays on the page, so they agree
    np.testing.assert_array_equal(images.shift(image, down, right), expected)
    dark = images.shift(np.zeros((20, 20, 3), np.uint8), down, right)
    white = (dark == 255).all(-1)
    assert white.sum() == 400 - (20 - abs(down)) * (20 - abs(right))
    assert white[:down].all() if down > 0 else white[20 + down :].all()


@pytest.mark.parametrize("mode", images.MODES)
@pytest.mark.parametrize("size", [(1, 30_000), (100_000, 1), (1, 101), (12_001, 7_000)])
def test_a_picture_that_is_small_in_the_file_and_huge_as_a_square_is_refused(
    size, mode, monkeypatch
):
    data = encode(np.full(size[::-1], 255, np.uint8))
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)  # no pixel is decoded
    with pytest.raises(UserError, match=f"x-7.*is {size[0]} × {size[1]} pixels"):
        images.load(data, 56, mode, name="x-7")


@pytest.mark.parametrize("mode", images.MODES)
@pytest.mark.parametrize("size", [(1, 100), (9_921, 7_016)])
def test_the_largest_pictures_are_taken(size, mode):
    assert images.load(encode(np.full(size[::-1], 255, np.uint8)), 56, mode).min() == 255
