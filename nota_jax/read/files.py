"""A reading's files: ABC, MusicXML, MIDI, JSON and the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nota_jax.files import full_disk_is_an_error, write_atomic, write_json
from nota_jax.notation import abc, musicxml
from nota_jax.read import page
from nota_jax.read.reader import Reading, as_dict


def write(reading: Reading, out: Path, others: Sequence[str] = ()) -> None:
    """Writes them into the folder `out`, which is made; others: see `page.page`.

    Where the text is no valid ABC there is no MusicXML and no MIDI.

    Raises:
      UserError: the disk is full.
    """
    with full_disk_is_an_error(out):
        out.mkdir(parents=True, exist_ok=True)
    xml, midi = converted(reading.abc)
    write_atomic(out / f"{reading.name}.abc", reading.abc + "\n")
    write_json(out / f"{reading.name}.json", as_dict(reading))
    for ending, content in (("musicxml", xml), ("mid", midi)):
        path = out / f"{reading.name}.{ending}"
        path.unlink(missing_ok=True)  # of an earlier reading
        if content:
            write_atomic(path, content)
    write_atomic(out / f"{reading.name}.html", page.page(reading, xml, midi, others))


def write_index(readings: Sequence[Reading], out: Path) -> None:
    write_atomic(out / "index.html", page.index(readings))


def converted(text: str) -> tuple[str, bytes]:
    """MusicXML and MIDI of an ABC text; empty where it is not valid or has no bars."""
    try:
        tune = abc.parse(text)
    except abc.AbcError:
        return "", b""
    if not tune.bars:
        return "", b""
    return musicxml.write(tune), musicxml.write_midi(tune)
