"""Prompts: from a question and its answer to tokens, and which of them are supervised.

The one place that knows how a conversation is written.  A training row is one image prefix with
the turns about that image packed behind it (design decision 5), so a conversation is tokenised in
two pieces, split right behind the image token:

    prefix   <s>[INST] <image> … <image>
    turn     \\nQUESTION [/INST] ANSWER </s>

A special token is a wall for every Hugging Face fast tokenizer, so the pieces have the tokens of
the unsplit text.  Only the template writes special tokens: what a title, a question or an answer
spells like one is text.  What is supervised is known from how the text was put together (the
prompt is tokenised by itself, as it is at inference, and its tokens must open the turn's); nothing
is ever searched for.  Source of the formats: LLaVA's `conversation.py` (`mistral_instruct`,
`plain`).
"""

from __future__ import annotations

import dataclasses
import json
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tokenizers import Tokenizer
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


def template(name: str) -> Template:
    """The template of that name, or a UserError that lists the names."""
    if name not in TEMPLATES:
        raise UserError(f"unknown chat template {name!r}: choose one of {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def jinja(name: str, lead: str = "") -> str:
    """The same conversation for `apply_chat_template`, where BOS stands in the text.

    Pictures go in front of the text, as in training, in whatever order a message has them.
    Training had no system message; one goes in front of the question, behind the picture, so that
    the prefix stays training's.  What cannot be said in this form is refused, not left out.
    llama.cpp's server hands over a message as one string in which <__media_…__> stands for a
    picture.

    lead: what stands between BOS and the rest; see `chat_template`.
    """
    t = template(name)
    asked = f"ns.system + ns.text + {t.after_question!r}" if t.asks else "''"
    ending = " + eos_token + ".join(map(repr, t.after_answer.split("{eos}")))
    return (
        "{{ bos_token }}" + lead + "{% set ns = namespace(system='') %}"
        "{% for message in messages %}{% set ns.images = '' %}{% set ns.text = '' %}"
        "{% if message['content'] is string %}"
        "{% for piece in message['content'].split('<__media') %}{% set mark = piece.split('__>') %}"
        "{% if loop.first %}{% set ns.text = piece %}"
        "{% elif mark|length == 1 %}{% set ns.text = ns.text + '<__media' + piece %}"
        "{% else %}{% set ns.text = ns.text + mark[1:]|join('__>') %}{% set ns.images = "
        f"ns.images + '<__media' + mark[0] + {'__>' + t.before_question!r} %}}"
        "{% endif %}{% endfor %}{% else %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'text' %}{% set ns.text = ns.text + part['text'] %}"
        "{% elif part['type'] in ['image', 'image_url'] %}"
        f"{{% set ns.images = ns.images + {IMAGE + t.before_question!r} %}}"
        "{% else %}{{ raise_exception('this model reads pictures and text, no ' + part['type']) }}"
        "{% endif %}{% endfor %}{% endif %}"
        "{% if message['role'] in ['system', 'developer'] %}"
        "{% if ns.text %}{% set ns.system = ns.system + ns.text + '\\n\\n' %}{% endif %}"
        "{% elif message['role'] == 'user' %}"
        f"{{{{ {t.before_image!r} + ns.images + {asked} }}}}{{% set ns.system = '' %}}"
        "{% elif message['role'] == 'assistant' %}"
        f"{{{{ {t.before_answer!r} + ns.text + {ending} }}}}"
        "{% else %}{{ raise_exception('there is no role ' + message['role'] + ' here') }}"
        "{% endif %}{% endfor %}"
        "{% if ns.system %}{{ raise_exception('a system message needs a question behind it') }}"
        "{% endif %}"
    )


CHAT_TEMPLATE = jinja("mistral_instruct")


def chat_template(tok: PreTrainedTokenizerBase, name: str = "mistral_instruct") -> str:
    """The Jinja template whose text, tokenised without further special tokens, is training's.

    Training puts BOS in front as an id.  Spelled out, it makes what follows no beginning of a text,
    which SentencePiece would mark with a space: those tokenizers get one to read.

    Raises:
      UserError: neither with a space nor without are the tokens training's.
    """
    if tok.bos_token is None:  # training says it
        return jinja(name)
    for lead in ("", " "):
        text = tok.bos_token + lead + template(name).before_image + IMAGE
        if tok(text, add_special_tokens=False)["input_ids"] == encode_prefix(tok, name, 1):
            return jinja(name, lead)
    raise UserError(
        f"the tokenizer {tok.name_or_path} reads a text behind {tok.bos_token} in another way than "
        f"by itself: no chat template writes the prompts of {name!r} for it"
    )


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
    written, questions = _aliased(tok, template(name)), _unmarked(questions)
    return [ids for ids, _ in _encoded(tok, [written.prompt(question) for question in questions])]


def encode_turns(
    tok: PreTrainedTokenizerBase, name: str, questions: Sequence[str], answers: Sequence[str]
) -> list[EncodedTurn]:
    """Tokens of each question with its answer, and how many of them are prompt.

    Raises:
      UserError: the tokenizer merges the end of a prompt with the beginning of its answer
        (training would then show the model a prompt that it never meets at inference).
    """
    written, eos = _aliased(tok, template(name)), _alias(tok.eos_token or "")
    questions, answers = _unmarked(questions), _unmarked(answers)
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

    texts: whose special tokens go by their aliases; what is spelled as one is text.

    The image token is tokenised with it and dropped: several tokenizers treat the beginning of a
    text in their own way (SentencePiece puts a space there).
    """
    backend, _ = _with_aliases(tok)
    behind = [_alias(IMAGE) + text for text in texts]
    for found in backend.encode_batch(behind, add_special_tokens=False):
        yield found.ids[1:], [start - len(IMAGE) for start, _ in found.offsets[1:]]


_MARK, _UNKNOWN = "\ufdd0", "\ufffd"


def _alias(token: str) -> str:
    """A special token's name that no text holds: Unicode keeps U+FDD0 out of texts."""
    return token and _MARK + token[1:]  # of the same length, which offsets count on


def _unmarked(texts: Sequence[str]) -> list[str]:
    """The texts; where one holds the mark all the same, what stands for an unknown character."""
    return [text.replace(_MARK, _UNKNOWN) for text in texts]


def _aliased(tok: PreTrainedTokenizerBase, written: Template) -> Template:
    """The template with the tokenizer's special tokens under their aliases."""
    _, special = _with_aliases(tok)
    parts = dataclasses.asdict(written)
    for field, part in parts.items():
        for token in special if isinstance(part, str) else ():
            parts[field] = parts[field].replace(token, _alias(token))
    return Template(**parts)


_KNOWN: weakref.WeakKeyDictionary[PreTrainedTokenizerBase, tuple[int, Tokenizer, list[str]]] = (
    weakref.WeakKeyDictionary()
)


def _with_aliases(tok: PreTrainedTokenizerBase) -> tuple[Tokenizer, list[str]]:
    """The same tokenizer that knows its special tokens by their aliases alone; and these tokens.

    A title may spell `</s>` or `[INST]`.  Ids and all other tokens are the same; merges that would
    spell a special token are gone with its name.
    """
    if tok not in _KNOWN or _KNOWN[tok][0] != len(tok):
        state = json.loads(tok.backend_tokenizer.to_str())
        special = {entry["content"] for entry in state["added_tokens"] if entry["special"]}

        def name(token: str) -> str:
            return _alias(token) if token in special else token

        for entry in state["added_tokens"]:
            entry["content"] = name(entry["content"])
        model, rest = state["model"], dict(post_processor=None, padding=None, truncation=None)
        if isinstance(model["vocab"], dict):
            model["vocab"] = {name(token): i for token, i in model["vocab"].items()}
        else:  # of a Unigram, with scores
            model["vocab"] = [[name(token), score] for token, score in model["vocab"]]
        if isinstance(model.get("unk_token"), str):
            model["unk_token"] = name(model["unk_token"])
        if "merges" in model:
            pairs = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
            spelled = ({a, b, a + b} for a, b in pairs)
            model["merges"] = [p for p, s in zip(pairs, spelled, strict=True) if not s & special]
        longest_first = sorted(special, key=len, reverse=True)
        backend = Tokenizer.from_str(json.dumps(state | rest))
        _KNOWN[tok] = len(tok), backend, longest_first
    return _KNOWN[tok][1:]
