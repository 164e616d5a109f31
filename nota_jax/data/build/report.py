"""What a build reports: every tune in, every page and question out, every drop by reason."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nota_jax import tables
from nota_jax.data.build.questions import ANALYSIS_SUBTASKS, EXTRACTION_SUBTASKS
from nota_jax.data.records import OTHER
from nota_jax.data.store.layout import PARTS, part_of_split

EXAMPLES_PER_REASON = 3
SUBTASKS = ("alignment", *EXTRACTION_SUBTASKS, *ANALYSIS_SUBTASKS, OTHER)


@dataclass
class Tally:
    """What is counted while tunes become pages; adds up over chunks and passes through JSON.

    counts: by a key of words, e.g. ("tunes", "China", "essenFolksong"); the first word says what.
    examples: for ("drop", stage, reason) and ("problem", kind) keys, a few tunes and what they say.
    melodies: transposition-invariant hashes of the parsed tunes.
    """

    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    examples: dict[tuple[str, ...], list[str]] = field(default_factory=lambda: defaultdict(list))
    melodies: set[str] = field(default_factory=set)

    def count(self, *key: str, example: str = "") -> None:
        self.counts[key] += 1
        if example and len(self.examples[key]) < EXAMPLES_PER_REASON:
            self.examples[key].append(example)

    def drop(self, stage: str, reason: str, example: str) -> None:
        """Counts a dropped tune or drawing; reasons that differ in numbers or names are one."""
        self.count("drop", stage, general(reason), example=example)

    def add(self, other: Tally) -> None:
        self.counts.update(other.counts)
        self.melodies |= other.melodies
        for key, examples in other.examples.items():
            self.examples[key] = [*self.examples[key], *examples][:EXAMPLES_PER_REASON]

    def to_json(self) -> dict:
        return {
            "counts": [[list(key), n] for key, n in sorted(self.counts.items())],
            "examples": [[list(key), texts] for key, texts in sorted(self.examples.items())],
            "melodies": sorted(self.melodies),
        }

    @classmethod
    def from_json(cls, data: Mapping) -> Tally:
        """Raises ValueError, TypeError or LookupError where it is no tally's."""
        tally = cls(melodies=set(data["melodies"]))
        if not all(type(n) is int and all(map(_is_text, key)) for key, n in data["counts"]):
            raise ValueError("counts that are no numbers")
        if not all(all(map(_is_text, (*key, *texts))) for key, texts in data["examples"]):
            raise ValueError("examples that are no texts")
        tally.counts.update({tuple(key): n for key, n in data["counts"]})
        tally.examples.update({tuple(key): texts for key, texts in data["examples"]})
        return tally


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def general(reason: str) -> str:
    """A reason without what is peculiar to one tune: quoted texts, fields that were not understood,
    and numbers."""
    reason = re.sub(r"'[^']*'|\"[^\"]*\"|“[^”]*”|‘[^’]*’", "…", reason.splitlines()[0])
    reason = re.sub(r"\b([KLMQ]):.*(?= is no |: do not know)", r"\1:…", reason)
    return re.sub(r"\d+(?:[./]\d+)*", "#", reason)


def report(
    tally: Tally,
    arguments: Mapping,
    tools: Mapping,
    bytes_per_split: Mapping[str, int],
    split: Mapping,
    passed_over: Mapping[str, str],
) -> dict:
    """The content of build_report.json; without dates or durations, so that builds compare.

    split: how tunes were split, as from `splits.summary`.  passed_over: why files hold no tune.
    """
    counts = tally.counts
    return {
        "arguments": dict(arguments),
        "tools": dict(tools),
        "tunes": {
            "in": _total(counts, "tunes"),
            "parsed": _total(counts, "parsed"),
            "drawn": _total(counts, "drawn"),
            "distinct_melodies": len(tally.melodies),
            "in_by_region": _nested(counts, "tunes", (0,)),
            "in_by_corpus": _nested(counts, "tunes", (1, 0)),
            "parsed_by_corpus": _nested(counts, "parsed", (1,)),
            "drawn_by_corpus": _nested(counts, "drawn", (1,)),
        },
        "split": dict(split),
        **pages_and_questions(tally, bytes_per_split),
        "composer_source": _nested(counts, "composer", (0,)),
        "staff_spacing_px": _nested(counts, "staff_spacing", (0,)),
        "licences": _nested(counts, "licence", (0,)),
        "files_without_pages": dict(sorted({**passed_over, **_all_dropped(counts)}.items())),
        "drops": _reasons(tally, "drop"),
        "problems_kept": _reasons(tally, "problem"),
    }


def _all_dropped(counts: Counter) -> dict[str, str]:
    """The files whose tunes were all dropped."""
    drawn = {key[1] for key in counts if key[0] == "drawn file"}
    of_file = {key[1]: n for key, n in counts.items() if key[0] == "file"}
    return {
        file: f"of its {n} tunes none was drawn" if n > 1 else "its one tune was not drawn"
        for file, n in of_file.items()
        if file not in drawn
    }


def pages_and_questions(tally: Tally, bytes_per_split: Mapping[str, int]) -> dict:
    """What came out, of a build of any kind."""
    counts = tally.counts
    pages = _nested(counts, "page", (0,))
    return {
        "pages": pages,
        "pages_by_region": _nested(counts, "page", (1, 0)),
        "bytes": dict(bytes_per_split),
        "bytes_per_page": {split: round(bytes_per_split[split] / n) for split, n in pages.items()},
        "questions": _nested(counts, "question", (0, 1)),
        "questions_by_region": _nested(counts, "question", (2, 1)),
    }


def markdown(report: Mapping) -> str:
    """The report for readers."""
    tunes = report["tunes"]
    sections = {
        "# Build report": [
            f"{tunes['in']} tunes in, {tunes['parsed']} parsed, {tunes['drawn']} drawn; "
            f"{tunes['distinct_melodies']} distinct melodies.",
            f"Arguments: {_inline(report['arguments'])}.",
            f"Tools: {_inline(report['tools'])}.",
        ],
        "## Tunes by corpus": [_tunes_table(report)],
        "## Held-out tunes with a twin in training": [split_text(report["split"])],
        "## Pages": [_pages_table(report)],
        "## Questions": [
            _questions_table(report),
            f"Composer lines: {_inline(report['composer_source'])}.",
            f"Staff spacing in pixels, down to halves: {_inline(report['staff_spacing_px'])}.",
        ],
        "## Dropped": [bullets(report["drops"]) or "Nothing."],
        "## Files that brought nothing": [
            "\n".join(f"- {file}: {why}" for file, why in report["files_without_pages"].items())
            or "None."
        ],
        "## Problems of the sources, drawn as they are": [
            bullets(report["problems_kept"]) or "None."
        ],
        "## Licences of the sources, as far as they are stated": [
            "\n".join(f"- {n} pages: {licence}" for licence, n in report["licences"].items())
        ],
    }
    paragraphs = [part for title, content in sections.items() for part in (title, *content)]
    return "\n\n".join(paragraphs) + "\n"


def split_text(split: Mapping) -> str:
    """How the tunes were split, and how much of what is held out has a twin in training."""
    if split["by"] == "hash":
        return (
            "Split by the melodies' hashes: `python -m nota_jax.tools.twins` says which held-out "
            "tunes have a twin in training."
        )
    counts = [
        f"{part} {held['clusters']['with_training_twin']} of {held['clusters']['tunes']} (by hash "
        f"it would be {held['hash']['with_training_twin']} of {held['hash']['tunes']})"
        for part, held in split["held_out"].items()
    ]
    return (
        f"Split by clusters of near-duplicates: {split['clusters']} clusters of "
        f"{split['tunes_in_clusters']} tunes, the largest of {split['largest_cluster']}. "
        f"With a twin in training: {', '.join(counts)}."
    )


def _tunes_table(report: Mapping) -> str:
    tunes = report["tunes"]
    rows = {
        corpus: {
            **by_region,
            "parsed": tunes["parsed_by_corpus"].get(corpus, 0),
            "drawn": tunes["drawn_by_corpus"].get(corpus, 0),
        }
        for corpus, by_region in tunes["in_by_corpus"].items()
    }
    return _table("corpus", [*_regions(report), "parsed", "drawn"], rows)


def _pages_table(report: Mapping) -> str:
    rows = {
        split: {"pages": n, "bytes per page": report["bytes_per_page"][split]}
        for split, n in report["pages"].items()
    }
    for region, by_split in report["pages_by_region"].items():
        for split, n in by_split.items():
            rows[split][region] = n
    return _table("split", ["pages", *_regions(report), "bytes per page"], rows)


def _questions_table(report: Mapping) -> str:
    rows: dict[str, Counter[str]] = {subtask: Counter() for subtask in SUBTASKS}
    for split, asked in report["questions"].items():
        for subtask, n in asked.items():
            rows[subtask][part_of_split(split)] += n
    for region, asked in report["questions_by_region"].items():
        for subtask, n in asked.items():
            rows[subtask][f"{region}, all"] = n
    return _table("subtask", [*PARTS, *(f"{name}, all" for name in _regions(report))], rows)


def _regions(report: Mapping) -> list[str]:
    return sorted(report["tunes"]["in_by_region"])


def _table(corner: str, columns: list[str], rows: Mapping[str, Mapping[str, int]]) -> str:
    cells = [
        [name, *(f"{counts.get(column, 0):,}" for column in columns)]
        for name, counts in rows.items()
    ]
    return tables.markdown([corner, *columns], cells)


def bullets(reasons: Iterable[Mapping]) -> str:
    lines = []
    for reason in reasons:
        lines.append(f"- **{reason['count']}** {reason['reason']}")
        lines += [f"  - {example}" for example in reason["examples"]]
    return "\n".join(lines)


def _inline(values: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name} {' '.join(value) if isinstance(value, list) else value}"
        for name, value in values.items()
    )


def _total(counts: Counter, what: str) -> int:
    return sum(n for key, n in counts.items() if key[0] == what)


def _nested(counts: Counter, what: str, levels: tuple[int, ...]) -> dict:
    """Counts of one kind, nested by some words of their keys (0 is the first behind `what`)."""
    nested: dict = {}
    for key, n in sorted(counts.items()):
        if key[0] != what:
            continue
        *path, last = (key[1 + level] for level in levels)
        place = nested
        for word in path:
            place = place.setdefault(word, {})
        place[last] = place.get(last, 0) + n
    return nested


def _reasons(tally: Tally, what: str) -> list[dict]:
    """Commonest first."""
    found = [(key, n) for key, n in tally.counts.items() if key[0] == what]
    return [
        {"reason": ": ".join(key[1:]), "count": n, "examples": tally.examples[key]}
        for key, n in sorted(found, key=lambda item: (-item[1], item[0]))
    ]
