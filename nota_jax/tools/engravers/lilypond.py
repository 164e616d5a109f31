"""LilyPond: our `Tune` as LilyPond's own language, all tunes in one process.

Written by us and not converted from MusicXML or ABC: on those ways annotations and line breaks are
lost, and beams and accidentals are decided anew.  All that a page shows is stated here; nothing is
left to LilyPond but to draw it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from nota_jax.errors import UserError
from nota_jax.notation import walk
from nota_jax.notation.engraving.errors import EngraveError
from nota_jax.notation.engraving.mei import split_duration
from nota_jax.notation.tempo import Tempo
from nota_jax.notation.tune import Bar, Event, Key, Meter, Note, Tune
from nota_jax.tools.engravers.drawing import SIDE, Drawn, Undrawn, Wish

_SECONDS_TO_START, _SECONDS_A_TUNE = 60, 10
_BATCH = 60  # tunes: what a crash would cost
_STAFF = 16.0  # its staff size in points, four staff spaces: as songbooks have it

_ALTERS = {-2: "eses", -1: "es", 0: "", 1: "is", 2: "isis"}
_BARS = {"": "", "|": "|", "||": "||", "|]": "|.", ":|": ":|."}
# With a start-repeat behind it; what LilyPond draws at a line's end and the next one's head.
_BARS_BEFORE_REPEAT = {"|": ".|:", "||": ".|:-||", "|]": ".|:-|.", ":|": ":|.|:"}
_DECORATIONS = {
    ".": r"\staccato", "accent": r"\accent", "tenuto": r"\tenuto", "wedge": r"\staccatissimo",
    "marcato": r"\marcato", "u": r"\upbow", "v": r"\downbow", "H": r"\fermata", "T": r"\trill",
    "~": '^"~"', "turn": r"\turn", "M": r"\mordent", "P": r"\prall", "segno": r"\segno",
    "coda": r"\coda", "open": r"\open", "snap": r"\snappizzicato",
    "D.C.": '^"D.C."', "D.S.": '^"D.S."', "fine": '^"Fine"',
    **{name: rf"\{name}" for name in ("pp", "p", "mp", "mf", "f", "ff", "sf", "sfz", "fz")},
    **{finger: f"^{finger}" for finger in "012345"},
}  # fmt: skip


class Lilypond:
    name = "lilypond"

    def version(self) -> str:
        if shutil.which(self.name) is None:
            raise UserError("lilypond is not installed: install the package lilypond")
        said = subprocess.run([self.name, "--version"], capture_output=True, text=True, timeout=60)
        found = re.search(r"LilyPond ([0-9.]+)", said.stdout)
        return found[1] if found else "of unknown version"

    def draw(self, wishes: Sequence[Wish]) -> list[Drawn | str]:
        parts = (wishes[i : i + _BATCH] for i in range(0, len(wishes), _BATCH))
        return [drawn for part in parts for drawn in _drawn(part)]


def _drawn(wishes: Sequence[Wish]) -> list[Drawn | str]:
    books: list[str] = []
    results: list[Drawn | str] = []
    for number, wish in enumerate(wishes):
        try:
            books.append(book(wish, f"page{number}"))
            results.append("lilypond drew nothing")
        except (Undrawn, EngraveError) as reason:
            results.append(str(reason))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tunes.ly").write_text(_head(wishes) + "\n".join(books))
        try:
            subprocess.run(
                ["lilypond", "--silent", "--pdf", "tunes.ly"],
                cwd=folder, capture_output=True,
                timeout=_SECONDS_TO_START + _SECONDS_A_TUNE * len(books),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            pass  # those that are done are there
        for number in range(len(wishes)):
            made = Path(folder, f"page{number}.pdf")
            if made.is_file():
                results[number] = Drawn(made.read_bytes(), _STAFF / 4 * 72 / 72.27)
    return results


def _head(wishes: Sequence[Wish]) -> str:
    files = dict.fromkeys(file for wish in wishes for file in wish.font.files)
    fonts = "".join(f"#(ly:font-config-add-font {_quoted(file)})\n" for file in files)
    return f'\\version "2.24.0"\n{fonts}#(set-global-staff-size {_STAFF:g})\n'


def book(wish: Wish, name: str) -> str:
    """One tune as a page of its own, as wide as ours and as high as it needs.

    Raises:
      Undrawn, EngraveError: something in it has no counterpart here.
    """
    tune, point = wish.tune, _STAFF / 4  # a staff space, in points
    millimetre = point * 25.4 / 72.27

    def text(words: str, pixels: float, look: str = "") -> str:
        size = wish.spaces(pixels) * point * 72.27 / 72
        return rf"\abs-fontsize #{size:.2f} {look} {_quoted(words)}"

    lines = [
        rf"\fill-line {{ {text(title, wish.title_size(n, 1), chr(92) + 'bold')} }}"
        for n, title in enumerate(tune.titles)
    ]
    if tune.composer:
        lines.append(rf"\fill-line {{ \null {text(tune.composer, SIDE)} }}")
    header = "".join(rf"\markup {line}" + "\n" for line in lines)
    gap = (7, 1.0) if wish.tight else (9, 2.0)
    return rf"""
\book {{
  \bookOutputName {_quoted(name)}
  \paper {{
    paper-width = {(wish.width + 20) * millimetre:.3f}\mm
    paper-height = {400 * millimetre:.3f}\mm
    left-margin = {10 * millimetre:.3f}\mm right-margin = {10 * millimetre:.3f}\mm
    top-margin = 10\mm bottom-margin = 10\mm
    indent = 0 ragged-bottom = ##t ragged-last-bottom = ##t
    print-page-number = ##f oddFooterMarkup = ##f oddHeaderMarkup = ##f bookTitleMarkup = ##f
    system-system-spacing = #'((basic-distance . {gap[0]}) (padding . {gap[1]}))
    markup-system-spacing = #'((basic-distance . 4) (padding . 1))
    markup-markup-spacing = #'((padding . 0.3))
    #(define fonts (set-global-fonts #:roman {_quoted(wish.font.family)}
                    #:sans {_quoted(wish.font.family)} #:factor (/ staff-height pt 20)))
  }}
  {header}
  \score {{
    \new Staff {{ {music(tune)} }}
    \layout {{
      \context {{ \Score \remove "Bar_number_engraver"
                  \override MetronomeMark.font-size = #0 }}
    }}
  }}
}}"""


# ------------------------------------------------------------------ the music


def music(tune: Tune) -> str:
    """What stands in the staff."""
    out = [
        # No bar, beam or accidental but those that are stated.
        r"\cadenzaOn \autoBeamOff \autoBreaksOff",
        r"\set Staff.autoAccidentals = #'() \set Staff.autoCautionaries = #'()",
        _clef(tune.key), _key(tune.key), _meter(tune.meter), _tempo(tune.tempo),
    ]  # fmt: skip
    slurs = _slurs(tune)
    if tune.bars and tune.bars[0].repeat_start:
        out.append(r'\bar ".|:"')
    opened = False
    for number, bar in enumerate(tune.bars):
        voltas = []
        if opened and (bar.ending or tune.bars[number - 1].ending_stop or _closes(tune, number)):
            voltas, opened = ["(volta #f)"], False
        if bar.ending:
            voltas, opened = [*voltas, f"(volta {_quoted(bar.ending)})"], True
        if voltas:
            out.append(rf"\set Score.repeatCommands = #'({' '.join(voltas)})")
        out.append(_events(tune, number, bar, slurs))
        following = tune.bars[number + 1] if number + 1 < len(tune.bars) else None
        kinds = _BARS_BEFORE_REPEAT if following and following.repeat_start else _BARS
        if bar.barline not in kinds:
            raise Undrawn(f"lilypond is not told of the bar line {bar.barline}")
        out.append(rf'\bar "{kinds[bar.barline]}"' + (r" \break" if bar.line_break else ""))
    if opened:
        out.append(r"\set Score.repeatCommands = #'((volta #f))")
    return "\n".join(filter(None, out))


def _closes(tune: Tune, number: int) -> bool:
    """Whether an open bracket ends before a bar, as ABC has it: at a repeat or a double bar."""
    return tune.bars[number - 1].barline != "|" or tune.bars[number].repeat_start


def _slurs(tune: Tune) -> dict[tuple[int, int], tuple[list[int], list[int]]]:
    """By bar and event: numbers of the slurs that begin, and of those that end there."""
    found: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for number, slur in enumerate(walk.slurs(tune)):
        if slur.start is None or slur.end is None:
            raise Undrawn("a slur has only one end")
        for which, place in enumerate((slur.start, slur.end)):
            found.setdefault((place.bar, place.index), ([], []))[which].append(number)
    return found


def _events(tune: Tune, number: int, bar: Bar, slurs) -> str:
    out: list[str] = []
    index, tuplet, beamed = 0, None, False
    for item in bar.items:
        if not isinstance(item, Event):
            out.append(_key(item) if isinstance(item, Key) else _meter(item))
            continue
        if item.tuplet != tuplet:
            out += ["}"] * (tuplet is not None)
            if item.tuplet is not None:
                out.append(rf"\tuplet {item.tuplet.actual}/{item.tuplet.normal} {{")
            tuplet = item.tuplet
        begun, ended = slurs.get((number, index), ([], []))
        both = set(begun) & set(ended)  # from grace notes to their own note
        beam = "[" * (item.beam and not beamed) + "]" * (beamed and not item.beam)
        beamed = item.beam
        out.append(_grace(item, both))
        marks = [rf"\={n})" for n in ended] + [rf"\={n}(" for n in begun if n not in both]
        out.append(_event(item) + beam + "".join(marks) + _marks(item))
        index += 1
    return " ".join(filter(None, out)) + " }" * (tuplet is not None)


def _grace(event: Event, slurs: set[int]) -> str:
    if event.grace is None:
        return ""
    notes = event.grace.notes
    beamed = len(notes) > 1 and all(duration < Fraction(1, 4) for _, duration in notes)
    out = [f"{_pitch(note)}{_length(duration)}" for note, duration in notes]
    out[0] += "[" * beamed + "".join(rf"\={n}(" for n in slurs)
    out[-1] += "]" * beamed
    command = r"\slashedGrace" if event.grace.slash else r"\grace"
    return f"{command} {{ {' '.join(out)} }}"


def _event(event: Event) -> str:
    if event.lyrics:
        raise Undrawn("lilypond is not told of syllables")
    if not event.notes:
        return f"r{_length(event.duration)}"
    heads = " ".join(_pitch(note) + "~" * note.tie for note in event.notes)
    return f"<{heads}>{_length(event.duration)}"


def _marks(event: Event) -> str:
    out = []
    for name in event.decorations:
        if name not in _DECORATIONS:
            raise Undrawn(f"lilypond is not told of the sign {name}")
        out.append(_DECORATIONS[name])
    if event.chord_symbol:
        out.append(rf"^\markup \sans {_quoted(event.chord_symbol)}")
    for text in event.annotations:
        side = "_" if text[0] == "_" else "^"
        out.append(side + _quoted(text[1:] if text[0] in "^_<>@" else text))
    return " ".join(out)


def _pitch(note: Note) -> str:
    octave = note.octave - 3
    marks = "'" * octave if octave > 0 else "," * -octave
    shown = "!" if note.accidental is not None else ""
    return f"{note.step.lower()}{_ALTERS[note.alter]}{marks}{shown}"


def _length(duration: Fraction) -> str:
    base, dots = split_duration(duration)
    names = {Fraction(2): r"\breve", Fraction(4): r"\longa"}
    return names.get(base, str(base.denominator)) + "." * dots


def _clef(key: Key) -> str:
    return rf"\clef {_quoted(key.clef.replace('-', '_').replace('+', '^'))}"


def _key(key: Key) -> str:
    if key.accidentals or abs(key.fifths) > 7:
        raise Undrawn("lilypond is not told of such a key")
    if not key.tonic:
        return r"\key c \major"
    alter = key.tonic.count("#") - key.tonic.count("b")
    return rf"\key {key.tonic[0].lower()}{_ALTERS[alter]} \{key.mode}"


def _meter(meter: Meter) -> str:
    if meter.text == "none":
        return r"\omit Staff.TimeSignature"
    if meter.text in ("C", "C|"):
        return r"\defaultTimeSignature \time " + ("4/4" if meter.text == "C" else "2/2")
    if not re.fullmatch(r"\d+/\d+", meter.text):
        raise Undrawn("lilypond is not told of such a meter")
    return rf"\numericTimeSignature \time {meter.text}"


def _tempo(tempo: Tempo | None) -> str:
    if tempo is None:
        return ""
    words = _quoted(tempo.words) if tempo.words else ""
    if tempo.rate is None:
        return rf"\tempo {words}"
    if len(tempo.beats) != 1:
        raise Undrawn("lilypond is not told of such a tempo")
    return rf"\tempo {words} {_length(tempo.beats[0])} = {tempo.rate}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
