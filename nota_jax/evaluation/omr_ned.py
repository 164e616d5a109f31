"""OMR-NED: the edit distance between two drawn scores, over the symbols of both.

`musicdiff` computes it (P. Torras, S. Biswas and A. Fornés proposed the edits; G. Chapman's package
normalises them); it needs the extra `[omr-ned]`.  Figures move by tens of points with what turns a
text into a score and with the level of detail, so both are said beside the number, and how many
answers could be compared at all.  Half a second a page, a minute at most: `score --omr-ned`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module, metadata
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from nota_jax import progress
from nota_jax.errors import UserError
from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.bootstrap import Marks
from nota_jax.evaluation.reading import music
from nota_jax.evaluation.transcription import place_of
from nota_jax.notation import musicxml
from nota_jax.notation.tune import Tune
from nota_jax.units import GIB
from nota_jax.workers import usual

SECONDS = 60.0  # for one page; most take half a second
MOST_MEMORY = 4 * GIB  # of a process
_NOT_COMPARED: Marks = {"abc.omr_ned_compared": (0.0, 1.0)}
_SPAWN = get_context("spawn")


def needed() -> None:
    """Raises a `UserError` where musicdiff is not installed."""
    try:
        import_module("musicdiff")
    except ImportError:
        raise UserError(
            "OMR-NED needs musicdiff, which is not installed: pip install 'nota_jax[omr-ned]'"
        ) from None


def about() -> str:
    versions = ", ".join(f"{p} {metadata.version(p)}" for p in ("musicdiff", "music21"))
    return (
        f"{versions}, detail Default; ABC read by nota_jax and handed over as a music21 score, "
        "without beams; what cannot be read counts as an empty score, a page that takes longer "
        f"than {SECONDS:.0f} seconds or {MOST_MEMORY // GIB} GiB is left out"
    )


def marks(answers: Sequence[Answer], seconds: float = SECONDS) -> list[Marks]:
    """Of each answer that is a whole page; {} for others.  Sums are edits, weights symbols."""
    asked = [i for i, answer in enumerate(answers) if answer.subtask == "abc"]
    workers = min(usual(), max(len(asked), 1))
    found: list[Marks] = [{} for _ in answers]
    shares = [[(i, answers[i]) for i in asked[n::workers]] for n in range(workers)]
    said = progress.bar(total=len(asked), desc="OMR-NED", unit="page", leave=False)
    with said as bar, ThreadPoolExecutor(workers) as pool:
        for share in pool.map(partial(_guarded, seconds=seconds, done=bar.update), shares):
            for i, of_page in share:
                found[i] = of_page
    return found


def _guarded(
    share: Sequence[tuple[int, Answer]], seconds: float, done: Callable[[], object]
) -> list[tuple[int, Marks]]:
    """Compares in a process that may be ended: of some bars musicdiff tries every pairing, for
    hours, and takes all the memory there is."""
    found: list[tuple[int, Marks]] = []
    process, pipe = None, None
    for i, answer in share:
        if process is None or pipe is None:
            pipe, theirs = _SPAWN.Pipe()
            process = _SPAWN.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            pipe.recv()  # it has imported what it needs
        try:
            pipe.send(answer)
            found.append((i, pipe.recv() if pipe.poll(seconds) else _NOT_COMPARED))
            over = found[-1][1] is _NOT_COMPARED
        except (EOFError, OSError):  # it died
            found.append((i, _NOT_COMPARED))
            over = True
        done()
        if over:
            process.kill()
            process = pipe = None
    if process is not None:
        process.kill()
    return found


def _serve(pipe: Connection) -> None:
    """Answers with the marks of every answer it is sent."""
    import resource  # there is none on Windows, where only this would miss it

    import_module("musicdiff")
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    pipe.send("ready")
    while True:
        try:
            answer = pipe.recv()
        except EOFError:
            return
        pipe.send(mark(answer))


def mark(answer: Answer) -> Marks:
    place = place_of(answer)
    truth, read = music(answer.truth, place, is_canonical=True), music(answer.said or "", place)
    try:
        there = _annotated(truth.tune)
        size = there.notation_size()
        if read.tune is None or not read.tune.bars:
            return {"abc.omr_ned": (size, size), "abc.omr_ned_compared": (1, 1)}
        found = _annotated(read.tune)
        _, edits = import_module("musicdiff").Comparison.annotated_scores_diff(found, there)
        size += found.notation_size()
    except Exception:  # whatever another program makes of music that a model invented
        return dict(_NOT_COMPARED)
    return {"abc.omr_ned": (edits, size), "abc.omr_ned_compared": (1, 1)}


def _annotated(tune: Tune | None) -> Any:
    assert tune is not None, "the true answer of a dataset can be read"
    return import_module("musicdiff").AnnScore(musicxml.score(tune))
