"""Scores of a transcription: as text, as notes, as bars.

As text it is compared as it stands, and after both sides have been brought to one spelling
(`reading.music`).  As music, the notes that sound are aligned (`alignment`), so that one note left
out does not spoil those behind it, and errors of pitch and of length are told apart.
"""

from __future__ import annotations

from functools import lru_cache

from rapidfuzz.distance import Levenshtein

from nota_jax.evaluation.alignment import BarErrors, NoteErrors, compare_bars, compare_notes
from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.bootstrap import Marks
from nota_jax.evaluation.metrics import TRANSCRIPTIONS
from nota_jax.evaluation.reading import Music, Place, music, tidy
from nota_jax.notation.abc.tokens import symbols


def marks(answer: Answer) -> Marks:
    """(sum, weight) of every figure; {} for what is no transcription."""
    if answer.subtask not in TRANSCRIPTIONS:
        return {}
    place = place_of(answer)
    # A fragment that ends in "|" is read as a tune that ends there, whose last barline is "|]".
    truth = music(answer.truth, place, is_canonical=answer.subtask == "abc")
    read = music(answer.said or "", place)
    found = dict[str, tuple[float, float]]()
    found |= _of_text(tidy(answer.truth), tidy(answer.said or ""), truth, read)
    if truth.tune is not None:
        found |= _of_music(truth, read)
    return {f"{answer.subtask}.{name}": pair for name, pair in found.items()}


def place_of(answer: Answer) -> Place:
    """Where on its page the answer stands."""
    page = str(answer.about.get("abc", ""))
    if answer.subtask == "abc":
        return Place(page)
    first, _, _ = str(answer.about.get("highlight", "")).partition("-")
    return Place(page, int(first) if first.isdigit() else 0)


def distance(answer: Answer) -> int:
    """Levenshtein's distance in characters, as the texts stand."""
    return Levenshtein.distance(tidy(answer.truth), tidy(answer.said or ""))


def _of_text(truth: str, read: str, true_music: Music, music_read: Music) -> Marks:
    """Rates of all: errors over the length of all true texts; `normalised`: mean over answers of
    the distance over the longer text; symbols and lines: Levenshtein's distance over those of the
    canonical texts."""
    raw = Levenshtein.distance(truth, read)
    canonical = _pair(true_music.canonical, music_read.canonical)
    length, longest = len(truth), max(len(truth), len(read))
    of_symbols, read_symbols = (_symbols(m.canonical) for m in (true_music, music_read))
    of_lines, read_lines = (m.canonical.split("\n") for m in (true_music, music_read))
    symbols_wrong = Levenshtein.distance(of_symbols, read_symbols)
    lines_wrong = Levenshtein.distance(of_lines, read_lines)
    return {
        "distance": (raw, 1),
        "normalised": (raw / longest if longest else 0, 1),
        "character_errors": (raw, length),
        "canonical_distance": (canonical, 1),
        "canonical_character_errors": (canonical, len(true_music.canonical)),
        "symbol_errors": (symbols_wrong, len(of_symbols)),
        "line_errors": (lines_wrong, len(of_lines)),
        "exact": (raw == 0, 1),
        "canonical_exact": (canonical == 0, 1),
        "valid": (music_read.tune is not None, 1),
    }


def _of_music(truth: Music, read: Music) -> Marks:
    """What cannot be read has no notes and no bars: all are missing, none is invented."""
    n, b = notes(truth, read), bars(truth, read)
    in_truth, in_read = len(truth.notes), len(read.notes)
    found = {
        "note_precision": (n.right, in_read),
        "note_recall": (n.right, in_truth),
        "note_f1": (2 * n.right, in_truth + in_read),
        "pitch_errors": (n.pitch + n.both, in_truth),
        "rhythm_errors": (n.rhythm + n.both, in_truth),
        "notes_missing": (n.missing, in_truth),
        "notes_invented": (n.invented, in_read),
        "bars_right": (b.right, len(truth.bars)),
        "bars_missing": (b.missing, len(truth.bars)),
        "bars_invented": (b.invented, len(read.bars)),
        "music_right": (same_music(truth, read), 1),
        "bars_off_meter": (read.off_meter, len(read.bars)),
        "true_bars_off_meter": (truth.off_meter, len(truth.bars)),
    }
    return {name: (float(total), float(weight)) for name, (total, weight) in found.items()}


def same_music(truth: Music, read: Music) -> bool:
    """All bars, repeats, endings, the key and the meter: what is played is the same."""
    if truth.tune is None or read.tune is None:
        return False
    same = truth.bars == read.bars and truth.repeats == read.repeats
    return same and (truth.tune.key, truth.tune.meter) == (read.tune.key, read.tune.meter)


def notes(truth: Music, read: Music) -> NoteErrors:
    return compare_notes(truth.notes, read.notes)


def bars(truth: Music, read: Music) -> BarErrors:
    return compare_bars(truth.bars, read.bars)


def _pair(truth: str, read: str) -> int:
    return Levenshtein.distance(truth.strip(), read.strip())


@lru_cache(maxsize=4096)
def _symbols(text: str) -> tuple[str, ...]:
    return tuple(symbols(text))
