"""Under the rules of ABC whatever a model says is ABC, however its tokenizer cuts it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, trainers
from transformers import PreTrainedTokenizerFast

from nota_jax.data.feed import chat, tokenizer
from nota_jax.evaluation.rules import abc_rules
from nota_jax.models import grammar
from nota_jax.notation import abc
from nota_jax.notation.abc.grammar import TICKS, closed
from nota_jax.read.asking import SHIPPED

BODIES = (
    "GAB cde|g2f edc|(3BAB (GA)B|c3- c2 z|", "|:D2 F2 A2|d3 [DFA]3:|", "A>B|", "^G,2 _b/ =c'3/|",
)  # fmt: skip
TEXTS = [
    f"X:1\nT:{title}\nM:{meter}\nL:1/8\nK:{key}\n{body}\n"
    for title in ("The First", "Another Tune")
    for meter in ("6/8", "C|")
    for key in ("G", "Em")
    for body in BODIES
]


def crossing() -> PreTrainedTokenizerFast:
    """A BPE whose pieces go across everything, bar lines and line ends too."""
    made = Tokenizer(models.BPE())
    made.decoder = decoders.Fuse()
    alphabet = [chr(i) for i in range(32, 127)] + ["\n"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>", "<image>"], initial_alphabet=alphabet,
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(TEXTS * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")


TOKENIZERS = {"shipped": lambda: tokenizer.load_tokenizer(SHIPPED), "crossing": crossing}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tok(request):
    return TOKENIZERS[request.param]()


def walked(rules, ids):
    """Logits that the rules make of zeros before each token, and where they end."""
    at, seen = grammar.start((1, 1)), []
    constrain, advance = jax.jit(grammar.constrained), jax.jit(grammar.advance)
    for token in ids:
        zeros = jnp.zeros((1, 1, len(rules.column)))
        seen.append(np.asarray(constrain(zeros, rules, at, grammar.Preferences()))[0, 0])
        at = advance(rules, at, jnp.full((1, 1), token))
    return seen, at


def test_pieces_cross_the_bounds_of_abc_where_they_should(tok):
    if tok.name_or_path:
        return
    assert any("|" in text and text.strip("|") for text in tok.get_vocab())


def said(tok, rules, n=128, length=260, seed=0):
    """What a model says that knows nothing but that bars, lines and texts end at times."""
    bias = np.zeros(len(rules.column), np.float32)
    for text, likely in (("|", 2.0), ("\n", 3.0), (tok.eos_token, 6.0), (" ", 1.0)):
        for token in tok(text, add_special_tokens=False)["input_ids"][-1:]:
            bias[token] = likely
    eos = tok.eos_token_id

    def step(carry, key):
        at, ended = carry
        logits = jax.random.gumbel(key, (n, 1, len(rules.column))) + bias
        token = jnp.argmax(grammar.constrained(logits, rules, at, grammar.Preferences()), -1)
        token = jnp.where(ended, eos, token)
        return (grammar.advance(rules, at, token), ended | (token == eos)), token

    first = grammar.start((n, 1)), jnp.zeros((n, 1), bool)
    _, tokens = jax.lax.scan(step, first, jax.random.split(jax.random.key(seed), length))
    for ids in np.asarray(tokens)[:, :, 0].T.tolist():
        if eos in ids:
            yield closed(tok.decode(ids[: ids.index(eos)]).strip())


def test_whatever_is_said_to_its_end_is_valid(tok):
    rules = abc_rules(tok, len(tok))
    texts = list(said(tok, rules))
    assert len(texts) > 30
    for text in texts:
        abc.parse(text)


def test_what_is_written_on_pages_can_be_said(tok):
    rules = abc_rules(tok, len(tok))
    for text in TEXTS:
        if ">" in text:  # which canonical texts never have
            continue
        ids = tok(text, add_special_tokens=False)["input_ids"] + [tok.eos_token_id]
        for place, (token, logits) in enumerate(zip(ids, walked(rules, ids)[0], strict=True)):
            assert np.isfinite(logits[token]), tok.decode(ids[: place + 1])


@pytest.mark.parametrize("fragment", [False, True])
def test_what_training_shows_can_be_said_with_the_templates_blanks(fragment):
    """A decoder that learned a blank ahead of its answers is not to be made to write otherwise."""
    tok = TOKENIZERS["shipped"]()
    rules = abc_rules(tok, len(tok), fragment=fragment)
    texts = ["B|AFDA BGAG|\nA2 A2|", "|:GAB cde:|"] if fragment else [t.strip() for t in TEXTS[:2]]
    for turn in chat.encode_turns(tok, "mistral_instruct", ["Bars?"] * len(texts), texts):
        ids = turn.ids[turn.n_prompt :]
        for place, (token, logits) in enumerate(zip(ids, walked(rules, ids)[0], strict=True)):
            assert np.isfinite(logits[token]), tok.decode(ids[: place + 1])


def after(tok, rules, text):
    ids = tok(text, add_special_tokens=False)["input_ids"]
    return walked(rules, [*ids, 0])[0][-1]


def test_bars_that_add_up_are_preferred():
    tok = TOKENIZERS["shipped"]()
    rules, head = abc_rules(tok, len(tok)), "X:1\nM:6/8\nL:1/8\nK:G\n"
    (bar,), (note,) = (tok(text, add_special_tokens=False)["input_ids"] for text in ("|", "A"))
    p = grammar.Preferences()
    full = after(tok, rules, head + "G3 G3|GAB cde")
    assert full[bar] == 0 and full[note] == -p.beyond
    short = after(tok, rules, head + "G3 G3|GAB cd")
    assert short[bar] == -p.short and short[note] == 0
    long = after(tok, rules, head + "G3 G3|GAB cde f")
    assert long[bar] == -p.long
    assert after(tok, rules, head + "GA")[bar] == 0  # a pick-up
    assert after(tok, rules, head + "G3 (3GAB c")[bar] == 0
    assert after(tok, rules, "X:1\nM:none\nL:1/8\nK:G\nG3 G3|G")[bar] == 0


def test_the_length_of_a_tuplets_last_note_is_scaled_too():
    tok = TOKENIZERS["shipped"]()
    rules = abc_rules(tok, len(tok))
    ids = tok("X:1\nM:3/4\nL:1/8\nK:G\n(3A2B2c2 d", add_special_tokens=False)["input_ids"]
    _, at = walked(rules, ids)
    assert int(at.filled[0, 0]) == 5 * TICKS and int(at.left[0, 0]) == 0


@pytest.mark.parametrize("ending", ["|", "\n"])
def test_a_tuplet_is_filled_before_its_bar_or_its_line_ends(ending):
    tok = TOKENIZERS["shipped"]()
    rules = abc_rules(tok, len(tok))
    (end,) = tok(ending, add_special_tokens=False)["input_ids"][-1:]
    assert after(tok, rules, "X:1\nM:6/8\nL:1/8\nK:G\n(3AB")[end] == -np.inf
    assert after(tok, rules, "X:1\nM:6/8\nL:1/8\nK:G\n(3ABc")[end] > -np.inf
