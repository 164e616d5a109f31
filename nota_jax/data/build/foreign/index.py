"""The records of somebody else's dataset, on disk: an SQLite file in the unfinished build.

What has to be known of all records before the first page is written (whose picture is whose, which
belong together, what is bad) is kept there and not in memory.

    records   seq, place, id, image, part, region, turns: what was read and can be used
    images    number, name, family, digest, cluster, part: their pictures
    bad       seq, place, reason: what is skipped
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from nota_jax import progress
from nota_jax.data.build.foreign import records as reading
from nota_jax.data.build.foreign import streams
from nota_jax.data.build.foreign.records import Bad, Record
from nota_jax.data.build.foreign.sources import Source
from nota_jax.data.build.splits import part_of
from nota_jax.data.records import Turn

# Of a picture that several parts claim, the first keeps it.
HELD_OUT_FIRST = ("test", "test_style", "test_scan", "validation", "train")
_MOST_UNREAD = 50  # names of fields that are remembered
_AT_ONCE = 500  # pictures between two commits

_TABLES = """
CREATE TABLE records (seq INTEGER PRIMARY KEY, place TEXT, id TEXT, image TEXT, part TEXT,
    region TEXT, turns TEXT);
CREATE TABLE images (number INTEGER PRIMARY KEY, name TEXT UNIQUE, corpus TEXT,
    family TEXT, digest BLOB, problem TEXT, cluster TEXT, part TEXT);
CREATE TABLE bad (seq INTEGER PRIMARY KEY, place TEXT, reason TEXT);
CREATE TABLE notes (name TEXT PRIMARY KEY, value INTEGER);
CREATE INDEX by_id ON records (id) WHERE id != '';
CREATE INDEX by_image ON records (image);
"""
_INDICES = """
CREATE INDEX by_family ON images (family);
CREATE INDEX by_digest ON images (digest);
CREATE INDEX by_cluster ON images (cluster);
"""


class Asked(NamedTuple):
    """A picture with what is asked about it.

    records: (seq, place) of each; turns: in their order.
    """

    name: str
    corpus: str
    part: str
    region: str
    records: tuple[tuple[int, str], ...]
    turns: tuple[Turn, ...]


def opened(path: Path) -> sqlite3.Connection:
    found = sqlite3.connect(path)
    found.execute("PRAGMA synchronous=NORMAL")
    found.execute("PRAGMA cache_size=-65536")  # 64 MB
    return found


# ---- reading


def read_all(path: Path, sources: Sequence[Source], together: str, repeated_ids: bool) -> None:
    """Reads every record of the sources into a new index at `path`, whole or not at all.

    together: an expression; pictures in whose names it finds the same text belong together.  "":
      those whose names differ only behind the last dot.
    repeated_ids: several records may have one id.
    """
    half = path.with_name(path.name + ".half")
    half.unlink(missing_ok=True)
    with closing(opened(half)) as index:
        index.execute("PRAGMA journal_mode=OFF")  # it is thrown away where anything goes wrong
        index.executescript(_TABLES)
        seq = 0
        unread: Counter[str] = Counter()
        for source in sources:
            bar = progress.bar(desc=f"read {source.path.name}", unit="record", mininterval=1)
            with bar:
                for found in streams.records(source.path):
                    place = f"{source.path.name}, {found.place}"
                    for name in reading.unread(found.value, source.reading):
                        if name in unread or len(unread) < _MOST_UNREAD:
                            unread[name] += 1
                    try:
                        if found.problem:
                            raise Bad(found.problem)
                        record = reading.read(found.value, source.reading)
                        _keep(index, seq, place, record, source.name, together, repeated_ids)
                    except Bad as error:
                        skip(index, [(seq, place)], str(error))
                    seq += 1
                    bar.update()
        notes = [("records", seq), *((f"field {name}", n) for name, n in unread.items())]
        index.executemany("INSERT INTO notes VALUES (?, ?)", notes)
        index.executescript(_INDICES)
        index.commit()
    half.replace(path)


def _keep(
    index: sqlite3.Connection,
    seq: int,
    place: str,
    record: Record,
    corpus: str,
    together: str,
    repeated_ids: bool,
) -> None:
    if record.id and not repeated_ids:
        row = index.execute(
            "SELECT place FROM records WHERE id = ? AND id != ''", (record.id,)
        ).fetchone()
        if row:
            raise Bad(f"its id {record.id[:60]!r} is also that of {row[0]}")
    if record.region:
        row = index.execute(
            "SELECT region FROM records WHERE image = ? AND region NOT IN ('', ?) LIMIT 1",
            (record.image, record.region),
        ).fetchone()
        if row:
            raise Bad(f"its region is {record.region!r}, its picture's was {row[0]!r} before")
    index.execute(
        "INSERT OR IGNORE INTO images (name, corpus, family) VALUES (?, ?, ?)",
        (record.image, corpus, family(record.image, together)),
    )
    turns = json.dumps([dataclasses.astuple(turn) for turn in record.turns], ensure_ascii=False)
    index.execute(
        "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)",
        (seq, place, record.id, record.image, record.part, record.region, turns),
    )


def family(name: str, together: str) -> str:
    """What pictures that belong together have in common: the text that the expression finds in
    their names (its first group, if it has one), else all but the ending."""
    found = re.search(together, name) if together else None
    if found:
        return found[1] if found.re.groups and found[1] is not None else found[0]
    return name.rpartition(".")[0] or name


# ---- what is bad


def skip(index: sqlite3.Connection, records: Iterable[tuple[int, str]], reason: str) -> None:
    """Notes records, (seq, place), that are not used."""
    rows = [(seq, place, reason) for seq, place in records]
    index.executemany("INSERT OR REPLACE INTO bad VALUES (?, ?, ?)", rows)


def counts(index: sqlite3.Connection) -> tuple[int, int]:
    """How many records there are, and how many of them are bad."""
    (total,) = index.execute("SELECT value FROM notes WHERE name = 'records'").fetchone()
    (bad,) = index.execute("SELECT COUNT(*) FROM bad").fetchone()
    return total, bad


def bad_records(index: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """(place, reason) in the order of the records."""
    yield from index.execute("SELECT place, reason FROM bad ORDER BY seq")


def unread_fields(index: sqlite3.Connection) -> dict[str, int]:
    """Fields that nothing here reads, and how many records have each."""
    rows = index.execute("SELECT name, value FROM notes WHERE name LIKE 'field %' ORDER BY name")
    return {name.removeprefix("field "): n for name, n in rows}


# ---- pictures


def look_at_pictures(index: sqlite3.Connection, look: Callable[[str], bytes], workers: int) -> None:
    """Looks at every picture that was not looked at, or in vain; its records are bad where it is.

    look: the digest of a picture's content by its name; raises Bad.
    """
    index.execute(
        "DELETE FROM bad WHERE seq IN "
        "(SELECT seq FROM records JOIN images ON name = image WHERE problem != '')"
    )
    index.execute("UPDATE images SET problem = NULL, cluster = NULL WHERE problem != ''")
    (total,) = index.execute("SELECT COUNT(*) FROM images WHERE problem IS NULL").fetchone()
    if not total:
        return

    def seen(name: str) -> tuple[bytes, str]:
        try:
            return look(name), ""
        except Bad as error:
            return b"", str(error)

    bar = progress.bar(total=total, desc="look at pictures", unit="picture", mininterval=1)
    with bar, ThreadPoolExecutor(workers) as pool:
        while rows := index.execute(
            "SELECT number, name FROM images WHERE problem IS NULL LIMIT ?", (_AT_ONCE,)
        ).fetchall():
            names = [name for _, name in rows]
            for (number, name), (digest, problem) in zip(rows, pool.map(seen, names), strict=True):
                index.execute(
                    "UPDATE images SET digest = ?, problem = ? WHERE number = ?",
                    (digest, problem, number),
                )
                if problem:
                    skip(index, _records_of(index, name), problem)
            index.commit()  # an interruption goes on from here
            bar.update(len(rows))


def _records_of(index: sqlite3.Connection, name: str) -> list[tuple[int, str]]:
    return index.execute("SELECT seq, place FROM records WHERE image = ?", (name,)).fetchall()


def choose_parts(index: sqlite3.Connection) -> None:
    """Gives every picture its part: that of its cluster.

    A cluster is pictures of one family or of the same content, and those of these.  It is where
    its records say, of several the first of `HELD_OUT_FIRST`, and the others' records are bad;
    where none says, its name's hash decides.
    """
    index.execute("UPDATE images SET cluster = name WHERE problem = ''")
    while sum(
        index.execute(
            f"UPDATE images SET cluster = (SELECT MIN(cluster) FROM images AS other WHERE "
            f"other.{what} = images.{what} AND other.problem = '') WHERE problem = '' AND cluster "
            f"> (SELECT MIN(cluster) FROM images AS other WHERE other.{what} = images.{what} "
            "AND other.problem = '')"
        ).rowcount
        for what in ("digest", "family")
    ):
        pass
    said = index.execute(
        "SELECT DISTINCT cluster, records.part FROM records JOIN images ON name = image "
        "WHERE problem = '' AND seq NOT IN (SELECT seq FROM bad) ORDER BY cluster"
    )
    rows = []
    for cluster, parts in itertools.groupby(said, key=lambda row: row[0]):
        told = {part for _, part in parts}
        by_hash = part_of(hashlib.sha256(cluster.encode()).hexdigest()[:16])
        rows.append((next((part for part in HELD_OUT_FIRST if part in told), by_hash), cluster))
    index.executemany("UPDATE images SET part = ? WHERE cluster = ?", rows)
    index.execute(
        "INSERT OR IGNORE INTO bad SELECT seq, place, 'it is in ' || records.part || ', and its "
        "picture, or one like it, in ' || images.part FROM records JOIN images ON name = image "
        "WHERE problem = '' AND records.part NOT IN ('', images.part)"
    )
    index.commit()


def n_chunks(index: sqlite3.Connection, size: int) -> int:
    (last,) = index.execute("SELECT MAX(number) FROM images").fetchone()
    return -(-(last or 0) // size)


def chunk(index: sqlite3.Connection, number: int, size: int) -> list[Asked]:
    """The pictures of a chunk that have a record which can be used."""
    rows = index.execute(
        "SELECT name, corpus, images.part, seq, place, region, turns FROM images JOIN records ON "
        "image = name WHERE number > ? AND number <= ? AND problem = '' AND "
        "seq NOT IN (SELECT seq FROM bad) ORDER BY number, seq",
        (number * size, (number + 1) * size),
    ).fetchall()
    found = []
    for (name, corpus, part), of_picture in itertools.groupby(rows, key=lambda row: row[:3]):
        of = list(of_picture)
        region = next((row[5] for row in of if row[5]), "")
        turns = tuple(Turn(*turn) for row in of for turn in json.loads(row[6]))
        found.append(Asked(name, corpus, part, region, tuple(row[3:5] for row in of), turns))
    return found
