"""Lines of text, and the errors that say what is wrong and where."""

from __future__ import annotations

from nota_jax.errors import UserError


class AbcError(UserError):
    """A tune that cannot be read.

    Attributes: message (the reason alone), source (file), tune (its `X:` number), line and column
    (both from 1, column 0 where the whole line or tune is meant).
    """

    def __init__(
        self, message: str, *, source: str = "", tune: str = "", line: int = 0, column: int = 0
    ):
        self.message, self.source, self.tune = message, source, tune
        self.line, self.column = line, column
        where = ", ".join(
            f"{name} {value}"
            for name, value in (("tune", tune), ("line", line), ("column", column))
            if value
        )
        super().__init__(": ".join(part for part in (source, where, message) if part))

    def __reduce__(self):  # keyword-only arguments do not survive pickling between processes
        return (_rebuild, (self.message, self.source, self.tune, self.line, self.column))


class FieldError(ValueError):
    """What is wrong with the text of one field or token; the reader adds where it stands."""


def _rebuild(message: str, source: str, tune: str, line: int, column: int) -> AbcError:
    return AbcError(message, source=source, tune=tune, line=line, column=column)


def lines_of(text: str) -> list[str]:
    """Lines by the three newlines of text files only (`str.splitlines` knows a dozen)."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
