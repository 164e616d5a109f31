"""What a report says of one picture, ready for the template: nothing here is HTML but drawings."""

from __future__ import annotations

import base64
import io
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from markupsafe import Markup
from PIL import Image

from nota_jax.data.build.prose import value_name
from nota_jax.evaluation import facts, transcription
from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.bootstrap import Marks
from nota_jax.evaluation.claims import claims, sentences
from nota_jax.evaluation.display import beside as of_music
from nota_jax.evaluation.display import diff
from nota_jax.evaluation.display.pictures import Picture
from nota_jax.evaluation.groups import of_page
from nota_jax.evaluation.metrics import FIELDS, TRANSCRIPTIONS
from nota_jax.evaluation.reading import Music, before_fault, music
from nota_jax.notation.engraving.inline import Drawing, inline
from nota_jax.notation.tune import Tune
from nota_jax.units import percent

THUMBNAIL = 448  # pixels of a picture's longer side
LARGE, MOST_PICTURE = 2000, 1_500_000  # pixels and bytes of one that is shown whole
_SHOWN = ("image/png", "image/jpeg", "image/webp", "image/gif")  # by every browser
_GREYS, _COLOURS = 16, 24
WHAT = {"abc": "The whole page", "alignment": "The highlighted bars"}
_TELL = ("region", "corpus", "degradation", "music font")

Drawn = Mapping[tuple[str, str], Drawing | str]  # by the answer's id and "truth" or "read"


@dataclass(frozen=True)
class Field:
    """A header field or another short answer; verdict: "right", "lenient" or "wrong"."""

    name: str
    question: str
    sides: diff.Sides
    verdict: str
    remark: str = ""


@dataclass(frozen=True)
class Transcription:
    """A transcription: as text, as music, and what is wrong in words."""

    what: str
    question: str
    counts: tuple[str, ...]
    sides: diff.Sides
    truth: Markup | str
    read: Markup | str
    remark: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] = ()
    more: int = 0


@dataclass(frozen=True)
class Analysis:
    """What was said about the tune; parts: (sentence, "right", "wrong" or "", why).

    wrong: whether there is something to look at.
    """

    what: str
    question: str
    truth: str
    parts: tuple[tuple[str, str, str], ...]
    counts: str
    wrong: bool
    remark: str = ""


@dataclass(frozen=True)
class Entry:
    """A picture; anchor: of a link to it; image: its data: address, "" where there is none."""

    anchor: str
    id: str
    title: str
    told: tuple[str, ...]
    image: str
    alt: str
    size: tuple[int, int]
    error: str
    fields: tuple[Field, ...] = ()
    transcriptions: tuple[Transcription, ...] = ()
    analyses: tuple[Analysis, ...] = field(default=())


# ------------------------------------------------------------------ what is to be drawn


def to_draw(picture: Picture) -> Iterator[tuple[tuple[str, str], Tune]]:
    """The music of its transcriptions, by what `Drawn` calls it."""
    for answer in picture.answers:
        if answer.subtask in TRANSCRIPTIONS:
            truth, read, _ = _music(answer)
            for side, of in (("truth", truth), ("read", read)):
                if of is not None and of.tune is not None and of.notes:
                    yield (answer.id, side), of_music.shortened(of.tune)[0]


def _music(answer: Answer) -> tuple[Music, Music | None, str]:
    """The true music, what was read (None: nothing), and why it is no ABC ("" where it is)."""
    place = transcription.place_of(answer)
    truth = music(answer.truth, place, is_canonical=answer.subtask == "abc")
    read = music(answer.said or "", place)
    if read.tune is not None:
        return truth, read, ""
    reason, before = before_fault(answer.said or "", place)
    return truth, before, reason or "there is nothing in it"


# ------------------------------------------------------------------ an entry


def entry(
    picture: Picture, anchor: str, png: bytes | None, drawn: Drawn, *, whole: bool = False
) -> Entry:
    """png: the picture as the dataset has it; whole: it is shown as it is."""
    image, size = ("", (1, 1)) if png is None else _image(png, whole)
    about = picture.answers[0].about
    groups = of_page(about)
    told = [groups[name] for name in _TELL if name in groups]
    if picture.spacing:
        told.append(f"{picture.spacing:.1f} px between staff lines")
    if picture.notes:
        told.append(f"{picture.notes} notes")
    fields, transcriptions, analyses = [], [], []
    for answer, marks in zip(picture.answers, picture.marks, strict=True):
        if answer.subtask in TRANSCRIPTIONS:
            transcriptions.append(_transcription(answer, marks, drawn))
        elif answer.task == "analysis":
            analyses.append(_analysis(answer, marks))
        else:
            fields.append(_field(answer, marks))
    return Entry(
        anchor, diff.visible(picture.id), diff.visible(picture.title),
        tuple(map(diff.visible, told)), image, f"The page {diff.visible(picture.title)}", size,
        f"{percent(picture.error)} wrong", tuple(fields), tuple(transcriptions), tuple(analyses),
    )  # fmt: skip


def _image(picture: bytes, whole: bool) -> tuple[str, tuple[int, int]]:
    """As a data: address, with its size; small, and in few colours, unless it is shown whole.

    ("", …) for what is no picture.
    """
    try:
        with Image.open(io.BytesIO(picture)) as opened:
            kind = opened.get_format_mimetype() or ""
            if whole and kind in _SHOWN and len(picture) <= MOST_PICTURE:
                return _address(kind, picture), opened.size
            grey = opened.mode in ("1", "L", "LA", "I;16")
            image = opened.convert("L" if grey else "RGB")
    except (OSError, ValueError, Image.DecompressionBombError):  # what PIL says of broken ones
        return "", (1, 1)
    longest = LARGE if whole else THUMBNAIL
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    few = image.quantize(_GREYS if grey else _COLOURS, dither=Image.Dither.NONE)
    out = io.BytesIO()
    few.save(out, "PNG", optimize=True)
    return _address("image/png", out.getvalue()), image.size


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _remark(answer: Answer) -> str:
    """What became of the question, where it was not simply answered."""
    if answer.too_long:
        return "too long to ask"
    if answer.said is None:
        return "not answered"
    if not answer.said.strip():
        return "an empty answer"
    return "cut off by the limit of new tokens" if answer.cut else ""


def _field(answer: Answer, marks: Marks) -> Field:
    strict, lenient = (
        any(name.endswith(f".{rule}") and pair[0] for name, pair in marks.items())
        for rule in ("strict", "lenient")
    )
    verdict = "right" if strict else "lenient" if lenient else "wrong"
    name = f"{answer.subtask.replace('_', ' ')}"
    letter = FIELDS.get(answer.subtask)
    return Field(
        f"{name} ({letter}:)" if letter else name, diff.visible(answer.question),
        diff.sides(answer.truth, answer.said or ""), verdict, _remark(answer),
    )  # fmt: skip


def _transcription(answer: Answer, marks: Marks, drawn: Drawn) -> Transcription:
    truth, read, fault = _music(answer)
    both = None if read is None else of_music.beside(truth, read, beginning=bool(fault))
    on_truth, on_read = (both.truth, both.read) if both else ({}, {})
    legend = tuple((kind, of_music.LEGEND[kind]) for kind in of_music.kinds(on_truth, on_read))
    remarks = [_remark(answer)] if _remark(answer) else []
    if fault and answer.said and answer.said.strip():
        remarks.append(f"no valid ABC: {fault}; the scores count nothing of it as read")
    return Transcription(
        WHAT[answer.subtask],
        diff.visible(answer.question),
        tuple(_counts(answer, marks)),
        diff.sides(answer.truth.strip(), (answer.said or "").strip()),
        _drawing(truth, on_truth, drawn.get((answer.id, "truth")), "What is printed"),
        _drawing(read, on_read, drawn.get((answer.id, "read")), "What was read"),
        diff.visible("; ".join(remarks)),
        legend,
        both.words if both else (),
        both.more if both else 0,
    )


def _drawing(
    of: Music | None, marks: of_music.Marks, drawing: Drawing | str | None, label: str
) -> Markup | str:
    """The SVG, or why there is none."""
    if of is None or of.tune is None or not of.notes:
        return "No music to draw."
    if drawing is None or isinstance(drawing, str):
        return diff.visible(f"Not drawn: {drawing or 'it was not asked for'}")
    wrong = len({said for _, said in marks.values()})
    count = f"{len(of.notes)} notes, {wrong} of them marked"
    _, left = of_music.shortened(of.tune)
    svg = Markup(inline(drawing, marks, f"{label}: {count}"))  # it escapes what it takes
    cut = Markup("<p>{} more bars are not drawn.</p>").format(left) if left else Markup("")
    return svg + cut


def _counts(answer: Answer, marks: Marks) -> Iterator[str]:
    def pair(figure: str) -> tuple[float, float]:
        return marks.get(f"{answer.subtask}.{figure}", (0.0, 0.0))

    wrong, length = pair("character_errors")
    canonical = pair("canonical_distance")[0]
    yield f"{wrong:.0f} of {length:.0f} characters wrong, {canonical:.0f} in canonical spelling"
    right, notes = pair("note_recall")
    if notes:
        named = [
            (pair("pitch_errors")[0], "with a wrong pitch"),
            (pair("rhythm_errors")[0], "with a wrong length"),
            (pair("notes_missing")[0], "missing"),
            (pair("notes_invented")[0], "not there"),
        ]
        rest = [f"{count:.0f} {words}" for count, words in named if count]
        yield ", ".join([f"{right:.0f} of {notes:.0f} notes right", *rest])
    right, bars = pair("bars_right")
    if bars:
        yield f"{right:.0f} of {bars:.0f} bars right"


def _analysis(answer: Answer, marks: Marks) -> Analysis:
    known, parts = facts.known_of(answer), []
    for sentence in sentences(answer.said or ""):
        wrong, checked = [], 0
        for name, value in claims(sentence) or ():
            if (true := known.get(name)) is not None:
                checked += 1
                if not facts.agrees(value, true):
                    wrong.append(f"{name}: the tune has {_plain(true)}")
        verdict = "wrong" if wrong else "right" if checked else ""
        parts.append((diff.visible(sentence), verdict, diff.visible("; ".join(wrong))))
    right, said = marks.get("facts.right", (0, 0))
    missing, wanted = marks.get("facts.missing", (0, 0))
    counts = f"{right:.0f} of {said:.0f} facts right; {missing:.0f} of {wanted:.0f} left out"
    return Analysis(
        answer.subtask.replace("_", " "), diff.visible(answer.question),
        diff.visible(answer.truth), tuple(parts), counts, right < said or missing > 0,
        _remark(answer),
    )  # fmt: skip


def _plain(value: Hashable) -> str:
    """A fact's value as one can read it."""
    if isinstance(value, facts.Share):
        return percent(float(value.exact))
    if isinstance(value, bool):
        return "one" if value else "none"
    if isinstance(value, Fraction):
        return value_name(value)
    if isinstance(value, (frozenset, tuple)):
        parts = sorted(map(_plain, value)) if isinstance(value, frozenset) else map(_plain, value)
        return ", ".join(parts) or "none"
    return str(value)
