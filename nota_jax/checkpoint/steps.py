"""What a run keeps on disk, and how the next phase starts from it.

    run_dir/
      base/                   the parameters that this run does not train, written once (`base`)
        params/  about/
      checkpoints/<step>/     what it trains, at that step
        params/               trainable parameters
        optimizer/            the optimizer's state and the number of steps done
        about/                shapes and checksums, fingerprint of the base, data-iterator state,
                              totals, config
        score.json            how well it answers, if it was asked (`scores`)
      checkpoints/<step>.damaged/   one that a disk spoiled, set aside (`damage`)

Every parameter lies in exactly one of the two, so that a run directory is whole by itself and
holds nothing twice: `load_params` joins them, whatever split the run trained with.  That is what
lets phase 2 (connector + decoder) start from phase 1 (connector alone) and phase 3 from either.

All writing is done by Orbax under a temporary name and then renamed, so that an interrupted write
leaves nothing that looks like a checkpoint.  All reading compares checksums; where a checkpoint is
damaged, the one before it takes its place, and that is said.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding
from orbax.checkpoint.checkpoint_managers import preservation_policy

from nota_jax import files, places
from nota_jax.checkpoint import base as bases
from nota_jax.checkpoint import scores, verified
from nota_jax.checkpoint.damage import Damaged, aloud, sealed, set_aside, those_aside
from nota_jax.checkpoint.fingerprints import (
    Fingerprint,
    as_shapes,
    fingerprint,
    require_same,
    require_shapes,
)
from nota_jax.checkpoint.scores import Score
from nota_jax.errors import TryAgain, UserError
from nota_jax.params import AIDS, Tree, flatten, join_trees, unflatten, without_aids

# Checkpoints that are let go are moved in here first: removed in place, a process that is killed
# meanwhile would leave half of one under its number.  To Orbax the name is that of a broken write.
LEAVING = "leaving.orbax-checkpoint-tmp"
T = TypeVar("T")
Say = Callable[[str], None]


class Checkpoints:
    """The checkpoints of one run, as a context manager; leaving it waits for writes under way.

    keep_last: how many of the newest stay, beside the one that answers best.
    say: hears of checkpoints that are damaged, which are set aside.
    """

    def __init__(self, run_dir: str | Path, *, keep_last: int = 2, say: Say = aloud):
        self.directory, self.say = folder_of(run_dir), say
        self._options = functools.partial(
            ocp.CheckpointManagerOptions,
            preservation_policy=preservation_policy.AnyPreservationPolicy(
                [preservation_policy.LatestN(keep_last), scores.KeepBest(self.scored)]
            ),
            create=True,
            todelete_subdir=LEAVING,
        )
        # Whose words are broken is set aside first: Orbax reads those of all when it opens them.
        self._clear_away()
        if jax.process_index() == 0:
            for step in places.steps(run_dir):
                try:
                    verified.look_over(self.directory / str(step))
                except Damaged as error:
                    self._set_aside(step, error)
        self._scores = scores.read_all(run_dir, say)
        with files.writing(self.directory):
            self.manager = self._open(clean=True)
        self._writing: int | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type | None, *_: Any) -> None:
        if kind is None:
            self.wait()
        # Closing repeats the failure of a write, which is on its way to the user already.
        with contextlib.suppress(*() if kind is None else (Exception,)):
            self.manager.close()
        # A straggler of a write that failed may have come after `explained`.
        if jax.process_count() == 1:
            bases.clear_halves(self.directory)

    def latest_step(self) -> int | None:
        return self.manager.latest_step()

    def scored(self) -> dict[int, Score]:
        """The scores of those that are there, by step."""
        there = set(self.manager.all_steps())
        return {step: score for step, score in self._scores.items() if step in there}

    def best_step(self) -> int | None:
        return scores.best(self.scored())

    def score(self, step: int, score: Score) -> bool:
        """Keeps how well a step answers, beside its checkpoint; False where it has none on disk.

        Raises:
          UserError: the disk does not take it.
        """
        self.wait()
        if step not in self.manager.all_steps():
            return False
        if jax.process_index() == 0:
            scores.write(self.directory / str(step), score)
        self._scores[step] = score
        return True

    def save(
        self,
        step: int,
        params: Tree,
        optimizer: Any,
        base: Fingerprint,
        *,
        about: Mapping[str, Any],
    ) -> None:
        """Writes the state of a step; returns when it is copied, while the write goes on.

        Args:
          step: optimizer steps done.
          params: the trainable ones; the caller may donate them to the next step right away.
          optimizer: any tree of arrays; may be donated too.
          base: fingerprint of the frozen part.
          about: what else belongs to the step (the data iterator's state, totals, the
            configuration), in JSON.

        Raises:
          UserError: if this write or the one before it failed; earlier checkpoints stay.
        """
        self.wait()
        self.require_room(step, params, optimizer)
        words = sealed(
            {
                "parameters": fingerprint(params),
                "optimizer": fingerprint(optimizer),
                "base": base,
                **about,
            }
        )
        self._writing = None if (self.directory / str(step)).exists() else step
        with self._explained():
            self.manager.save(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(params, bases.save_args(params)),
                    optimizer=ocp.args.StandardSave(optimizer),
                    about=ocp.args.JsonSave(words),
                ),
            )

    def require_room(self, step: int, params: Tree, optimizer: Any) -> None:
        """Raises UserError where the disk cannot hold what `save` would write."""
        size = sum(leaf.nbytes for leaf in jax.tree.leaves((params, optimizer)))
        bases.require_room(f"the checkpoint of step {step}", self.directory, size)

    def wait(self) -> None:
        """Returns when everything is on disk, or raises what went wrong on the way there."""
        with self._explained():
            self.manager.wait_until_finished()
            self.manager.check_for_errors()
        self._clear_away()

    def _clear_away(self) -> None:
        """Removes the checkpoints that are let go."""
        if jax.process_index() == 0:
            shutil.rmtree(self.directory / LEAVING, ignore_errors=True)

    def restore(
        self, params: Tree, optimizer: Any, base: Fingerprint, step: int | None = None
    ) -> tuple[int, dict[str, Any], Any, dict[str, Any]]:
        """(step, and what `save` was given as params, optimizer and about) of the newest sound one.

        A damaged one is set aside, and the one before it is read.  Of several processes, which
        cannot know what the others met, all end at a damaged one; started again they find it gone.

        Args:
          params, optimizer: shapes, dtypes and places of what is expected.
          base: fingerprint of the frozen parameters at hand.
          step: which; None for the newest.

        Raises:
          UserError: if the checkpoint is of another model, another split, another optimizer or
            another base; or if none is sound.
        """
        while True:
            number = self.latest_step() if step is None else step
            if number is None:
                refuse_to_begin_again(self.directory.parent)
                raise UserError(f"{self.directory} has no checkpoint")
            try:
                folder = self.directory / str(number)
                return number, *verified.state(folder, params, optimizer, base, self.say)
            except Damaged as error:
                self._set_aside(number, error)
                if jax.process_count() > 1:
                    raise TryAgain(
                        f"{error}. It is set aside: the same command goes on from the one before"
                    ) from error
            if step is not None:
                raise UserError(f"{self.directory} has no sound checkpoint of step {step}")
            self.manager.reload()

    def _set_aside(self, step: int, error: Damaged) -> None:
        aside = set_aside(self.directory / str(step))
        kept = f"it is kept as {aside.name}" if aside else "another process has set it aside"
        self.say(f"WARNING: {error}. The checkpoint of step {step} is not used; {kept}")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        with bases.explained(f"a checkpoint to {self.directory}", self.directory, self._give_up):
            yield

    def _give_up(self) -> None:
        """Ends a write that failed, so that nothing of its step is left.

        One of Orbax's writers raises while the others are still at it, and they may come to the
        end of theirs: only closing waits for them all.
        """
        with contextlib.suppress(Exception):
            self.manager.close()
        if self._writing is not None:
            shutil.rmtree(self.directory / str(self._writing), ignore_errors=True)
        # What it left under a temporary name is cleared by whoever called: two that clear the same
        # folder get into each other's way, and Orbax's own cleaning would end the next save.
        self.manager, self._writing = self._open(clean=False), None

    def _open(self, clean: bool) -> ocp.CheckpointManager:
        options = self._options(cleanup_tmp_directories=clean)
        return ocp.CheckpointManager(self.directory, options=options)


def folder_of(run_dir: str | Path) -> Path:
    return Path(run_dir).absolute() / "checkpoints"


def refuse_to_begin_again(run_dir: str | Path) -> None:
    """Raises UserError where there were checkpoints and none is left that could be read."""
    folder = folder_of(run_dir)
    if not places.steps(run_dir) and (aside := those_aside(folder)):
        raise UserError(
            f"no checkpoint in {folder} is sound; set aside are "
            f"{', '.join(each.name for each in aside)}. Put back a copy, or choose another run_dir "
            "(or remove them) to begin again"
        )


# ---- reading without going on: nothing is made, written, renamed or locked


def contents(
    place: str | Path, say: Say = aloud
) -> tuple[int | None, Fingerprint, dict[str, dict[str, Any]]]:
    """What a run or a conversion holds: (step, fingerprint of the base, trained parameters' forms).

    The forms are marks with checksums but for runs of earlier versions.

    place: as `places` spells it.  The step None comes back where there is none to add.

    Raises:
      UserError: no run, no such step, or a base that is not the one the checkpoint belongs to.
    """
    return _newest_sound(*scores.step_of(place), lambda *found: found, say)


def _newest_sound(
    run_dir: str | Path,
    step: int | None,
    use: Callable[[int | None, Fingerprint, dict[str, dict[str, Any]]], T],
    say: Say,
) -> T:
    """`use` of what `contents` gives, for the newest checkpoint over which it meets no damage.

    One that was asked for by its number has no other in its place.
    """
    marks = bases.read_marks(run_dir)
    there = places.steps(run_dir)
    if not there and (Path(run_dir) / "config.json").exists():
        raise UserError(f"the run in {run_dir} has no checkpoint yet: let it train first")
    if not there:
        return use(None, marks, {})
    for number in there if step is None else [step]:
        folder = folder_of(run_dir) / str(number)
        try:
            about = bases.read_about(folder)
            require_same(marks, about["base"], f"{run_dir}: base/ is not that of step {number}")
            return use(number, marks, about["parameters"])
        except Damaged as error:
            if step is None and not folder.exists():
                # Not damaged: the run trains on, and has cleared it away under our hands.
                return _newest_sound(run_dir, step, use, say)
            if number == there[-1] or step is not None:
                others = [n for n in there if n != number] if step is not None else []
                advice = f"; there are also steps {', '.join(map(str, others))}" if others else ""
                raise UserError(
                    f"{error}{advice or '. There is no sound one before it'}"
                ) from error
            say(f"{error}. The checkpoint before it is read instead")
    raise AssertionError("the last one has returned or raised")


def load_params(
    place: str | Path,
    shapes: Tree,
    *,
    shardings: Mapping[str, Sharding] | None = None,
    say: Say = aloud,
) -> dict[str, Any]:
    """The whole parameter tree of a run: its base joined with what it has trained, both verified.

    Args:
      place: of an earlier phase, of this one, or of a conversion, as `places` spells it; without
        a step the newest that is sound.
      shapes: what is expected, the model's (`jax.eval_shape` of its init) with or without aids;
        aids that `shapes` do not have are left out.
      shardings: by path; None gives numpy arrays.
      say: hears that the newest is damaged.

    Raises:
      UserError: naming the first parameter that is missing, surplus or of another shape, or what
        is damaged.
    """

    def use(step: int | None, marks: Fingerprint, trained: dict[str, Any]) -> dict[str, Any]:
        found = marks | trained if AIDS in shapes else without_aids(marks | trained)
        # Before anything large is read, or placed where only the right shapes fit.
        problem = f"the parameters in {place} are not this model's"
        require_shapes(as_shapes(found), shapes, problem)
        whole = _load(run_dir, step, marks, trained, shardings)
        return unflatten({path: x for path, x in whole.items() if path in found})

    run_dir, step = scores.step_of(place)
    return _newest_sound(run_dir, step, use, say)


def load_parts(
    place: str | Path,
    expression: str,
    *,
    shardings: Mapping[str, Sharding] | None = None,
    say: Say = aloud,
) -> dict[str, Any]:
    """Those of a run's parameters, aids too, whose whole path matches; {} where none does.

    place: as in `load_params`.
    shardings: by path; None gives numpy arrays.
    """

    def use(step: int | None, marks: Fingerprint, trained: dict[str, Any]) -> dict[str, Any]:
        if not any(re.fullmatch(expression, path) for path in marks | trained):
            return {}
        whole = _load(run_dir, step, marks, trained, shardings)
        return unflatten({path: x for path, x in whole.items() if re.fullmatch(expression, path)})

    run_dir, step = scores.step_of(place)
    return _newest_sound(run_dir, step, use, say)


def _load(
    run_dir: str | Path,
    step: int | None,
    marks: Fingerprint,
    trained: Mapping[str, Mapping[str, Any]],
    shardings: Mapping[str, Sharding] | None,
) -> dict[str, Any]:
    """All parameters of a run by path."""
    own: dict[str, Any] = {}
    if trained:
        own = verified.parameters(folder_of(run_dir) / str(step), trained, shardings)
    params, _ = bases.load_base(run_dir, as_shapes(marks), shardings)
    return flatten(join_trees(params, own) if own else params)
