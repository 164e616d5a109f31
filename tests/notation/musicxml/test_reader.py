"""MusicXML comes in as the tune that it shows, or is refused by what it is."""

import dataclasses
import importlib.util
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from music21 import converter

from nota_jax.notation import abc, musicxml, walk
from nota_jax.notation.musicxml import Refused, read
from nota_jax.notation.tune import Event, Tune
from tests.notation.musicxml.test_writer import sounding
from tests.notation.tune_strategies import tunes

TUNE = """X:1
T:Tune, A
C:Somebody
M:6/8
L:1/8
Q:3/8=100
K:Bdor
|:"Bm"(3BcB (GA).AA|A3- A2(G/A/)|1 [Bd]3 ({ga}^G2)=G:|2 "^cresc."z3 uA2B|Z|
[K:G][M:C|]GABc d2e2||G8|]
w:When shall I see you a-gain?
"""


def canonical(text: str) -> str:
    return abc.write(abc.parse(text), breaks=False)


def test_what_we_write_comes_back_letter_by_letter():
    tune = abc.parse(TUNE)
    assert abc.write(read(musicxml.write(tune).encode(), "a.musicxml")) == canonical(TUNE)


PLAIN = """X:1
T:Plain
M:2/4
L:1/8
K:Em
(GA) B>c|d2 (3efg|[Ge]2 B2|
E4|]
"""


def note(step="G", octave=4, kind="quarter", duration=1, more="", inside=""):
    pitch = f"<pitch><step>{step}</step>{inside}<octave>{octave}</octave></pitch>"
    return f"<note>{pitch}<duration>{duration}</duration><type>{kind}</type>{more}</note>"


ATTRIBUTES = (
    "<attributes><divisions>1</divisions><key><fifths>1</fifths></key>"
    "<time><beats>2</beats><beat-type>4</beat-type></time>"
    "<clef><sign>G</sign><line>2</line></clef></attributes>"
)


def score(*measures: str, head: str = "", name: str = "Flute", parts: int = 1) -> bytes:
    bars = "".join(f'<measure number="{n}">{m}</measure>' for n, m in enumerate(measures, 1))
    ids = [f"P{n + 1}" for n in range(parts)]
    listed = "".join(
        f'<score-part id="{i}"><part-name>{name if i == "P1" else "Bass"}</part-name></score-part>'
        for i in ids
    )
    content = "".join(f'<part id="{i}">{bars}</part>' for i in ids)
    return (
        f'<score-partwise version="4.0">{head}<part-list>{listed}</part-list>{content}'
        "</score-partwise>"
    ).encode()


def bar(*notes: str) -> str:
    return ATTRIBUTES + "".join(notes)


def test_what_another_program_writes_is_read_as_its_page_shows_it():
    """No mode, accidentals that only sound, a credit for a title."""
    head = (
        "<credit page='1'><credit-type>title</credit-type>"
        "<credit-words>The\nWren</credit-words></credit>"
    )
    sharp = "<alter>1</alter>"
    first = bar(note("C", 5, inside=sharp), note("C", 5, inside=sharp))
    second = note("C", 5) + note("E")
    tune = read(score(first, second, head=head), "wren.xml")
    assert abc.write(tune, breaks=False) == (
        "X:1\nT:The Wren\nM:2/4\nL:1/4\nK:Em\n^c c|c E|]\n"  # its last note is E
    )
    third = note("C", 5) + note("G")
    assert abc.write(read(score(first, third), "x")).endswith("K:G\n^c c|c G|]\n")


def test_a_tied_note_needs_no_sign_in_the_next_bar():
    sharp = "<alter>1</alter>"
    start, stop = '<tie type="start"/>', '<tie type="stop"/>'
    first = bar(note("A"), note("C", 5, more=start, inside=sharp))
    second = note("C", 5, more=stop, inside=sharp) + note("C", 5)
    assert abc.write(read(score(first, second), "x")).endswith("A ^c-|c c|]\n")


def test_a_lead_sheet_of_another_program_has_the_notes_that_music21_hears():
    folder = Path(importlib.util.find_spec("music21").submodule_search_locations[0])
    path = folder / "corpus" / "leadSheet" / "fosterBrownHair.mxl"
    tune = read(path.read_bytes(), path.name)
    assert (tune.title, tune.composer) == ("Jeanie With The Light Brown Hair", "Stephen Foster")
    heard = sounding(converter.parse(path, forceSource=True))
    assert [(s.onset, s.midi) for s in walk.sounding_notes(tune)] == [(o, m) for o, _, m in heard]
    assert sum(bool(event.chord_symbol) for event in tune.events) > 20


def test_packed_scores_are_unpacked():
    tune = abc.parse(PLAIN)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        container = '<container><rootfiles><rootfile full-path="a.xml"/></rootfiles></container>'
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("a.xml", musicxml.write(tune))
    assert abc.write(read(out.getvalue(), "a.mxl")) == canonical(PLAIN)


def voice(n: int) -> str:
    return f"<voice>{n}</voice>"


G2 = note("G") + note("G")
BACK = "<backup><duration>2</duration></backup>"
TUPLET = (
    "<time-modification><actual-notes>3</actual-notes><normal-notes>2</normal-notes>"
    "</time-modification>"
)


@pytest.mark.parametrize(
    "data, said",
    [
        (b"hello", "it is no XML"),
        (b"<html/>", "there are no parts"),
        (b"PK nothing", "the archive cannot be read"),
        (score(bar(G2), parts=2), "2 parts or staves"),
        (
            score(bar(note("G", more=voice(1)) * 2, BACK, note("E", more=voice(2)) * 2)),
            "bar 1: 2 voices on one staff",
        ),
        (score(bar(note("G", inside="<alter>0.5</alter>"), note("G"))), "bar 1: G"),
        (
            score(bar("<note><unpitched/><duration>2</duration><type>half</type></note>")),
            "bar 1: a drum's note",
        ),
        (
            score(bar(G2).replace("<sign>G</sign><line>2</line>", "<sign>percussion</sign>")),
            "bar 1: a PercussionClef",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_name(data, said):
    with pytest.raises(Refused) as caught:
        read(data, "a.xml")
    assert str(caught.value).startswith("a.xml: ") and said in str(caught.value)


def test_one_part_of_several_is_taken_by_name_or_number():
    data = score(bar(G2), parts=2)
    for wanted in ("2", "bass", "1"):
        assert abc.write(read(data, "a.xml", wanted)).endswith("K:G\nG G|]\n")
    with pytest.raises(Refused, match="no part is 'oboe': it has 1 Flute, 2 Bass"):
        read(data, "a.xml", "oboe")


def _said_alike(tune: Tune) -> Tune:
    """Without what MusicXML, or music21's, has another word for or none."""

    def event(item):
        if not isinstance(item, Event):
            return item
        return dataclasses.replace(
            item, decorations=(), chord_symbol="", annotations=(), lyrics=(), grace=None,
            slurs_open=0, slurs_close=0,
        )  # fmt: skip

    bars = tuple(
        dataclasses.replace(bar, items=tuple(map(event, bar.items)), line_break=False, ending="",
                            ending_stop=False)
        for bar in tune.bars
    )  # fmt: skip
    return dataclasses.replace(tune, bars=bars, titles=tune.titles[:1], tempo=None, metadata=())


@given(tunes())
@settings(
    max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip
def test_any_tune_that_we_write_sounds_the_same_when_it_is_read(tune):
    tune = _said_alike(tune)
    assume(not any(key.accidentals for key in _keys(tune)))  # a signature of their own making
    try:
        found = read(musicxml.write(tune).encode(), "a.xml")
    except Refused as error:
        assert any(name in str(error) for name in ("tuplet", "without a tuplet", "no single note"))
        return
    assert walk.sounding_notes(found) == walk.sounding_notes(tune)
    assert found.title == " ".join(tune.title.split()) and len(found.bars) == len(tune.bars)
    for one, other in zip(found.bars, tune.bars, strict=True):
        assert one.repeat_start == other.repeat_start and one.barline == other.barline
        assert [e.duration for e in one.events] == [e.duration for e in other.events]


def _keys(tune: Tune):
    yield tune.key
    for one in tune.bars:
        yield from (item for item in one.items if hasattr(item, "accidentals"))
