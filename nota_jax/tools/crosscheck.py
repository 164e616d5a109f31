"""Our parser against music21's, note by note.

    python -m nota_jax.tools.crosscheck [--every N] [--out FILE] [CORPUS …]

reads the tunes that the build would read (a CORPUS is named as there, default: all folk tunes
inside the music21 package) with both parsers and compares every sounding note's pitch, onset and
duration (ties joined, grace notes and chord symbols left out).  Each tune's verdict goes to FILE as
a line of JSON; started again, tunes that are in FILE are not read again.  The verdicts are
explained in docs/datasets.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from nota_jax import progress, tables
from nota_jax.data.build import corpora
from nota_jax.data.build.corpora import SourceTune
from nota_jax.errors import UserError, exit_status
from nota_jax.notation.abc import AbcError, parse
from nota_jax.notation.walk import Sounding, sounding_notes

VERDICTS = {
    "agree": "the same notes",
    "rests": "the same pitches and durations, other onsets",
    "pitch": "the same onsets and durations, other pitches",
    "duration": "the same pitches, other durations",
    "notes": "other notes",
    "music21 fails": "music21 raises an exception",
    "refused": "our parser raises AbcError",
}


def music21_notes(text: str) -> list[Sounding]:
    """The sounding notes that music21 reads, in the order of `sounding_notes`.

    It reads as ABC 2.1, since by default it takes files without a version for ABC 1.3, where no
    accidental holds to the end of its bar, which is not what these files mean.
    """
    from music21 import abcFormat, harmony

    handler = abcFormat.ABCHandler(abcVersion=(2, 1, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        handler.process(text)
        score = abcFormat.translate.abcToStreamScore(handler)
    done: list[list] = []  # [onset, duration, midi]
    open_ties: dict[int, int] = {}
    for element in score.flatten().notesAndRests:
        if isinstance(element, harmony.ChordSymbol) or element.duration.isGrace:
            continue
        onset, length = (Fraction(x) / 4 for x in (element.offset, element.quarterLength))
        next_ties = {}
        heads = [] if element.isRest else element.notes if element.isChord else [element]
        for head in sorted(heads, key=lambda head: head.pitch.diatonicNoteNum):
            tie = head.tie or element.tie
            if head.pitch.midi in open_ties:
                i = open_ties[head.pitch.midi]
                done[i][1] += length
            else:
                i = len(done)
                done.append([onset, length, head.pitch.midi])
            if tie is not None and tie.type in ("start", "continue"):
                next_ties[head.pitch.midi] = i
        open_ties = next_ties
    return [Sounding(*note) for note in done]


def compare(ours: Sequence[Sounding], theirs: Sequence[Sounding]) -> tuple[str, str]:
    """(verdict, first difference in words); onsets count from the first note."""
    if len(ours) != len(theirs):
        counts = f"{len(ours)} notes here, {len(theirs)} in music21"
        first = next((i for i in range(min(len(ours), len(theirs))) if ours[i] != theirs[i]), None)
        if first is None:
            return "notes", f"{counts}: the last ones are missing"
        return "notes", f"{counts}; {_difference(ours, theirs, first)}"
    pairs = list(zip(ours, theirs, strict=True))
    checks = {
        name: [a == b for a, b in ((field(x), field(y)) for x, y in pairs)]
        for name, field in (
            ("pitch", lambda note: note.midi),
            ("duration", lambda note: note.duration),
            ("rests", lambda note: note.onset),
        )
    }
    wrong = [name for name, equal in checks.items() if not all(equal)]
    if not wrong:
        return "agree", ""
    verdict = wrong[0] if wrong[0] != "pitch" or len(wrong) == 1 else "notes"
    i = checks[wrong[0]].index(False)
    return verdict, _difference(ours, theirs, i)


def _difference(ours: Sequence[Sounding], theirs: Sequence[Sounding], i: int) -> str:
    return f"note {i + 1}: {_words(ours[i])} here, {_words(theirs[i])} in music21"


def _words(note: Sounding) -> str:
    return f"midi {note.midi} at {note.onset} for {note.duration}"


def judge(source: SourceTune) -> tuple[str, str]:
    """(verdict, detail) of one tune."""
    try:
        ours = sounding_notes(parse(source.text, source=source.file, line=source.line))
    except AbcError as error:
        return "refused", str(error)
    try:
        return compare(ours, music21_notes(source.text))
    except Exception as error:  # whatever a foreign parser raises is its verdict
        return "music21 fails", f"{type(error).__name__}: {error}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; prints the table of verdicts."""
    parser = argparse.ArgumentParser(description="Compare the ABC parser with music21's.")
    parser.add_argument("corpora", nargs="*", help="as in nota_jax.data.build; default: all")
    parser.add_argument("--every", type=int, default=1, help="read every N-th tune only")
    parser.add_argument("--out", type=Path, default=Path("crosscheck.jsonl"), help="verdicts")
    options = parser.parse_args(arguments)
    every = max(options.every, 1)
    chosen = list(corpora.read(options.corpora or None))[every - 1 :: every]
    try:
        verdicts = _judge_all(chosen, options.out)
    except OSError as error:
        raise UserError(str(error)) from error
    counts = Counter(verdicts[source.id] for source in chosen)
    rows = [[verdict, meaning, f"{counts[verdict]:,}"] for verdict, meaning in VERDICTS.items()]
    print(tables.text(("verdict", "meaning", "tunes"), rows, left=2))


def _judge_all(sources: Sequence[SourceTune], path: Path) -> dict[str, str]:
    """The verdict on every tune by its id; those that are in the file already are not read again.

    A last line that an interruption cut off is no verdict.
    """
    verdicts = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            row = json.loads(line)
            verdicts[row["id"]] = row["verdict"]
    with path.open("a", encoding="utf-8") as out:
        for source in progress.bar(sources, unit=" tunes"):
            if source.id in verdicts:
                continue
            verdict, detail = judge(source)
            verdicts[source.id] = verdict
            row = {"id": source.id, "line": source.line, "verdict": verdict, "detail": detail}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()
    return verdicts


if __name__ == "__main__":
    sys.exit(exit_status(main, interrupted="the same command continues"))
