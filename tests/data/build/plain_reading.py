"""A second, plain reading of a tune: what `sentence_checks.py` holds sentences against.

It starts from the bars and events of a `Tune` and uses nothing of `notation/theory`,
`notation/walk.py` or `data/build/prose.py`.  Intervals and key signatures are music21's.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise, product

from music21 import interval, key, pitch

from nota_jax.notation.tune import Event, Key, Meter, Note, Tune

CONTOURS = {(1, 1): "up", (1, 0): "up, level", (1, -1): "up, down", (0, 1): "level, up",
            (0, 0): "level", (0, -1): "level, down", (-1, 1): "down, up",
            (-1, 0): "down, level", (-1, -1): "down"}  # fmt: skip
JUMPS = ("d.c", "d.s", "dc", "ds", "da c", "dacapo", "dacoda", "segno", "coda", "fine")


@dataclass
class Spot:
    """An event with its place; offset: whole notes from the beginning of its bar."""

    event: Event
    bar: int
    offset: Fraction
    onset: Fraction
    key: Key


@dataclass
class Sound:
    """A note of the melody."""

    note: Note
    spot: Spot
    duration: Fraction


def name_of(note: Note) -> str:
    return note.step + {-2: "bb", -1: "b", 0: "", 1: "#", 2: "##"}[note.alter]


def full_name(note: Note) -> str:
    return name_of(note) + str(note.octave)


def interval_between(one: Note, other: Note) -> str:
    """As music21 calls it; what has no everyday name is counted in semitones."""
    pitches = [pitch.Pitch(full_name(note).replace("b", "-")) for note in (one, other)]
    pitches.sort(key=lambda p: (p.midi, p.diatonicNoteNum))
    found = interval.Interval(*pitches)
    name = found.niceName.lower().replace("double-octave", "fifteenth")
    if name in ("octave", "unison", "fifteenth"):
        name = f"perfect {name}"
    wide = found.generic.undirected > 15  # beyond two octaves nobody names them
    if not wide and re.fullmatch(r"(perfect|major|minor|augmented|diminished) [a-z]+", name):
        return name
    return f"interval of {abs(one.midi - other.midi)} semitones"


def signature_of(tonic_key: Key) -> dict[str, int]:
    """Alterations of the steps by tonic and mode, as music21 knows them, then the explicit ones."""
    altered = {}
    if tonic_key.tonic:
        theirs = key.Key(tonic_key.tonic.replace("b", "-"), tonic_key.mode)
        altered = {p.step: int(p.accidental.alter) for p in theirs.alteredPitches}
    return altered | dict(tonic_key.accidentals)


def degree_of(note: Note, in_key: Key) -> int | None:
    if not in_key.tonic or note.alter != signature_of(in_key).get(note.step, 0):
        return None
    return ("CDEFGAB".index(note.step) - "CDEFGAB".index(in_key.tonic[0])) % 7 + 1


def letters_of(stretches: list[list]) -> list[str]:
    """A letter for each stretch: equal ones share it, half alike ones are primed."""
    known: list[tuple[str, list]] = []
    letters = []
    for stretch in stretches:
        name = next((name for name, other in known if other == stretch), "")
        if not name:
            for first, other in known:
                alike = sum(x == y for x, y in zip(stretch, other, strict=False))
                if "'" not in first and alike >= max(len(stretch), len(other)) / 2:
                    name = first + "'" * len([n for n, _ in known if n.strip("'") == first])
                    break
            else:
                count = len([n for n, _ in known if "'" not in n])
                name = chr(65 + count) if count < 26 else f"Z{count - 24}"
            known.append((name, stretch))
        letters.append(name)
    return letters


class Reading:
    """What can be seen in a tune; bars are counted from 0 until `number` names them."""

    def __init__(self, tune: Tune, dance_type: str = "") -> None:
        self.tune, self.bars, self.dance_type = tune, tune.bars, dance_type

    # --- Notes ---

    @cached_property
    def spots(self) -> list[Spot]:
        spots, onset, now = [], Fraction(0), self.tune.key
        for i, bar in enumerate(self.bars):
            offset = Fraction(0)
            for item in bar.items:
                if isinstance(item, Key):
                    now = item
                elif isinstance(item, Event):
                    spots.append(Spot(item, i, offset, onset + offset, now))
                    offset += item.sounding
            onset += offset
        return spots

    @cached_property
    def heads(self) -> list[tuple[Note, int]]:
        """Every drawn head, grace notes too, with its bar."""
        heads = []
        for spot in self.spots:
            if spot.event.grace:
                heads += [(note, spot.bar) for note, _ in spot.event.grace.notes]
            heads += [(note, spot.bar) for note in spot.event.notes]
        return heads

    @cached_property
    def lowest(self) -> tuple[Note, int]:
        return min(self.heads, key=lambda head: head[0].midi)

    @cached_property
    def highest(self) -> tuple[Note, int]:
        return max(self.heads, key=lambda head: head[0].midi)

    @cached_property
    def line(self) -> list[Sound]:
        """The highest heads; what is tied to the event before goes on sounding."""
        line: list[Sound] = []
        held: set[tuple[int, int]] = set()
        for spot in self.spots:
            if spot.event.notes:
                top = sorted(spot.event.notes, key=lambda note: -note.midi)[0]
                if (top.midi, top.diatonic) not in held:
                    line.append(Sound(top, spot, spot.event.sounding))
                elif line[-1].note.midi == top.midi:
                    line[-1].duration += spot.event.sounding
            held = {(note.midi, note.diatonic) for note in spot.event.notes if note.tie}
        return line

    @cached_property
    def moves(self) -> list[tuple[Sound, Sound]]:
        return list(pairwise(self.line))

    @cached_property
    def motion(self) -> tuple[int, int, int]:
        """How many melodic intervals are steps, wider, and none."""
        kinds: Counter[str] = Counter()
        for a, b in self.moves:
            places = abs((a.note.octave - b.note.octave) * 7 + "CDEFGAB".index(a.note.step)
                         - "CDEFGAB".index(b.note.step))  # fmt: skip
            same = a.note.midi == b.note.midi
            kinds["same" if same else "step" if places < 2 else "wide"] += 1
        return kinds["step"], kinds["wide"], kinds["same"]

    @cached_property
    def widest(self) -> tuple[Sound, Sound] | None:
        width = max((abs(b.note.midi - a.note.midi) for a, b in self.moves), default=0)
        return next(
            ((a, b) for a, b in self.moves if abs(b.note.midi - a.note.midi) == width > 0), None
        )

    @cached_property
    def contour(self) -> str | None:
        """Where the mean of the inner notes lies: Huron's types."""
        pitches = [sound.note.midi for sound in self.line]
        inner = pitches[1:-1]
        if not inner:
            return None

        def way(difference: int) -> int:
            return (difference > 0) - (difference < 0)

        after_first = way(sum(inner) - pitches[0] * len(inner))
        to_last = way(pitches[-1] * len(inner) - sum(inner))
        return CONTOURS[after_first, to_last]

    @cached_property
    def values(self) -> Counter[Fraction]:
        """Notated lengths of notes and chords."""
        return Counter(spot.event.duration for spot in self.spots if spot.event.notes)

    @cached_property
    def tuplets(self) -> set[tuple[int, int]]:
        """(how many, notes in one)."""
        groups = {
            s.event.tuplet.number: s.event.tuplet.actual for s in self.spots if s.event.tuplet
        }
        return {(n, size) for size, n in Counter(groups.values()).items()}

    @cached_property
    def graces(self) -> int:
        return sum(len(spot.event.grace.notes) for spot in self.spots if spot.event.grace)

    @cached_property
    def scales(self) -> set[tuple[str, ...]]:
        """The distinct notes upwards from the tonic, in each way to spell them by drawn heads."""
        tonic = self.tune.key.tonic or "C"
        base = pitch.Pitch(tonic.replace("b", "-")).midi
        names: dict[int, set[str]] = {}
        for note, _ in self.heads:
            names.setdefault((note.midi - base) % 12, set()).add(name_of(note))
        return set(product(*(names[distance] for distance in sorted(names))))

    @cached_property
    def pentatonic(self) -> bool:
        classes = {note.midi % 12 for note, _ in self.heads}
        return any({(n + k) % 12 for n in classes} == {0, 2, 4, 7, 9} for k in range(12))

    # --- Bars ---

    @cached_property
    def meters(self) -> list[Meter]:
        """In force at the first note of each bar."""
        now, meters = self.tune.meter, []
        for bar in self.bars:
            head = list(bar.items)
            while head and not isinstance(head[-1], Event):
                head.pop()
            begins = [item for item in bar.items if isinstance(item, Event)][:1]
            before = head[: head.index(begins[0])] if begins else bar.items
            at_first = next((m for m in reversed(before) if isinstance(m, Meter)), now)
            meters.append(at_first)
            now = next((m for m in reversed(bar.items) if isinstance(m, Meter)), now)
        return meters

    def changes(self, kind: type, same) -> list[tuple[Key | Meter, int]]:
        """(what is new, bar); behind a bar's last note it counts for the next bar.

        same: whether two of them are no change.
        """
        now = self.tune.key if kind is Key else self.tune.meter
        found = []
        for i, bar in enumerate(self.bars):
            events_left = len(bar.events)
            for item in bar.items:
                events_left -= isinstance(item, Event)
                if isinstance(item, kind):
                    if not same(item, now):
                        behind = bar.events and not events_left and i + 1 < len(self.bars)
                        found.append((item, i + bool(behind)))
                    now = item
        return found

    @cached_property
    def meter_changes(self) -> list[tuple[Meter, int]]:
        return self.changes(Meter, lambda a, b: a.text == b.text)

    @cached_property
    def key_changes(self) -> list[tuple[Key, int]]:
        """A change of clef alone is none."""

        def same(a: Key, b: Key) -> bool:
            return (a.tonic, a.mode, set(a.accidentals)) == (b.tonic, b.mode, set(b.accidentals))

        return self.changes(Key, same)

    def is_short(self, i: int) -> bool:
        full = self.meters[i].duration
        return full is not None and self.bars[i].duration < full

    def begins_section(self, i: int) -> bool:
        bar, before = self.bars[i], self.bars[i - 1]
        marked = before.barline in ("||", "|]", "[|", ":|") or before.ending_stop
        return i == 0 or bar.repeat_start or (marked and not bar.ending)

    @cached_property
    def sections(self) -> list[range]:
        begins = [i for i in range(len(self.bars)) if self.begins_section(i)]
        return [range(a, b) for a, b in pairwise([*begins, len(self.bars)])]

    @cached_property
    def numbers(self) -> list[int]:
        """0 for the pick-up; the two parts of a bar that a section mark cuts share a number."""
        lengths, numbers, parts = [bar.duration for bar in self.bars], [], 1

        def cut(i: int) -> bool:
            """Whether bars i − 1 and i are the two parts."""
            whole = lengths[i - 1] + lengths[i] == self.meters[i].duration
            return whole and 0 not in lengths[i - 1 : i + 1] and self.begins_section(i)

        for i in range(len(self.bars)):
            if i == 0:
                alone = len(self.bars) == 1 or not self.is_short(0) or not lengths[0] or cut(1)
                numbers.append(1 if alone else 0)
            elif cut(i) and parts == 1 and numbers[-1]:
                numbers.append(numbers[-1])
                parts = 2
            else:
                numbers.append(numbers[-1] + 1)
                parts = 1
        return numbers

    @cached_property
    def pickup(self) -> Fraction:
        return self.bars[0].duration if self.numbers[0] == 0 else Fraction(0)

    # --- Form ---

    def music(self, bars: range) -> list[tuple]:
        """What sounds in each bar, a short one at the beginning left out."""
        if len(bars) > 1 and self.is_short(bars[0]):
            bars = bars[1:]
        return [
            tuple((sorted(n.midi for n in e.notes), e.sounding) for e in self.bars[i].events)
            for i in bars
        ]

    @cached_property
    def letters(self) -> list[str]:
        return letters_of([self.music(section) for section in self.sections])

    def has_endings(self, section: range) -> bool:
        return any(self.bars[i].ending for i in section)

    @cached_property
    def groups(self) -> list[str]:
        """Letters of the groups of four bars; none where a section does not divide into them."""
        groups = []
        for section in self.sections:
            music = self.music(section)
            if len(music) % 4 or self.has_endings(section):
                return []
            groups += [music[i : i + 4] for i in range(0, len(music), 4)]
        return [letter.lower() for letter in letters_of(groups)] if len(groups) > 1 else []

    @cached_property
    def played(self) -> list[str]:
        """Letters of the sections as a player meets them; [] where signs leave doubt."""
        events = [spot.event for spot in self.spots]
        signs = [(*e.decorations, *e.annotations, e.chord_symbol) for e in events]
        texts = [text.lower() for of_event in signs for text in of_event]
        if any(jump in text for text in texts for jump in JUMPS):
            return []
        letter_at = {s[0]: letter for s, letter in zip(self.sections, self.letters, strict=True)}
        order: list[str] = []
        i = start = 0  # this bar, and where a repeat goes back to
        turn, end = 1, len(self.bars)  # which time we hear what is repeated, and its last bar
        while i < len(self.bars):
            bar = self.bars[i]
            if i > end or (bar.repeat_start and i > start):
                start, turn, end = i, 1, len(self.bars)
            if bar.ending and turn not in self.turns(i):
                i = self.behind_ending(i)
                continue
            if i in letter_at:
                order.append(letter_at[i])
            i += 1
            if bar.barline == ":|":
                end = next(section[-1] for section in self.sections if i - 1 in section)
                endings = {n for k in range(start, end + 1) for n in self.turns(k)}
                several = sum(start <= begin < i for begin in letter_at) > 1
                if (several and not self.bars[start].repeat_start) or turn == max(
                    endings, default=0
                ):
                    return []
                if turn < max(endings, default=2):
                    i, turn = start, turn + 1
        return order if len(order) > 1 else []

    def turns(self, i: int) -> set[int]:
        """The turns for which the ending that begins with bar i is played."""
        return {int(n) for n in re.findall(r"\d+", self.bars[i].ending)}

    def behind_ending(self, i: int) -> int:
        """The first bar behind the ending that begins with bar i."""
        while not (self.bars[i].ending_stop or self.bars[i].barline == ":|"):
            i += 1
            if i == len(self.bars) or self.bars[i].ending:
                return i
        return i + 1

    # --- Beats ---

    @cached_property
    def syncopations(self) -> int | None:
        """Notes inside which a beat falls, but none on their beginning; None without a beat.

        A short bar counts its beats from its end where it begins a section (the tune: as a
        pick-up), from its beginning where it ends one; elsewhere nobody can say where they are.
        """
        beats, onset = [], Fraction(0)
        for i, bar in enumerate(self.bars):
            text = {"C": "4/4", "C|": "2/2"}.get(self.meters[i].text, self.meters[i].text)
            match = re.fullmatch(r"(\d+)/(\d+)", text)
            if not match:
                return None
            top, bottom = map(int, match.groups())
            threes = top > 3 and top % 3 == 0 and bottom > 4
            beat = Fraction(3 if threes else 1, bottom)
            missing = Fraction(top, bottom) - bar.duration
            begins = self.begins_section(i) if i else self.numbers[0] == 0
            last = i + 1 == len(self.bars)
            ends = last or self.begins_section(i + 1) or self.bars[i + 1].ending
            if missing < 0 or (missing and not (begins or ends)):
                return None
            place = -missing % beat if begins else Fraction(0)
            while place < bar.duration:
                beats.append(onset + place)
                place += beat
            onset += bar.duration
        count, on = 0, set(beats)
        for sound in self.line:
            begin, end = sound.spot.onset, sound.spot.onset + sound.duration
            count += begin not in on and any(begin < beat < end for beat in beats)
        return count
