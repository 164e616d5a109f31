"""Tokens of music code → bars: the part of the parser that knows how ABC becomes notation.

Events are drafts while they can still change (broken rhythm, a tie or a slur's end may follow
them); `Builder.finish` freezes them.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from fractions import Fraction

from nota_jax.notation.abc.decorations import FORM_MARKS, canonical_name
from nota_jax.notation.abc.drafts import BarDraft, Draft, freeze
from nota_jax.notation.abc.fields import ALTERS, FieldError, default_normal, signature
from nota_jax.notation.abc.tokens import Token, TokenError, bar_parts, length, pitch, tokens
from nota_jax.notation.tune import Bar, Grace, Key, Meter, Note, Tuplet

_CHORD_SYMBOL = re.compile(
    r"\(?[A-G][#b♯♭]?(?:maj|min|dim|aug|sus|add|m|M|[0-9]|[#b+\-°øo()])*(?:/[A-Ga-g][#b+]?)?\)?"
)
_RANK = ("|", "[|", "||", "|]", ":|")  # of barlines that follow each other the later one stands
_MAX_BAR_RESTS = 99


@dataclass
class _Waiting:
    """What has been read before the event that it belongs to."""

    grace: list[tuple[Note, Fraction]] = field(default_factory=list)  # lengths as written
    slash: bool = False
    slurs: int = 0
    decorations: list[str] = field(default_factory=list)
    chord_symbol: str = ""
    annotations: list[str] = field(default_factory=list)
    factor: Fraction | None = None  # of broken rhythm


class Builder:
    """Takes the tokens of the music code in order; `finish` gives the bars."""

    def __init__(self, key: Key, meter: Meter, unit: Fraction):
        self.first_key = self.key = key
        self.first_meter = self.meter = meter
        self.first_unit = self.unit = unit
        self.alters = key.alters
        # The bar's accidentals (step → alter): what the source means, and what the page shows.
        # They differ where a barline or grace note is drawn elsewhere than it is written.
        self.meant: dict[str, int] = {}
        self.shown: dict[str, int] = {}
        self.bars: list[BarDraft] = []
        self.bar = BarDraft()
        self.last: Draft | None = None  # the event before, of whatever bar
        self.notes: list[Draft] = []  # every event with notes, for slurs and lyrics
        self.joined = False
        self.tuplet: Tuplet | None = None
        self.tuplet_left = 0
        self.tuplet_count = 0
        self.open_slurs: list[Draft] = []
        self.waiting = _Waiting()
        self.line = 0
        self.column = 0

    # --- One token ----------------------------------------------------------------------------

    def take(self, token: Token) -> None:
        self.column = token.column
        getattr(self, "_" + token.kind)(token.text)

    def space(self) -> None:
        self.joined = False

    def newline(self, *, breaks: bool) -> None:
        """The end of a source line: a system ends where a bar does.

        The Essen files write a barline between two bars of a line, none at the line's end: where
        the bar is just full there, it ends.  Their accidentals hold on into the next line, which
        on a page they do not, so that they are drawn once more there.
        """
        self.joined = False
        if breaks and self.bar.events and self.bar.duration == self.meter.duration:
            meant = self.meant
            self._close("|")
            self.meant = meant
        if breaks and self.bars and not self.bar.events:
            self.bars[-1].line_break = True

    def change(self, item: Key | Meter) -> None:
        """A key or meter from here on; one that would look like the one in force is no change."""
        begun = bool(self.bars or self.bar.events)
        if isinstance(item, Key):
            same = signature(item) == signature(self.key)
            self.key, self.alters = item, item.alters
            self.meant, self.shown = {}, {}
            self.first_key = self.first_key if begun else item
        else:
            same = item == self.meter
            self.meter = item
            self.first_meter = self.first_meter if begun else item
        if begun and not same:
            # Of two changes of one kind without an event between them the later one stands.
            items = self.bar.items
            while items and type(items[-1]) is type(item):
                items.pop()
            items.append(item)

    def decoration(self, spelling: str) -> None:
        name = canonical_name(spelling)
        if name is not None and name not in self.waiting.decorations:
            self.waiting.decorations.append(name)

    def _space(self, text: str) -> None:
        self.joined = False

    def _ignored(self, text: str) -> None:
        pass

    def _invisible_bar(self, text: str) -> None:
        """`[|]` draws nothing; collections hang texts on it that belong to the bar's end."""
        self._leave_marks()

    def _old_line_break(self, text: str) -> None:
        self.newline(breaks=True)

    def _text(self, text: str) -> None:
        """`"Am"` is a chord symbol; `"^text"`, and whatever is no chord, an annotation."""
        words = " ".join(text[1:-1].split())
        waiting = self.waiting
        if _CHORD_SYMBOL.fullmatch(words):
            waiting.chord_symbol = f"{waiting.chord_symbol} {words}".strip()
            return
        place = "^"
        if words[:1] in tuple("^_<>@"):
            place, words = words[0], words[1:].strip()
        if words:
            waiting.annotations.append(place + words)

    # --- Notes --------------------------------------------------------------------------------

    def _note(self, text: str) -> None:
        draft = self._draft(pitch(text).length)
        self._add(draft, [text])

    def _chord(self, text: str) -> None:
        inner, _, outer = text[1:].rpartition("]")
        heads, ties = [], []
        for token in tokens(inner):
            if token.kind == "note":
                heads.append(token.text)
                ties.append(False)
            elif token.kind == "tie" and heads:
                ties[-1] = True
            elif token.kind == "decoration":
                self.decoration(token.text)
            elif token.kind not in ("space", "ignored", "text", "slur_open", "slur_close"):
                raise FieldError(f"{token.text!r} inside a chord")
        if not heads:
            raise FieldError("a chord without notes")
        # ABC 2.1, 4.17: the chord lasts as long as its first note.
        self._add(self._draft(pitch(heads[0]).length * length(outer)), heads, ties)

    def _old_chord(self, text: str) -> None:
        """`+CE+`, the chord of ABC before 1.7."""
        inner, _, outer = text[1:].rpartition("+")
        self._chord(f"[{inner}]{outer}")

    def _rest(self, text: str) -> None:
        if text[0] == "x":  # draws nothing, so it is nothing
            self.waiting.decorations.clear()
            self.waiting.factor = None
            self.joined = False
            return
        self._add(self._draft(length(text[1:])), [])

    def _bar_rest(self, text: str) -> None:
        count = int(text[1:] or 1)
        full = self.meter.duration
        if text[0] == "X":
            return
        if full is None:
            raise FieldError("a whole-bar rest (Z) where the meter is free")
        if self.bar.events or not 0 < count <= _MAX_BAR_RESTS:
            raise FieldError("a whole-bar rest (Z) stands alone in its bar")
        for i in range(count):
            if i:
                self._close("|")
            draft = self._draft(full / self.unit)
            draft.bar_rest = True
            self._add(draft, [])

    def _draft(self, units: Fraction) -> Draft:
        return Draft(self.line, self.column, len(self.bars), units * self.unit)

    def _add(self, draft: Draft, heads: list[str], ties: list[bool] | None = None) -> None:
        """Append an event, with everything that waits for it."""
        if self.bar.events and self.bar.events[-1].bar_rest:
            raise FieldError("a whole-bar rest (Z) stands alone in its bar")
        waiting = self.waiting
        if waiting.factor is not None:
            draft.duration *= waiting.factor
        draft.decorations, draft.annotations = waiting.decorations, waiting.annotations
        draft.chord_symbol = waiting.chord_symbol
        self.waiting = _Waiting(waiting.grace, waiting.slash, waiting.slurs)
        if heads:
            draft.grace = self._grace_notes(waiting)
            draft.slurs_open = waiting.slurs
            self.open_slurs += [draft] * waiting.slurs
            self.waiting = _Waiting()
            self._add_notes(draft, heads, ties or [False] * len(heads))
            self.notes.append(draft)
        if self.tuplet_left:
            draft.tuplet = self.tuplet
            self.tuplet_left -= 1
        if self.joined and self.last is not None:
            self.last.joined = True
        self.bar.items.append(draft)
        self.last, self.joined = draft, True

    def _add_notes(self, draft: Draft, heads: list[str], ties: list[bool]) -> None:
        """Noteheads with what they sound; a curve to other pitches turns out to be a slur."""
        tied = {
            (note.step, note.octave): note.alter
            for note in (self.last.notes if self.last else ())
            if note.tie
        }
        met = False
        for text, tie in zip(heads, ties, strict=True):
            mark, step, octave, _ = pitch(text)
            place = (step, octave)
            if place in tied and not mark:
                note = Note(step, octave, tied[place])
            else:
                note = self._head(mark, step, octave)
            met |= place in tied and note.alter == tied[place]
            draft.notes.append(dataclasses.replace(note, tie=True) if tie else note)
        draft.notes.sort(key=lambda note: (note.diatonic, note.alter))
        if tied and not met:
            assert self.last is not None
            self.last.notes = [dataclasses.replace(note, tie=False) for note in self.last.notes]
            self.last.slurs_open += 1
            draft.slurs_close += 1

    def _head(self, mark: str, step: str, octave: int) -> Note:
        """A head as the source means it, with the accidental that the page needs."""
        return self._drawn(self._meant(mark, step, octave))

    def _meant(self, mark: str, step: str, octave: int) -> Note:
        """An accidental holds to the bar's end, for every octave (the default of ABC 2.1)."""
        if not mark:
            return Note(step, octave, self.meant.get(step, self.alters[step]))
        self.meant[step] = ALTERS[mark]
        return Note(step, octave, ALTERS[mark], ALTERS[mark])

    def _drawn(self, note: Note) -> Note:
        if note.accidental is None:
            if self.shown.get(note.step, self.alters[note.step]) == note.alter:
                return note
            note = dataclasses.replace(note, accidental=note.alter)
        self.shown[note.step] = note.alter
        return note

    def _grace(self, text: str) -> None:
        """Grace notes wait for their note, over a rest or barline too, and are drawn in its bar."""
        inner = text[1:-1]
        found = [pitch(t.text) for t in tokens(inner.removeprefix("/")) if t.kind == "note"]
        if not found:
            raise FieldError("grace notes {} without a note")
        self.waiting.grace += [(self._meant(p.mark, p.step, p.octave), p.length) for p in found]
        self.waiting.slash |= inner.startswith("/")

    def _grace_notes(self, waiting: _Waiting) -> Grace | None:
        """Their lengths count eighths where one stands alone, else sixteenths, whatever `L:` is."""
        base = Fraction(1, 8) if len(waiting.grace) == 1 else Fraction(1, 16)
        notes = tuple((self._drawn(note), base * units) for note, units in waiting.grace)
        return Grace(notes, waiting.slash) if notes else None

    # --- What joins notes ---------------------------------------------------------------------

    def _tie(self, text: str) -> None:
        """A tie behind a rest, as the Essen files write it, says nothing."""
        if self.last is None:
            raise FieldError("a tie that begins at no note")
        self.last.notes = [dataclasses.replace(note, tie=True) for note in self.last.notes]

    def _slur_open(self, text: str) -> None:
        self.waiting.slurs += 1

    def _slur_close(self, text: str) -> None:
        if not self.open_slurs:
            raise FieldError("a slur ends here that has not begun")
        last = self.notes[-1]
        # A slur that would reach from a note to itself: the one that began earlier ends here.
        begun = next((draft for draft in self.open_slurs if draft is not last), None)
        self.open_slurs.remove(begun or last)
        if begun is None and last.grace is None:
            last.slurs_open -= 1
            return
        last.slurs_close += 1

    def _broken(self, text: str) -> None:
        if self.last is None or not self.bar.events or self.waiting.factor is not None:
            raise FieldError(f"broken rhythm {text!r} that stands between no two notes")
        if len(text) > 3:
            raise FieldError(f"broken rhythm {text!r} is finer than can be drawn")
        short = Fraction(1, 2 ** len(text))
        factors = (2 - short, short) if text[0] == ">" else (short, 2 - short)
        self.last.duration *= factors[0]
        self.waiting.factor = factors[1]

    def _tuplet(self, text: str) -> None:
        if self.tuplet_left:
            raise FieldError("a tuplet begins before the one before it is full")
        parts = (text[1:].split(":") + ["", ""])[:3]
        actual = int(parts[0])
        normal = int(parts[1] or default_normal(actual, self.meter))
        count = int(parts[2] or actual)
        if not (0 < normal < 100 and 0 < count < 100):
            raise FieldError(f"{text!r} is no tuplet")
        self.tuplet, self.tuplet_left = Tuplet(actual, normal, self.tuplet_count), count
        self.tuplet_count += 1

    # --- Barlines -----------------------------------------------------------------------------

    def _bar(self, text: str) -> None:
        barline, repeat_start, ending = bar_parts(text)
        self._close(barline)
        self.bar.repeat_start |= repeat_start
        if ending:
            self.bar.ending = ending

    def _ending(self, text: str) -> None:
        if self.bar.events:
            raise FieldError(f"the ending {text!r} begins inside a bar")
        self.bar.ending = text[1:].strip('"').strip()

    def _leave_marks(self) -> None:
        """Marks of the form and texts before a barline belong to the event before it."""
        marks, texts = self.waiting.decorations, self.waiting.annotations
        if self.last is not None and self.bar.events:
            self.last.decorations += [mark for mark in marks if mark in FORM_MARKS]
            self.last.annotations += texts
            self.waiting.annotations = []
        self.waiting.decorations = []

    def _close(self, barline: str) -> None:
        if self.waiting.factor is not None:
            raise FieldError("broken rhythm across a barline")
        if self.tuplet_left:
            raise FieldError(f"the bar ends before the tuplet is full ({self.tuplet_left} missing)")
        self._leave_marks()
        self.joined = False
        self.meant, self.shown = {}, {}
        if self.bar.events:
            self.bar.barline = barline
            self.bars.append(self.bar)
            self.bar = BarDraft()
        elif self.bars and not (self.bar.repeat_start or self.bar.ending):
            self.bars[-1].barline = max(self.bars[-1].barline, barline, key=_RANK.index)

    # --- The end ------------------------------------------------------------------------------

    def finish(self) -> tuple[Bar, ...]:
        """The bars, frozen; raises `TokenError` where they hold what cannot be drawn."""
        try:
            self._close("|")
        except FieldError as fault:
            raise TokenError(str(fault), self.column, self.line) from None
        if not self.bars:
            raise TokenError("the tune has no notes", 0)
        if self.open_slurs:
            draft = self.open_slurs[0]
            raise TokenError("a slur begins here that does not end", draft.column, draft.line)
        return freeze(self.bars)
