"""Facts: every claim of an analysis, checked against the tune.

ROUGE and its like compare words, and a wrong number is one word of many.  What our analyses say is
computed, so each claim (`claims.py`) has a true value here, and an answer's claims are right, wrong
or, where the tune does not tell, not to be checked; those of the true answer that it does not make
are missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from nota_jax.data.build.prose import key_name
from nota_jax.errors import UserError
from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.bootstrap import Marks
from nota_jax.evaluation.claims import Claim, claims, sentences
from nota_jax.evaluation.reading import page_tune
from nota_jax.notation.theory.facts import Facts, Leap, facts
from nota_jax.notation.theory.intervals import interval_name, note_name, pitch_class

# What only the source tells, so that the true answer is the witness.
SOURCES = ("kind of tune",)


def marks(answer: Answer) -> Marks:
    """(sum, weight) of every figure; {} for what is no analysis, or of a tune that nobody knows."""
    if answer.task != "analysis" or not answer.about.get("abc"):
        return {}
    right, wrong, unchecked = judge(answer)
    said, wanted = answer.said or "", {name for name, _ in _claims(answer.truth)[0]}
    names_right = {name for name, _ in right}
    named = {name for name, _ in _claims(said)[0]}
    return {
        "facts.right": (len(right), len(right) + len(wrong)),
        "facts.wrong": (len(wrong), len(right) + len(wrong)),
        "facts.found": (len(wanted & names_right), len(wanted)),
        "facts.missing": (len(wanted - named), len(wanted)),
        "facts.unchecked": (unchecked, len(right) + len(wrong) + unchecked),
    }


def judge(answer: Answer) -> tuple[list[Claim], list[Claim], int]:
    """The claims that are right, those that are wrong, and how many cannot be checked."""
    said, unread = _claims(answer.said or "")
    known = known_of(answer)
    right, wrong, unchecked = list[Claim](), list[Claim](), unread
    for name, value in said:
        true = known.get(name)
        if true is None:
            unchecked += 1
        else:
            (right if agrees(value, true) else wrong).append((name, value))
    return right, wrong, unchecked


def known_of(answer: Answer) -> dict[str, Hashable]:
    """The true value of every claim that an answer may make."""
    return true_values(str(answer.about.get("abc", ""))) | {
        name: value for name, value in _claims(answer.truth)[0] if name in SOURCES
    }


def agrees(said: Hashable, true: Hashable) -> bool:
    """A share may be off by a hundredth where it is "about" so many; all else is equal or not."""
    if not isinstance(true, Share):
        return said == true
    if said in ("all", "none"):
        return true.exact == (1 if said == "all" else 0)
    if said in ("hardly any", "nearly all"):
        few = true.exact if said == "hardly any" else 1 - true.exact
        return 0 < few < Fraction(2, 100)
    percent = int(re.sub(r"\D", "", str(said)))
    return abs(percent - 100 * true.exact) <= 1


@dataclass(frozen=True)
class Share:
    """A part of a whole, 0 … 1."""

    exact: Fraction


@lru_cache(maxsize=65536)
def _claims(text: str) -> tuple[tuple[Claim, ...], int]:
    """All distinct claims of an answer, and how many of its sentences make none."""
    found, unread = dict[Claim, None](), 0
    for sentence in sentences(text):
        said = claims(sentence)
        unread += said == ()
        found |= dict.fromkeys(said or ())
    return tuple(found), unread


@lru_cache(maxsize=4096)
def true_values(abc: str) -> dict[str, Hashable]:
    """The value of every claim about a page's tune; absent or None: nobody can say."""
    tune = page_tune(abc)
    if tune is None:
        return {}
    try:
        of = facts(tune)
    except UserError:  # no notes
        return {}
    return {name: value(of) for name, value in _TRUE.items()} | _tuplets(of)


def _tuplets(of: Facts) -> dict[str, Hashable]:
    return {f"{size}-tuplets": dict(of.tuplets).get(size, 0) for size in range(2, 17)}


def _bar(of: Facts, index: int) -> int:
    return of.numbers[index]


def _widest(value: Callable[[Facts, Leap], Hashable]) -> Callable[[Facts], Hashable]:
    return lambda of: None if of.widest is None else value(of, of.widest)


def _moves(of: Facts) -> int:
    return of.steps + of.leaps + of.repeated


def _share(part: int, whole: int) -> Share | None:
    return Share(Fraction(part, whole)) if whole else None


def _commonest(of: Facts) -> frozenset[Fraction]:
    """At most two, as many as our analyses name."""
    most = of.durations[0][1]
    return frozenset([length for length, count in of.durations if count == most][:2])


def _ends(of: Facts) -> str:
    way = (of.last.midi > of.first.midi) - (of.last.midi < of.first.midi)
    return {1: "higher", -1: "lower", 0: "as it began"}[way]


def _final_degree(of: Facts) -> int | None:
    """0 for a note that is altered against the key; None without a tonic."""
    return (of.final_degree or 0) if of.last_key.tonic else None


_TRUE: Mapping[str, Callable[[Facts], Hashable]] = {
    "sections": lambda of: len(of.sections),
    "section lengths": lambda of: tuple((s.letter, s.n_bars) for s in of.sections),
    "order": lambda of: "".join(of.order) or None,
    "repeats": lambda of: len(of.order) > len(of.sections) if of.order else None,
    "phrases": lambda of: "".join(of.phrases) or None,
    "bars": lambda of: None if of.meter.duration is None else of.n_bars,
    "pick-up": lambda of: None if of.meter.duration is None else of.pickup > 0,
    "length of the pick-up": lambda of: of.pickup,
    "range": lambda of: interval_name(of.lowest, of.highest),
    "range in semitones": lambda of: of.highest.midi - of.lowest.midi,
    "lowest note": lambda of: note_name(of.lowest),
    "highest note": lambda of: note_name(of.highest),
    "bar of the highest note": lambda of: _bar(of, of.highest_bar),
    "bar of the lowest note": lambda of: _bar(of, of.lowest_bar),
    "contour": lambda of: of.contour,
    "first note": lambda of: note_name(of.first),
    "last note": lambda of: note_name(of.last),
    "ends": _ends,
    "from first to last": lambda of: interval_name(of.first, of.last),
    "moves": _moves,
    "share of steps": lambda of: _share(of.steps, _moves(of)),
    "share of leaps": lambda of: _share(of.leaps, _moves(of)),
    "share of repeated notes": lambda of: _share(of.repeated, _moves(of)),
    "prevails": lambda of: (
        "neither" if of.steps == of.leaps else "steps" if of.steps > of.leaps else "leaps"
    ),
    "widest interval": _widest(lambda of, leap: interval_name(leap.first, leap.second)),
    "way of the widest interval": _widest(
        lambda of, leap: "upwards" if leap.semitones > 0 else "downwards"
    ),
    "notes of the widest interval": _widest(
        lambda of, leap: (note_name(leap.first), note_name(leap.second))
    ),
    "bar of the widest interval": _widest(lambda of, leap: _bar(of, leap.bar)),
    "meter": lambda of: of.meter.text,
    "commonest values": _commonest,
    "count of the commonest values": lambda of: of.durations[0][1],
    "share of the commonest value": lambda of: _share(
        of.durations[0][1], sum(count for _, count in of.durations)
    ),
    "shortest value": lambda of: min(length for length, _ in of.durations),
    "longest value": lambda of: max(length for length, _ in of.durations),
    "syncopations": lambda of: of.syncopations,
    "rests": lambda of: of.n_rests,
    "grace notes": lambda of: of.n_graces,
    "changes of meter": lambda of: tuple((m.text, _bar(of, i)) for i, m in of.meter_changes),
    "key": lambda of: key_name(of.key),
    "signature": lambda of: of.key.fifths,
    "changes of key": lambda of: tuple((key_name(k), _bar(of, i)) for i, k in of.key_changes),
    "number of pitch classes": lambda of: len(of.pitch_classes),
    "pitch classes": lambda of: frozenset(of.pitch_classes),
    "pentatonic": lambda of: of.pentatonic,
    "accidentals drawn": lambda of: of.drawn_accidentals,
    "last pitch class": lambda of: pitch_class(of.last),
    "final degree": _final_degree,
    "key at the end": lambda of: key_name(of.last_key),
    "section ends": lambda of: tuple((pitch_class(note), d) for note, d in of.section_ends),
}
