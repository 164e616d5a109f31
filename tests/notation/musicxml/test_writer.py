"""MusicXML and MIDI sound as the tune does."""

import tempfile
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from music21 import converter, midi

from nota_jax.errors import UserError
from nota_jax.notation import abc, musicxml, walk
from nota_jax.notation.tune import Tune
from tests.notation.tune_strategies import tunes

TUNE = """X:1
T:A Tune
C:Somebody
M:6/8
L:1/8
Q:3/8=100
K:Bb
|:"Bb"(3BcB (GA).AA|A3- A2 (G/A/)|1 [Bd]3 {ga}^G2 =G:|2 z6|Z||
"""


def read_back(text: str):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tune.musicxml")
        path.write_text(text)
        return converter.parse(path)


def sounding(score) -> list[tuple[Fraction, Fraction, int]]:
    """(onset, duration, MIDI number) in whole notes, ties joined, graces left out."""
    found = []
    for element in score.stripTies().flatten().notes:
        if element.duration.isGrace or "ChordSymbol" in element.classes:
            continue
        onset = Fraction(element.offset).limit_denominator(10000) / 4
        length = Fraction(element.quarterLength).limit_denominator(10000) / 4
        found += [(onset, length, pitch.midi) for pitch in element.pitches]
    return sorted(found)


def expected(tune: Tune):
    return sorted((s.onset, s.duration, s.midi) for s in walk.sounding_notes(tune))


@pytest.mark.parametrize(
    ("tempo", "quarters"), [("3/8=100", 150), ("5/8=40", 100), ("5/4=60", 300), ("64/4=4", 256)]
)
def test_a_tempo_of_a_beat_that_no_single_note_lasts_is_written_in_quarters(tempo, quarters):
    score = read_back(musicxml.write(abc.parse(TUNE.replace("3/8=100", tempo))))
    (mark,) = score.flatten().getElementsByClass("MetronomeMark")
    assert mark.getQuarterBPM() == quarters


def test_what_is_written_comes_back_as_it_was():
    tune = abc.parse(TUNE)
    score = read_back(musicxml.write(tune))
    assert sounding(score) == expected(tune)
    assert "<work-title>A Tune</work-title>" in musicxml.write(tune)
    assert score.metadata.composer == "Somebody"
    measures = list(score.parts[0].getElementsByClass("Measure"))
    assert len(measures) == len(tune.bars)
    assert measures[0].keySignature.sharps == -2 and measures[0].timeSignature.ratioString == "6/8"
    assert measures[0].leftBarline.direction == "start"
    assert measures[2].rightBarline.direction == "end"
    brackets = sorted(b.number for b in score.recurse().getElementsByClass("RepeatBracket"))
    assert brackets == ["1", "2"]
    assert len(list(score.recurse().getElementsByClass("Slur"))) == 2
    graces = [n for n in score.flatten().notes if n.duration.isGrace]
    assert [n.pitch.nameWithOctave for n in graces] == ["G5", "A5"]


@given(tunes())
@settings(
    max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip
def test_any_tune_can_be_written_also_where_bars_do_not_add_up(tune):
    text = musicxml.write(tune)
    assert text.count("<measure ") == len(tune.bars)
    assert musicxml.write_midi(tune).startswith(b"MThd")


def test_midi_plays_the_repeat():
    file = midi.MidiFile()
    file.readstr(musicxml.write_midi(abc.parse(TUNE)))
    begun = [e.pitch for t in file.tracks for e in t.events if e.isNoteOn() and e.velocity]
    once = [s.midi for s in walk.sounding_notes(abc.parse(TUNE))]
    assert begun[: len(once) - 3] == once[: len(once) - 3]
    assert len(begun) > len(once)  # the first two bars come again


def test_a_tune_without_bars_is_refused():
    with pytest.raises(UserError, match="no bars"):
        musicxml.write(Tune())
