"""Tokens of music code → bars: the part of the parser that knows how ABC becomes notation.

Events are drafts while they can still change (broken rhythm, a tie or a slur's end may follow
them); `Builder.finish` freezes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from nota_jax.notation.abc import heads
from nota_jax.notation.abc.accidentals import Accidentals
from nota_jax.notation.abc.decorations import FORM_MARKS, canonical_name
from nota_jax.notation.abc.drafts import BarDraft, Draft, freeze, in_ending
from nota_jax.notation.abc.fields import MOST_IN_TUPLET, default_normal, signature
from nota_jax.notation.abc.heads import Heads
from nota_jax.notation.abc.source import FieldError
from nota_jax.notation.abc.text import read_annotation, text_of
from nota_jax.notation.abc.tokens import Token, TokenError, bar_parts, ending_text, length
from nota_jax.notation.chords import are_chords
from nota_jax.notation.tune import Bar, Grace, Key, Meter, Note, Tuplet

_RANK = ("", "|", "[|", "||", "|]", ":|")  # of barlines that follow each other the later one stands
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
        self.shown_key, self.shown_meter = key, meter  # as of the event or barline before
        self.accidentals = Accidentals(key)
        self.bars: list[BarDraft] = []
        self.bar = BarDraft()
        self.octave = 0  # by how many octaves notes lie higher than they are written
        self.last: Draft | None = None  # the event before, of whatever bar
        self.tying: Draft | None = None  # the same, unless its ties lead elsewhere
        self.line_ended = False  # a line of the source did behind it
        self.notes: list[Draft] = []  # every event with notes, for slurs and lyrics
        self.joined = False  # no space since the event before
        self.tuplet: Tuplet | None = None
        self.tuplet_left = 0
        self.tuplet_count = 0
        self.open_slurs: list[Draft] = []
        self.waiting = _Waiting()
        self.line = 0
        self.column = 0

    def take(self, token: Token, text: str) -> None:
        """One token of the kinds in `_TAKERS`; raises `FieldError` where it makes no sense.

        text: what it stands for, its own unless `U:` says otherwise.
        """
        self.column = token.column
        _TAKERS[token.kind](self, text)

    # --- Between the notes --------------------------------------------------------------------

    def space(self, text: str = " ") -> None:
        self.joined = False

    def newline(self, *, breaks: bool) -> None:
        """The end of a source line: a system ends where a bar does.

        The Essen files write a barline between two bars of a line, none at the line's end: where
        the bar is just full there, it ends.  Their accidentals hold on into the next line, which
        on a page they do not, so that they are drawn once more there.
        """
        self.joined = False
        if breaks and self.bar.events and self.bar.duration == self.meter.duration:
            self._close("|", as_drawn=True)
        if breaks and self.bars and not self.bar.events:
            self.bars[-1].line_break = True
        self.line_ended |= breaks

    def change(self, item: Key | Meter) -> None:
        """A key or meter from here on.

        It is drawn only where the page would look different without it, and of several changes
        between two notes only the last one of each kind is.
        """
        begun = bool(self.bars or self.bar.events)
        if isinstance(item, Key):
            self.key = item
            self.accidentals.new_key(item)
            self.first_key = self.first_key if begun else item
            is_drawn = signature(item) != signature(self.shown_key)
        else:
            self.meter = item
            self.first_meter = self.first_meter if begun else item
            is_drawn = item != self.shown_meter
        if not begun:
            self.shown_key, self.shown_meter = self.key, self.meter
            return
        self.bar.drop_changes(type(item))
        if is_drawn:
            self.bar.items.append(item)

    def _changes_stand(self) -> None:
        """An event or a bar's end follows: the changes before it are on the page."""
        if self.key is not self.shown_key and signature(self.key) != signature(self.shown_key):
            self.accidentals.new_signature()
        self.shown_key, self.shown_meter = self.key, self.meter

    def decoration(self, spelling: str) -> None:
        name = canonical_name(spelling)
        if name is not None and name not in self.waiting.decorations:
            self.waiting.decorations.append(name)

    def ignored(self, text: str) -> None:
        pass

    def text(self, text: str) -> None:
        """`"Am"` is a chord symbol; `"^text"`, and whatever is no chord, an annotation."""
        words = text_of(re.sub(r"(?<!\\)\\n", " ", text[1:-1]))  # other programs' line breaks
        if are_chords(words):
            self.waiting.chord_symbol = f"{self.waiting.chord_symbol} {words}".strip()
        elif annotation := read_annotation(words):
            self.waiting.annotations.append(annotation)

    # --- Notes, chords and rests --------------------------------------------------------------

    def note(self, text: str) -> None:
        self._add_heads(heads.of_note(text))

    def chord(self, text: str) -> None:
        self._add_heads(heads.of_chord(text))

    def old_chord(self, text: str) -> None:
        """`+CE+`, the chord of ABC before 1.7."""
        inner, _, outer = text[1:].rpartition("+")
        self.chord(f"[{inner}]{outer}")

    def _add_heads(self, read: Heads) -> None:
        for spelling in read.decorations:
            self.decoration(spelling)
        read = read._replace(pitches=heads.moved(read.pitches, self.octave))
        self._add(self._draft(read.length), read)

    def rest(self, text: str) -> None:
        if text[0] == "x":  # draws nothing, so it is nothing
            self.waiting.decorations.clear()
            self.waiting.factor = None
            self.joined = False
            return
        self._add(self._draft(length(text[1:])))

    def bar_rest(self, text: str) -> None:
        if text[0] == "X":  # draws nothing
            return
        count = _number(text[1:], 1)
        full = self.meter.duration
        if full is None:
            raise FieldError("a whole-bar rest (Z) where the meter is free")
        if self.bar.events or not 0 < count <= _MAX_BAR_RESTS:
            raise FieldError("a whole-bar rest (Z) stands alone in its bar")
        for i in range(count):
            if i:
                self._close("|")
            draft = self._draft(full / self.unit)
            draft.bar_rest = True
            self._add(draft)

    def _draft(self, units: Fraction) -> Draft:
        return Draft(self.line, self.column, len(self.bars), units * self.unit)

    def _add(self, draft: Draft, read: Heads | None = None) -> None:
        """Append an event, with everything that waits for it; no heads: a rest."""
        if self.bar.last and self.bar.last.bar_rest:
            raise FieldError("a whole-bar rest (Z) stands alone in its bar")
        waiting, self.waiting = self.waiting, _Waiting()
        if waiting.factor is not None:
            draft.duration *= waiting.factor
        draft.decorations, draft.annotations = waiting.decorations, waiting.annotations
        draft.chord_symbol = waiting.chord_symbol
        self._changes_stand()
        if read:
            draft.grace = self._grace_notes(waiting)
            draft.slurs_open = waiting.slurs
            self.open_slurs += [draft] * waiting.slurs
            heads.put_on(draft, read, self.accidentals, self.tying)
            self.notes.append(draft)
        else:  # over a rest, grace notes and slurs wait on for their note
            self.waiting = _Waiting(waiting.grace, waiting.slash, waiting.slurs)
        if self.tuplet_left:
            draft.tuplet = self.tuplet
            self.tuplet_left -= 1
        if self.joined and self.last is not None:
            self.last.joined = True
        self.bar.items.append(draft)
        self.last = self.tying = draft
        self.joined, self.line_ended = True, False

    def grace(self, text: str) -> None:
        """Grace notes wait for their note, over a rest or barline too, and are drawn in its bar."""
        self.waiting.slash |= text.startswith("{/")
        for mark, step, octave, units in heads.moved(heads.of_graces(text), self.octave):
            self.waiting.grace.append((self.accidentals.meant(mark, step, octave), units))

    def _grace_notes(self, waiting: _Waiting) -> Grace | None:
        """Their lengths count eighths where one stands alone, else sixteenths, whatever `L:` is."""
        base = Fraction(1, 8) if len(waiting.grace) == 1 else Fraction(1, 16)
        notes = tuple((self.accidentals.drawn(note), base * units) for note, units in waiting.grace)
        return Grace(notes, waiting.slash) if notes else None

    # --- What joins notes ---------------------------------------------------------------------

    def tie(self, text: str) -> None:
        """A tie behind a rest, as the Essen files write it, says nothing."""
        if self.last is None:
            raise FieldError("a tie that begins at no note")
        self.last.tie()

    def slur_open(self, text: str) -> None:
        self.waiting.slurs += 1

    def slur_close(self, text: str) -> None:
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

    def broken(self, text: str) -> None:
        if self.last is None or not self.bar.last or self.waiting.factor is not None:
            raise FieldError(f"broken rhythm {text!r} that stands between no two notes")
        if len(text) > 3:
            raise FieldError(f"broken rhythm {text!r} is finer than can be drawn")
        short = Fraction(1, 2 ** len(text))
        factors = (2 - short, short) if text[0] == ">" else (short, 2 - short)
        self.last.duration *= factors[0]
        self.waiting.factor = factors[1]

    def begin_tuplet(self, text: str) -> None:
        if self.tuplet_left:
            raise FieldError("a tuplet begins before the one before it is full")
        parts = (text[1:].split(":") + ["", ""])[:3]
        actual = _number(parts[0], 0)
        if actual > 9 and not parts[1]:
            how = f"write ({actual}:8 for so many in the time of 8"
            raise FieldError(f"the tuplet {text} does not say how long it is: {how}")
        normal = _number(parts[1], default_normal(actual, self.meter))
        count = _number(parts[2], actual)
        if not (0 < normal < 100 and 0 < count < 100):
            raise FieldError(f"{text!r} is no tuplet")
        if actual > 9 and not (max(actual, normal) <= MOST_IN_TUPLET and count == actual):
            raise FieldError(f"a tuplet of {actual} notes like {text} is not supported")
        self.tuplet, self.tuplet_left = Tuplet(actual, normal, self.tuplet_count), count
        self.tuplet_count += 1

    # --- Barlines -----------------------------------------------------------------------------

    def barline(self, text: str) -> None:
        barline, repeat_start, ending = bar_parts(text)
        self._close(barline)
        self.bar.repeat_start |= repeat_start
        if ending:
            self._begin_ending(ending)

    def invisible_bar(self, text: str) -> None:
        """`[|]` draws nothing; collections hang texts on it that belong to the bar's end.

        An ending may begin at one, as at any bar line.
        """
        self._leave_marks()
        if ending := ending_text(text.strip("[|] \t")):
            self._begin_ending(ending)

    def ending(self, text: str) -> None:
        name = text[1:]
        quoted = name.startswith('"')
        self._begin_ending(text_of(name.strip('"')) if quoted else ending_text(name))

    def _begin_ending(self, ending: str) -> None:
        """A bracket begins here; inside a bar too, which no line on the page then cuts in two.

        Where the bar is full, its bar line was left out, as at a line's end.  A tie that ends an
        ending leads back to the repeat's start, and not into the next one.
        """
        if not ending:
            return
        if self.bar.events:
            full = self.bar.duration == self.meter.duration
            self._close("|" if full else "")
            self.bars[-1].line_break = self.line_ended
        leads_back = in_ending(self.bars) and not ending.startswith("1")
        self.tying = None if leads_back else self.last
        self.bar.ending = ending

    def old_line_break(self, text: str) -> None:
        self.newline(breaks=True)

    def _leave_marks(self) -> None:
        """Marks of the form and texts before a barline belong to the event before it."""
        marks, texts = self.waiting.decorations, self.waiting.annotations
        if self.last is not None and self.bar.last:
            self.last.decorations += [mark for mark in marks if mark in FORM_MARKS]
            self.last.annotations += texts
            self.waiting.annotations = []
        self.waiting.decorations = []

    def _close(self, barline: str, *, as_drawn: bool = False) -> None:
        """The end of a bar, or of its part before an ending that begins inside (barline "").

        as_drawn: the page has this bar line and the source has not.
        """
        if self.waiting.factor is not None:
            raise FieldError("broken rhythm across a barline")
        if self.tuplet_left:
            raise FieldError(f"the bar ends before the tuplet is full ({self.tuplet_left} missing)")
        self._leave_marks()
        self.joined = False
        if barline:
            self.accidentals.new_bar(as_drawn=as_drawn)
        begun = self.bar.repeat_start or self.bar.ending
        if self.bar.events:
            self.bar.barline = barline
            self.bars.append(self.bar)
            self.bar = BarDraft()
            self._changes_stand()
        elif self.bars and not (begun and self.bars[-1].barline):  # `[2|` is written for `|[2` too
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


def _number(digits: str, otherwise: int) -> int:
    """A count; nothing that is drawn needs one of more than four digits."""
    if len(digits) > 4:
        raise FieldError(f"{digits[:8]}… is too large a number")
    return int(digits or otherwise)


# What takes a token of each kind; the reader itself takes "inline" and "field" and "overlay".
_TAKERS: dict[str, Callable[[Builder, str], None]] = {
    "space": Builder.space,
    "ignored": Builder.ignored,
    "text": Builder.text,
    "ending": Builder.ending,
    "invisible_bar": Builder.invisible_bar,
    "bar": Builder.barline,
    "tuplet": Builder.begin_tuplet,
    "chord": Builder.chord,
    "old_chord": Builder.old_chord,
    "decoration": Builder.decoration,
    "grace": Builder.grace,
    "note": Builder.note,
    "bar_rest": Builder.bar_rest,
    "rest": Builder.rest,
    "slur_open": Builder.slur_open,
    "slur_close": Builder.slur_close,
    "tie": Builder.tie,
    "broken": Builder.broken,
    "old_line_break": Builder.old_line_break,
}
