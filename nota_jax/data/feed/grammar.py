"""A tokenizer's tables for decoding that can only write canonical ABC.

The automaton of `notation.abc.grammar` goes by characters; every token is walked through it from
every state at once.  Pieces may cross the bounds of ABC's own tokens, as in "A2|B"; only one that
would close two bars, or begin a tuplet before closing a bar, is never written.
"""

from __future__ import annotations

import numpy as np
from transformers import PreTrainedTokenizerBase

from nota_jax.notation.abc import grammar

_PER_STATE = (
    "next", "units", "events", "more_units", "more_events", "slurs", "dip", "rise", "bar",
    "tuplet", "meter", "unit", "full",
)  # fmt: skip


def tables(tok: PreTrainedTokenizerBase, vocabulary: int, fragment: bool) -> dict[str, np.ndarray]:
    """The arrays of `models.grammar.Tables`.

    vocabulary: rows of the model's embedding, at least the tokenizer's entries; fragment: bars
      without a header.
    """
    of_characters = _Characters(grammar.build(fragment))
    texts = token_texts(tok)
    columns: dict[bytes, int] = {}
    found: list[dict[str, np.ndarray]] = []
    column = np.zeros(vocabulary, np.int32)
    nothing = of_characters.walk(None)
    for token in range(vocabulary):
        text = texts[token] if token < len(texts) else None
        walked = of_characters.walk(text) if text else nothing
        mark = b"".join(walked[name].tobytes() for name in _PER_STATE)
        if mark not in columns:
            columns[mark] = len(found)
            found.append(walked)
        column[token] = columns[mark]
    stacked = {name: np.stack([walked[name] for walked in found], 1) for name in _PER_STATE}
    bars = [[grammar.bar_ticks(m, u) or 0 for u in range(len(grammar.UNITS))]
            for m in range(len(grammar.METERS))]  # fmt: skip
    return {
        "column": column,
        **stacked,
        "tuplets": np.array(grammar.TUPLETS, np.int32),
        "bars": np.array(bars, np.int32),
        "most_slurs": np.array(grammar.MOST_SLURS, np.int32),
    }


def token_texts(tok: PreTrainedTokenizerBase) -> list[str | None]:
    """What each token adds to a text; None for special ones, `grammar.END` for the end's."""
    (anchor,) = tok("|", add_special_tokens=False)["input_ids"][-1:]
    ahead = len(tok.decode([anchor]))
    special = set(tok.all_special_ids) | set(tok.added_tokens_decoder)
    texts: list[str | None] = []
    for token in range(len(tok)):
        if token == tok.eos_token_id:
            texts.append(grammar.END)
        elif token in special:
            texts.append(None)
        else:
            text = str(tok.decode([anchor, token]))[ahead:]
            is_text = all(character == "\n" or character >= " " for character in text)
            texts.append(text if is_text else None)
    return texts


class _Characters:
    """The automaton as arrays [states, characters]."""

    def __init__(self, automaton: grammar.Automaton):
        names = grammar.characters()
        self._index = {character: i for i, character in enumerate(names)}
        shape = len(automaton.steps), len(names)
        self._next = np.full(shape, -1, np.int32)
        self._what = {
            name: np.full(shape, -1 if name in ("tuplet", "meter", "unit") else 0, np.int32)
            for name in ("units", "events", "slurs", "bar", "full", "tuplet", "meter", "unit")
        }
        for state, here in enumerate(automaton.steps):
            for character, (then, what) in here.items():
                place = state, self._index[character]
                self._next[place] = then
                if what is not grammar.NOTHING:
                    for name, table in self._what.items():
                        table[place] = getattr(what, name)

    def walk(self, text: str | None) -> dict[str, np.ndarray]:
        """What a token does from every state; `_PER_STATE`, each [states]."""
        n = len(self._next)
        zero = np.zeros(n, np.int32)
        out = {name: zero.copy() for name in _PER_STATE}
        for name in ("tuplet", "meter", "unit"):
            out[name] -= 1
        at, alive = np.arange(n), np.full(n, text is not None)
        for character in text or ():
            column = self._index.get(character, self._index[grammar.OTHER])
            what = {name: np.where(alive, table[at, column], -1 if name in _MARKS else 0)
                    for name, table in self._what.items()}  # fmt: skip
            then = self._next[at, column]
            bar, tuplet = what["bar"] > 0, what["tuplet"] >= 0
            behind = (out["bar"] > 0) | (out["tuplet"] >= 0)
            # A second bar line behind notes, a tuplet before it, or two tuplets: not in one token.
            twice = bar & ((out["tuplet"] >= 0) | (out["more_events"] > 0))
            twice |= tuplet & (out["tuplet"] >= 0)
            alive &= (then >= 0) & ~twice
            later = behind | tuplet
            for name in ("units", "events"):
                out[name] += np.where(later, 0, what[name])
                out[f"more_{name}"] += np.where(later, what[name], 0)
            out["slurs"] += what["slurs"]
            out["dip"] = np.minimum(out["dip"], out["slurs"])
            out["rise"] = np.maximum(out["rise"], out["slurs"])
            out["bar"] = np.maximum(out["bar"], what["bar"])
            out["full"] |= what["full"]
            for name in _MARKS:
                out[name] = np.where(what[name] >= 0, what[name], out[name])
            at = np.where(alive, then, 0)
        out["next"] = np.where(alive, at, -1).astype(np.int32)
        for name in _PER_STATE:
            if name != "next":
                out[name] = np.where(alive, out[name], -1 if name in _MARKS else 0)
        return {name: array.astype(_TYPES.get(name, np.int8)) for name, array in out.items()}


_MARKS = ("tuplet", "meter", "unit")
_TYPES = {"next": np.int32, "units": np.int32, "more_units": np.int32, "tuplet": np.int16,
          "meter": np.int16}  # fmt: skip
