"""Whatever way a client goes from a conversation to tokens, an export gives it training's."""

import json
import pathlib
import shutil

import mistral_common
import numpy as np
import pytest
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer

from conversion import hf_tokenizer, to_hf
from nota_jax.data.feed import chat
from nota_jax.data.feed.tokenizer import load_tokenizer, save_tokenizer, train_bpe
from nota_jax.errors import UserError
from tests.conversion.hf_directories import quiet
from tests.conversion.runs import run_directory, with_tokenizer
from tests.models.hf_reference import tiny

SHIPPED = pathlib.Path(mistral_common.__file__).parent / "data"
MISTRALS = {"v1": "tokenizer.model.v1", "v3": "mistral_instruct_tokenizer_240323.model.v3"}
QUESTION, ANSWER = "What is the key of this tune?", "G major\nand  no other"
FOREIGN = "{{ bos_token }}{% for m in messages %}[INST] {{ m['content'] + ' [/INST]' }}{% endfor %}"
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8))


@pytest.fixture(scope="module", params=["bpe", *MISTRALS])
def export(request, tmp_path_factory):
    """(the run's tokenizer, image tokens, folder of the export)."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "bpe":
        tok = train_bpe([QUESTION, ANSWER] * 4, 300, folder / "tok")
    else:
        (folder / "tok").mkdir()
        shutil.copy(SHIPPED / MISTRALS[request.param], folder / "tok/tokenizer.model")
        tok = load_tokenizer(folder / "tok")
    tok.chat_template = FOREIGN  # as Mistral-Instruct's brings one: it must not survive
    config = with_tokenizer(tiny(), tok, vocab_size=-(-len(tok) // 64) * 64)
    run_directory(folder / "run", config, tok)
    to_hf.export(to_hf.open_run(folder / "run"), folder / "hf", say=quiet)
    return tok, config.num_image_tokens, folder / "hf"


def user(*parts):
    return {"role": "user", "content": list(parts)}


def text(words):
    return {"type": "text", "text": words}


def ours(tok, images: int, question=QUESTION, answer=None) -> list[int]:
    prefix = chat.encode_prefix(tok, "mistral_instruct", images)
    if answer is None:
        return prefix + chat.encode_prompts(tok, "mistral_instruct", [question])[0]
    return prefix + chat.encode_turns(tok, "mistral_instruct", [question], [answer])[0].ids


def test_the_template_begins_with_bos_and_is_the_same_in_every_file(export):
    folder = export[2]
    written = (folder / "chat_template.jinja").read_text()
    assert written.startswith("{{ bos_token }}") and FOREIGN not in written
    assert json.loads((folder / "chat_template.json").read_text())["chat_template"] == written
    assert AutoTokenizer.from_pretrained(folder).chat_template == written
    assert AutoProcessor.from_pretrained(folder).chat_template == written


def test_every_way_of_a_tokenizer_gives_trainings_prompt(export):
    tok, _, folder = export
    theirs = AutoTokenizer.from_pretrained(folder)
    messages = [user({"type": "image"}, text(QUESTION))]
    rendered = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered.count(tok.bos_token) == 1
    want = ours(tok, 1)
    assert theirs(rendered, add_special_tokens=False)["input_ids"] == want  # chat servers
    assert theirs(rendered)["input_ids"] == want
    assert theirs.encode(rendered) == want
    assert theirs.apply_chat_template(messages, return_dict=False) == want
    both = theirs([rendered, rendered], padding=True)["input_ids"]
    assert both == [want, want]


def test_every_way_of_a_processor_gives_trainings_prompt(export):
    tok, n, folder = export
    processor = AutoProcessor.from_pretrained(folder)
    messages = [user({"type": "image", "image": PICTURE}, text(QUESTION))]
    rendered = processor.apply_chat_template(messages, add_generation_prompt=True)
    want = ours(tok, n)
    for options in ({}, {"add_special_tokens": False}):
        found = processor(images=PICTURE, text=rendered, **options)
        assert found["input_ids"][0] == want
    found = processor.apply_chat_template(messages, tokenize=True, return_dict=True)
    assert np.asarray(found["input_ids"]).tolist() == [want]
    assert "pixel_values" in found


def test_a_whole_conversation_is_trainings(export):
    tok, n, folder = export
    processor = AutoProcessor.from_pretrained(folder)
    for answer in (ANSWER, [text(ANSWER)]):
        messages = [
            user({"type": "image"}, text(QUESTION)), {"role": "assistant", "content": answer}
        ]  # fmt: skip
        rendered = processor.apply_chat_template(messages)
        found = processor(images=PICTURE, text=rendered)["input_ids"][0]
        assert found == ours(tok, n, answer=ANSWER)
    again = processor.apply_chat_template([*messages, user(text("And the meter?"))])
    assert again == rendered + "[INST] And the meter? [/INST]"
    assert again.count(tok.bos_token) == 1


@pytest.mark.parametrize(
    "content",
    [
        [text(QUESTION), {"type": "image"}],
        [{"type": "image_url", "image_url": {"url": "x"}}, text(QUESTION)],
        [text(QUESTION[:7]), {"type": "image"}, text(QUESTION[7:])],
        f"<image>\n{QUESTION}",
    ],
)
def test_parts_in_another_order_or_form_are_the_same_prompt(export, content):
    tok, _, folder = export
    theirs = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": content}]
    assert theirs.apply_chat_template(messages, return_dict=False) == ours(tok, 1)


@pytest.mark.parametrize("mark", ["<__media__>", "<__media_OeFtK0__>"])
def test_the_marks_that_llama_cpp_puts_for_pictures_are_pictures(export, mark):
    theirs = AutoTokenizer.from_pretrained(export[2])

    def prompt(content):
        return theirs.apply_chat_template([{"role": "user", "content": content}], tokenize=False)

    for words in (QUESTION, "a __> b", "a <__media"):
        want = prompt([{"type": "image"}, text(words)]).replace("<image>", mark)
        assert prompt(mark + words) == prompt(words + mark) == want
    two = prompt([{"type": "image"}, {"type": "image"}, text("ab")]).replace("<image>", mark)
    assert prompt(f"a{mark}b{mark}") == two


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_message_stands_behind_the_picture_and_leaves_the_prefix_alone(export, role):
    tok, _, folder = export
    theirs = AutoTokenizer.from_pretrained(folder)
    asked = user({"type": "image"}, text(QUESTION))
    for content in ("Be brief.", [text("Be brief.")]):
        found = theirs.apply_chat_template([{"role": role, "content": content}, asked],
                                           return_dict=False)  # fmt: skip
        assert found == ours(tok, 1, f"Be brief.\n\n{QUESTION}")
    empty = [{"role": role, "content": ""}, asked, {"role": "assistant", "content": ANSWER}]
    assert theirs.apply_chat_template(empty, return_dict=False) == ours(tok, 1, answer=ANSWER)


@pytest.mark.parametrize(
    "messages, said",
    [
        ([{"role": "tool", "content": "x"}], "no role tool"),
        ([user({"type": "video"}, text("x"))], "no video"),
        ([{"role": "system", "content": "x"}], "needs a question behind it"),
    ],
)
def test_what_the_model_cannot_be_told_is_refused_by_name(export, messages, said):
    theirs = AutoTokenizer.from_pretrained(export[2])
    with pytest.raises(Exception, match=said):
        theirs.apply_chat_template(messages)


def test_the_files_say_nothing_of_where_they_were_made(export):
    settings = json.loads((export[2] / "tokenizer_config.json").read_text())
    assert not {"is_local", "local_files_only", "name_or_path", "vocab_file"} & settings.keys()
    here = str(export[2].parent)
    for file in export[2].iterdir():
        if file.suffix in (".json", ".jinja"):
            assert here not in file.read_text()
    assert settings["padding_side"] == "left"


def test_prompts_are_padded_on_the_left_whatever_the_tokenizer_did_before(tmp_path):
    tok = train_bpe([QUESTION, ANSWER] * 4, 300, tmp_path / "tok")
    tok.backend_tokenizer.enable_padding(length=50, pad_id=tok.pad_token_id)
    tok.backend_tokenizer.enable_truncation(5)
    hf_tokenizer.write(tok, tmp_path / "hf", "mistral_instruct")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert theirs.padding_side == "left"
    short, long = theirs(["K:", QUESTION])["input_ids"]
    assert theirs.decode(short) == "K:" and theirs.decode(long) == QUESTION
    ids = theirs(["K:", QUESTION], padding=True)["input_ids"][0]
    assert ids[0] == tok.pad_token_id != ids[-1] and len(ids) == len(long)


def test_a_run_of_captions_is_exported_with_the_template_of_captions(tmp_path):
    tok = train_bpe([QUESTION, ANSWER] * 4, 300, tmp_path / "tok")
    hf_tokenizer.write(tok, tmp_path / "hf", "plain")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "hf")
    messages = [user({"type": "image"}, text(QUESTION)), {"role": "assistant", "content": ANSWER}]
    ids = chat.encode_turns(tok, "plain", [QUESTION], [ANSWER])[0].ids
    want = chat.encode_prefix(tok, "plain", 1) + ids
    assert theirs.apply_chat_template(messages, return_dict=False) == want


def test_a_tokenizer_that_no_template_fits_is_refused(tmp_path):
    tok = train_bpe([QUESTION, ANSWER] * 4, 300, tmp_path / "tok")
    state = json.loads((tmp_path / "tok/tokenizer.json").read_text())
    state["normalizer"] = {"type": "Prepend", "prepend": "_"}
    for entry in state["added_tokens"]:  # none is a wall: all begins with the text's beginning
        entry["normalized"] = True
    (tmp_path / "tok/tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match="no chat template writes the prompts"):
        load_tokenizer(tmp_path / "tok")
    save_tokenizer(tok, tmp_path / "tok")
