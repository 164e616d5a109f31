"""ABC notation: `Tune`s from the ABC of the world, and the one canonical ABC of a `Tune`.

    tune = parse(text)          # AbcError names file, tune, line and column
    text = write(tune)          # canonical ABC; parse(write(tune)) is the tune again
    problems = check(tune)      # bar lengths, ties, repeats: reported, never mended

The format is described in docs/datasets.md, "Parsing".
"""

from nota_jax.notation.abc.fields import key_text
from nota_jax.notation.abc.reader import parse
from nota_jax.notation.abc.source import AbcError
from nota_jax.notation.abc.tunebook import decode, split_tunebook
from nota_jax.notation.abc.writer import unit_note_length, unit_text, write, write_body
from nota_jax.notation.checks import Problem, check

__all__ = [
    "AbcError", "Problem", "canonical", "check", "decode", "key_text", "parse", "split_tunebook",
    "unit_note_length", "unit_text", "write", "write_body",
]  # fmt: skip


def canonical(text: str) -> str:
    """The canonical text of a tune; `canonical(canonical(text)) == canonical(text)`."""
    return write(parse(text))
