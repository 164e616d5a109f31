"""Saves that may fail: a full disk costs an interval, not the run.

A write goes on while training does, so that its failure comes to light at the next save.  The step
that could not be written is said, training goes on, and the next interval tries again; a run ends
when `MOST_UNSAVED` intervals in a row could not be saved, for then it trains for nothing.

Of several processes the first failure inside a write ends the run: the others are in the middle of
it.  A disk that is seen to be full beforehand they agree on, and skip together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from nota_jax.checkpoint.base import CONTINUE
from nota_jax.checkpoint.scores import Score
from nota_jax.checkpoint.steps import Checkpoints
from nota_jax.errors import UserError
from nota_jax.parallel import processes

MOST_UNSAVED = 2


class Saving:
    """The saves of a run."""

    def __init__(self, saved: Checkpoints, say: Callable[[str], None], most: int = MOST_UNSAVED):
        self.saved, self.say, self.most = saved, say, most
        self.failed = 0  # intervals in a row
        self.error: UserError | None = None  # the last of them
        self.under_way: int | None = None

    def save(self, step: int, params: Any, optimizer: Any, *rest: Any, **more: Any) -> None:
        """As `Checkpoints.save`.

        Raises:
          UserError: too many intervals could not be saved.
        """
        self._settle()
        try:
            self._require_room(step, params, optimizer)
            self.saved.save(step, params, optimizer, *rest, **more)
            self.under_way = step
        except UserError as error:
            self._note(step, error)

    def score(self, step: int, score: Score) -> None:
        """Keeps how well a step answers, once the step is on disk; what cannot be kept is said.

        Raises:
          UserError: too many intervals could not be saved.
        """
        self._settle()
        try:
            kept, why = self.saved.score(step, score), "the step is not on disk"
        except UserError as error:
            kept, why = False, str(error)
        if not kept:
            self.say(f"WARNING: the score of step {step} is not kept, nor can it be best: {why}")

    def finish(self, step: int) -> None:
        """Returns when the save of the last step is on disk.

        Raises:
          UserError: it is not.
        """
        self.most = 1
        self._settle()
        if self.failed:
            raise UserError(f"step {step} is not saved: {self.error} {CONTINUE}") from self.error

    def _settle(self) -> None:
        """Waits for the write under way."""
        if self.under_way is None:
            return
        step, self.under_way = self.under_way, None
        try:
            self.saved.wait()
            self.failed = 0
        except UserError as error:
            self._note(step, error)

    def _note(self, step: int, error: UserError) -> None:
        self.failed, self.error = self.failed + 1, error
        if self.failed >= self.most or jax.process_count() > 1 and not isinstance(error, _NoRoom):
            before = "" if self.failed < 2 else f" ({self.failed} saves in a row have failed)"
            raise UserError(f"step {step} is not saved{before}: {error} {CONTINUE}") from error
        self.say(
            f"WARNING: step {step} is not saved: {error}. Training goes on, and tries again with "
            "the next save; if that fails too, it ends"
        )

    def _require_room(self, step: int, params: Any, optimizer: Any) -> None:
        if jax.process_count() == 1:
            return  # `Checkpoints.save` asks
        try:
            self.saved.require_room(step, params, optimizer)
            trouble = ""
        except UserError as error:
            trouble = str(error)
        if processes.any_of(bool(trouble)):
            raise _NoRoom(trouble or "another process finds no room for it")


class _NoRoom(UserError):
    """All processes know of it, before any has begun to write."""
