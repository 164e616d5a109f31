"""Repeats and endings are played as ABC 2.1 says, for every way to write them."""

import pytest
from hypothesis import given, settings

from nota_jax.notation import abc
from nota_jax.notation.playing import order, played
from nota_jax.notation.tune import Key, Meter
from tests.notation.tune_strategies import tunes

ORDERS = {
    "no repeats": ("a|b|c|]", "a b c"),
    "a repeat with both signs": ("|:a|b:|c|]", "a b a b c"),
    "a repeat without its beginning": ("a|b:|c|]", "a b a b c"),
    "two of them": ("a|b:|c|d:|", "a b a b c d c d"),
    "behind a double bar line": ("a|b||c|d:|", "a b c d c d"),
    "a double bar line inside a repeat": ("|:a|b||c|d:|", "a b c d a b c d"),
    "double signs": ("|:a::b::c:|", "a a b b c c"),
    "endings": ("|:a|1 b:|2 c|]", "a b a c"),
    "endings without the repeat's beginning": ("a|1 b:|2 c|]", "a b a c"),
    "longer endings, and what follows": ("|:a|1 b|c:|2 d|e||f|]", "a b c a d e f"),
    "a second ending with a repeat sign": ("|:a|1 b:|2 c:|d|e:|", "a b a c d e d e"),
    "three endings": ("|:a|1 b:|2 c:|3 d|]", "a b a c a d"),
    "endings of several times": ("|:a|1,3 b:|2,4 c|]", "a b a c"),
    "… each with its sign": ("|:a|1,3 b:|2 c:|4 d|]", "a b a c a b a d"),
    "a range of times": ("|:a|1-3 b:|4 c|]", "a b a b a b a c"),
    "a range in three numbers": ("|:a|1-2-3 b:|4 c|]", "a b a b a b a c"),
    "a first ending alone": ("|:a|1 b:|c|]", "a b a c"),
    "endings that repeat nothing": ("a|1 b|2 c|]", "a b c"),
    "an ending of words": ('|:a|1 b:|["last time" c|]', "a b a c"),
    "a repeat behind an ending": ("|:a|1 b:|2 c|:d|e:|", "a b a c d e d e"),
    "an ending inside a bar": ("|:a2[1 b2:|[2 c2|]", "a b a c"),
    "an ending that no time leads to": ("|:a|1 b:|3 c|]", "a b a c"),
    "an ending of more times than anybody plays": ("a|[99 b:|c|]", "a b a b c"),
}  # fmt: skip


@pytest.mark.parametrize("music, wanted", ORDERS.values(), ids=ORDERS)
def test_repeats_are_played_in_their_order(music, wanted):
    tune = abc.parse(f"X:1\nM:1/8\nL:1/8\nK:C\n{music}\n")
    assert [
        tune.bars[i].events[0].notes[0].step.lower() for i in order(tune.bars)
    ] == wanted.split()


def test_key_and_meter_are_those_in_force_where_a_repeat_leads():
    tune = abc.parse("X:1\nM:2/4\nL:1/4\nK:D\n|:AB|[K:G][M:3/4]ABc:|\n")
    again = played(tune).bars[2]
    assert again.items[:2] == (tune.key, tune.meter)
    changes = [type(item) for item in played(tune).bars[3].items if isinstance(item, Key | Meter)]
    assert changes == [Key, Meter]


@given(tunes())
@settings(max_examples=60, deadline=None)
def test_every_bar_is_played_and_none_of_them_without_end(tune):
    found = order(tune.bars)
    assert set(found) == set(range(len(tune.bars)))
    assert len(found) <= 9 * len(tune.bars)
    assert [event for bar in played(tune).bars for event in bar.events] == [
        event for i in found for event in tune.bars[i].events
    ]
