"""The report as one HTML file, and all pictures in a folder beside it.

Everything that stands in the file comes through the template, which escapes it; drawings and charts
escape what they take.  Nothing is fetched, and a policy in the page keeps browsers from it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from nota_jax import progress
from nota_jax.data.store.reader import PageReader
from nota_jax.errors import cut
from nota_jax.evaluation import report
from nota_jax.evaluation.display import cases, overview
from nota_jax.evaluation.display.cases import Section
from nota_jax.evaluation.display.diff import visible
from nota_jax.evaluation.display.entries import Entry, entry, to_draw
from nota_jax.evaluation.display.pictures import Picture, pictures
from nota_jax.evaluation.failures import OUTCOMES
from nota_jax.evaluation.summary import Scored
from nota_jax.files import write_atomic
from nota_jax.notation.engraving import inline
from nota_jax.notation.engraving.inline import Drawing
from nota_jax.notation.engraving.pool import EngravePool
from nota_jax.units import human_bytes, percent
from nota_jax.web import look

REPORT = "report.html"
MOST_BYTES = 5_000_000  # of a file
MOST_LINES = 1000  # of the table of all pictures
PER_FILE = 40  # pictures of a file of the folder, fewer where they are large
_ASSETS = Path(__file__).parent / "assets"
_AROUND = 1000  # bytes, more than what stands round an entry, or round all of them in a folder

Say = Callable[[str], None]


def write(
    out: Path,
    name: str,
    summary: Mapping[str, Any],
    scored: Scored,
    *,
    full: bool = False,
    workers: int = 1,
    most: int = MOST_BYTES,
    say: Say = print,
) -> Path:
    """`REPORT` in the folder `out`; returns its path.

    name: of what is evaluated.  summary, scored: of `score.of_collection`.  full: all pictures go
    into a folder beside it, in files of their own.  workers: processes that draw.

    Raises:
      UserError: the dataset's pictures cannot be read, or nothing can be written there.
    """
    there = pictures(scored)
    gallery = cases.sections(there)
    shown = {case.picture.id: case.picture for s in gallery for case in s.cases}
    jobs = [job for picture in shown.values() for job in to_draw(picture)]
    # A worker takes a second to start and draws twenty tunes in one.
    workers = workers if full else min(workers, 1 + len(jobs) // 40)
    pngs = _Pngs(summary)
    with EngravePool(workers, work=inline.draw) as pool:
        where = _folder(out, name, pngs, there, pool, most, say) if full else {}
        drawn = dict(pool.map(jobs))
    entries = {
        id: entry(picture, f"p{n}", pngs.of(id), drawn)  # type: ignore[arg-type]
        for n, (id, picture) in enumerate(shown.items(), start=1)
    }
    context = {
        **_overview(summary, there), **_shared(drawn.values()), "name": visible(name),
        "where": where, "gallery": gallery,
    }  # fmt: skip

    def rendered(kept: Mapping[str, Entry]) -> bytes:
        lines, left_out = _lines(there, kept, where), len(entries) - len(kept)
        page = _template("report.html").render(
            **context, entries=kept, left_out=left_out, lines=lines
        )
        return page.encode("utf-8", errors="replace")

    kept = _fitting(gallery, entries, most - len(rendered({})))
    data = rendered(kept)
    write_atomic(out / REPORT, data)
    told = f"{len(kept)} pages shown, {human_bytes(len(data))}"
    say(f"to look at: {out / REPORT} ({told}{', all in report/' if full else ''})")
    return out / REPORT


def _fitting(
    gallery: Sequence[Section], entries: Mapping[str, Entry], room: int
) -> dict[str, Entry]:
    """As many entries as fit into `room` bytes, the first of every section before the second."""
    order = dict[str, None]()
    for rank in range(max((len(s.cases) for s in gallery), default=0)):
        order |= dict.fromkeys(s.cases[rank].picture.id for s in gallery if len(s.cases) > rank)
    kept = dict[str, Entry]()
    for id in order:
        size = _size(entries[id])
        if size <= room:
            kept[id], room = entries[id], room - size
    return kept


def _size(found: Entry) -> int:
    """Bytes that an entry takes, at most."""
    text = _template("entry.html").module.entry(found)  # type: ignore[attr-defined]
    return len(text.encode("utf-8", errors="replace")) + _AROUND


def _overview(summary: Mapping[str, Any], there: Sequence[Picture]) -> dict[str, Any]:
    figures = summary["figures"]
    return {
        "counts": visible(report.counts_text(summary)),
        "packages": [visible(text) for text in report.packages_text(summary)],
        "tiles": overview.tiles(figures),
        "charts": overview.all_charts(summary, there),
        "tables": list(overview.tables(figures)),
        "groups": list(overview.groups(summary)),
        "confusion": overview.confusion(figures),
        "outcomes": OUTCOMES,
        "paper": report.paper(figures),
        "paper_head": report.PAPER_HEAD,
        "other_data": report.OTHER_DATA,
        "group_cells": report.GROUP_CELLS,
        "settings": [(visible(k), visible(str(v))) for k, v in summary["settings"].items()],
    }


def _lines(
    there: Sequence[Picture], shown: Mapping[str, Entry], where: Mapping[str, str]
) -> dict[str, Any]:
    """The table of all pictures, the worst of each kind first."""
    ranked = sorted(there, key=lambda p: (p.kind, -p.error, p.id))[:MOST_LINES]
    rows = []
    for p in ranked:
        link = f"#{shown[p.id].anchor}" if p.id in shown else where.get(p.id, "")
        region = visible(str(p.answers[0].about.get("region", "")))
        rows.append(
            (link, cut(visible(p.title), 120), p.kind, percent(p.error), region,
             p.notes or "–", f"{p.spacing:.1f}" if p.spacing else "–", cut(visible(p.id), 120))
        )  # fmt: skip
    return {"rows": rows, "more": len(there) - len(rows)}


# ------------------------------------------------------------------ all pictures


def _folder(
    out: Path, name: str, pngs: _Pngs, there: Sequence[Picture], pool: EngravePool, most: int,
    say: Say,
) -> dict[str, str]:  # fmt: skip
    """Files with every picture as the dataset has it; where each is, as a link from the report."""
    where = dict[str, str]()
    number, left = 0, len(there)
    bar = progress.bar(total=len(there), unit="page", desc="draw")
    for part in _parts(there, PER_FILE):
        drawn = dict(pool.map(job for picture in part for job in to_draw(picture)))
        shared = _shared(drawn.values())
        fixed = sum(map(len, shared.values())) + _AROUND
        made = [
            entry(p, f"p{k}", pngs.of(p.id), drawn, whole=True)  # type: ignore[arg-type]
            for k, p in enumerate(part, start=1)
        ]
        while made:
            number, fitting, room = number + 1, list[Entry](), most - fixed
            while made and (not fitting or _size(made[0]) <= room):
                room -= _size(made[0])
                fitting.append(made.pop(0))
            left -= len(fitting)
            file = f"{number:04}.html"
            text = _template("pages.html").render(
                name=visible(name), number=number, entries=fitting, up=f"../{REPORT}",
                before=f"{number - 1:04}.html" if number > 1 else "",
                after=f"{number + 1:04}.html" if left else "",
                **shared,
            )  # fmt: skip
            write_atomic(out / "report" / file, text.encode("utf-8", errors="replace"))
            where |= {found.id: f"report/{file}#{found.anchor}" for found in fitting}
            bar.update(len(fitting))
    bar.close()
    for old in (out / "report").glob("[0-9][0-9][0-9][0-9].html"):  # of a larger evaluation
        if int(old.stem) > number:
            old.unlink()
    say(f"all {len(there)} pages: {number} files in {out / 'report'}")
    return where


def _parts(there: Sequence[Picture], size: int) -> Iterable[Sequence[Picture]]:
    return (there[start : start + size] for start in range(0, len(there), size))


# ------------------------------------------------------------------ what pages share


class _Pngs:
    """The encoded pictures of the dataset's pages, each read when it is asked for."""

    def __init__(self, summary: Mapping[str, Any]):
        self._reader = PageReader(summary["dataset"], summary["splits"])
        self._places = {page.id: place for place, page in enumerate(self._reader)}

    def of(self, id: str) -> bytes | None:
        place = self._places.get(id)
        return None if place is None else self._reader[place].png


def _shared(drawn: Iterable[Drawing | str]) -> dict[str, Any]:
    """Style, script and the glyphs of all drawings."""
    script = _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {
        "style": Markup(look() + _asset("report.css")),
        "script": Markup(script),
        "digest": digest,
        "glyphs": Markup(inline.glyphs(d for d in drawn if isinstance(d, Drawing))),
    }


@cache
def _asset(name: str) -> str:
    return (_ASSETS / name).read_text()


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ASSETS), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template(name)
