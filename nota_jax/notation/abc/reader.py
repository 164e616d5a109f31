"""ABC text → `Tune`.

One pass over the lines: header fields fill a dictionary, music code goes token by token into
drafts of bars and events, and `builder.finish` freezes the drafts.  What ABC leaves open is
decided in `docs/datasets.md`, "Parsing".
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from nota_jax.errors import cut
from nota_jax.notation.abc import fields, words
from nota_jax.notation.abc.builder import Builder
from nota_jax.notation.abc.lines import Line, LineError, check_music, logical
from nota_jax.notation.abc.lyrics import align, count
from nota_jax.notation.abc.source import AbcError, FieldError, lines_of
from nota_jax.notation.abc.staff import read_staff, staff_words
from nota_jax.notation.abc.text import text_of
from nota_jax.notation.abc.tokens import Token, TokenError, is_music, tokens
from nota_jax.notation.tune import Key, Meter, Tune

_HEADER_FIELD = re.compile(r"\s*([A-Za-z+]):(.*)")
# In the body the colon may be a barline's (`A:|`, `c::d`).
_BODY_FIELD = re.compile(r"\s*([A-Za-z+]):(?![|:])(.*)")
# Header text that may run on over the next line in old files; none of it is drawn.
_PROSE = frozenset("ABDFGHINORSWZr")
_UNSUPPORTED = {
    "m": "macros (m:) are not supported",
    "s": "symbol lines (s:) are not supported",
    "d": "decoration lines (d:) are not supported",
}
_VOICES = "several voices (V:) on one page are not supported, a tune has one staff"


def parse(text: str, *, source: str = "", line: int = 1) -> Tune:
    """The tune that `text` (header and body) writes.

    source: name of the file, line: number of the text's first line in it, both for errors.
    Raises `AbcError`, which names file, tune, line and column, for whatever cannot be read.
    """
    reader = _Reader(source, line)
    try:
        for found in logical(lines_of(text), line):
            reader.read_line(found)
    except LineError as fault:
        reader.line = fault.number
        raise reader.error(str(fault), fault.column) from None
    reader.line = line + len(lines_of(text))
    return reader.finish()


class _Reader:
    """Header state, and the builder that takes the music."""

    def __init__(self, source: str, line: int):
        self.source, self.line, self.column = source, line, 1
        self.reference = ""
        self.titles: list[str] = []
        self.composers: list[str] = []
        self.tempo = ""
        self.metadata: list[tuple[str, str]] = []
        self.meter: Meter | None = None
        self.unit: Fraction | None = None
        self.symbols: dict[str, str] = {}
        self.builder: Builder | None = None  # from the `K:` that ends the header on
        self.line_start = 0  # the first event of the music line that `w:` lines refer to
        self.sung = 0  # the first event behind the music that has its `w:` lines
        self.voice = ""
        self.octave = 0
        self.clef = ""
        self.breaks = "<EOL>"  # where `I:linebreak` has systems end
        self.continued = False  # the music line before ended in a backslash
        self.verse = 0

    # --- Errors -------------------------------------------------------------------------------

    def error(self, reason: str, column: int = 0) -> AbcError:
        return AbcError(
            cut(reason), source=self.source, tune=self.reference, line=self.line, column=column
        )

    # --- Lines --------------------------------------------------------------------------------

    def read_line(self, line: Line) -> None:
        self.line, self.column = line.number, 1
        match = (_BODY_FIELD if self.builder else _HEADER_FIELD).match(line.text)
        try:
            if match is None:
                self.read_code(line.text)
            elif match[1] == "w" and self.builder:
                self.read_lyrics(match[2].strip())
            else:
                self.column = match.start(2) + 1 + len(match[2]) - len(match[2].lstrip())
                self.read_field(match[1], match[2].strip())
        except LineError as fault:
            raise self.error(str(fault), fault.column) from None
        except FieldError as fault:
            raise self.error(str(fault), self.column) from None
        except TokenError as fault:
            self.line = fault.line or self.line
            raise self.error(str(fault), fault.column) from None

    def read_code(self, text: str) -> None:
        check_music(text)
        if self.builder is None:
            self.read_prose(text)
            return
        # Some of Ryan's Mammoth came through quoted-printable mail; columns stay what they are.
        text = text.replace("=3D", "``=").replace("=20", "   ").rstrip()
        continues = text.endswith(("\\", "="))
        if not self.continued:
            self.line_start = len(self.builder.notes)
            self.sung, self.verse = self.line_start if self.verse else self.sung, 0
        self.builder.line = self.line
        code = list(tokens(text[:-1] if continues else text))
        if word := words.find(text, code, self.symbols):
            raise self.error(f"{word[0]!r} is a word and no music; texts stand in quotes", word[1])
        for token in code:
            self.column = token.column
            self.read_token(token)
        self.builder.newline(breaks=not continues and "<EOL>" in self.breaks)
        self.continued = continues

    def read_prose(self, text: str) -> None:
        """A header line without a letter and colon: prose that runs on, or that lost its colon."""
        if is_music(text):
            raise self.error("music before the K: field that ends the header", 1)
        if match := re.fullmatch(r"([NISZ])(?:\s(.*))?", text):
            self.metadata.append((match[1], text_of(match[2] or "")))
        elif self.metadata and self.metadata[-1][0] in _PROSE:
            letter, words = self.metadata[-1]
            self.metadata[-1] = (letter, f"{words} {text_of(text)}".strip())
        else:
            raise self.error("neither a header field nor, before K:, music", 1)

    def read_token(self, token: Token) -> None:
        assert self.builder is not None
        if token.kind == "inline":
            self.read_field(token.text[1], token.text[3:-1].strip())
        elif token.kind == "field":
            self.read_field(token.text[0], token.text[2:].strip())
        elif token.kind == "overlay":
            raise FieldError("a second voice in the bar (&) is not supported")
        elif token.kind == "decoration":
            symbol = self.symbols.get(token.text, token.text)
            self.builder.take(token._replace(kind="text") if symbol[0] == '"' else token, symbol)
        elif token.kind == "ignored" and "$" in token.text and "$" in self.breaks:
            self.builder.newline(breaks=True)
        else:
            self.builder.take(token, token.text)

    def read_lyrics(self, text: str) -> None:
        """Under the line above, or, where that is too short, all lines that have no lyrics yet."""
        assert self.builder is not None
        first = self.line_start
        if self.sung < first and count(text) > len(self.builder.notes) - first:
            first = self.sung
        notes = self.builder.notes[first:]
        entries = align(text, [draft.bar for draft in notes])
        for draft, entry in zip(notes, entries, strict=True):
            draft.lyrics += [""] * (self.verse - len(draft.lyrics)) + [entry]
        self.verse += 1

    # --- Fields -------------------------------------------------------------------------------

    def read_field(self, letter: str, text: str) -> None:
        if letter in _UNSUPPORTED:
            raise FieldError(_UNSUPPORTED[letter])
        if letter == "U":
            self.read_symbol(text)
        elif letter == "V":
            self.read_voice(text)
        elif letter == "I" and (match := re.match(r"linebreak\s*(.*)", text)):
            self.breaks = match[1]
        elif self.builder is None:
            self.read_header(letter, text)
        else:
            self.read_body_field(letter, text)

    def read_symbol(self, text: str) -> None:
        """`U:T = !trill!`: the letter stands for the decoration, or the text, from here on."""
        match = re.fullmatch(
            r'([~H-Wh-w])\s*=\s*(![^!]*!|\+[^+]*\+|"[^"]*"|[~.H-Wh-w]|[A-Za-z][\w.-]+)', text
        )
        if match is None:
            raise FieldError(f"U:{text} defines no symbol; write it as U:T = !trill!")
        word = match[2][:1].isalpha() and len(match[2]) > 1
        self.symbols[match[1]] = f"!{match[2]}!" if word else match[2]

    def read_voice(self, text: str) -> None:
        """One voice is one staff, whatever its name; where another begins the tune is refused."""
        name, _, rest = text.partition(" ")
        begun = self.builder is not None and bool(self.builder.last)
        if name in ("", "*"):
            return
        if self.voice not in ("", name) or (not self.voice and begun and name != "1"):
            raise FieldError(_VOICES)
        self.voice = name
        staff = read_staff(staff_words(rest), f"V:{text}", names=True)
        if staff.octave is not None:
            self.octave = staff.octave
        if self.builder is None:
            self.clef = staff.clef or self.clef
            return
        self.builder.octave = self.octave
        if staff.clef:
            self.builder.change(replace(self.builder.key, clef=staff.clef))

    def read_header(self, letter: str, text: str) -> None:
        if letter == "X":
            if self.reference:
                raise FieldError("a second X: in one tune; split the tunebook first")
            self.reference = text or "1"
        elif letter == "T":
            self.titles += [title] if (title := text_of(text)) else []
        elif letter == "C":
            self.composers += [name] if (name := text_of(text)) else []
        elif letter == "M":
            self.meter = fields.read_meter(text)
        elif letter == "L":
            self.unit = fields.read_unit(text)
        elif letter == "Q":
            fields.read_tempo(text, Fraction(1, 8))  # which the unit does not change
            self.tempo = text
        elif letter == "K":
            meter = self.meter or Meter("none")
            key = self.read_key(text, Key(""), self.clef or "treble")
            self.builder = Builder(key, meter, self.unit or fields.default_unit(meter))
            self.builder.octave = self.octave
        else:
            self.metadata.append((letter, text_of(text)))

    def read_key(self, text: str, key: Key, clef: str) -> Key:
        """key, clef: those in force, which a `K:` that does not speak of them leaves."""
        found, staff = fields.key_and_staff(text)
        if staff.octave is not None:
            self.octave = staff.octave
        stated = found if fields.states_key(text) else key
        return replace(stated, clef=staff.clef or clef)

    def read_body_field(self, letter: str, text: str) -> None:
        assert self.builder is not None
        if letter == "K":
            now = self.builder.key
            self.builder.change(self.read_key(text, now, now.clef))
            self.builder.octave = self.octave
        elif letter == "M":
            self.builder.change(fields.read_meter(text))
        elif letter == "L":
            self.builder.unit = fields.read_unit(text)
        elif letter == "X":
            raise FieldError("a second X: in one tune; split the tunebook first")
        else:  # P:, N:, Q: … inside the body are kept, not drawn
            self.metadata.append((letter, text_of(text)))
        self.builder.space()

    # --- The end ------------------------------------------------------------------------------

    def finish(self) -> Tune:
        if self.builder is None:
            raise self.error("no K: field ends the header, so there is no music")
        try:
            unit = self.builder.first_unit
            return Tune(
                titles=tuple(self.titles),
                composer="; ".join(self.composers),
                meter=self.builder.first_meter,
                key=self.builder.first_key,
                tempo=fields.read_tempo(self.tempo, unit),
                bars=self.builder.finish(),
                unit=unit,
                reference=self.reference or "1",
                metadata=tuple(self.metadata),
            )
        except TokenError as fault:
            self.line = fault.line or self.line
            raise self.error(str(fault), fault.column) from None
