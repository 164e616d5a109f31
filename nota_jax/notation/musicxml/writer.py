"""A tune for other programs: MusicXML and MIDI, through music21.

What a `Tune` holds goes across: header, key, meter, notes with ties, tuplets, slurs and graces,
repeats and endings, chord symbols, lyrics, the commonest decorations.
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

from nota_jax.errors import UserError
from nota_jax.notation import walk
from nota_jax.notation.abc.fields import is_ending_number
from nota_jax.notation.playing import played
from nota_jax.notation.tune import Bar, Event, Key, Meter, Note, Tune

ACCIDENTALS = {-2: "double-flat", -1: "flat", 0: "natural", 1: "sharp", 2: "double-sharp"}
CLEFS = {"treble": "TrebleClef", "bass": "BassClef", "alto": "AltoClef", "tenor": "TenorClef"}
ARTICULATIONS = {
    ".": "Staccato", "accent": "Accent", "tenuto": "Tenuto", "wedge": "Staccatissimo",
    "marcato": "StrongAccent", "u": "UpBow", "v": "DownBow", "breath": "BreathMark",
}  # fmt: skip
EXPRESSIONS = {
    "H": "Fermata", "T": "Trill", "~": "Turn", "turn": "Turn", "M": "Mordent",
    "P": "InvertedMordent",
}  # fmt: skip
_MAXIMA = 32  # MusicXML's longest note, in quarters
_ITSELF = '<creator type="composer">Music21</creator>'
_FRAGMENT = "<movement-title>Music21 Fragment</movement-title>"
BAR_LINES = {"": "none", "|": "regular", "||": "double", "|]": "final", "[|": "heavy-light"}


def write(tune: Tune) -> str:
    """MusicXML 4, partwise."""
    from music21.musicxml.m21ToXml import GeneralObjectExporter

    exporter = GeneralObjectExporter(score(tune))
    # music21's own preparation moves what is too much in a bar to the next, and fails on some.
    exporter.makeNotation = False
    text = exporter.parse().decode()
    # music21 signs for whom nobody names, and names what nobody does.
    text = text if tune.composer else text.replace(_ITSELF, "")
    return text if tune.title else text.replace(_FRAGMENT, "")


def write_midi(tune: Tune) -> bytes:
    """A MIDI file (one track) of the tune as it is played, repeats and endings in their order."""
    sounding = score(played(tune), displayed=False)
    with tempfile.TemporaryDirectory() as folder:
        return Path(sounding.write("midi", Path(folder, "tune.mid"))).read_bytes()


def score(tune: Tune, *, displayed: bool = True) -> Any:
    """A `music21.stream.Score` of one part.

    displayed: with what is only drawn (graces, lyrics, chord symbols).

    Raises:
      UserError: the tune has no bars.
    """
    from music21 import duration, metadata, spanner, stream, tempo

    if not tune.bars:
        raise UserError("the tune has no bars: there is nothing to write")
    part = stream.Part(id="P1")
    heads: dict[tuple[int, int], Any] = {}
    graced: dict[tuple[int, int], Any] = {}
    closing = {
        (tie.end.bar, tie.end.index, tie.end_head)
        for tie in walk.ties(tune)
        if tie.end is not None and tie.joins
    }
    brackets: list[tuple[str, list[Any]]] = []
    measures = []
    for number, bar in enumerate(tune.bars):
        measure = _measure(tune, number, bar, heads, graced, closing, displayed)
        part.append(measure)
        measures.append(measure)
        if bar.ending:
            brackets.append((bar.ending, [measure]))
        elif brackets and brackets[-1][1] and not _ended(tune, number):
            brackets[-1][1].append(measure)
    for text, bracketed in brackets:
        part.insert(0, _bracket(text, bracketed))
    for slur in walk.slurs(tune) if displayed else ():
        if slur.start is None or slur.end is None:
            continue
        start, end = ((p.bar, p.index) for p in (slur.start, slur.end))
        first = graced.get(start) or heads[start]  # it begins at the grace notes
        if first is not heads[end]:
            part.insert(0, spanner.Slur(first, heads[end]))
    if tune.tempo is not None and tune.tempo.rate and tune.tempo.beats:
        beat = float(4 * sum(tune.tempo.beats, Fraction(0)))
        words, rate = tune.tempo.words or None, tune.tempo.rate
        # Where no single note is so long.
        if beat > _MAXIMA or duration.Duration(beat).type in ("complex", "inexpressible"):
            rate, beat = max(round(rate * beat), 1), 1.0
        measures[0].insert(0, tempo.MetronomeMark(words, rate, beat))
    elif tune.tempo is not None and tune.tempo.words:
        measures[0].insert(0, tempo.TempoText(tune.tempo.words))
    whole = stream.Score()
    whole.metadata = metadata.Metadata(title=tune.title or None, composer=tune.composer or None)
    whole.insert(0, part)
    return whole


def _ended(tune: Tune, number: int) -> bool:
    """Whether the bracket that was open is closed before bar `number`."""
    before = tune.bars[number - 1]
    return before.ending_stop or before.barline in (":|", "|]", "||") or number == 0


def _bracket(text: str, measures: list[Any]) -> Any:
    from music21 import spanner

    if is_ending_number(text):
        return spanner.RepeatBracket(measures, number=text)
    return spanner.RepeatBracket(measures, number=1, overrideDisplay=text)


def _measure(tune, number, bar: Bar, heads, graced, closing, displayed: bool) -> Any:
    """heads, graced: filled with its notes and the first of their grace notes, by bar and event."""
    from music21 import bar as bars
    from music21 import stream

    measure = stream.Measure(number=number + 1)
    if number == 0:
        measure.insert(0, _clef(tune.key))
        measure.insert(0, _key(tune.key))
        if (signature := _meter(tune.meter)) is not None:
            measure.insert(0, signature)
    if bar.repeat_start:
        measure.leftBarline = bars.Repeat(direction="start")
    right = bars.Repeat(direction="end") if bar.barline == ":|" else None
    measure.rightBarline = right or bars.Barline(BAR_LINES.get(bar.barline, "regular"))
    index, onset = 0, Fraction(0)
    for item in bar.items:
        if isinstance(item, Key):
            measure.insert(4 * onset, _key(item))
        elif isinstance(item, Meter):
            if (signature := _meter(item)) is not None:
                measure.insert(4 * onset, signature)
        else:
            made = _event(item, number, index, closing, displayed)
            for grace in made[:-1]:
                measure.append(grace)
            measure.insert(4 * onset, made[-1])
            if displayed and item.chord_symbol:
                measure.insert(4 * onset, _chord_symbol(item.chord_symbol))
            for text in item.annotations if displayed else ():
                measure.insert(4 * onset, _text(text))
            heads[number, index] = made[-1]
            if len(made) > 1:
                graced[number, index] = made[0]
            index, onset = index + 1, onset + item.sounding
    _bracket_tuplets([(item, heads[number, i]) for i, item in enumerate(bar.events)])
    if displayed:
        _beam([(item, heads[number, i]) for i, item in enumerate(bar.events)])
    return measure


def _bracket_tuplets(events: list[tuple[Event, Any]]) -> None:
    """Where each tuplet begins and ends."""
    numbers = [event.tuplet and event.tuplet.number for event, _ in events]
    for i, (event, made) in enumerate(events):
        if event.tuplet is not None:
            begins = i == 0 or numbers[i - 1] != numbers[i]
            ends = i + 1 == len(events) or numbers[i + 1] != numbers[i]
            kind = {(True, True): "startStop", (True, False): "start", (False, True): "stop"}
            made.duration.tuplets[0].type = kind.get((begins, ends))


def _beam(events: list[tuple[Event, Any]]) -> None:
    """Beams as the tune has them: of each group of notes, level by level."""
    group: list[tuple[int, Any]] = []
    for event, made in events:
        # A quarter has none, an eighth one …; dots add none.
        whole = event.duration.numerator.bit_length()  # 3/16 has the beams of 2/16
        group.append((event.duration.denominator.bit_length() - whole - 2, made))
        if event.beam:
            continue
        for i, (level, note) in enumerate(group if len(group) > 1 else ()):
            before = group[i - 1][0] if i else 0
            behind = group[i + 1][0] if i + 1 < len(group) else 0
            for n in range(1, level + 1):
                joins = before >= n, behind >= n
                kind = {(True, True): "continue", (False, True): "start", (True, False): "stop"}
                hook = "left" if i else "right"
                note.beams.append(kind.get(joins, "partial"), None if any(joins) else hook)
        group = []


def _event(event: Event, bar: int, index: int, closing, displayed: bool) -> list[Any]:
    """Grace notes, then the note, chord or rest."""
    from music21 import articulations, chord, duration, expressions, note, tie

    length = duration.Duration(4 * event.duration)
    if event.tuplet is not None:
        length.appendTuplet(duration.Tuplet(event.tuplet.actual, event.tuplet.normal))
    notes = [_note(n) for n in event.notes]
    for n, (made, given) in enumerate(zip(notes, event.notes, strict=True)):
        ends, starts = (bar, index, n) in closing, given.tie
        if starts or ends:
            made.tie = tie.Tie("continue" if starts and ends else "start" if starts else "stop")
    whole: Any = note.Rest()
    if len(notes) == 1:
        whole = notes[0]
    elif notes:
        whole = chord.Chord(notes)
    whole.duration = length
    if not event.notes:
        whole.fullMeasure = event.bar_rest
    for name in event.decorations:
        if name in ARTICULATIONS:
            whole.articulations.append(getattr(articulations, ARTICULATIONS[name])())
        elif name in EXPRESSIONS:
            whole.expressions.append(getattr(expressions, EXPRESSIONS[name])())
    for verse, syllable in enumerate(event.lyrics if displayed else (), 1):
        if syllable and syllable != "_":
            whole.addLyric(syllable, verse, applyRaw=False)
    graces = []
    written = event.grace if displayed else None
    for given, value in written.notes if written is not None else ():
        made = _note(given)
        made.duration = duration.Duration(4 * value)
        grace: Any = made.getGrace()
        grace.duration.slash = written is not None and written.slash
        graces.append(grace)
    return [*graces, whole]


def _note(given: Note) -> Any:
    from music21 import note, pitch

    made = note.Note(f"{given.step}{given.octave}")
    shown = given.accidental is not None
    if given.alter or shown:
        made.pitch.accidental = pitch.Accidental(ACCIDENTALS[given.alter])
        made.pitch.accidental.displayStatus = shown
    return made


def _clef(key: Key) -> Any:
    from music21 import clef

    name, _, octave = key.clef.partition("-") if "-" in key.clef else key.clef.partition("+")
    made = getattr(clef, CLEFS.get(name, "TrebleClef"))()
    if octave == "8":
        made.octaveChange = -1 if "-" in key.clef else 1
    return made


def _key(given: Key) -> Any:
    from music21 import key

    if given.tonic and not given.accidentals and -7 <= given.fifths <= 7:
        return key.Key(given.tonic.replace("b", "-"), given.mode)
    return key.KeySignature(max(-7, min(7, given.fifths)))


def _meter(given: Meter) -> Any:
    from music21 import meter

    if given.duration is None:
        return None
    if given.text in ("C", "C|"):
        made = meter.TimeSignature("4/4" if given.text == "C" else "2/2")
        made.symbol = "common" if given.text == "C" else "cut"
        return made
    return meter.TimeSignature(given.text.replace("(", "").replace(")", ""))


def _text(annotation: str) -> Any:
    from music21 import expressions

    made = expressions.TextExpression(annotation[1:])
    made.placement = "below" if annotation.startswith("_") else "above"
    return made


def _chord_symbol(text: str) -> Any:
    from music21 import expressions, harmony

    try:
        return harmony.ChordSymbol(text.replace("b", "-", 1) if text[1:2] == "b" else text)
    except Exception:  # music21 raises many kinds for names it does not know
        return expressions.TextExpression(text)
