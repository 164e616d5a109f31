"""Whatever a picture is kept in, the page in it is the same."""

import io
import subprocess

import numpy as np
import pytest
from PIL import Image

from nota_jax.data.feed import images, pictures
from nota_jax.errors import UserError
from tests.data.feed.test_images import png


def drawing() -> Image.Image:
    """Black lines on white, not symmetric, so that a turned page is another."""
    pixels = np.full((90, 120), 255, np.uint8)
    pixels[20:24, 10:110] = 0
    pixels[20:80, 10:14] = 0
    return Image.fromarray(pixels)


def as_cmyk(page):
    return page.convert("CMYK")


def as_palette_with_a_transparent_colour(page):
    found = page.convert("P")
    found.info["transparency"] = 255
    return found


def with_alpha(page):
    """White is not there at all, and black where one does not see it."""
    alpha = Image.fromarray(255 - np.asarray(page))
    return Image.merge("LA", (Image.new("L", page.size, 0), alpha))


def as_16_bit(page):
    return Image.fromarray(np.asarray(page).astype(np.uint16) * 257)


def as_floats(page):
    return Image.fromarray(np.asarray(page).astype(np.float32) / 255)


WAYS = {
    "grey png": ("png", lambda page: page, {}),
    "rgb webp": ("webp", lambda page: page.convert("RGB"), {"lossless": True}),
    "one bit png": ("png", lambda page: page.convert("1"), {}),
    "palette gif": ("gif", lambda page: page.convert("P"), {}),
    "palette with transparency": ("png", as_palette_with_a_transparent_colour, {}),
    "alpha": ("png", with_alpha, {}),
    "16 bit png": ("png", as_16_bit, {}),
    "float tiff": ("tiff", as_floats, {}),
    "cmyk jpeg": ("jpg", as_cmyk, {"quality": 95}),
    "cmyk tiff": ("tiff", as_cmyk, {}),
    "jpeg": ("jpg", lambda page: page, {"quality": 95}),
    "bmp": ("bmp", lambda page: page, {}),
}


def grey(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L")).astype(int)


@pytest.mark.parametrize("way", WAYS)
def test_the_page_is_the_same_in_every_format(way, tmp_path):
    ending, convert, options = WAYS[way]
    convert(drawing()).save(tmp_path / f"page.{ending}", **options)
    (page,) = pictures.read(tmp_path / f"page.{ending}")
    assert page.name == "page" and page.image.mode in ("L", "RGB")
    assert np.abs(grey(page.image) - grey(drawing())).mean() < 2


@pytest.mark.parametrize("orientation, turned", [(3, 180), (6, 90), (8, 270)])
def test_a_photograph_is_turned_as_its_camera_says(orientation, turned, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    drawing().rotate(turned, expand=True).save(tmp_path / "page.jpg", exif=exif, quality=95)
    (page,) = pictures.read(tmp_path / "page.jpg")
    assert np.abs(grey(page.image) - grey(drawing())).mean() < 2


def test_an_animation_shows_its_first_frame(tmp_path):
    other = Image.new("L", (120, 90), 128)
    drawing().save(tmp_path / "a.gif", save_all=True, append_images=[other])
    (page,) = pictures.read(tmp_path / "a.gif")
    assert np.abs(grey(page.image) - grey(drawing())).mean() < 2


@pytest.mark.parametrize("ending", ["tiff", "pdf"])
def test_all_pages_of_a_document_come_with_names_of_their_own(ending, tmp_path):
    pages = [drawing().convert("RGB"), drawing().transpose(Image.Transpose.FLIP_TOP_BOTTOM)]
    pages[0].save(tmp_path / f"book.{ending}", save_all=True, append_images=pages[1:])
    found = pictures.read(tmp_path / f"book.{ending}")
    assert [page.name for page in found] == ["book-1", "book-2"]
    for page, drawn in zip(found, pages, strict=True):
        shown = page.image.convert("L").resize(drawn.size)
        assert np.abs(grey(shown) - grey(drawn)).mean() < 12


@pytest.mark.parametrize("size, said", [((2000, 20), "48"), ((4000, 100), "strip")])
def test_absurd_sizes_are_refused_by_name(size, said, tmp_path):
    Image.new("L", size, 255).save(tmp_path / "odd.png")
    with pytest.raises(UserError, match=rf"odd\.png is {size[0]} × {size[1]} pixels.*{said}"):
        pictures.read(tmp_path / "odd.png")


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (9000, 9000), 1).save(tmp_path / "huge.png")
    with pytest.raises(UserError, match=r"huge\.png is 9000 × 9000 pixels: more than 64 million"):
        pictures.read(tmp_path / "huge.png")


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\x89PNG\r\n\x1a\nbroken", b"%PDF-1.4 no"]
)
def test_what_is_no_picture_is_named_and_not_a_traceback(content, tmp_path):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.png"):
        pictures.read(tmp_path / "x.png")


def test_a_truncated_picture_is_refused(tmp_path):
    out = io.BytesIO()
    drawing().save(out, "PNG")
    (tmp_path / "half.png").write_bytes(out.getvalue()[: len(out.getvalue()) // 2])
    with pytest.raises(UserError, match=r"half\.png"):
        pictures.read(tmp_path / "half.png")


SHADES = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)


ZERO_IS_WHITE = {"tiffinfo": {images.PHOTOMETRIC: images.WHITE_IS_ZERO}}
AS_IN_TRAINING = {
    "floats that end before white": ("TIFF", (SHADES / 400).astype(np.float32), {}),
    "integers that hold 16 bits": ("TIFF", SHADES.astype(np.int32) * 257, {}),
    "floats of which zero is white": ("TIFF", SHADES.astype(np.float32), ZERO_IS_WHITE),
    "16 bits of which zero is white": ("TIFF", SHADES.astype(np.uint16), ZERO_IS_WHITE),
    "an EXIF that is damaged": ("PNG", SHADES, {"exif": b"Exif\0\0II*\0\x08\0\0\0\xff\xff"}),
    "a transparent grey": ("PNG", SHADES, {"transparency": 0}),
}  # fmt: skip


@pytest.mark.parametrize("kind", AS_IN_TRAINING)
def test_a_page_that_is_read_is_the_page_that_training_was_shown(kind, tmp_path):
    form, values, options = AS_IN_TRAINING[kind]
    path = tmp_path / "page"
    Image.fromarray(values).save(path, form, **options)
    (page,) = pictures.read(path)
    assert np.array_equal(grey(page.image), grey(images.decode(path.read_bytes())))


def test_a_transparent_colour_of_16_bits_is_paper_on_a_page_that_is_read(tmp_path):
    row = bytes(6 * 32) + b"\1\2\3\4\5\6" * 32
    (tmp_path / "page.png").write_bytes(png(16, 2, row, 64, b"\1\2\3\4\5\6", height=64))
    (page,) = pictures.read(tmp_path / "page.png")
    assert (grey(page.image)[:, :32] == 0).all() and (grey(page.image)[:, 32:] == 255).all()


def test_no_program_is_run_for_a_picture(tmp_path, monkeypatch):
    """Pillow gives EPS to Ghostscript."""
    drawing().save(tmp_path / "page.eps")
    for name in ("Popen", "run", "check_call"):
        monkeypatch.setattr(subprocess, name, None)
    with pytest.raises(UserError, match=r"page\.eps: it is EPS, a program"):
        pictures.read(tmp_path / "page.eps")
    with pytest.raises(UserError, match="record x: it is EPS, a program"):
        images.decode((tmp_path / "page.eps").read_bytes(), name="x")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*nothing\.png"):
        pictures.read(tmp_path / "nothing.png")
