"""llama.cpp converts an export of the 7b path, loads it, and says what transformers says of it.

The long form: NOTA_JAX_LLAMA_CPP is the folder of llama.cpp (vendor/llama.cpp in the source package
of llama-cpp-python), NOTA_JAX_LLAMA_PYTHON a Python with xllamacpp, sentencepiece, torch and the
transformers 4.57.6 that its scripts for a CLIP need.
"""

import base64
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from conversion import from_hf, to_hf
from tests.conversion import hf_directories as hf
from tests.conversion.test_mistral_tokenizer import SHIPPED, quiet
from tests.models.hf_reference import tiny

NEEDED = ("NOTA_JAX_LLAMA_CPP", "NOTA_JAX_LLAMA_PYTHON")
pytestmark = [
    pytest.mark.skipif(not set(NEEDED) <= os.environ.keys(), reason=f"set {' and '.join(NEEDED)}"),
    pytest.mark.timeout(1200),
]
QUESTION = "What is the key of this tune?"
ASKED = {"type": "text", "text": QUESTION}
TOP = 8
# Half floats: its scripts write the convolution and the connector so.
TOLERANCE = 1e-3


def run(*command: object) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(Path(os.environ[NEEDED[0]], "gguf-py"))
    words = [os.environ[NEEDED[1]], *map(str, command)]
    done = subprocess.run(words, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """hf/, text.gguf, vit/mmproj-model-f32.gguf: the steps of docs/conversion.md."""
    folder, source = tmp_path_factory.mktemp("llama"), Path(os.environ[NEEDED[0]])
    hf.clip_and_mistral(folder, tiny(text=dict(vocab_size=32000)))
    shutil.copy(SHIPPED, folder / "mistral/tokenizer.model")
    reading = from_hf.read(clip=folder / "clip", mistral=folder / "mistral")
    from_hf.convert(reading, folder / "ckpt", quiet)
    to_hf.export(to_hf.open_run(folder / "ckpt"), folder / "hf", say=quiet)
    text = folder / "text.gguf"
    run(source / "convert_hf_to_gguf.py", folder / "hf", "--outfile", text, "--outtype", "f32")

    older = source / "tools/mtmd/legacy-models"
    shutil.copytree(folder / "hf", folder / "copy")  # the first takes its parts out of the files
    run(older / "llava_surgery_v2.py", "-C", "-m", folder / "copy")
    (folder / "vit").mkdir()
    shutil.copy(folder / "copy/llava.clip", folder / "vit/pytorch_model.bin")
    config = json.loads((folder / "hf/config.json").read_text())
    # Without it the script leaves out the last layer, and the loader one more.
    seen = {"vision_feature_layer": config["vision_feature_layer"]}
    (folder / "vit/config.json").write_text(json.dumps(config["vision_config"] | seen))
    run(
        older / "convert_image_encoder_to_gguf.py", "-m", folder / "vit", "--use-f32",
        "--clip-model-is-vision", "--llava-projector", folder / "copy/llava.projector",
        "--output-dir", folder / "vit",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def ask(folder):
    """`ask([path, body], …)`: what llama.cpp's server answers."""

    def asked(*requests):
        files = folder / "requests.json", folder / "answers.json"
        files[0].write_text(json.dumps(requests))
        loaded = folder / "text.gguf", folder / "vit/mmproj-model-f32.gguf"
        run(Path(__file__).with_name("llama_server.py"), *loaded, *files)
        return json.loads(files[1].read_text())

    return asked


def page(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (28, 28, 3), np.uint8))


def png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


def test_the_decoder_reads_the_same_tokens_and_weighs_the_next_alike(folder, ask):
    text = AutoProcessor.from_pretrained(folder / "hf").tokenizer
    rendered = text.apply_chat_template(user(ASKED), tokenize=False, add_generation_prompt=True)
    ids = text(rendered, add_special_tokens=False)["input_ids"]
    told, read, next_ = ask(
        ["/apply-template", {"messages": [{"role": "user", "content": QUESTION}]}],
        ["/tokenize", {"content": rendered, "add_special": False, "parse_special": True}],
        ["/completion", {"prompt": ids, "n_predict": 1, "temperature": 0, "n_probs": TOP}],
    )
    assert told["prompt"] == rendered and read["tokens"] == ids
    model = LlavaForConditionalGeneration.from_pretrained(folder / "hf", dtype=torch.float32)
    assert_alike(next_["completion_probabilities"], model(torch.tensor([ids])))


@pytest.fixture(scope="module")
def weighed(ask):
    """What the server says behind page 0, behind page 1, and where page 0 stands last."""
    shown = [{"type": "image_url", "image_url": {"url": png(page(i))}} for i in (0, 1)]
    options = {"temperature": 0, "max_tokens": 1, "logprobs": True, "top_logprobs": TOP}
    messages = [user(shown[0], ASKED), user(shown[1], ASKED), user(ASKED, shown[0])]
    answers = ask(*(["/v1/chat/completions", {"messages": x, **options}] for x in messages))
    return [answer["choices"][0]["logprobs"]["content"] for answer in answers]


def test_pages_matter_and_stand_in_front_whatever_their_place_is(weighed):
    first, other, last = weighed
    assert first == last
    assert {x["id"] for x in first[0]["top_logprobs"]} != {
        x["id"] for x in other[0]["top_logprobs"]
    }


@pytest.mark.parametrize(
    "class_token",
    [
        "last",
        pytest.param("first", marks=pytest.mark.xfail(
            strict=True, reason="https://github.com/ggml-org/llama.cpp/issues/25814")),
    ],
)  # fmt: skip
def test_a_page_and_a_question_are_weighed_as_by_transformers(folder, weighed, class_token):
    """But for one thing, which is llama.cpp's for every CLIP: it has the tower's class token behind
    the patches and not in front of them, so each patch gets its neighbour's position, and the
    decoder sees the class token for the first patch."""
    processor = AutoProcessor.from_pretrained(folder / "hf")
    model = LlavaForConditionalGeneration.from_pretrained(folder / "hf", dtype=torch.float32)
    if class_token == "last":
        embeddings = model.model.vision_tower.embeddings
        places = embeddings.position_embedding.weight
        embeddings.register_forward_hook(lambda *x: (x[-1] - places).roll(-1, 1) + places)
    prompt = processor.apply_chat_template(
        user({"type": "image"}, ASKED), add_generation_prompt=True
    )
    for number in (0, 1):
        inputs = processor(images=page(number), text=prompt, return_tensors="pt")
        assert_alike(weighed[number], model(**inputs))


def assert_alike(found, outputs) -> None:
    """The likeliest next tokens, and how likely."""
    want = outputs.logits[0, -1].log_softmax(-1)
    for entry in found[0]["top_logprobs"]:
        assert abs(entry["logprob"] - want[entry["id"]].item()) < TOLERANCE
    assert found[0]["id"] == want.argmax().item()
    assert len(found[0]["top_logprobs"]) == TOP
