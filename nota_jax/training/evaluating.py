"""Evaluation while training: the parameters of a step are asked, and the answers say what is best.

Training stands still meanwhile, with all that it holds in its place: the optimizer's moments stay
on the devices beside the caches of decoding, and the step itself is on its way to the disk.  Data,
parameters and random numbers of training are not touched, so that a run ends with the same bits
whether it is evaluated or not.

The step is saved first and its score written behind it (`checkpoint.scores`), so that an evaluation
that fails or is killed costs nothing.  It is made up for when the run goes on from that step; asked
to end (SIGTERM), a run breaks it off.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from nota_jax.checkpoint.scores import Ask
from nota_jax.errors import fitting
from nota_jax.training.journal import EVALUATION, Journal
from nota_jax.training.saving import Saving
from nota_jax.units import duration


def due(every: int, last: int, step: int) -> bool:
    """Whether a step is evaluated: every so many, and the last of the run; every 0: none is."""
    return bool(every) and step > 0 and (step % every == 0 or step == last)


def at(
    step: int,
    params: Any,
    ask: Ask,
    stopped: Callable[[], object],
    saving: Saving,
    journal: Journal,
    say: Callable[[str], None],
) -> None:
    """Evaluates the parameters behind a step, which is saved.

    Raises:
      UserError: the devices have no room for it beside training, or what `ask` raises.
    """
    started = time.monotonic()
    with fitting(
        f"step {step} is saved, and its evaluation has no room beside what training holds; ask "
        "fewer pages at once (--config.eval.batch_size), or --config.eval.every=0; the same "
        "command goes on from there"
    ):
        score = ask(params, stopped)
    if score is None:
        say(f"step {step}: the evaluation is broken off, and made up for when the run goes on")
        return
    # The journal first: a score on disk says that there is a line.
    journal.write(step, {EVALUATION + name: value for name, value in score.figures.items()})
    journal.save()
    saving.score(step, score)
    best = saving.saved.best_step()
    rank = "the best so far" if best == step else f"the best is step {best}'s"
    say(f"step {step}: {score}, {rank} ({duration(time.monotonic() - started)})")
