"""Labels of a picture: what each patch holds, and which symbol each token of an answer writes.

They come from the engraving (`notation.engraving.boxes`) and move with the picture.  Only training
reads them: they teach the tower what to see and the decoder where to look.
"""

from __future__ import annotations

import numpy as np

from nota_jax.notation.abc.spans import spans
from nota_jax.notation.engraving import boxes

SLOTS = 3  # symbols of a patch that are told, from left to right
NONE = -1  # no label: there is nothing to tell

_LETTERS = "".join(map(chr, range(33, 127)))
_SIGNS = (
    "|", "||", "|]", ":|", "|:", "::", "[|",
    "treble", "bass", "alto", "tenor",
    "C", "C|", "2/2", "3/2", "4/2", "2/4", "3/4", "4/4", "5/4", "6/4", "9/4",
    "2/8", "3/8", "4/8", "5/8", "6/8", "7/8", "9/8", "12/8", "6/16", "9/16", "12/16",
)  # fmt: skip
_LOWEST, _NO_ACCIDENTAL = 12, 5

# What is told of a symbol, and in how many classes; `classes` says what they mean.
FIELDS = {
    "kind": len(boxes.KINDS) + 1,  # 0 is nothing
    "height": 40,
    "value": 30,
    "accidental": 6,
    "beam": len(boxes.SPANS),
    "tuplet": len(boxes.SPANS),
    "slur": 4,
    "tie": 4,
    "sign": len(_SIGNS),
    "letter": len(_LETTERS) + 1,  # the last is any other
    "text": len(boxes.TEXTS),
    "system": 16,
    "bar": 16,  # of its system
    "event": 24,  # of its bar
    "inside": 2,  # the highlighted bars
}
NAMES = tuple(FIELDS)
# The class of a field that most symbols have; the others are rare.
USUAL = {"accidental": _NO_ACCIDENTAL, "tuplet": 0, "slur": 0, "tie": 0}
ADDRESS = ("system", "bar", "event")

# Which symbols of a full patch are told.
_FIRST = ("head", "rest", "accidental", "key", "meter", "bar line", "tuplet", "clef", "letter")
_RANK = np.array([_FIRST.index(k) if k in _FIRST else len(_FIRST) for k in boxes.KINDS])


def classes(symbols: np.ndarray, highlight: tuple[int, int] | None = None) -> np.ndarray:
    """The class of every symbol in every field, `NONE` where it has none: int8 [symbols, fields].

    highlight: first and last highlighted bar.
    """
    s = symbols
    kinds = np.array(boxes.KINDS)[s["kind"]]
    music = np.isin(kinds, ("head", "rest"))
    head = kinds == "head"
    out = np.full((len(s), len(FIELDS)), NONE, np.int16)

    def tell(name: str, where: np.ndarray, value: np.ndarray) -> None:
        value = np.clip(value.astype(np.int16), 0, FIELDS[name] - 1)
        out[:, NAMES.index(name)] = np.where(where, value, NONE)

    def index(table: tuple[str, ...] | str) -> np.ndarray:
        return np.array([table.index(x) if x in table else NONE for x in s["label"]], np.int16)

    everywhere = np.ones(len(s), bool)
    tell("kind", everywhere, s["kind"] + 1)
    tell("height", s["height"] != boxes.NOTHING, s["height"].astype(np.int16) + _LOWEST)
    # From a breve on; a rest of a whole bar, which has no value, is the first class.
    valued = s["halvings"] != boxes.NOTHING
    value = 3 * (s["halvings"].astype(np.int16) + 2) + np.minimum(s["dots"], 2)
    tell("value", music | (kinds == "tempo note"), np.where(valued, value, 0))
    marked = s["accidental"] != boxes.NOTHING
    accidental = np.where(marked, s["accidental"].astype(np.int16) + 2, _NO_ACCIDENTAL)
    tell("accidental", head | marked, accidental)
    tell("beam", music, s["beam"])
    tell("tuplet", music, s["tuplet"])
    tell("slur", music, 2 * (s["slurs_open"] > 0) + (s["slurs_close"] > 0))
    tell("tie", head, 2 * s["tie_opens"] + s["tie_closes"])
    sign = index(_SIGNS)
    tell("sign", np.isin(kinds, ("clef", "meter", "bar line")) & (sign != NONE), sign)
    letter = index(_LETTERS)
    tell("letter", kinds == "letter", np.where(letter == NONE, len(_LETTERS), letter))
    tell("text", kinds == "letter", s["text"])
    placed = s["bar"] >= 0
    first = {system: int(s["bar"][s["system"] == system].min()) for system in set(s["system"])}
    of_system = s["bar"] - np.array([first[system] for system in s["system"]], np.int16)
    tell("system", placed, s["system"])
    tell("bar", placed, of_system)
    tell("event", placed, s["event"])
    low, high = highlight or (0, -1)
    tell("inside", placed, (s["bar"] >= low) & (s["bar"] <= high))
    return out.astype(np.int8)


def addresses(
    told: np.ndarray, symbols: np.ndarray, highlight: tuple[int, int] | None
) -> np.ndarray:
    """`ADDRESS` of every symbol, int8 [symbols, 3]; where bars are highlighted, counted from them.

    A decoder that reads highlighted bars cannot know where in the page they lie.
    """
    out = told[:, [NAMES.index(name) for name in ADDRESS]].copy()
    placed = out[:, 0] >= 0
    if highlight is not None and (here := symbols["bar"] == highlight[0]).any():
        system, bar = out[here, 0].max(), out[here, 1].max()
        out[placed & (out[:, 0] == system), 1] -= bar
        out[placed, 0] -= system
        out[(symbols["bar"] < highlight[0]) | (symbols["bar"] > highlight[1])] = NONE
    return out


def misread(told: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """The classes `told` with so large a share of them replaced by another symbol's on the page."""
    out = told.copy()
    for field in range(1, told.shape[1]):  # something stays something
        there = np.flatnonzero(told[:, field] != NONE)
        wrong = there[rng.random(len(there)) < share]
        out[wrong, field] = rng.choice(told[there, field], len(wrong)) if len(wrong) else 0
    return out


def cells(symbols: np.ndarray, size: int, patch: int) -> np.ndarray:
    """The patch that holds each symbol's centre, row by row; −1 outside the picture."""
    box = symbols["box"]
    x, y = (box[:, 0] + box[:, 2]) / 2, (box[:, 1] + box[:, 3]) / 2
    seen = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    return np.where(seen, (y // patch) * (size // patch) + x // patch, -1).astype(np.int32)


def patches(symbols: np.ndarray, told: np.ndarray, size: int, patch: int) -> np.ndarray:
    """int8 [(size / patch)², SLOTS, fields]: the classes `told` of what lies in each patch.

    Symbols come in order; where a patch has letters alone, each stands at its third of the width,
    for whether one more has its centre inside is a matter of a tenth of a pixel.
    """
    out = np.full(((size // patch) ** 2, SLOTS, len(FIELDS)), NONE, np.int8)
    out[..., 0] = 0
    cell, box = cells(symbols, size, patch), symbols["box"]
    by_rank = np.lexsort((box[:, 0], _RANK[symbols["kind"]], cell))
    kept = by_rank[(cell[by_rank] >= 0) & (_number(cell[by_rank]) < SLOTS)]
    left_first = kept[np.lexsort((-box[kept, 1], box[kept, 0] + box[kept, 2], cell[kept]))]
    here, middle = cell[left_first], box[left_first][:, [0, 2]].mean(1)
    letter = symbols["kind"][left_first] == boxes.KINDS.index("letter")
    out[here, _slots(here, (middle % patch) / patch, letter)] = told[left_first]
    return out


def _slots(cell: np.ndarray, offset: np.ndarray, letter: np.ndarray) -> np.ndarray:
    """Of sorted cells with `SLOTS` symbols at most, from left to right: the slot of each.

    offset: from the patch's left edge, in its widths.
    """
    number, counts = _number(cell), np.bincount(cell)
    last = SLOTS - counts[cell] + number
    slot = np.clip((SLOTS * offset).astype(np.int64), number, last)
    for _ in range(SLOTS - 1):
        slot = np.where(number > 0, np.maximum(slot, np.roll(slot, 1) + 1), slot)
    letters_alone = np.bincount(cell, weights=letter) == counts
    return np.where(letters_alone[cell], slot, number)


def _number(cell: np.ndarray) -> np.ndarray:
    """Of sorted cells: how many of the same stand before each."""
    return np.arange(len(cell)) - np.searchsorted(cell, cell)


def written(answer: str, subtask: str, places: Places, first_bar: int) -> np.ndarray:
    """Which symbols each character of an answer is read from, −1 for none: int32 [characters, 2].

    Most are read from one symbol, twice the same.  A key is read from its signature, which leaves
    its mode open, and from the tune's last note; a line's end from what stands there last.

    subtask: as in `records.Turn`; first_bar: that a piece of ABC begins with.
    """
    out = np.full((len(answer), 2), -1, np.int32)
    if subtask in ("alignment", "abc"):
        titles = 0
        for span in spans(answer, first_bar):
            if span.kind == "field":
                number = titles if span.name == "T" else 0
                places.field(out, answer, span.start, span.end, span.name, number)
                titles += span.name == "T"
            else:
                where = places.events if span.kind == "event" else places.bar_lines
                out[span.start : span.end] = where.get((span.bar, span.event), -1)
        for i in range(1, len(answer)):
            if answer[i] == "\n":
                out[i] = out[i - 1]
    elif name := {"title": "T", "composer": "C", "key": "K", "meter": "M"}.get(subtask):
        places.field(out, answer, 0, len(answer), name, 0)
    return out


class Places:
    """The symbols of a page by what an answer calls them; made once for all its questions."""

    def __init__(self, symbols: np.ndarray):
        kinds = np.array(boxes.KINDS)[symbols["kind"]]
        self._labels = symbols["label"]
        self.events: dict[tuple[int, int], int] = {}
        self.bar_lines: dict[tuple[int, int], int] = {}
        self._letters: dict[tuple[str, int, int], int] = {}
        self._signs: dict[str, int] = {}
        self._last_head = -1
        addresses = zip(
            symbols["bar"].tolist(), symbols["event"].tolist(), symbols["number"].tolist(),
            symbols["text"].tolist(), symbols["grace"].tolist(), kinds.tolist(), strict=True,
        )  # fmt: skip
        for i, (bar, event, number, text, grace, kind) in enumerate(addresses):
            if kind in ("head", "rest") and not grace:
                self.events.setdefault((bar, event), i)
                self._last_head = i if kind == "head" else self._last_head
            elif kind == "bar line":
                self.bar_lines[bar, event] = i
            elif kind == "letter" and bar < 0:
                self._letters[boxes.TEXTS[text], event, number] = i
            elif kind in ("clef", "key", "meter") and bar == 0 and event == 0:
                # Of a key signature the last sign: where it stands says how many there are.
                self._signs[kind] = i

    def field(
        self, out: np.ndarray, answer: str, start: int, end: int, name: str, number: int
    ) -> None:
        """A header field's value: letter by letter, or the signs that say it."""
        if name in "TC":
            text = {"T": "title", "C": "composer"}[name]
            for i in range(start, end):
                found = self._letters.get((text, number, i - start), -1)
                if found >= 0 and self._labels[found] == answer[i]:
                    out[i] = found
        elif name in "KM":
            wanted = ("key", "clef") if name == "K" else ("meter",)
            out[start:end] = next((self._signs[k] for k in wanted if k in self._signs), -1)
            if name == "K":
                out[start:end, 1] = self._last_head


def of_tokens(of_characters: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Which symbols each token is read from: the first and the last that its characters are read
    from; int32 [tokens, 2].

    An answer's end is read from what its last character is read from: nothing comes behind it.

    starts: the character of the answer at which each token begins; at or behind the end, its end.
    """
    n = len(of_characters)
    if not n:
        return np.full((len(starts), 2), -1, np.int32)
    ends = np.append(np.clip(starts[1:], 0, n), n)
    starts = np.where(starts >= n, n - 1, np.maximum(starts, 0))
    there, number = of_characters >= 0, np.arange(n)[:, None]
    coming = np.minimum.accumulate(np.where(there, number, n)[::-1])[::-1][starts, 0]
    gone = np.maximum.accumulate(np.where(there, number, -1))[np.maximum(ends, 1) - 1, 1]
    return np.stack(
        [
            np.where(coming < ends, of_characters[np.minimum(coming, n - 1), 0], -1),
            np.where(gone >= starts, of_characters[gone, 1], -1),
        ],
        axis=1,
    )
