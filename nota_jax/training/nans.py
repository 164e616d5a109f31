"""Steps whose loss or gradient is not finite: looked for behind the devices' back, told, counted.

Results stay on the devices until the next step has begun, so that looking costs no time.  Nothing
is saved before it has been looked at.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nota_jax.errors import UserError
from nota_jax.files import write_json
from nota_jax.training.step import Metrics


class Look:
    """Results that are still on their way, and what happens where one is not finite.

    most: how many in a row are left out (the step itself has not applied their update); one more
      ends the run.  0: the first ends it.
    latest: of the newest checkpoint.
    main: whether this process writes what the others would write too.
    """

    def __init__(
        self,
        run_dir: Path,
        latest: Callable[[], int | None],
        say: Callable[[str], None],
        main: bool,
        most: int = 0,
    ):
        self.path, self.latest, self.say = run_dir / "nan_batch.json", latest, say
        self.main, self.most = main, most
        self.pending: list[tuple[int, Metrics, Any, Any]] = []
        self.in_a_row = self.skipped = 0

    def later(self, number: int, found: Metrics, ids: Any, position: Any) -> None:
        """Keeps what a step found.

        ids: of the batch's records.  position: the data iterator's state before that batch.
        """
        self.pending.append((number, found, ids, position))

    def devices_idle(self) -> bool:
        return not self.pending or self.pending[-1][1]["loss"].is_ready()

    def at_all_but(self, newest: int) -> int:
        """Waits for the pending steps except the `newest` ones; how many of them were left out.

        Raises:
          UserError: one is not finite, and that is one too many.
        """
        before = self.skipped
        while len(self.pending) > newest:
            number, found, ids, position = self.pending.pop(0)
            if bool(found["finite"]):
                self.in_a_row = 0
            else:
                self._meet(number, found, ids, position)
        return self.skipped - before

    def _meet(self, number: int, found: Metrics, ids: Any, position: Any) -> None:
        self.in_a_row += 1
        values = {name: float(found[name]) for name in ("loss", "grad_norm", "learning_rate")}
        names = [str(name) for row in ids or [] for name in np.ravel(row)]
        self._record(number, values, names, position)
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        what = (
            f"step {number}: loss {values['loss']}, gradient norm {values['grad_norm']} is not "
            f"finite. Records of the batch: {shown or 'not known'} (all in {self.path})"
        )
        if self.in_a_row <= self.most:
            self.skipped += 1
            self.say(
                f"WARNING: {what}. Its update is left out: {self.in_a_row} in a row, "
                f"{self.most} at most"
            )
            return
        last = self.latest()
        again = (
            f"the checkpoint of step {last} stays, and the same command goes on from there and "
            if last
            else "no checkpoint was written, and the same command begins again and "
        )
        many = f" ({self.in_a_row} steps in a row, config.most_nans is {self.most})"
        raise UserError(
            f"{what}{many if self.most else ''}; {again}meets this batch again at step {number}. "
            f"Look at the records, lower the learning rate ({values['learning_rate']:.2e} at that "
            f"step), or leave such steps out with --config.on_nan=skip"
        )

    def _record(
        self, number: int, values: Mapping[str, float], names: list[str], position: Any
    ) -> None:
        if not self.main:
            return
        # JSON has no NaN, so the numbers are written as text.
        record = {
            "step": number,
            "metrics": {name: str(value) for name, value in values.items()},
            "ids": names,
            "data": position,
        }
        with contextlib.suppress(UserError, OSError):  # a full disk is not what is to be told here
            write_json(self.path, record)
