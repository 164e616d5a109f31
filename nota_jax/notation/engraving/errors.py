"""Why a tune has no picture."""

from nota_jax.errors import UserError


class EngraveError(UserError):
    """This tune cannot be drawn (or not legibly); the text says what and in which bar."""


class MismatchError(UserError):
    """The picture does not show the tune; the text says what differs, and in which bar."""
