"""The image transform against Hugging Face's processors, and what it does with odd files."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

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
