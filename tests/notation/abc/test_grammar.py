"""The automaton takes every canonical text, and what it refuses is none."""

import dataclasses
from collections.abc import Iterator

import pytest
from hypothesis import assume, given, settings

from nota_jax.notation import abc
from nota_jax.notation.abc import grammar
from nota_jax.notation.tune import Event, Key, Tune
from tests.notation.tune_strategies import tunes

HEAD = "X:1\nM:6/8\nL:1/8\nK:G\n"


def refused_at(text: str, *, fragment: bool = False) -> int | None:
    """The character that cannot come where it stands; None where all can, and the end too."""
    automaton = grammar.build(fragment)
    state = automaton.start
    for place, character in enumerate(text + grammar.END):
        found = automaton.step(state, character)
        if found is None:
            return place
        state, _ = found
    return None


def without_lyrics(tune: Tune) -> Tune:
    """What the grammar leaves out: lyrics, and accidentals that a key signature adds."""

    def plain(item):
        if isinstance(item, Event):
            return dataclasses.replace(item, lyrics=())
        return dataclasses.replace(item, accidentals=()) if isinstance(item, Key) else item

    bars = tuple(dataclasses.replace(bar, items=tuple(map(plain, bar.items))) for bar in tune.bars)
    return dataclasses.replace(tune, key=plain(tune.key), bars=bars)


@given(tunes())
@settings(max_examples=150, deadline=None)
def test_every_canonical_text_is_taken(tune):
    text = abc.write(without_lyrics(tune))
    assume("7/64" not in text)  # valid with some unit notes only
    place = refused_at(text)
    assert place is None, text[:place]
    body = abc.write_body(without_lyrics(tune))
    assert refused_at(body, fragment=True) is None


@pytest.mark.parametrize(
    "body",
    [
        "(11:8GABcdefgabc'|]",
        "((12:16GABGABGABGAB)|]",
        "(20:16GABcdGABcdGABcdGABcd|]",
        "(32:9G2|]",
        "|:G2[1 A2:|2 B2|]",
        "|:G2\n[1 A2:|2 B2|]",
        '|:G2["last" A2:|',
        "|:(G2-)[1 A2:|[2 B2|]",
        "[K:D bass] D|[K:G treble] G|]",
        "G|[K:D treble] G|]",
        '"^a &quot;b&quot; 50\\% & up"G|]',
    ],
)
def test_what_collections_need_is_taken(body):
    assert refused_at(HEAD + body) is None
    assert refused_at(body, fragment=True) is None


def test_a_long_tuplet_is_told_as_it_is_written():
    for text, tuplet in (
        ("(11:8G", (11, 8, 11)),
        ("(20:16G", (20, 16, 20)),
        ("(32:3G", (32, 3, 32)),
    ):
        told = [step.tuplet for step in what(text) if step.tuplet >= 0]
        assert grammar.TUPLETS[told[-1]] == tuplet
        assert sum(step.slurs for step in what(text)) == 0


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "(11GABcdefgabc'|",  # it has to say in the time of how many
        HEAD + "(33:8G|",
        HEAD + "(11:33G|",
        HEAD + "GAB c2",  # no bar line at the end
        HEAD + "GAB c3 |",  # a space before one
        HEAD + "|||",
        HEAD + "GH|",
        HEAD + "G^|",
        HEAD + "[G]2|",  # one note is no chord
        HEAD + "{}G|",
        HEAD + '"AmG|',
        HEAD + "!nothing!G|",
        HEAD + "G--|",
        HEAD + "zZ|",
        HEAD + "(z)|",
        HEAD + "G5|",
        "X:1\nT:\nM:6/8\nL:1/8\nK:G\nG|",
        "X:1\nL:1/8\nM:6/8\nK:G\nG|",
        "X:1\nM:6/7\nL:1/8\nK:G\nG|",
        "X:1\nM:6/8\nL:1/3\nK:G\nG|",
        "X:1\nM:6/8\nL:1/8\nK:H\nG|",
        "X:1\nM:6/8\nL:1/8\nK:B#\nG|",  # twelve sharps
        "GAB|",
    ],
)
def test_what_is_no_canonical_text_is_refused(text):
    assert refused_at(text) is not None


@pytest.mark.parametrize(
    "body, closed",
    [
        ("G(AB) c3|", "G(AB) c3|"),
        ("(GAB c3|", "GAB c3|"),
        ("(G(AB) c3|", "G(AB) c3|"),
        ("(3(GAB c3|", "(3GAB c3|"),
        ('"(?"G!D.C.!(A)B c3|', '"(?"G!D.C.!(A)B c3|'),
        ("(Z|", "(Z|"),  # no text of the grammar's
    ],
)
def test_a_slur_that_ends_nowhere_is_taken_out(body, closed):
    assert grammar.closed(HEAD + body) == HEAD + closed


def what(text: str) -> Iterator[grammar.What]:
    automaton = grammar.build(fragment=True)
    state = automaton.start
    for character in text:
        found = automaton.step(state, character)
        assert found is not None, character
        state = found[0]
        yield found[1]


@pytest.mark.parametrize(
    "text, units",
    [("G", 1), ("G2", 2), ("G12", 12), ("G/", 0.5), ("G3/", 1.5), ("G3/4", 0.75), ("z/4", 0.25),
     ("^g'7/8", 0.875), ("[CEG]3", 3), ("{ga}G", 1), ("(G)A-", 2), ('"Am"!accent!.G6', 6),
     ("G16", 16)],
)  # fmt: skip
def test_durations_are_counted_while_they_are_written(text, units):
    assert sum(step.units for step in what(text)) == units * grammar.TICKS


def test_events_bars_and_tuplets_are_told():
    steps = list(what("(3ABc (d[eg])|"))
    assert sum(step.events for step in steps) == 5
    assert [step.tuplet for step in steps if step.tuplet >= 0] == [grammar.TUPLETS.index((3, 2, 3))]
    assert [step.bar for step in steps if step.bar] == [1]
