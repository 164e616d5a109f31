"""What people type and titles spell: configurations, command lines, conversations."""

from __future__ import annotations

import functools
import random
from typing import Any

from nota_jax import main, typed
from nota_jax.data.feed import chat
from nota_jax.data.feed.tokenizer import load_tokenizer
from nota_jax.values import flat
from tests.fuzz import mutate
from tests.fuzz.engine import ROOT, Target

TYPED = (
    "", "0", "1", "-1", "3e-4", "1e999", "nan", "inf", "True", "None", "()", "(1,)", "(1, 2", "[1]",
    "('a', 'b')", "((1, 2), (3, 4))", "('(', 1)", "x" * 3000, "9" * 5000, "gs://b/c", "..", "/",
    "é", "\ufffd", "(" * 200 + ")" * 200, 
    "1+1", "__import__('os')", "{}", "{'a': 1}", "0x10", "1_0",
    "'x'", '"', "'", "\\", "a=b", "lambda: 0", "b'x'", "1j", "...", "configs/phase1.py:tiny",
    "\0", "\n", "-" * 50, "('title', '-key')", "(('.*', True),)", "(('(', True),)", "float('nan')",
)  # fmt: skip


@functools.cache
def keys() -> tuple[str, ...]:
    config = main._without_overrides(["main", f"--config={ROOT}/configs/phase2.py"])
    assert config is not None
    return tuple(main._keys(config))


@functools.cache
def values() -> dict[str, str]:
    """What the configuration has, as it would be typed."""
    config = main._without_overrides(["main", f"--config={ROOT}/configs/phase2.py"])
    return {key: str(value) for key, value in flat(config or {}).items()}


def command_line(rng: random.Random) -> bytes:
    """Arguments, a line each; `ROOT` is where this repository lies."""
    found = [f"--config=ROOT/configs/phase{rng.choice('123')}.py" + rng.choice(("", ":small"))]
    for _ in range(rng.randint(1, 3)):
        key = rng.choice((*keys(), *typed.OTHER_NAMES, *typed._BY_OTHER_NAME))
        match rng.randrange(6):
            case 0:
                key = mutate.data(rng, key.encode()).decode("latin-1")
            case 1:
                found.append(rng.choice(("--mode=plan", "--mode=x", "--target=", "--fit", "-x", "x",
                                         "--", "--config", "--config=", f"--{key}")))  # fmt: skip
        value = rng.choice(TYPED) if rng.random() < 0.4 else values().get(key, "1")
        if rng.random() < 0.2:
            value = mutate.data(rng, value.encode(), [t.encode() for t in TYPED]).decode("latin-1")
        found.append(f"--config.{key}={value}")
    return "\n".join(text.replace("\n", " ") for text in found).encode()


def read_command_line(data: bytes) -> bool:
    argv = data.decode(errors="replace").replace("=ROOT/", f"={ROOT}/").split("\n")
    config, _, _ = main.parse(["main", *argv])
    typed.require_places(config, typed.named(argv), set(flat(config)), begun=False)
    return True


# ---- conversations


@functools.cache
def tokenizer() -> Any:
    return load_tokenizer(ROOT / "checkpoints" / "small")


@functools.cache
def special_ids() -> frozenset[int]:
    """The tokenizer looks its special tokens up by name whenever it is asked."""
    return frozenset(tokenizer().all_special_ids)


SPELLED = (
    "<s>", "</s>", "[INST]", "[/INST]", "<image>", "<pad>", "<unk>", " ", "  ", "\n", "\ufdd0", "é",
    "\u0301", "𝄞", "\0", "{eos}", "K:G", "|:GABc", "What is the key?", "\u202e", "[/INST", "\r\n",
    "<", "\ufdd0image>", "a" * 500, "\ud7ff", "\ufeff",
)  # fmt: skip


def exchange(rng: random.Random) -> bytes:
    def words() -> str:
        return "".join(rng.choice((*SPELLED, *mutate.PIECES)) for _ in range(rng.randint(0, 12)))

    answer = mutate.tune(rng) if rng.random() < 0.3 else words()
    return b"\xff".join(text.encode(errors="replace") for text in (words(), answer))


def read_exchange(data: bytes) -> bool:
    """Question and answer come back from their tokens, and none of them is a special one but the
    template's own."""
    tok = tokenizer()
    question, _, answer = (part.decode(errors="replace") for part in data.partition(b"\xff"))
    for name in chat.TEMPLATES:
        (turn,) = chat.encode_turns(tok, name, [question], [answer])
        (prompt,) = chat.encode_prompts(tok, name, [question])
        assert turn.ids[: turn.n_prompt] == prompt and len(turn.starts) == len(turn.ids)
        assert list(turn.starts) == sorted(turn.starts), "tokens begin in another order"
        said = turn.ids[turn.n_prompt :]
        special = [i for i in turn.ids if i in special_ids()]
        allowed = [tok.eos_token_id] if name == "mistral_instruct" else []
        closing = tok.convert_tokens_to_ids("[/INST]")
        assert [i for i in special if i != closing] == allowed, "text became a special token"
        kept = answer.replace("\ufdd0", "\ufffd").strip()  # a noncharacter, and what says so
        assert chat.decode_answer(tok, said) == kept, "an answer came back as another"
    return True


TARGETS = {
    "config": lambda: Target("config", command_line, read_command_line),
    "chat": lambda: Target("chat", exchange, read_exchange),
}
