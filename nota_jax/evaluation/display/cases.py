"""Which pictures a report shows: of each kind the best, median and worst, and every failure mode.

A failure mode gives each answer that it asks about a weight, 0 where it went well there; shown are
those of the most weight, of different tunes where there are some, each picture once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.bootstrap import Marks
from nota_jax.evaluation.display.pictures import KINDS, MEASURES, Picture
from nota_jax.evaluation.metrics import FIELDS, TRANSCRIPTIONS
from nota_jax.units import percent

EACH = 2  # pictures of a section

Weigh = Callable[[Answer, Marks], float | None]


@dataclass(frozen=True)
class Mode:
    """A way to fail.  weigh: how badly an answer did so, None where it was not asked about it;
    share: the weight is one, and worth saying."""

    name: str
    says: str
    weigh: Weigh
    share: bool = True


@dataclass(frozen=True)
class Case:
    """A picture, and of a failure mode the answer that is meant and how badly it failed."""

    picture: Picture
    answer: str = ""
    weight: str = ""


@dataclass(frozen=True)
class Section:
    """Some cases under a heading.  failed, asked: answers of a failure mode; asked 0: no mode."""

    name: str
    says: str
    cases: tuple[Case, ...]
    failed: int = 0
    asked: int = 0

    @property
    def anchor(self) -> str:
        """Of a link to it: "Bars missing" → "bars-missing"."""
        return re.sub(r"[^a-z]+", "-", self.name.lower()).strip("-")


def called(subtask: str) -> str:
    return {"abc": "whole page", "alignment": "highlighted bars"}.get(
        subtask, subtask.replace("_", " ")
    )


def _share(*names: str) -> Weigh:
    """Of the marks of those names that an answer has, the sum over the weight."""

    def weigh(_: Answer, marks: Marks) -> float | None:
        pairs = [marks[name] for name in names if name in marks]
        weight = sum(weight for _, weight in pairs)
        return sum(total for total, _ in pairs) / weight if weight else None

    return weigh


def _transcribed(figure: str) -> Weigh:
    return _share(*(f"{name}.{figure}" for name in TRANSCRIPTIONS))


def _not(weigh: Weigh) -> Weigh:
    def other(answer: Answer, marks: Marks) -> float | None:
        found = weigh(answer, marks)
        return None if found is None else 1 - found

    return other


def _off_meter(_: Answer, marks: Marks) -> float | None:
    """Bars beyond those that are so in the book."""
    for name in TRANSCRIPTIONS:
        if f"{name}.bars_off_meter" in marks:
            read, bars = marks[f"{name}.bars_off_meter"]
            true = marks[f"{name}.true_bars_off_meter"][0]
            return max(0.0, read - true) / bars if bars else 0.0
    return None


def _only_spelling(answer: Answer, marks: Marks) -> float | None:
    """The characters that differ although all of the music is right."""
    name = answer.subtask
    right = marks.get(f"{name}.music_right")
    return None if right is None else right[0] * marks[f"{name}.distance"][0]


def _told(flag: Callable[[Answer], bool | None]) -> Weigh:
    def weigh(answer: Answer, _: Marks) -> float | None:
        found = flag(answer)
        return None if found is None else float(found)

    return weigh


_FIELDS_WRONG = {
    "title": "The title is another, where the answer may say it in its own words.",
    "composer": "Another composer, or one where none is printed, or none where one is.",
    "key": "Another tonic or mode; “same signature” in the tables forgives C for Am.",
    "meter": "Another time signature; C and 4/4 are one.",
    "unit_note_length": "Another unit note length (L:).",
}
MODES: tuple[Mode, ...] = (
    Mode("Answered with the composer, or with the title",
         "Asked for the one, the answer is the other; over pages that print both.",
         _share("confusion.title.other", "confusion.composer.other"), False),
    Mode("“None is printed”, said of what is", "Over pages that print a title and a composer.",
         _share("confusion.title.nothing", "confusion.composer.nothing"), False),
    Mode("Named, but not printed", "A title, composer, key or meter that the page does not have.",
         _share("hallucination.fields"), False),
    Mode("Notes that are not there", "In nobody's place: a misread note is not meant.",
         _transcribed("notes_invented")),
    Mode("Bars that are not there", "", _transcribed("bars_invented")),
    Mode("Notes missing", "", _transcribed("notes_missing")),
    Mode("Bars missing", "", _transcribed("bars_missing")),
    Mode("Wrong pitches", "", _transcribed("pitch_errors")),
    Mode("Wrong lengths", "", _transcribed("rhythm_errors")),
    Mode("Bars that disagree with the meter",
         "More of them than in the book, which has some too; pick-ups, repeats and endings may.",
         _off_meter),
    Mode("No valid ABC", "Nothing of it counts as read; what stands before the first fault is "
         "drawn.", _not(_transcribed("valid")), False),
    Mode("Text differs, all of the music is right", "What a distance of characters counts as an "
         "error and nobody would hear.", _only_spelling, False),
    *(Mode(f"Wrong {field.replace('_', ' ')}", says, _not(_share(f"{field}.lenient")), False)
      for field, says in _FIELDS_WRONG.items() if field in FIELDS),
    Mode("Facts that the tune contradicts", "Of those that can be checked.",
         _share("facts.wrong")),
    Mode("Facts left out", "Of those of the true answer.", _share("facts.missing")),
    Mode("Cut off by the limit of new tokens", "", _told(lambda answer: answer.cut), False),
    Mode("No answer", "Asked and not answered, or too long to ask.",
         _told(lambda answer: answer.said is None or not answer.said.strip()), False),
)  # fmt: skip


def sections(pictures: Sequence[Picture], each: int = EACH) -> list[Section]:
    """The gallery.  A failure mode that nothing was asked about is left out; one that no answer
    shows has no cases."""
    found = [*_by_rank(pictures, each)]
    shown = {case.picture.id for section in found for case in section.cases}
    for mode in MODES:
        if section := _of_mode(mode, pictures, each, shown):
            found.append(section)
            shown |= {case.picture.id for case in section.cases}
    return found


def _by_rank(pictures: Sequence[Picture], each: int) -> Iterator[Section]:
    """Of each kind the best, the median and the worst; where there are few, fewer of each."""
    for kind in KINDS:
        # Of two that are equally right the longer is the better one.
        ranked = sorted((p for p in pictures if p.kind == kind), key=lambda p: (p.error, -p.notes))
        some = min(each, -(-len(ranked) // 3))
        middle = max(some, (len(ranked) - some) // 2)
        for name, part in (
            ("best", ranked[:some]),
            ("median", ranked[middle : max(middle, min(middle + some, len(ranked) - some))]),
            ("worst", ranked[max(some, len(ranked) - some) :][::-1]),
        ):
            if part:
                says = f"Of {len(ranked)}, by {MEASURES[kind]}."
                cases = tuple(Case(p, weight=f"{percent(p.error)} wrong") for p in part)
                yield Section(f"{kind.capitalize()}: {name}", says, cases)


def _of_mode(mode: Mode, pictures: Sequence[Picture], each: int, shown: set[str]) -> Section | None:
    failed, asked = list[tuple[float, int, Picture, Answer]](), 0
    for picture in pictures:
        for answer, marks in zip(picture.answers, picture.marks, strict=True):
            weight = mode.weigh(answer, marks)
            asked += weight is not None
            if weight:
                failed.append((weight, len(failed), picture, answer))
    if not asked:
        return None
    # The worst first; what is shown elsewhere, or of a tune that is, only where nothing else is.
    failed.sort(key=lambda case: (case[2].id in shown, -case[0], case[1]))
    chosen = dict[str, Case]()
    for badly, _, picture, asked_about in failed:
        if len(chosen) < each and asked_about.page not in chosen:
            said = percent(min(badly, 1.0)) if mode.share else ""
            chosen[asked_about.page] = Case(picture, called(asked_about.subtask), said)
    return Section(mode.name, mode.says, tuple(chosen.values()), len(failed), asked)
