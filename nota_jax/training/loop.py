"""Training from the first step to the last, through interruptions.

The order of operations, on which the exactness of a resumed run depends:

1. Tables are resolved against the model's shapes, and mistakes in them reported, before anything
   is allocated.
2. The state comes from the newest checkpoint in `run_dir`, else from `load`; the data iterator is
   put where that checkpoint left it.
3. Each step: take a batch, note the iterator's state, start the step on the devices, and only then
   look at the result of the step *before*, so that the devices never wait for the host.
4. Nothing is saved that has not been looked at: a step that gave NaN never reaches the disk.
   What is evaluated on the way is saved first; nothing that training depends on is touched.
5. One run at a time: the lock of `run_dir` is held from before the first look at it to the end.
6. A disk that takes no metrics or no checkpoint costs these, and not the run (`journal`, `saving`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding

from nota_jax.checkpoint.base import load_base, save_base
from nota_jax.checkpoint.fingerprints import require_shapes
from nota_jax.checkpoint.scores import Ask
from nota_jax.checkpoint.steps import Checkpoints, refuse_to_begin_again
from nota_jax.errors import UserError
from nota_jax.files import locked, write_json
from nota_jax.parallel.hardware import peak_flops
from nota_jax.parallel.mesh import check_rows, place_batch, row_share
from nota_jax.params import Tree, split_tree, without_aids
from nota_jax.training import evaluating, metrics, program, trace
from nota_jax.training import state as states
from nota_jax.training.journal import Journal
from nota_jax.training.nans import Look
from nota_jax.training.program import TrainConfig
from nota_jax.training.saving import Saving

Load = Callable[[Mapping[str, NamedSharding]], Tree]


@dataclass(frozen=True)
class Outcome:
    """How training ended.

    report: the last report's metrics; empty if there was nothing left to do.
    interrupted: why it ended before `total_steps`; None if it did not.
    """

    state: states.TrainState
    step: int
    report: dict[str, float]
    totals: metrics.Totals
    interrupted: str | None


def train(
    config: TrainConfig,
    model: nn.Module,
    shapes: Tree,
    load: Load,
    pipeline: Any,
    mesh: Mesh,
    run_dir: str | Path,
    *,
    ask: Ask | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Trains `model`, or goes on training it, and leaves checkpoints and metrics in `run_dir`.

    Args:
      config: see `TrainConfig`.
      model: `models.notagpt.NotaGPT`.
      shapes: its parameters' shapes (`models.notagpt.param_shapes`).
      load: shardings by path → the model's parameters to start from, there or as numpy arrays;
        called only if `run_dir` has no checkpoint.
      pipeline: `data.pipeline`'s; `iter(pipeline)` has `get_state` and `set_state`, in JSON, and
        is the same in all processes.  Each reads its `row_share`.
      mesh: `parallel.mesh.make_mesh`'s.
      run_dir: made if it is not there.
      ask: what evaluates the parameters on the way (`evaluating`); None for nothing.
      say: where the lines for people go.

    Raises:
      UserError: tables or a mesh that do not fit, a checkpoint of another model, a full disk, a
        loss that is not finite.  Whatever was saved before stays as it was.
    """
    run_dir, (_, shares) = Path(run_dir), row_share(mesh)
    main = jax.process_index() == 0
    say = say if main else (lambda _: None)

    # ---- what trains, how, and where it lies
    phase = program.prepare(config, model, shapes, mesh)
    shapes, trainable, shardings = phase.shapes, phase.trainable, phase.shardings
    say(phase.describe())

    with contextlib.ExitStack() as stack:
        # ---- from the newest checkpoint, or from the start
        if main:  # of several processes the first speaks for all
            stack.enter_context(locked(run_dir, "trains", say=say))
        saved = stack.enter_context(
            Checkpoints(
                run_dir,
                keep_last=config.keep_last,
                say=say,
            )
        )
        batches, start = iter(pipeline), 0
        if saved.latest_step() is None:
            refuse_to_begin_again(run_dir)
            if (run_dir / "base").exists() and not (run_dir / "config.json").exists():
                raise UserError(
                    f"{run_dir} holds parameters that no training wrote (a conversion?) and that "
                    f"this run would overwrite: start *from* it, and choose another run_dir"
                )
            params = phase.complete(load(without_aids(shardings)))
            require_shapes(params, shapes, "the parameters to start from do not fit")
            # Behind what may fail, and before the base, which it marks as a run's.
            if main:
                write_json(run_dir / "config.json", config.record)
            base = save_base(run_dir, split_tree(params, trainable)[1])
            state = states.create(params, trainable, phase.optimizer, shardings, consume=True)
            totals = metrics.Totals()
        else:
            chosen, rest = split_tree(shapes, trainable)
            frozen, base = load_base(run_dir, rest, shardings)
            template = states.abstract_state(chosen, phase.optimizer, shardings)
            start, chosen, progress, about = saved.restore(
                template.trainable, template.progress, base
            )
            frozen = states.place(frozen, states.frozen_dtype(), shardings, consume=True)
            state = template.replace(trainable=chosen, frozen=frozen, **progress)
            batches.set_state(about["data"])
            totals = metrics.Totals(**about["totals"])
            if (
                main and start < config.total_steps
            ):  # who comes behind reads what was run in the end
                write_json(run_dir / "config.json", config.record)
            say(f"resuming behind step {start} of {config.total_steps} from {saved.directory}")

        # ---- the loop
        step, keys = phase.step(state), phase.keys
        saving = Saving(saved, say)
        due = partial(evaluating.due, config.evaluate_every if ask else 0, config.total_steps)
        owed = due(start) and start not in saved.scored()
        journal = stack.enter_context(
            Journal(run_dir, resumed_at=start, owed=owed, active=main, say=say)
        )
        signalled = stack.enter_context(_signals(say))
        peak = peak_flops(mesh.devices.flat[0])
        meter = metrics.Meter(config.objective.factors, totals, peak and peak * mesh.size)
        profile = stack.enter_context(trace.profiled(config.profile, run_dir / "profile", say))
        profile(start, state)
        most_nans = config.most_nans if config.on_nan == "skip" else 0
        look = Look(run_dir, saved.latest_step, say, main, most_nans)
        report: dict[str, float] = {}
        position = batches.get_state()
        number = start

        def evaluated() -> str | None:
            """Evaluates the step that was saved last; why training was asked to end meanwhile."""
            assert ask is not None  # nothing is due without
            stopped = partial(signalled, number) if jax.process_count() == 1 else lambda: None
            evaluating.at(number, state.params, ask, stopped, saving, journal, say)
            meter.restart()
            return stopped()

        # A step that was saved, and not evaluated to the end, is made up for before the next.
        interrupted = evaluated() if owed else None
        last = min(config.total_steps, config.stop_after or config.total_steps)
        for number in range(start + 1, 1 + (last if interrupted is None else start)):
            asked, before = time.monotonic(), position
            if (batch := next(batches, None)) is None:
                raise UserError(
                    f"the data ended before step {number} of {config.total_steps}: give the "
                    f"pipeline more epochs, or ask for fewer steps"
                )
            # Behind this batch; once the next one is drawn it would be too late to ask.
            position = batches.get_state()
            # Done already?  Then the devices stood idle for (at most) as long as we waited.
            waited = time.monotonic() - asked if look.devices_idle() else 0.0
            arrays = {key: batch[key] for key in keys}
            here = len(next(iter(arrays.values())))
            check_rows(mesh, here * shares)
            placed = place_batch(mesh, arrays)
            with jax.profiler.StepTraceAnnotation("train", step_num=number):
                state, found = step(state, placed)
            profile(number, found)

            rows = batch.get("rows", here * shares)  # the rest of them is padding
            done = metrics.work(
                arrays,
                phase.flops(placed) * rows / (here * shares),
                rows=len(batch["ids"]) if "ids" in batch else here,
                of=rows,
            )
            meter.add(dataclasses.replace(done, waited=waited), found["averages"])
            look.later(number, found, batch.get("ids"), before)

            logs, saves = number % config.log_every == 0, number % config.save_every == 0
            interrupted = signalled(number)
            saves = saves or due(number) or number == last or interrupted is not None
            logs = logs or saves
            meter.skip(look.at_all_but(0 if logs or number == start + 1 else 1))
            if number == start + 1:
                say(f"step {number} took {time.monotonic() - asked:.1f} s, compilation included")
                if not logs:
                    meter.restart()
            if logs and (newest := meter.report()):
                report = newest
                journal.write(number, report)
                say(metrics.line(number, config.total_steps, report))
            if saves:
                about = {
                    "data": position,
                    "totals": dataclasses.asdict(meter.totals),
                    "config": dict(config.record),
                }
                journal.save()
                saving.save(number, state.trainable, state.progress, base, about=about)
                meter.restart()
            if interrupted is None and due(number):
                interrupted = evaluated()
            if interrupted:
                break

        # ---- the end
        saving.finish(number)
        if interrupted is None and number < config.total_steps:
            interrupted = f"asked to stop after step {last}"
        if interrupted:
            say(
                f"{interrupted}: step {number} of {config.total_steps} is saved in "
                f"{saved.directory}; run the same command to continue"
            )
        return Outcome(state, number, report, meter.totals, interrupted)


@contextlib.contextmanager
def _signals(say: Callable[[str], None]) -> Iterator[Callable[[int], str | None]]:
    """Within, SIGINT and SIGTERM ask for an end; gives the function that tells, behind a
    step, whether one did.

    One process: a second signal has its usual effect.  Only the main thread may set handlers;
    elsewhere the caller's remain.  Several: jax's preemption service catches SIGTERM and agrees on
    a step behind which all stop; SIGINT is made one.
    """
    caught: list[str] = []
    several = jax.process_count() > 1

    def note(number: int, _: Any) -> None:
        if several:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        caught.append(signal.Signals(number).name)
        for kind, handler in before.items():
            signal.signal(kind, handler)
        say(f"{caught[0]}: finishing this step and saving; once more ends at once")

    def requested(step: int) -> str | None:
        if several and multihost_utils.reached_preemption_sync_point(step):
            return "stopped by SIGTERM"
        return f"stopped by {caught[0]}" if caught else None

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        ours = (signal.SIGINT,) if several else (signal.SIGINT, signal.SIGTERM)
        before = {kind: signal.signal(kind, note) for kind in ours}
    try:
        yield requested
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
