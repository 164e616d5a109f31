"""The error that is meant for the user's eyes."""


class UserError(Exception):
    """Something the user can mend: its text says what is wrong, where, and what to do.

    The command-line entry points print it after "error: " and exit with status 2; it never
    reaches the user as a traceback.
    """
