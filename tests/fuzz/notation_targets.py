"""Tunes: read, written, laid out as MEI and MusicXML, counted and asked about."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import xml.etree.ElementTree as ET
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, given, settings

from nota_jax.data.build import questions
from nota_jax.data.build.corpora import dance_type_of, region_of, repair_encoding
from nota_jax.notation import abc, musicxml
from nota_jax.notation.abc.spans import bar_spans, spans
from nota_jax.notation.engraving.errors import EngraveError
from nota_jax.notation.engraving.mei import to_mei
from nota_jax.notation.theory.facts import facts
from nota_jax.notation.theory.melody import melody_hash
from nota_jax.notation.transpose import transpose, transpositions
from nota_jax.notation.tune import Tune
from tests.fuzz import mutate
from tests.fuzz.engine import Target
from tests.notation.tune_strategies import tunes


def text(rng: random.Random) -> bytes:
    """A mutated tune, pieces of music, or bytes that may be no text at all."""
    match rng.randrange(8):
        case 0:
            return mutate.data(rng, mutate.tune(rng).encode(errors="surrogatepass"))
        case 1:
            return rng.randbytes(rng.randint(0, 200))
        case 2 | 3:
            return mutate.music(rng).encode(errors="surrogatepass")
        case _:
            return mutate.tune(rng).encode(errors="surrogatepass")


def _tunes(data: bytes) -> list[Tune]:
    """What a file with these bytes holds, from the first tune on that cannot be read: an error."""
    whole = repair_encoding(abc.decode(data))
    return [abc.parse(part, source="file", line=line) for line, part in abc.split_tunebook(whole)]


def read(data: bytes) -> bool:
    whole = abc.decode(data)
    for part in (whole, *(part for _, part in abc.split_tunebook(whole))):
        list(spans(part)), bar_spans(part), dance_type_of(part), region_of(part)
    for tune in [*_tunes(data), abc.parse(whole)]:
        for problem in abc.check(tune):
            assert str(problem) and 0 <= problem.bar < len(tune.bars)
    return True


def _drawn(tune: Tune) -> Tune:
    """The tune without what the page does not show."""
    return dataclasses.replace(tune, metadata=(), unit=Fraction(1, 8), reference="1")


def write(data: bytes) -> bool:
    """What is read can be written, and what is written is read as the same."""
    found = _tunes(data)
    for tune in found:
        written = abc.write(tune)
        again = abc.parse(written)
        assert _drawn(again) == _drawn(tune), "what was written is read as another tune"
        assert abc.write(again) == written
        assert len(bar_spans(written)) == len(tune.bars)
        abc.write_body(tune, range(len(tune.bars) // 2, len(tune.bars)))
        abc.write(tune, breaks=False)
    return bool(found)


def _laid_out(tune: Tune) -> None:
    with contextlib.suppress(EngraveError):
        ET.fromstring(to_mei(tune))


def mei(data: bytes) -> bool:
    """MEI is well-formed, or the tune is refused by name."""
    found = _tunes(data)
    for tune in found:
        _laid_out(tune)
    return bool(found)


def export(data: bytes) -> bool:
    """MusicXML is well-formed, MIDI is one; or the tune is refused by name."""
    found = _tunes(data)
    for tune in found:
        ET.fromstring(musicxml.write(tune))
        assert musicxml.write_midi(tune).startswith(b"MThd")
    return bool(found)


def ask(data: bytes) -> bool:
    """What a build asks about a tune, for a drawing of it in another key too."""
    found = _tunes(data)
    for tune in found:
        if not any(event.notes for event in tune.events):
            continue
        assert len(melody_hash(tune)) == 16
        intervals = transpositions(tune)
        for shown in (tune, *(transpose(tune, interval) for interval in intervals[-1:])):
            rng = random.Random(0)
            questions.alignment_turns(shown, (0, len(shown.bars) - 1), rng)
            questions.extraction_turns(shown, rng)
            questions.analysis_turns(facts(shown), "reel", rng)
    return bool(found)


@given(tunes())
@settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
def _any_tune(tune: Tune) -> None:
    assert abc.parse(abc.write(tune)) == tune
    _laid_out(tune)
    if any(event.notes for event in tune.events):
        facts(tune)


def built(data: bytes) -> bool:
    """Tunes that no text was read for: hypothesis makes them of the bytes."""
    one: Any = _any_tune
    return one.hypothesis.fuzz_one_input(data) is not None


def _musicxml() -> Target:
    export(b"X:1\nK:G\nGABc|]\n")  # music21 takes more than a second to be imported
    # And as long for a tune of some hundred bars.
    return Target("musicxml", text, export, seconds=5.0)


TARGETS = {
    "abc": lambda: Target("abc", text, read, (abc.AbcError,)),
    "abc-writer": lambda: Target("abc-writer", text, write, (abc.AbcError,)),
    "mei": lambda: Target("mei", text, mei, (abc.AbcError,)),
    "musicxml": _musicxml,
    "questions": lambda: Target("questions", text, ask, (abc.AbcError,)),
    "tunes": lambda: Target("tunes", lambda rng: rng.randbytes(rng.choice((200, 1000))), built),
}
