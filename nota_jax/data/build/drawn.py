"""From a source tune to its records: what a worker process does, all of it.

Whoever hands out the work has only to write down what comes back, so that many processes can work
for one.  A job is one drawing, for a crash of the engraver is to cost no more than that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from nota_jax.data.build.corpora import SourceTune
from nota_jax.data.build.pages import Drawing, Settings, drawings, pages, scanned
from nota_jax.data.build.report import Tally
from nota_jax.data.build.surroundings import surrounded
from nota_jax.data.records import Page
from nota_jax.data.store import layout
from nota_jax.notation import abc
from nota_jax.notation.engraving.layout import Picture, engrave_each
from nota_jax.notation.engraving.pool import reason_of

# (split, record) of every page.
Records = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Plan:
    """A source tune and how it will be drawn: not at all where it cannot be read."""

    drawings: tuple[Drawing, ...]
    tally: Tally


@dataclass(frozen=True, eq=False)
class Drawer:
    """A worker's task: the records of one drawing, and what was counted on the way.

    homes: as from `splits.representatives`.  What is counted of a tune comes with its first
    drawing.
    """

    settings: Settings
    homes: Mapping[str, str]
    engrave: Callable[..., tuple[Picture, ...]] = field(default=engrave_each)

    def __call__(self, source: SourceTune, number: int) -> tuple[Records, Tally]:
        """Of the drawing of that number; nothing where the tune has not so many."""
        plan, tally, records = self.plan(source), Tally(), Records()
        if number == 0:
            tally.add(plan.tally)
        for drawing in plan.drawings[number : number + 1]:
            records += self._records(drawing, tally)
        return records, tally

    def plan(self, source: SourceTune) -> Plan:
        return _plan(source, self)

    def lost(self, source: SourceTune, number: int, reason: str) -> tuple[Records, Tally]:
        """What is to be said of a drawing that its worker died of."""
        plan, tally = self.plan(source), Tally()
        if number == 0:
            tally.add(plan.tally)
        for drawing in plan.drawings[number : number + 1]:
            tally.drop("engrave", reason, f"{drawing.id}: {reason}")
        return [], tally

    def _records(self, drawing: Drawing, tally: Tally) -> Iterator[tuple[str, bytes]]:
        source = drawing.source
        try:
            highlights = (None, drawing.highlight)
            pictures = self.engrave(drawing.tune, drawing.style, highlights)
        except Exception as error:
            reason = reason_of(error)
            tally.drop("engrave", reason, f"{drawing.id}: {reason}")
            return
        try:
            if drawing.surroundings is not None:
                pictures = surrounded(pictures, drawing.style, drawing.surroundings)
            plain, tinted = pictures
            versions = _versions(drawing, plain, tinted, self.settings)
            records = [layout.encode(version) for version in versions]
        except Exception as error:
            _drop_by_bug(tally, "ask", error, drawing.id)
            return
        tally.count("composer", drawing.composer_source)
        tally.count("staff_spacing", f"{int(plain.staff_spacing * 2) / 2}")
        for version, record in zip(versions, records, strict=True):
            part = version.metadata["split"]
            split = f"{version.task}_{part}"
            tally.count("page", split, source.region)
            tally.count("licence", f"{source.corpus}: {source.licence}")
            for turn in version.turns:
                tally.count("question", f"{turn.task}_{part}", turn.subtask, source.region)
            yield split, record


@functools.lru_cache(maxsize=1)
def _plan(source: SourceTune, drawer: Drawer) -> Plan:
    """Reads and checks a tune and settles how it is drawn; its drawings come one after the other.

    The caller counts the tune itself.
    """
    tally = Tally()
    try:
        tune = abc.parse(source.text, source=source.file, line=source.line)
        problems = {problem.kind: problem for problem in abc.check(tune)}
        sounds = any(event.notes for event in tune.events)
        planned = drawings(source, tune, drawer.settings, drawer.homes) if sounds else ()
    except abc.AbcError as error:
        tally.drop("parse", error.message, str(error))
        return Plan((), tally)
    except Exception as error:
        _drop_by_bug(tally, "parse", error, source.id)
        return Plan((), tally)
    tally.count("parsed", source.region, source.corpus)
    for kind, problem in problems.items():
        tally.count("problem", kind, example=f"{source.id}: {problem}")
    if not sounds:
        tally.drop("parse", "the tune has no notes", source.id)
        return Plan((), tally)
    tally.melodies.add(planned[0].melody_hash)
    return Plan(planned, tally)


def _versions(drawing: Drawing, plain: Picture, tinted: Picture, settings: Settings) -> list[Page]:
    """The pages of a drawing, those to be tested on as scans too."""
    versions = []
    for page in pages(drawing, plain, tinted, settings):
        versions.append(page)
        if drawing.part == "test":
            versions.append(scanned(page))
    return versions


def _drop_by_bug(tally: Tally, stage: str, error: Exception, name: str) -> None:
    """One tune is lost over a bug, not the hours of a build; the report shows it."""
    reason = f"unexpected {type(error).__name__}: {error}"
    tally.drop(stage, reason, f"{name}: {reason}")
