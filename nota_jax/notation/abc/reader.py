"""ABC text → `Tune`.

One pass over the lines: header fields fill a dictionary, music code goes token by token into
drafts of bars and events, and `builder.finish` freezes the drafts.  What ABC leaves open is
decided in `docs/datasets.md`, "Parsing".
"""

from __future__ import annotations

import re
from fractions import Fraction

from nota_jax.errors import cut
from nota_jax.notation.abc import fields
from nota_jax.notation.abc.builder import Builder
from nota_jax.notation.abc.fields import FieldError
from nota_jax.notation.abc.lyrics import align
from nota_jax.notation.abc.source import AbcError, lines_of
from nota_jax.notation.abc.tokens import Token, TokenError, tokens
from nota_jax.notation.tempo import Tempo
from nota_jax.notation.tune import Meter, Tune

_HEADER_FIELD = re.compile(r"([A-Za-z+]):(.*)")
# In the body the colon may be a barline's (`A:|`, `c::d`).
_BODY_FIELD = re.compile(r"([A-Za-z+]):(?![|:])(.*)")
_COMMENT = re.compile(r"(?<!\\)%.*")
# Header text that may run on over the next line in old files; none of it is drawn.
_PROSE = frozenset("ABDFGHINORSWZr")
_UNSUPPORTED = {
    "V": "several voices (V:) on one page are not supported, a tune has one staff",
    "m": "macros (m:) are not supported",
    "s": "symbol lines (s:) are not supported",
    "d": "decoration lines (d:) are not supported",
}
_MAX_LINE = 20_000  # characters; longer ones are no music, and would only cost time


def parse(text: str, *, source: str = "", line: int = 1) -> Tune:
    """The tune that `text` (header and body) writes.

    source: name of the file, line: number of the text's first line in it, both for errors.
    Raises `AbcError`, which names file, tune, line and column, for whatever cannot be read.
    """
    reader = _Reader(source, line)
    for raw in lines_of(text):
        reader.read_line(raw)
        reader.line += 1
    return reader.finish()


class _Reader:
    """Header state, and the builder that takes the music."""

    def __init__(self, source: str, line: int):
        self.source, self.line, self.column = source, line, 1
        self.reference = ""
        self.titles: list[str] = []
        self.composers: list[str] = []
        self.tempo: Tempo | None = None
        self.metadata: list[tuple[str, str]] = []
        self.meter: Meter | None = None
        self.unit: Fraction | None = None
        self.symbols: dict[str, str] = {}
        self.builder: Builder | None = None  # from the `K:` that ends the header on
        self.line_start = 0  # the first event of the music line that `w:` lines refer to
        self.continued = False  # the music line before ended in a backslash
        self.verse = 0

    # --- Errors -------------------------------------------------------------------------------

    def error(self, reason: str, column: int = 0) -> AbcError:
        return AbcError(
            cut(reason), source=self.source, tune=self.reference, line=self.line, column=column
        )

    # --- Lines --------------------------------------------------------------------------------

    def read_line(self, raw: str) -> None:
        if len(raw) > _MAX_LINE:
            raise self.error(f"the line is longer than {_MAX_LINE} characters")
        text = _COMMENT.sub("", raw).rstrip()
        if not text.strip():
            return
        self.column = 1
        match = (_BODY_FIELD if self.builder else _HEADER_FIELD).match(text)
        try:
            if match is None:
                self.read_code(text)
            elif match[1] == "w" and self.builder:
                self.read_lyrics(match[2].strip())
            else:
                self.column = 3 + len(match[2]) - len(match[2].lstrip())
                self.read_field(match[1], match[2].strip())
        except FieldError as fault:
            raise self.error(str(fault), self.column) from None
        except TokenError as fault:
            self.line = fault.line or self.line
            raise self.error(str(fault), fault.column) from None

    def read_code(self, text: str) -> None:
        if self.builder is None:
            self.read_prose(text)
            return
        # Some of Ryan's Mammoth came through quoted-printable mail; columns stay what they are.
        text = text.replace("=3D", "``=").replace("=20", "   ").rstrip()
        continues = text.endswith(("\\", "="))
        if not self.continued:
            self.line_start, self.verse = len(self.builder.notes), 0
        self.builder.line = self.line
        for token in tokens(text[:-1] if continues else text):
            self.column = token.column
            self.read_token(token)
        self.builder.newline(breaks=not continues)
        self.continued = continues

    def read_prose(self, text: str) -> None:
        """A header line without a letter and colon: prose that runs on, or that lost its colon."""
        if match := re.fullmatch(r"([NISZ])(?:\s(.*))?", text):
            self.metadata.append((match[1], fields.text_of(match[2] or "")))
        elif self.metadata and self.metadata[-1][0] in _PROSE:
            letter, words = self.metadata[-1]
            self.metadata[-1] = (letter, f"{words} {fields.text_of(text)}".strip())
        else:
            raise self.error("neither a header field nor, before K:, music", 1)

    def read_token(self, token: Token) -> None:
        assert self.builder is not None
        if token.kind == "inline":
            self.read_field(token.text[1], token.text[3:-1].strip())
        elif token.kind == "overlay":
            raise FieldError("a second voice in the bar (&) is not supported")
        elif token.kind == "decoration":
            self.builder.decoration(self.symbols.get(token.text, token.text))
        else:
            self.builder.take(token)

    def read_lyrics(self, text: str) -> None:
        assert self.builder is not None
        notes = self.builder.notes[self.line_start :]
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
        elif self.builder is None:
            self.read_header(letter, text)
        else:
            self.read_body_field(letter, text)

    def read_symbol(self, text: str) -> None:
        """`U:T = !trill!`: the letter stands for the decoration from here on."""
        match = re.fullmatch(r"([~H-Wh-w])\s*=\s*(!.*!|\+.*\+|[~.H-Wh-w])", text)
        if match is None:
            raise FieldError(f"U:{text} defines no symbol; write it as U:T = !trill!")
        self.symbols[match[1]] = match[2]

    def read_header(self, letter: str, text: str) -> None:
        if letter == "X":
            if self.reference:
                raise FieldError("a second X: in one tune; split the tunebook first")
            self.reference = text or "1"
        elif letter == "T":
            self.titles += [title] if (title := fields.text_of(text)) else []
        elif letter == "C":
            self.composers += [name] if (name := fields.text_of(text)) else []
        elif letter == "M":
            self.meter = fields.read_meter(text)
        elif letter == "L":
            self.unit = fields.read_unit(text)
        elif letter == "Q":
            self.tempo = fields.read_tempo(text)
        elif letter == "K":
            meter = self.meter or Meter("none")
            unit = self.unit or fields.default_unit(meter)
            self.builder = Builder(fields.read_key(text), meter, unit)
        elif letter == "+" and self.metadata:
            self.metadata[-1] = (self.metadata[-1][0], f"{self.metadata[-1][1]} {text}")
        else:
            self.metadata.append((letter, fields.text_of(text)))

    def read_body_field(self, letter: str, text: str) -> None:
        assert self.builder is not None
        if letter == "K":
            key = fields.read_key(text)
            self.builder.change(key)
        elif letter == "M":
            self.builder.change(fields.read_meter(text))
        elif letter == "L":
            self.builder.unit = fields.read_unit(text)
        elif letter == "X":
            raise FieldError("a second X: in one tune; split the tunebook first")
        else:  # P:, N:, Q: … inside the body are kept, not drawn
            self.metadata.append((letter, fields.text_of(text)))
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
                tempo=self.tempo and self.tempo.counted_in(unit),
                bars=self.builder.finish(),
                unit=unit,
                reference=self.reference or "1",
                metadata=tuple(self.metadata),
            )
        except TokenError as fault:
            self.line = fault.line or self.line
            raise self.error(str(fault), fault.column) from None
