"""Which part a tune belongs to: by the hash of its melody, or of its cluster of near-duplicates.

One tune stands in several books, in another key, with other graces.  Split by melody, twins of
training tunes are held out, and a model is praised for what it has seen; split by cluster, all
twins are in one part.  A cluster goes where one of its melodies goes, chosen by a hash: a tune
without twins stays where it was, and a tune that is added moves others seldom.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from nota_jax import progress, workers
from nota_jax.data.build import corpora
from nota_jax.notation import abc
from nota_jax.notation.theory.melody import hash_of
from nota_jax.notation.theory.melody import melody as melody_of
from nota_jax.notation.theory.twins import line_of, twins

SPLITS_BY = ("clusters", "hash")
# Shares of the melodies in the parts: the same in every build, whatever its seed.
VALIDATION_SHARE, TEST_SHARE = 0.05, 0.05
HELD_OUT = ("validation", "test")
MOST_ALONE = 500  # tunes that one process reads before others would have begun
CHUNK = 50
TEST_DRAWINGS = 2  # of a test tune: in the usual fonts, and in those held out

# Of every melody that has twins: those, and how alike they are.
Twins = dict[str, dict[str, float]]


def part_of(melody: str) -> str:
    """The part that a melody belongs to; `melody` as from `melody_hash`, 16 hex digits."""
    place = int(melody, 16) / 16 ** len(melody)
    if place < TEST_SHARE:
        return "test"
    return "validation" if place < TEST_SHARE + VALIDATION_SHARE else "train"


def compared_with(names: Sequence[str] | None) -> list[str]:
    """The corpora that decide how tunes of some corpora are split: never fewer than these.

    Clusters depend on what is compared, so all that music21 brings is compared wherever one of
    its corpora is built: a model trained on one build may be tested on another.
    """
    names = list(corpora.CORPORA) if names is None else list(names)
    ours = any(name in corpora.CORPORA for name in names)
    return list(dict.fromkeys([*(corpora.CORPORA if ours else ()), *names]))


def melodies(names: Sequence[str]) -> tuple[dict[str, str], Twins]:
    """Of corpora: each tune's melody hash by the tune's id, and all twins among the melodies."""
    of_tune: dict[str, str] = {}
    lines: dict[str, bytes] = {}
    sources = list(corpora.read(names))
    found = identified([(source.text, source.file, source.line) for source in sources])
    for source, identity in zip(sources, found, strict=True):
        if identity is not None:
            of_tune[source.id] = identity.melody
            lines.setdefault(*identity)
    return of_tune, find_twins(lines)


class Identity(NamedTuple):
    """What tells a tune from others.  melody: its `melody_hash`; line: see `theory.twins`."""

    melody: str
    line: bytes


def identified(texts: Sequence[tuple[str, str, int]]) -> Iterator[Identity | None]:
    """Of each tune, given as ABC with its file and line; None of what cannot be read or is silent.

    Many are shared among processes.
    """
    said = partial(progress.bar, total=len(texts), desc="look for twins", unit="tune", leave=False)
    if len(texts) <= MOST_ALONE:
        yield from said(map(_identity, texts))
        return
    with workers.fresh() as pool:
        yield from said(pool.map(_identity, texts, chunksize=CHUNK))


def _identity(tune: tuple[str, str, int]) -> Identity | None:
    """The build says so when it comes to one that cannot be read."""
    text, file, line = tune
    try:
        parsed = abc.parse(text, source=file, line=line)
    except Exception:  # bugs too cost one tune, which the build reports by its name
        return None
    tones = melody_of(parsed)
    return Identity(hash_of(tones), line_of(tones)) if tones else None


def find_twins(lines: Mapping[str, bytes]) -> Twins:
    """The twins among melodies, given each one's `line`."""
    alike: dict[bytes, list[str]] = defaultdict(list)
    for melody in sorted(lines):
        alike[lines[melody]].append(melody)
    found: Twins = defaultdict(dict)

    def join(some: Iterable[str], others: Sequence[str], likeness: float) -> None:
        for one in some:
            for other in others:
                if one != other:
                    found[one][other] = found[other][one] = likeness

    for same in alike.values():
        join(same, same, 1.0)  # in other note values
    distinct = list(alike)
    for first, second, likeness in twins(distinct):
        join(alike[distinct[first]], alike[distinct[second]], likeness)
    return dict(found)


def clusters(found: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Melodies that are joined by twins, and twins of twins; each once, in a fixed order."""
    done: set[str] = set()
    groups = []
    for melody in sorted(found):
        if melody in done:
            continue
        done.add(melody)
        group = [melody]
        for member in group:  # which grows on the way
            new = [twin for twin in found[member] if twin not in done]
            done.update(new)
            group += new
        groups.append(sorted(group))
    return groups


def representatives(found: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Of every melody in a cluster: the one whose part the cluster takes.

    It comes first by a hash of its own.  The smallest melody hash itself would be in the test part
    more often than a tune is.
    """

    def rank(melody: str) -> bytes:
        return hashlib.sha256(f"cluster {melody}".encode()).digest()

    return {melody: min(group, key=rank) for group in clusters(found) for melody in group}


def leaking(parts: Mapping[str, str], found: Twins) -> dict[str, list[str]]:
    """Of each part held out: its melodies that have a twin in training."""
    leaks: dict[str, list[str]] = {part: [] for part in HELD_OUT}
    for melody, part in parts.items():
        if part in leaks and any(parts.get(twin) == "train" for twin in found.get(melody, ())):
            leaks[part].append(melody)
    return leaks


def summary(tunes: Sequence[str], found: Twins, chosen: Mapping[str, str]) -> dict:
    """For the build's report: clusters, and held-out tunes with a twin in training.

    tunes: the melody of every tune that is built.  chosen: each cluster's representative.
    """
    times = Counter(tunes)
    sizes = [n for group in clusters(found) if (n := sum(times[m] for m in group)) > 1]
    held_out: dict[str, dict[str, dict[str, int]]] = {}
    for by, home in (("hash", {}), ("clusters", chosen)):
        parts = {melody: part_of(home.get(melody, melody)) for melody in times}
        leaks = leaking(parts, found)
        for part in HELD_OUT:
            count = sum(n for melody, n in times.items() if parts[melody] == part)
            with_twin = sum(times[melody] for melody in leaks[part])
            held_out.setdefault(part, {})[by] = {"tunes": count, "with_training_twin": with_twin}
    return {
        "by": "clusters",
        "clusters": len(sizes),
        "tunes_in_clusters": sum(sizes),
        "largest_cluster": max(sizes, default=0),
        "held_out": held_out,
    }
