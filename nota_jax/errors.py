"""The error that is meant for the user's eyes, and what a command makes of it."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can mend: its text says what is wrong, where, and what to do.

    The command-line entry points run through `exit_status`; it never reaches the user as a
    traceback.
    """


def exit_status(command: Callable[[], int | None], *, interrupted: str = "nothing was kept") -> int:
    """Runs a command: its own status (None is 0), 2 for a mistake, 130 for an interruption.

    interrupted: what an interruption means for the user's work.
    """
    try:
        return command() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ninterrupted: {interrupted}", file=sys.stderr)
        return 130
