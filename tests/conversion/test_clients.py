"""What people do with an export — the card's lines, batches, pictures as they come — sees and says
what training did."""

import io
import re

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from conversion import to_hf
from nota_jax.data.feed import chat, images
from nota_jax.data.feed.tokenizer import train_bpe
from nota_jax.models import decode
from nota_jax.models.notagpt import NotaGPT
from nota_jax.pixels import IMAGE_STD, normalize
from tests.conversion.hf_directories import quiet
from tests.conversion.runs import run_directory, with_tokenizer
from tests.models.hf_reference import tiny

QUESTION = "What is the key of this tune?"  # the card's
QUESTIONS = [f"{'What is ' * (i % 9)}the key of tune {i}{'!' * (i % 5)}?" for i in range(100)]
NEW = 8  # tokens of an answer


@pytest.fixture(scope="module")
def tok(tmp_path_factory):
    return train_bpe([QUESTION, "K:G\nGABc d2B2|"] * 3, 280, tmp_path_factory.mktemp("tokenizer"))


def made(folder, tok, **run):
    """(configuration, parameters, export) of a run; run: what is special about it."""
    vision = dict(image_size=56, patch_size=14) | run.pop("vision", {})
    config = with_tokenizer(tiny(vision=vision), tok)
    params = run_directory(folder / "run", config, tok, **run)
    to_hf.export(to_hf.open_run(folder / "run"), folder / "hf", say=quiet)
    return config, params, folder / "hf"


@pytest.fixture(scope="module")
def export(tok, tmp_path_factory):
    return made(tmp_path_factory.mktemp("export"), tok)


def our_answers(config, params, tok, page, questions, new) -> list[list[int]]:
    prefix = chat.encode_prefix(tok, "mistral_instruct", config.num_image_tokens)
    prompts = chat.encode_prompts(tok, "mistral_instruct", questions)
    turns = np.zeros((1, len(prompts), max(map(len, prompts))), np.int32)
    for row, ids in zip(turns[0], prompts, strict=True):
        row[: len(ids)] = ids
    found = decode.generate(
        NotaGPT(config), params, jnp.asarray(normalize(page[None])), np.array([prefix]), turns,
        np.array([list(map(len, prompts))]), max_new_tokens=new, eos_ids=(tok.eos_token_id,),
    )  # fmt: skip
    ends = zip(found.tokens[0], found.lengths[0], strict=True)
    return [without_end(tok, ids[:length].tolist()) for ids, length in ends]


def without_end(tok, ids: list[int]) -> list[int]:
    ends = {tok.eos_token_id, tok.pad_token_id}
    return ids[: next((i for i, token in enumerate(ids) if token in ends), len(ids))]


def test_questions_of_a_batch_are_answered_as_one_by_one_and_as_by_us(export, tok):
    config, params, folder = export
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    page = np.random.default_rng(0).integers(0, 256, (56, 56, 3), np.uint8)
    texts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}],
            add_generation_prompt=True,
        )
        for question in QUESTIONS
    ]
    picture = Image.fromarray(page)

    def answers(some):
        inputs = processor(
            images=[picture] * len(some), text=some, padding=True, return_tensors="pt"
        )
        made = model.generate(**inputs, max_new_tokens=NEW)[:, inputs["input_ids"].shape[1] :]
        return [without_end(tok, ids) for ids in made.tolist()]

    together = answers(texts)
    assert together == [answer for text in texts for answer in answers([text])]
    assert together == our_answers(config, params, tok, page, QUESTIONS, NEW)
    assert len({tuple(answer) for answer in together}) > 20  # the questions matter


def drawing() -> Image.Image:
    """A wide page with shades of grey, not symmetric."""
    pixels = np.full((60, 90), 255, np.uint8)
    pixels[10:14, 5:80] = 0
    pixels[14:50, 5:9] = np.linspace(0, 200, 36, dtype=np.uint8)[:, None]
    return Image.fromarray(pixels)


def in_colour() -> Image.Image:
    blue = drawing().point(lambda value: min(value + 40, 255))
    return Image.merge("RGB", (drawing(), drawing(), blue))


def with_alpha(mode: str) -> Image.Image:
    """Black ink, and black where one does not see it."""
    alpha = Image.fromarray(255 - np.asarray(drawing()))
    bands = [Image.new("L", alpha.size, 0)] * (len(mode) - 1)
    return Image.merge(mode, (*bands, alpha))


def palette(**options):
    found = drawing().quantize(16)
    return found, options | {"transparency": found.getpixel((89, 59))}


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return drawing(), {"exif": exif}


# name → (picture, how it is saved)
PICTURES = {
    "RGB": (in_colour(), {}),
    "L": (drawing(), {}),
    "L with a transparent colour": (drawing(), {"transparency": 0}),
    "RGB with a transparent colour": (in_colour(), {"transparency": (255, 255, 255)}),
    "LA": (with_alpha("LA"), {}),
    "RGBA": (with_alpha("RGBA"), {}),
    "palette": (drawing().quantize(16), {}),
    "palette with a transparent colour": palette(),
    "16 bits": (Image.fromarray(np.asarray(drawing()).astype(np.uint16) * 257), {}),
    "CMYK": (in_colour().convert("CMYK"), {"format": "JPEG", "quality": 95}),
    "turned by EXIF": turned(6),
    "mirrored by EXIF": turned(5),
    "1 bit": (drawing().convert("1"), {}),
}


def saved(kind: str) -> bytes:
    image, options = PICTURES[kind]
    file = io.BytesIO()
    image.save(file, **({"format": "PNG"} | options))
    return file.getvalue()


def run_card(folder, png: bytes, monkeypatch) -> dict:
    """The names that the card's lines leave, run word for word where the card lies."""
    (folder / "score.png").write_bytes(png)
    monkeypatch.chdir(folder)
    (lines,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(lines, "README.md", "exec"), names)
    return names


def apart(pixels, page: np.ndarray) -> float:
    """Largest difference to the page uint8 [S, S, 3], of 255 levels."""
    found = np.moveaxis(np.asarray(pixels)[0], 0, -1)
    return float((np.abs(found - normalize(page)) * np.array(IMAGE_STD)).max() * 255)


@pytest.mark.parametrize("kind", PICTURES)
def test_the_cards_lines_show_the_model_what_training_showed_it(kind, export, tok, monkeypatch):
    config, _, folder = export
    png = saved(kind)
    names = run_card(folder, png, monkeypatch)
    page = images.load(png, config.vision.image_size)
    assert apart(names["inputs"]["pixel_values"], page) <= 1
    assert page.min() < 128 < page.max()  # neither black nor blank
    want = chat.encode_prefix(tok, "mistral_instruct", config.num_image_tokens)
    want += chat.encode_prompts(tok, "mistral_instruct", [QUESTION])[0]
    assert names["inputs"]["input_ids"][0].tolist() == want


def test_the_cards_lines_print_our_answer(export, tok, monkeypatch, capsys):
    config, params, folder = export
    png = saved("RGB")
    run_card(folder, png, monkeypatch)
    page = images.load(png, config.vision.image_size)
    (ids,) = our_answers(config, params, tok, page, [QUESTION], 64)
    assert capsys.readouterr().out == tok.decode(ids, skip_special_tokens=True) + "\n"


def test_a_cropping_runs_card_crops(tok, tmp_path, monkeypatch):
    config, _, folder = made(tmp_path, tok, image_mode="center_crop")
    for kind in ("RGBA", "palette with a transparent colour"):
        names = run_card(folder, saved(kind), monkeypatch)
        page = images.load(saved(kind), config.vision.image_size, "center_crop")
        assert apart(names["inputs"]["pixel_values"], page) <= 1


def test_a_processor_whose_mean_is_white_pads_with_white_by_itself(tok, tmp_path):
    config, _, folder = made(tmp_path, tok, vision=dict(patches="inked", most_patches=7))
    found = AutoProcessor.from_pretrained(folder)(
        images=in_colour(), text="<image>", return_tensors="np"
    )
    page = images.load(saved("RGB"), config.vision.image_size)
    levels = np.moveaxis(found["pixel_values"][0], 0, -1) * np.array(IMAGE_STD) + 1
    assert np.abs(levels * 255 - page).max() <= 1
