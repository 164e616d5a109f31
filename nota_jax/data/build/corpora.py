"""Where tunes come from: the ABC files inside the music21 package, or a folder of your own.

Each tune arrives with its region, credits and licence note.  The files are read from the installed
package on the user's machine, so that no tune is redistributed; music21 itself is never imported
(that takes seconds), only its folder is looked up.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nota_jax.data.build import found_in, music
from nota_jax.errors import UserError
from nota_jax.notation.abc import decode, split_tunebook

REGIONS = ("China", "Europe", "America")
OTHER = "Other"  # an origin elsewhere, or not stated


@dataclass(frozen=True)
class Corpus:
    """A folder of ABC files.

    region: of every tune, "" where each tune's `O:` field decides.
    default_region: for tunes whose `O:` names no place that we know.
    credits: who made the collection, for tunes that carry no `Z:` line.
    dances: `R:` and the title name dances (Essen's `R:` names subjects of songs).
    """

    name: str
    region: str = ""
    default_region: str = OTHER
    credits: str = ""
    licence: str = ""
    dances: bool = True


@dataclass(frozen=True)
class SourceTune:
    """One tune as its source has it.

    id: "essenFolksong/han1.abc#12", the number counting tunes in the file from 1 (`X:` numbers
    repeat in some files).  line: the file's line on which `text` begins.  credits: `Z:` lines,
    joined by "; ".  dance_type: "reel", "slip jig", …, "" where the source gives none.
    """

    id: str
    corpus: str
    file: str
    index: int
    line: int
    region: str
    credits: str
    licence: str
    text: str
    dance_type: str


CORPORA = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            "essenFolksong",
            default_region="Europe",
            credits="Essen Folksong Collection (H. Schaffrath, E. Dahlig-Turek), ABC by S. Shlien",
            licence="non-commercial use, by permission; legal status called unclear by music21",
            dances=False,
        ),
        Corpus("oneills1850", region="Europe", licence="not stated; transcribers credited in Z:"),
        Corpus("airdsAirs", region="Europe", licence="not stated; transcribed by Jack Campin 2009"),
        Corpus("ryansMammoth", region="America", licence="not stated; contributors credited in Z:"),
        Corpus(
            "miscFolk", default_region="Europe", licence="not stated; transcribed by Jack Campin"
        ),
        Corpus(
            "nottingham-dataset",
            region="Europe",
            credits="Nottingham Music Database",
            licence="not stated",
        ),
    )
}

# Whole files whose region is known although their tunes do not all state it.
_FILE_REGIONS = {
    "essenFolksong/han1.abc": "China",
    "essenFolksong/han2.abc": "China",
    "miscFolk/americanfifeopus.abc": "America",
}

# First match wins: "Asien, Ostasien, China" is China, "Asien, Vorderer Orient" is elsewhere.
_ORIGINS = tuple(
    (region, re.compile(pattern, re.IGNORECASE))
    for region, pattern in (
        ("China", r"china|chinese|yunnan|hunan|xinjiang|taiwan"),
        ("America", r"ameri[kc]a|\busa\b|\bu\.s\.|[ck]anada|mexi[kc]|bra[sz]il"),
        (OTHER, r"asi[ea]|afri[kc]a|australi"),
        (
            "Europe",
            r"europ|ireland|irish|irland|scot|engl|wales|welsh|brit|france|french|german|deutsch|"
            r"austria|oesterreich|luxemburg|lothringen|ital|spain|spanish|sweden|swedish|norw|"
            r"denmark|danish|finn|pol(and|ish|en)|hungar|ungarn|greece|greek|russia",
        ),
    )
)

# As normalised names; longer ones first, so that "slip jig" is not a jig.
_DANCES = (
    "lancashire clog", "highland fling", "double jig", "single jig", "slip jig", "quick step",
    "strathspey", "hornpipe", "walkaround", "mazurka", "minuet", "gavotte", "quadrille",
    "cotillion", "schottische", "waltz", "polka", "march", "fling", "slide", "clog", "reel", "jig",
)  # fmt: skip
_DANCE_SPELLINGS = {"slipjig": "slip jig", "quickstep": "quick step", "gavot": "gavotte"}


# What is looked into, in capitals too; of `.txt` files only tunes with their `X:` are read.
SUFFIXES = (".abc", ".txt")


@dataclass(frozen=True)
class PassedOver:
    """A file that brought no tune, and why: "essenFolksong/notes.abc", "it holds no tune"."""

    file: str
    reason: str


def read(
    corpora: Iterable[str] | None = None,
    limit: int | None = None,
    passed_over: list[PassedOver] | None = None,
) -> Iterator[SourceTune]:
    """The tunes of some corpora, in the order of the table, their files and places therein.

    corpora: names of `CORPORA`, "path:DIR" for a folder of .abc and .txt files (searched with all
      its sub-folders) or "path:FILE" for a single one, "music:…" for MusicXML beside them (see
      `music`); None for the whole table.
    limit: at most so many, taken in turn from China, Europe and America, and within a region in
      turn from its corpora; smaller limits give subsets of larger ones.
    passed_over: takes the files that bring nothing, as they are met.
    Raises `UserError` for an unknown name, a missing folder, or a folder without tunes.
    """
    names = list(CORPORA) if corpora is None else list(dict.fromkeys(corpora))
    if not names:
        raise UserError(f"no corpus is named: choose from {', '.join(CORPORA)}, or path:DIR")
    found = [] if passed_over is None else passed_over
    tunes = (tune for name in names for tune in _read_corpus(name, found))
    if limit is None:
        yield from tunes
        return
    if limit < 1:
        raise UserError(f"limit is {limit}: give a number of tunes of at least 1")
    yield from _spread(list(tunes), limit)


def _find(name: str) -> Path:
    """Where a corpus lies on this machine: a folder, or a file of the user's own."""
    if name.startswith("path:") or music.NAME.match(name):
        path = Path(name.partition(":")[2]).expanduser()
        if not path.exists():
            what = "file" if path.suffix else "folder"
            raise UserError(f"corpus {name}: there is no {what} {path}")
        return path
    if name not in CORPORA:
        raise UserError(
            f"unknown corpus {name!r}: choose from {', '.join(CORPORA)}, "
            "or give path:DIR for a folder of .abc files, path:FILE for one"
        )
    spec = importlib.util.find_spec("music21")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"corpus {name} lies in the music21 package: run `pip install music21`")
    path = Path(spec.submodule_search_locations[0]) / "corpus" / name
    if not path.is_dir():
        raise UserError(f"the installed music21 has no folder {path}: reinstall it with its corpus")
    return path


def _read_corpus(name: str, passed_over: list[PassedOver]) -> Iterator[SourceTune]:
    root = _find(name)
    paths = [root]
    if root.is_dir():
        own = (*SUFFIXES, *(music.ENDINGS if music.NAME.match(name) else ()))
        suffixes = (".abc",) if name in CORPORA else own
        inside = (path for path in root.rglob("*") if path.suffix.lower() in suffixes)
        paths = sorted(inside, key=lambda path: path.relative_to(root).as_posix())
    else:
        root = root.parent
    # A folder of the user's own is named after itself, so that ids do not depend on where it lies.
    corpus = CORPORA.get(name) or Corpus(root.resolve().name, licence="not stated")
    before = len(passed_over)
    found = False
    for path in paths:
        file = f"{corpus.name}/{path.relative_to(root).as_posix()}"
        tunes = _tunes_of(path, essen=name == "essenFolksong", part=music.part_of(name))
        if isinstance(tunes, str):
            passed_over.append(PassedOver(file, tunes))
            continue
        for index, (line, tune) in enumerate(tunes, start=1):
            found = True
            yield _source_tune(corpus, file, index, line, tune)
    if not found:
        reasons = [f"{each.file}: {each.reason}" for each in passed_over[before:][:3]]
        raise UserError(
            f"corpus {name}: no tunes (`X:` …) in the .abc files there; "
            + "".join(f"{reason}; " for reason in reasons)
            + found_in.advice(root)
        )


def _tunes_of(path: Path, *, essen: bool, part: str = "") -> list[tuple[int, str]] | str:
    """The tunes of a file with their first lines, or why there are none.

    part: which of several, of MusicXML.
    """
    if not path.is_file():  # a pipe would wait for ever
        if path.is_dir():
            return "it is a folder"
        return "it is no file" if path.exists() else "it is a link that leads nowhere"
    if path.suffix.lower() in music.ENDINGS:
        text, refused = music.text_of(path, part)
        return refused or [(1, text)]
    try:
        text = decode(path.read_bytes())
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    tunes = split_tunebook(repair_encoding(text) if essen else text)
    if path.suffix.lower() != ".abc":  # prose may have a line that begins with `K:`
        tunes = [(line, tune) for line, tune in tunes if re.search(r"^\s*X:", tune, re.MULTILINE)]
    if tunes:
        return tunes
    if re.search(r"<(?:!DOCTYPE|html|head|body)\b", text[:5000], re.IGNORECASE):
        return "it is HTML, not ABC"
    return "it is empty" if not text.strip() else "it holds no tune (`X:` … `K:` …)"


def _source_tune(corpus: Corpus, file: str, index: int, line: int, text: str) -> SourceTune:
    fields: dict[str, list[str]] = defaultdict(list)
    for letter, value in re.findall(r"^[ \t]*([A-Z]):[ \t]*(.*?)[ \t]*$", text, re.MULTILINE):
        fields[letter].append(value)
    credits = dict.fromkeys(value.strip('" ') for value in fields["Z"])
    region = _FILE_REGIONS.get(file) or corpus.region
    dances = [*fields["R"], *fields["T"]] if corpus.dances else []
    return SourceTune(
        id=f"{file}#{index}",
        corpus=corpus.name,
        file=file,
        index=index,
        line=line,
        region=region or region_of(" ".join(fields["O"])) or corpus.default_region,
        credits="; ".join(filter(None, credits)) or corpus.credits,
        licence=corpus.licence,
        text=text,
        dance_type=next(filter(None, map(dance_type_of, dances)), ""),
    )


def region_of(origin: str) -> str:
    """The region that an `O:` field names, "" where it names no place that we know."""
    return next((region for region, places in _ORIGINS if places.search(origin)), "")


def dance_type_of(text: str) -> str:
    """The dance that an `R:` field or the end of a title names ("Acacia -- Reel"), "" for none.

    Only the last words count: "The Reel of Tulloch" may well be a strathspey.
    """
    words = re.sub(r"[^a-z ]", " ", text.lower()).split()
    while words and words[-1] in ("the", "a"):  # "BAG OF MEAL, THE"
        words.pop()
    name = " ".join(_DANCE_SPELLINGS.get(word, word) for word in words)
    return next((d for d in _DANCES if name == d or name.endswith(" " + d)), "")


def repair_encoding(text: str) -> str:
    """Undoes CP437 bytes that were taken for Latin-1 in a file of Essen's.

    Its German and Chinese files hold "n\\x81xu" for "nüxu" and "mu\\xe1" for "muß": their DOS
    bytes were converted to UTF-8 as if they were Latin-1.  C1 control characters give it away.
    """
    if not re.search("[\x80-\x9f]", text):
        return text
    try:
        return text.encode("latin-1").decode("cp437")
    except UnicodeEncodeError:
        return text


def _spread(tunes: list[SourceTune], limit: int) -> Iterator[SourceTune]:
    """`limit` tunes taken in turn from the regions and, within each, from its corpora.

    `OTHER` waits until the three regions are exhausted.  The chosen tunes come in source order.
    """
    strata: dict[str, dict[str, list[SourceTune]]] = defaultdict(lambda: defaultdict(list))
    for tune in sorted(tunes, key=lambda tune: hashlib.sha256(tune.id.encode()).digest()):
        strata[tune.region][tune.corpus].append(tune)
    known = [_in_turn(strata[region].values()) for region in REGIONS if region in strata]
    order = [*_in_turn(known), *_in_turn(strata[OTHER].values())]
    chosen = {tune.id for tune in order[:limit]}
    return (tune for tune in tunes if tune.id in chosen)


def _in_turn(groups: Iterable[list[SourceTune]]) -> list[SourceTune]:
    """One from each group after the other, as long as there are any."""
    turns: list[SourceTune] = []
    iterators = [iter(group) for group in groups]
    while iterators:
        drawn = [(iterator, next(iterator, None)) for iterator in iterators]
        turns += [tune for _, tune in drawn if tune is not None]
        iterators = [iterator for iterator, tune in drawn if tune is not None]
    return turns
