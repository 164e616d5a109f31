"""What is in force at each note, and what ties and slurs join."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from nota_jax.notation.abc import parse
from nota_jax.notation.tune import Event, Key, Meter, Note, Tune
from nota_jax.notation.walk import (
    places,
    signatures,
    slurs,
    sounding_notes,
    split_changes,
    ties,
)


def tune(body: str, header: str = "M:3/4\nL:1/4\nK:C") -> Tune:
    return parse(f"X:1\n{header}\n{body}")


def at(place) -> tuple[int, int] | None:
    return place and (place.bar, place.index)


def test_a_change_before_the_first_note_is_in_force_in_its_bar_and_a_later_one_in_the_next():
    music = tune("ABc|[K:G][M:2/4]AB|A[K:D]B[M:3/4]|ABc|]")
    texts = [(one.key.tonic, one.meter.text) for one in signatures(music)]
    assert texts == [("C", "3/4"), ("G", "2/4"), ("G", "2/4"), ("D", "3/4")]


def test_every_event_has_its_place_its_key_and_its_meter():
    music = tune("A|[K:G]B2 [M:2/4](3ABc|z2|]")
    found = [(p.bar, p.index, p.in_bar, p.onset, p.key.tonic, p.meter.text) for p in places(music)]
    quarter = Fraction(1, 4)
    assert found[:3] == [
        (0, 0, 0, 0, "C", "3/4"),
        (1, 0, 0, quarter, "G", "3/4"),
        (1, 1, 2 * quarter, 3 * quarter, "G", "2/4"),
    ]
    assert found[-1] == (2, 0, 0, Fraction(5, 4), "G", "2/4")


def test_a_bar_is_split_at_its_first_event():
    bar = tune("ABc|[K:G][M:2/4]A[K:D]B|]").bars[1]
    changes, rest = split_changes(bar)
    assert changes == (Key("G"), Meter("2/4"))
    assert [type(item) for item in rest] == [Event, Key, Event]


def test_a_tie_leads_to_the_head_on_its_line_in_the_next_event():
    found = list(ties(tune("AB[Ac-]|[Fc]A2|B2c-|zc2|]")))
    assert [(at(t.start), t.head, at(t.end), t.end_head) for t in found] == [
        ((0, 2), 1, (1, 0), 1),
        ((2, 1), 0, None, 0),
    ]
    assert [t.joins for t in found] == [True, False]


def test_a_tie_to_another_pitch_on_the_same_line_joins_nothing():
    music = tune("A2[^CE]-|[CE]3|]")
    sharp, natural = Note("C", 4, 1, 1, tie=True), Note("C", 4, 0, 0)
    first, second = (
        dataclasses.replace(bar, items=(*bar.items[:-1], event))
        for bar, event in zip(music.bars, (Event((sharp,)), Event((natural,))), strict=True)
    )
    (tie,) = ties(dataclasses.replace(music, bars=(first, second)))
    assert at(tie.end) == (1, 0) and not tie.joins


def test_of_two_slurs_at_one_note_the_older_one_ends():
    found = [(at(s.start), at(s.end), s.number) for s in slurs(tune("(AB(c)|d)ef|((ABc)|def)|]"))]
    assert found == [
        ((0, 0), (0, 2), 0),
        ((0, 2), (1, 0), 0),
        ((2, 0), (2, 2), 1),
        ((2, 0), (3, 2), 0),
    ]


def test_a_slur_from_a_grace_note_to_its_own_note_begins_and_ends_there():
    (slur,) = slurs(tune("({g}A)Bc|]"))
    assert at(slur.start) == at(slur.end) == (0, 0)


def test_slurs_without_an_end_or_a_beginning_say_so():
    music = tune("ABc|]")
    first, *rest = music.bars[0].events
    opens, closes = (
        dataclasses.replace(first, slurs_open=1),
        dataclasses.replace(first, slurs_close=1),
    )
    for event, expected in ((opens, [((0, 0), None)]), (closes, [(None, (0, 0))])):
        bar = dataclasses.replace(music.bars[0], items=(event, *rest))
        found = slurs(dataclasses.replace(music, bars=(bar,)))
        assert [(at(slur.start), at(slur.end)) for slur in found] == expected


def test_tied_heads_sound_once_and_the_others_of_their_chords_for_themselves():
    found = [(n.onset, n.duration, n.midi) for n in sounding_notes(tune("A2[Ac]-|[Fc]-[Ac]2|]"))]
    quarter = Fraction(1, 4)
    assert found == [
        (0, 2 * quarter, 69),
        (2 * quarter, quarter, 69),
        (2 * quarter, 4 * quarter, 72),
        (3 * quarter, quarter, 65),
        (4 * quarter, 2 * quarter, 69),
    ]


def test_a_note_that_sounds_once_has_all_of_its_heads():
    found = [n.heads for n in sounding_notes(tune("A2[Ac]-|[Fc]-[Ac]2|]"))]
    assert found == [
        ((0, 0, 0),), ((0, 1, 0),), ((0, 1, 1), (1, 0, 1), (1, 1, 1)), ((1, 0, 0),), ((1, 1, 0),),
    ]  # fmt: skip
