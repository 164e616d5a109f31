"""Several views' texts → one tune's: key and meter carried over, lines as the page has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from nota_jax.notation import abc
from nota_jax.notation.tune import Bar, Tune


def join(texts: Sequence[str], lines: Sequence[Sequence[int]]) -> tuple[str, list[str]]:
    """The text of the whole page, and what stood in the way.

    texts: of each view, from the top of the page; lines: of each view's systems, the number of its
      staff in the page (two pieces of one staff are one line of the page).
    """
    tunes, notes, broken = dict[int, Tune](), list[str](), False
    for number, text in enumerate(texts):
        try:
            tunes[number] = abc.parse(text)
        except abc.AbcError as error:
            notes.append(f"part {number + 1} of {len(texts)} is no valid ABC ({error.message})")
            broken |= bool(body(text))  # a part that was cut off in its header has no music
    if broken or not tunes:
        return _as_text(texts), notes
    first = next(iter(tunes.values()))
    bars = list[Bar]()
    for number, tune in tunes.items():
        staves = lines[number]
        after = next((s[0] for s in lines[number + 1 :] if s), None)
        bars += _bars(tune, [*staves, after])
        # The parser closes a tune's last bar, as pages do; a part's is closed as it was read.
        if after is not None and bars and not texts[number].rstrip().endswith("|]"):
            open_end = "|" if bars[-1].barline == "|]" else bars[-1].barline
            bars[-1] = dataclasses.replace(bars[-1], barline=open_end)
    return abc.write(dataclasses.replace(first, bars=tuple(bars))), notes


def _bars(tune: Tune, staves: Sequence[int | None]) -> Iterator[Bar]:
    """A view's bars; a line that ends inside a staff of the page is no line end there."""
    line = 0
    last = len(tune.bars) - 1
    for number, bar in enumerate(tune.bars):
        if bar.line_break or number == last:
            here, behind = (staves[i] if i < len(staves) else None for i in (line, line + 1))
            ends = (number < last or behind is not None) and (here is None or here != behind)
            bar = dataclasses.replace(bar, line_break=ends)
            line += 1
        yield bar


def _as_text(texts: Sequence[str]) -> str:
    """Where one cannot be parsed: the first text and the bodies of the others below it."""
    return "\n".join([*texts[:1], *(body(text) for text in texts[1:])])


def body(text: str) -> str:
    """The lines of a text behind its header."""
    lines = text.split("\n")
    start = next((i + 1 for i, line in enumerate(lines) if line.startswith("K:")), len(lines))
    return "\n".join(lines[start:])
