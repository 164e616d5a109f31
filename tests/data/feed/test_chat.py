"""Prompts and masks, against the real Mistral tokenizers that ship in mistral-common."""

import pathlib
import shutil

import mistral_common
import pytest

from nota_jax.data.feed import chat
from nota_jax.data.feed.tokenizer import load_tokenizer, train_bpe
from nota_jax.errors import UserError

SENTENCEPIECE = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
}
ABC = "X:1\nT:The Bag of Spuds\nM:4/4\nL:1/8\nK:Ador\n|:eAAB cBAG|[CEG]2 (3abc {gf}e4:|\n"
EXCHANGES = [
    ("What key is this piece in?", "A dorian"),
    ("Transcribe this score to ABC notation.", ABC),
    ("  Wer schrieb das?\n\n", "Käthe Müller-Über 中文 ♯"),
    ("", "  leading and trailing spaces  "),
    ("[INST] nested [/INST]?", "[/INST]"),
    ("Give {question} and {answer}.", "{eos}"),
    ("Empty?", ""),
]


@pytest.fixture(scope="module", params=[*SENTENCEPIECE, "bpe"])
def tok(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "bpe":
        return train_bpe([text for pair in EXCHANGES for text in pair] * 4, 400, folder)
    shipped = pathlib.Path(mistral_common.__file__).parent / "data" / SENTENCEPIECE[request.param]
    shutil.copy(shipped, folder / "tokenizer.model")
    return load_tokenizer(folder)


def unsplit(tok, text: str) -> list[int]:
    return [tok.bos_token_id] + tok(text, add_special_tokens=False)["input_ids"]


def encode_turn(tok, template: str, question: str, answer: str) -> chat.EncodedTurn:
    return chat.encode_turns(tok, template, [question], [answer])[0]


# What spells a special token is text to us, and none when the whole is tokenised at once.
@pytest.mark.parametrize("question, answer", [e for e in EXCHANGES if "[INST]" not in e[0]])
def test_prefix_and_turn_have_the_tokens_of_the_unsplit_text(tok, question, answer):
    prefix = chat.encode_prefix(tok, "mistral_instruct", 5)
    ids, *_ = encode_turn(tok, "mistral_instruct", question, answer)
    text = f"[INST] {'<image>' * 5}\n{question} [/INST] {answer} </s>"
    assert prefix + ids == unsplit(tok, text)

    ids, *_ = encode_turn(tok, "plain", question, answer)
    assert chat.encode_prefix(tok, "plain", 5) + ids == unsplit(tok, f"{'<image>' * 5}{answer}\n")


@pytest.mark.parametrize("question, answer", EXCHANGES)
def test_exactly_the_answer_and_end_of_sequence_are_supervised(tok, question, answer):
    ids, n_prompt, _ = encode_turn(tok, "mistral_instruct", question, answer)
    given, wanted = ids[:n_prompt], ids[n_prompt:]
    assert tok.decode(given, skip_special_tokens=False).endswith(f"{question} [/INST]")
    assert wanted[-1] == tok.eos_token_id and tok.eos_token_id not in wanted[:-1]
    assert chat.decode_answer(tok, wanted) == answer.strip()


@pytest.mark.parametrize("name", ["mistral_instruct", "plain"])
@pytest.mark.parametrize("question, answer", EXCHANGES)
def test_it_is_known_where_in_the_answer_each_token_begins(tok, name, question, answer):
    ids, n_prompt, starts = encode_turn(tok, name, question, answer)
    assert len(starts) == len(ids) and starts == sorted(starts)
    for i, start in enumerate(starts[n_prompt:], n_prompt):
        until = starts[i + 1] if i + 1 < len(ids) else len(answer)
        said = answer[max(start, 0) : max(until, 0)]
        if said.isascii() and start >= 0 and start < len(answer):
            assert tok.decode([ids[i]]).strip() == said.strip()


def test_the_prompt_at_inference_is_the_unsupervised_part_of_training(tok):
    questions, answers = zip(*EXCHANGES, strict=True)
    turns = chat.encode_turns(tok, "mistral_instruct", questions, answers)
    prompts = chat.encode_prompts(tok, "mistral_instruct", questions)
    assert [turn.ids[: turn.n_prompt] for turn in turns] == prompts


def test_plain_drops_the_question_and_supervises_the_whole_caption(tok):
    ids, n_prompt, _ = encode_turn(tok, "plain", "What is this?", ABC)
    assert n_prompt == 0
    assert tok.decode(ids) == ABC + "\n"
    assert chat.encode_prompts(tok, "plain", ["What is this?"]) == [[]]


def test_a_batch_of_turns_equals_the_turns_one_by_one(tok):
    questions, answers = zip(*EXCHANGES, strict=True)
    together = chat.encode_turns(tok, "mistral_instruct", questions, answers)
    assert together == [encode_turn(tok, "mistral_instruct", *exchange) for exchange in EXCHANGES]


def test_the_chat_template_writes_the_same_conversation(tok):
    for name in chat.TEMPLATES:
        tok.chat_template = chat.chat_template(tok, name)
        for question, answer in EXCHANGES[:3]:
            messages = [
                {"role": "user", "content": [{"type": "image"},
                                             {"type": "text", "text": question}]},
                {"role": "assistant", "content": [{"type": "text", "text": answer}]},
            ]  # fmt: skip
            text = tok.apply_chat_template(messages, tokenize=False)
            ids, *_ = encode_turn(tok, name, question, answer)
            want = chat.encode_prefix(tok, name, 1) + ids
            assert tok(text, add_special_tokens=False)["input_ids"] == want


SPECIAL = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<image>", "<pad>", "[TOOL_CALLS]")


@pytest.mark.parametrize("token", SPECIAL)
def test_what_is_spelled_as_a_special_token_is_text(tok, token):
    """In title, question and answer: no control token, and it is read back as it was written."""
    control = {i for i, added in tok.added_tokens_decoder.items() if added.special}
    tune = f"X:1\nT:Boys {token} Girls\nK:G\n|:G2{token}AB:|"
    for question, answer in (
        (f"Is it {token}?", tune), ("Title?", token), (token, f"{token}{token}"),
        (f"{token} first", f"last {token}"),
    ):  # fmt: skip
        ids, n_prompt, starts = encode_turn(tok, "mistral_instruct", question, answer)
        plain, n_plain, _ = encode_turn(tok, "mistral_instruct", "Is it?", "G major")
        assert control.isdisjoint(ids[n_prompt:-1]) and ids[-1] == tok.eos_token_id
        assert control & set(ids[:n_prompt]) == control & set(plain[:n_plain])
        assert chat.decode_answer(tok, ids[n_prompt:]) == answer
        assert tok.decode(ids[:n_prompt], skip_special_tokens=False).strip() == (
            f"{question} [/INST]"
        )
        assert starts == sorted(starts) and starts[-1] > len(answer) - 1
        (prompt,) = chat.encode_prompts(tok, "mistral_instruct", [question])
        assert prompt == ids[:n_prompt]
        caption, *_ = encode_turn(tok, "plain", question, answer)
        assert control.isdisjoint(caption) and tok.decode(caption) == f"{answer}\n"


def test_a_tokenizer_that_grew_is_not_taken_for_what_it_was(tok):
    chat.encode_prompts(tok, "mistral_instruct", ["What?"])
    other = load_tokenizer(tok.name_or_path)
    chat.encode_prompts(other, "mistral_instruct", ["What?"])
    other.add_tokens(["Strathspey"])
    (ids,) = chat.encode_prompts(other, "mistral_instruct", ["A Strathspey?"])
    assert other.convert_tokens_to_ids("Strathspey") in ids


def test_an_unknown_template_lists_the_templates(tok):
    with pytest.raises(UserError, match="mistral_instruct, plain"):
        chat.encode_prefix(tok, "vicuna", 1)
