"""Decoding that can only write what a grammar allows: an automaton over tokens, with registers.

The tables come from whoever knows the language (`data.feed.grammar` makes those of ABC); here they
are followed, for many answers at once, inside a compiled program.  Beside what must not come, some
of what may come is made less probable: a bar line where the bar does not add up, and notes beyond
the bar's end.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Tables(NamedTuple):
    """Of S states and C classes of tokens that mean the same; V tokens.

    column [V]: the class of each token.
    next [S, C]: the state behind a token, −1 where it cannot come.
    units, events [S, C]: ticks that it adds and events that it begins, up to a break in it.
    breaks [S, C]: 0 none; 1 a tuplet begins; 2 and 3 a bar ends; 4 and 5 one does that began, or
    had a tuplet begin, in the same token; 3 and 5 with a section's bar line; 7 the bar line before
    it becomes a section's.
    left, more, scaled [S, C]: behind the break, notes that a tuplet waits for, ticks (since the
    last bar line, if there was one), whether the last event is of the tuplet.
    slurs [S, C]: how many more are open behind it; dip, rise: the fewest and most on the way.
    waits [S, C]: 1 where no tuplet may wait for notes beyond those of `events`.
    tuplet, meter, unit [S, C]: number in the lists below of what is set, −1 none.
    full [S, C]: 1 where it ends with a rest as long as its bar, 2 where it holds one.
    tuplets [·, 3]: p notes in the time of q, for r notes; bars [meters, units]: ticks of a full
    bar, 0 where the meter is free.
    most_slurs []: that may be open at once.
    """

    column: jax.Array
    next: jax.Array
    units: jax.Array
    events: jax.Array
    breaks: jax.Array
    left: jax.Array
    more: jax.Array
    scaled: jax.Array
    tuplet: jax.Array
    slurs: jax.Array
    dip: jax.Array
    rise: jax.Array
    waits: jax.Array
    meter: jax.Array
    unit: jax.Array
    full: jax.Array
    tuplets: jax.Array
    bars: jax.Array
    most_slurs: jax.Array


class Registers(NamedTuple):
    """Of each answer, int32 [B, Q]: where it stands.

    state; slurs that are open; left: notes that a tuplet waits for, and its number; scaled: whether
    the event being written is of it; meter, unit: numbers, −1 unknown; filled: ticks in the bar;
    seam: 1 where the bar may be short, because it begins the tune or a section.
    """

    state: jax.Array
    slurs: jax.Array
    left: jax.Array
    tuplet: jax.Array
    scaled: jax.Array
    meter: jax.Array
    unit: jax.Array
    filled: jax.Array
    seam: jax.Array


class Preferences(NamedTuple):
    """Nats by which what may come is made less probable.

    short, long: a bar line where notes are missing or too many; beyond: an event that begins where
    the bar is full.
    """

    short: float = 2.0
    long: float = 4.0
    beyond: float = 2.0


def start(shape: tuple[int, ...]) -> Registers:
    zero, unknown = jnp.zeros(shape, jnp.int32), jnp.full(shape, -1, jnp.int32)
    return Registers(zero, zero, zero, zero, zero, unknown, unknown, zero, zero + 1)


def constrained(
    logits: jax.Array, tables: Tables, at: Registers, preferences: Preferences
) -> jax.Array:
    """Logits [B, Q, V] with −∞ where a token cannot come, and less where it does not add up.

    Where nothing can come (which the tables rule out unless a vocabulary cannot spell what has to
    come), the logits stay as they are.
    """
    row = _rows(tables, at.state)
    left, slurs = at.left[..., None], at.slurs[..., None]
    legal = (row.next >= 0) & ~((row.waits > 0) & (left > row.events))
    legal &= (slurs + row.dip >= 0) & (slurs + row.rise <= tables.most_slurs)
    full = _full(tables, at)[..., None]
    legal &= ~((row.full > 0) & (full == 0) & (at.meter[..., None] >= 0))
    filled = at.filled[..., None] + _scaled(tables, at, row.units, row.events, left)
    filled = jnp.where(row.full > 0, full, filled)
    # What a token with several bar lines puts between them is not judged.
    closes = ((row.breaks == 2) | (row.breaks == 3)) & (filled > 0)
    # A section's bar line ends what a pick-up began.
    may_be_short = (at.seam[..., None] > 0) | (row.breaks == 3)
    less = jnp.where(closes & (filled < full) & ~may_be_short, preferences.short, 0.0)
    less += jnp.where(closes & (filled > full), preferences.long, 0.0)
    begins = (row.events > 0) & (at.filled[..., None] >= full)
    less += jnp.where(begins, preferences.beyond, 0.0)
    less = jnp.where(full > 0, less, 0.0)
    of_class = jnp.where(legal, -less, -jnp.inf)
    stuck = ~legal.any(-1, keepdims=True)
    of_class = jnp.where(stuck, 0.0, of_class)
    return logits + jnp.take(of_class, tables.column, axis=-1)


def advance(tables: Tables, at: Registers, token: jax.Array) -> Registers:
    """Behind a token [B, Q]; it stays where it is behind one that cannot come."""
    new = _rows(tables, (at.state, tables.column[token]))
    bar, broken = new.breaks >= 2, new.breaks >= 1
    filled = at.filled + _scaled(tables, at, new.units, new.events, at.left)
    filled = jnp.where(bar, 0, filled) + new.more
    went_on = jnp.where(new.events > 0, (at.left > 0).astype(jnp.int32), at.scaled)
    moved = Registers(
        state=new.next,
        slurs=at.slurs + new.slurs,
        left=jnp.where(broken, new.left, jnp.maximum(at.left - new.events, 0)),
        tuplet=jnp.where(new.tuplet >= 0, new.tuplet, at.tuplet),
        scaled=jnp.where(broken, new.scaled, went_on),
        meter=jnp.where(new.meter >= 0, new.meter, at.meter),
        unit=jnp.where(new.unit >= 0, new.unit, at.unit),
        filled=jnp.where(new.full == 1, _full(tables, at), filled),
        seam=jnp.where(bar, new.breaks % 2, at.seam),
    )
    return jax.tree.map(lambda a, b: jnp.where(new.next >= 0, a, b), moved, at)


_LISTS = ("column", "tuplets", "bars", "most_slurs")


def _rows(tables: Tables, place: Any) -> Tables:
    """Of the tables [S, C] what stands at a place, as int32; the lists as they are."""
    return Tables(
        **{
            name: table if name in _LISTS else table[place].astype(jnp.int32)
            for name, table in tables._asdict().items()
        }
    )


def _full(tables: Tables, at: Registers) -> jax.Array:
    """Ticks of a full bar, 0 where it is not known or free."""
    known = (at.meter >= 0) & (at.unit >= 0)
    return jnp.where(known, tables.bars[at.meter, at.unit], 0)


def _scaled(
    tables: Tables, at: Registers, units: jax.Array, events: jax.Array, left: jax.Array
) -> jax.Array:
    """Ticks that sound: of a tuplet's events fewer."""
    p, q = tables.tuplets[at.tuplet, 0], tables.tuplets[at.tuplet, 1]
    inside = jnp.where(events > 0, left > 0, _like(at.scaled, units) > 0)
    return jnp.where(inside, units * _like(q, units) // _like(p, units), units)


def _like(x: jax.Array, other: jax.Array) -> jax.Array:
    return x.reshape(x.shape + (1,) * (other.ndim - x.ndim))
