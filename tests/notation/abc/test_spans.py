"""Spans: which characters write which event, as many as the tune has, in any piece of it."""

from hypothesis import given, settings

from nota_jax.notation import abc
from nota_jax.notation.abc.spans import bar_spans, spans
from tests.notation.tune_strategies import tunes


def test_every_character_of_a_small_text_is_told():
    text = 'X:1\nT:Jig\nK:G\n|:(G"C"A) [K:D] {b}[ce]-|\n[1 c2 Z:|'
    said = {text[s.start : s.end]: (s.kind, s.bar, s.event, s.name) for s in spans(text)}
    assert said == {
        "1": ("field", -1, -1, "X"),
        "Jig": ("field", -1, -1, "T"),
        "G": ("field", -1, -1, "K"),
        "|:": ("bar line", 0, 0, ""),
        "(G": ("event", 0, 0, ""),
        '"C"A)': ("event", 0, 1, ""),
        "{b}[ce]-": ("event", 0, 2, ""),
        "|": ("bar line", 0, 3, ""),
        "c2": ("event", 1, 0, ""),
        "Z": ("event", 1, 1, ""),
        ":|": ("bar line", 1, 2, ""),
    }


def test_text_that_is_no_abc_ends_its_line_alone():
    assert [s[2:5] for s in spans("G ?€ A|\nB")] == [("event", 0, 0), ("event", 0, 1)]


def test_a_note_before_a_repeat_is_no_field_and_a_title_of_colons_is_one():
    text = "X:1\nT::|\nK:C\nA:|\nB:|\n"
    assert [s.name for s in spans(text) if s.kind == "field"] == ["X", "T", "K"]
    assert [text[start:end] for start, end in bar_spans(text)] == ["A:|", "B:|"]
    assert [s.kind for s in spans("A:|B|]")] == ["event", "bar line"] * 2


@given(tunes())
@settings(deadline=None, derandomize=True)
def test_there_are_as_many_events_as_the_tune_has(tune):
    def events(text, first=0):
        return [(s.bar, s.event) for s in spans(text, first) if s.kind == "event"]

    of_tune = [(i, j) for i, bar in enumerate(tune.bars) for j, _ in enumerate(bar.events)]
    assert events(abc.write(tune)) == of_tune
    region = range(len(tune.bars) // 2, len(tune.bars))
    text = abc.write_body(tune, region)
    assert events(text, region.start) == [place for place in of_tune if place[0] in region]
