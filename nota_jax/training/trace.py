"""A profile of chosen steps (`config.profile`), for TensorBoard and Perfetto."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from nota_jax.errors import UserError


def check(steps: Sequence[int]) -> None:
    """Raises UserError where `steps` are neither none nor the first and the last to profile."""
    whole = all(isinstance(step, int) for step in steps)
    if steps and not (whole and len(steps) == 2 and 1 <= steps[0] <= steps[1]):
        raise UserError(
            f"config.profile is {tuple(steps)}: give the first and the last step to profile, "
            "as in (10, 13), or () for none"
        )


@contextlib.contextmanager
def profiled(
    steps: Sequence[int], folder: Path, say: Callable[[str], None]
) -> Iterator[Callable[[int, Any], None]]:
    """Within, `after(step, metrics)` is called behind each step and traces the chosen ones.

    The trace lies in `folder`/plugins/profile: TensorBoard's profile plugin opens the folder,
    ui.perfetto.dev the file perfetto_trace.json.gz.  A run that ends before the last chosen step
    leaves what there is.
    """
    first, last = steps or (0, 0)
    tracing = False

    def stop() -> None:
        nonlocal tracing
        jax.profiler.stop_trace()
        tracing = False
        say(f"profile of the steps from {first} on: {folder}")

    def after(step: int, metrics: Any) -> None:
        nonlocal tracing
        if tracing and step == last:
            jax.block_until_ready(metrics)  # or the step itself would still be under way
            stop()
        elif first and step == first - 1:
            jax.block_until_ready(metrics)  # or the step before would be in it
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # every Python call of a compilation: a million events
            jax.profiler.start_trace(
                str(folder), create_perfetto_trace=True, profiler_options=options
            )
            tracing = True

    try:
        yield after
    finally:
        if tracing:
            stop()
