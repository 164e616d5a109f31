"""MusicXML, out and in, through music21, which is imported at the first use: it takes seconds.

musicxml.write(tune)            # MusicXML, as text
musicxml.write_midi(tune)       # a MIDI file, repeats played
musicxml.read(Path("tune.mxl").read_bytes(), "tune.mxl")
"""

from nota_jax.notation.musicxml.elements import Refused
from nota_jax.notation.musicxml.reader import MOST_BYTES, read
from nota_jax.notation.musicxml.writer import score, write, write_midi

__all__ = ["MOST_BYTES", "Refused", "read", "score", "write", "write_midi"]
