"""Prompts: from a question and its answer to tokens, and which of them are supervised.

The one place that knows how a conversation is written.  A training row is one image prefix with
the turns about that image packed behind it (design decision 5), so a conversation is tokenised in
two pieces, split right behind the image token:

    prefix   <s>[INST] <image> … <image>
    turn     \\nQUESTION [/INST] ANSWER </s>

A special token is a wall for every Hugging Face fast tokenizer, so the pieces have the tokens of
the unsplit text.  What is supervised is known from how the text was put together (the prompt is
tokenised by itself, as it is at inference, and its tokens must open the turn's); nothing is ever
searched for.  Source of the formats: LLaVA's `conversation.py` (`mistral_instruct`, `plain`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from nota_jax.errors import UserError

IMAGE, PAD = "<image>", "<pad>"


@dataclass(frozen=True)
class Template:
    """How one exchange is written: `<s>` before_image IMAGE before_question Q after_question
    before_answer A after_answer; `{eos}` stands for the tokenizer's end of sequence.

    asks: False drops the question (and then one row can hold one turn only, because the first
      answer token is predicted from the last image token, which all turns of a row share).
    """

    before_image: str
    before_question: str
    after_question: str
    before_answer: str
    after_answer: str
    asks: bool = True

    def prompt(self, question: str) -> str:
        """What stands between the image and the answer: never supervised."""
        return f"{self.before_question}{question}{self.after_question}" if self.asks else ""

    def reply(self, answer: str, eos: str) -> str:
        """What the model has to say: all of it is supervised."""
        return self.before_answer + answer + self.after_answer.replace("{eos}", eos)


TEMPLATES = {
    # No system prompt: <s>[INST] <image>\nQ [/INST] A </s>
    "mistral_instruct": Template("[INST] ", "\n", " [/INST]", " ", " {eos}"),
    # LLaVA's connector pre-training: the picture and its caption, closed by a newline.
    "plain": Template("", "", "", "", "\n", asks=False),
}

# The same conversation for `tokenizer.apply_chat_template`; BOS is the tokenizer's to add.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}[INST] "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %} [/INST]"
    "{% else %} {% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}"
    " {{ eos_token }}{% endif %}{% endfor %}"
)


def template(name: str) -> Template:
    """The template of that name, or a UserError that lists the names."""
    if name not in TEMPLATES:
        raise UserError(f"unknown chat template {name!r}: choose one of {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


class EncodedTurn(NamedTuple):
    """Token ids of one turn behind the image: `ids[:n_prompt]` is given, the rest supervised.

    starts: the character of the answer at which each token begins, negative before it.
    """

    ids: list[int]
    n_prompt: int
    starts: list[int]


def image_token_id(tok: PreTrainedTokenizerBase) -> int:
    """Id of `<image>`, which `tokenizer.load_tokenizer` adds; UserError where there is none."""
    token = tok.get_vocab().get(IMAGE)
    if token is None:
        raise UserError(
            f"the tokenizer {tok.name_or_path or ''} has no {IMAGE} token: load it with "
            "nota_jax.data.feed.tokenizer.load_tokenizer, which adds it"
        )
    return token


def encode_prefix(tok: PreTrainedTokenizerBase, name: str, n_image_tokens: int) -> list[int]:
    """Tokens in front of the turns: BOS, the opening and `n_image_tokens` image tokens.

    None of them is supervised.  BOS is prepended as an id, as the tokenizer's own post-processor
    does it: spelling it in the text would change the token behind it in SentencePiece models.
    """
    image = image_token_id(tok)
    ids = tok(template(name).before_image + IMAGE, add_special_tokens=False)["input_ids"]
    if ids[-1] != image or image in ids[:-1]:
        raise UserError(f"the tokenizer {tok.name_or_path} does not keep {IMAGE} as one token")
    if tok.bos_token_id is None:
        raise UserError(f"the tokenizer {tok.name_or_path} has no beginning-of-sequence token")
    return [tok.bos_token_id] + ids[:-1] + [image] * n_image_tokens


def encode_prompts(
    tok: PreTrainedTokenizerBase, name: str, questions: Sequence[str]
) -> list[list[int]]:
    """Tokens between the image and the answer, for each question: what generation starts from."""
    written = template(name)
    return [ids for ids, _ in _encoded(tok, [written.prompt(question) for question in questions])]


def encode_turns(
    tok: PreTrainedTokenizerBase, name: str, questions: Sequence[str], answers: Sequence[str]
) -> list[EncodedTurn]:
    """Tokens of each question with its answer, and how many of them are prompt.

    Raises:
      UserError: a text holds a special token such as `<image>`, or the tokenizer merges the end
        of a prompt with the beginning of its answer (training would then show the model a prompt
        that it never meets at inference).
    """
    written, eos = template(name), tok.eos_token or ""
    for text in (*questions, *answers):
        if IMAGE in text or PAD in text or (eos and eos in text):
            raise UserError(f"a question or answer holds a special token: {text[:80]!r}")
    prompts = [written.prompt(question) for question in questions]
    distinct = list(dict.fromkeys(prompts))  # a handful of phrasings asks most questions
    prompt_ids = {p: ids for p, (ids, _) in zip(distinct, _encoded(tok, distinct), strict=True)}
    wholes = [
        prompt + written.reply(answer, eos) for prompt, answer in zip(prompts, answers, strict=True)
    ]
    turns = []
    for prompt, (ids, starts) in zip(prompts, _encoded(tok, wholes), strict=True):
        given = prompt_ids[prompt]
        if ids[: len(given)] != given:
            raise UserError(
                f"the tokenizer {tok.name_or_path} merges the prompt's end with the answer after "
                f"{prompt[-40:]!r}: it does not suit the template {name!r}"
            )
        ahead = len(prompt) + len(written.before_answer)
        turns.append(EncodedTurn(ids, len(given), [start - ahead for start in starts]))
    return turns


def decode_answer(tok: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of generated tokens up to the end of sequence, outer whitespace removed."""
    stops = {tok.eos_token_id, tok.pad_token_id}
    end = next((i for i, token in enumerate(ids) if token in stops), len(ids))
    return str(tok.decode(list(ids[:end]), skip_special_tokens=False)).strip()


def _encoded(
    tok: PreTrainedTokenizerBase, texts: list[str]
) -> Iterator[tuple[list[int], list[int]]]:
    """Tokens of each text as it stands behind an image token, and where in the text they begin.

    The image token is tokenised with it and dropped: several tokenizers treat the beginning of a
    text in their own way (SentencePiece puts a space there).
    """
    if not texts:
        return
    found = tok(
        [IMAGE + text for text in texts], add_special_tokens=False, return_offsets_mapping=True
    )
    for ids, offsets in zip(found["input_ids"], found["offset_mapping"], strict=True):
        yield ids[1:], [start - len(IMAGE) for start, _ in offsets[1:]]
