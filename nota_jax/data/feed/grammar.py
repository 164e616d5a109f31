"""A tokenizer's tables for decoding that can only write canonical ABC.

The automaton of `notation.abc.grammar` goes by characters; every token is walked through it from
every state at once.  Pieces may cross the bounds of ABC's own tokens, as in
"A2|B".
"""

from __future__ import annotations

import numpy as np
from transformers import PreTrainedTokenizerBase

from nota_jax.notation.abc import grammar

_PER_STATE = {
    "next": np.int32, "units": np.int32, "events": np.int8, "breaks": np.int8, "left": np.int8,
    "more": np.int32, "scaled": np.int8, "tuplet": np.int16, "slurs": np.int8, "dip": np.int8,
    "rise": np.int8, "waits": np.int8, "meter": np.int16, "unit": np.int8, "full": np.int8,
}  # fmt: skip
_MARKS = ("tuplet", "meter", "unit")  # numbers of something, −1 for none


def tables(tok: PreTrainedTokenizerBase, vocabulary: int, fragment: bool) -> dict[str, np.ndarray]:
    """The arrays of `models.grammar.Tables`.

    vocabulary: rows of the model's embedding, at least the tokenizer's entries; fragment: bars
      without a header.
    """
    of_characters = _Characters(grammar.build(fragment, blank=True))
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
            name: np.full(shape, -1 if name in _MARKS else 0, np.int32)
            for name in (*_MARKS, "units", "events", "slurs", "bar", "full", "known")
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
        out: dict[str, np.ndarray] = {
            name: np.full(n, -1 if name in _MARKS else 0, np.int32) for name in _PER_STATE
        }
        at, alive = np.arange(n), np.full(n, text is not None)
        tuplets = np.array(grammar.TUPLETS, np.int32)
        for character in text or ():
            column = self._index.get(character, self._index[grammar.OTHER])
            what = {name: np.where(alive, table[at, column], -1 if name in _MARKS else 0)
                    for name, table in self._what.items()}  # fmt: skip
            then = self._next[at, column]
            bar, marks = what["bar"] > 0, what["tuplet"] >= 0
            # What a tuplet that began before the token still waits for, the registers know; what
            # one inside it waits for is known here.
            new = bar | (marks & (what["known"] == 0))
            alive &= (then >= 0) & ~(new & (out["left"] > 0))
            out["waits"] |= new & (out["breaks"] == 0)
            begun = (out["breaks"] > 0) | marks
            first = out["breaks"] == 0
            closing = np.where(first, 1, 3) + what["bar"]
            longer = np.where(first, 7, out["breaks"] | 1)
            kind = np.where(what["bar"] == 3, longer, closing)
            out["breaks"] = np.where(bar, kind, np.maximum(out["breaks"], marks))
            for name in _MARKS:
                out[name] = np.where(what[name] >= 0, what[name], out[name])
            p, q, r = tuplets[out["tuplet"]].T
            inside = begun & (what["events"] > 0)
            left = np.where(marks, r, out["left"])
            out["scaled"] = np.where(inside, left > 0, out["scaled"])
            out["left"] = np.where(inside, np.maximum(left - 1, 0), left)
            ticks = np.where(out["scaled"] > 0, what["units"] * q // p, what["units"])
            out["more"] += np.where(begun, ticks, 0)
            out["units"] += np.where(begun, 0, what["units"])
            out["events"] += np.where(begun, 0, what["events"])
            for name in ("more", "scaled", "left"):
                out[name] = np.where(bar, 0, out[name])
            closed = np.where(bar & (out["full"] > 0), 2, out["full"])
            out["full"] = np.where(what["full"] > 0, 1, closed)
            out["slurs"] += what["slurs"]
            out["dip"] = np.minimum(out["dip"], out["slurs"])
            out["rise"] = np.maximum(out["rise"], out["slurs"])
            at = np.where(alive, then, 0)
        out["next"] = at
        for name, dtype in _PER_STATE.items():
            dead = -1 if name in (*_MARKS, "next") else 0
            out[name] = np.where(alive, out[name], dead).astype(dtype)
        return out
