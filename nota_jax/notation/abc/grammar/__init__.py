"""The canonical ABC as an automaton over characters, for decoders that can only write valid text.

    automaton = build()                     # of a whole tune; build(fragment=True) of a few bars
    state = automaton.start
    state, what = automaton.step(state, "X")

A finite automaton cannot count, so what has to be counted comes out of the steps as `What`, for
registers: duration in a bar, notes of a tuplet, open slurs.  Whoever keeps them (`models.grammar`,
a token at a time in a compiled program) refuses a step that they do not allow.  Slurs that are open
at the end are no ABC: `closed` takes them out of the finished text.

Lyrics (`w:` lines) are not in it: whether a verse fits its notes only the whole line tells.
"""

from nota_jax.notation.abc.grammar.automaton import (
    Automaton,
    build,
    characters,
    closed,
    loose_slurs,
)
from nota_jax.notation.abc.grammar.steps import (
    END,
    METERS,
    MOST_SLURS,
    NOTHING,
    OTHER,
    TICKS,
    TUPLETS,
    UNITS,
    What,
    bar_ticks,
)

__all__ = [
    "END", "METERS", "MOST_SLURS", "NOTHING", "OTHER", "TICKS", "TUPLETS", "UNITS", "Automaton",
    "What", "bar_ticks", "build", "characters",
    "closed", "loose_slurs",
]  # fmt: skip
