"""How well a checkpoint answers, and which one of a run answers best.

    RUN/checkpoints/STEP/score.json

The score lies in the folder of what it is about: they are kept, copied and removed together, and a
score without its parameters cannot be.  It is written behind the checkpoint, when the questions
have been answered; a checkpoint without one is as good as any to go on from, but never the best.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orbax.checkpoint.checkpoint_managers import preservation_policy

from nota_jax import files, jsontext, places
from nota_jax.checkpoint.damage import aloud, opened, sealed
from nota_jax.errors import UserError
from nota_jax.units import percent

FILE = "score.json"


@dataclass(frozen=True)
class Score:
    """What answering a sample of questions came to.

    error: the number that decides, less is better; of: what it is a share of.
    asked: a mark of the questions and of how they were asked: only scores that have the same are
      compared.
    figures: all that is told of it, by name.
    """

    error: float
    of: str
    asked: str
    figures: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{percent(self.error)} of the {self.of} wrong"


# (parameters, whether to break off) → the score, the same in all processes; None: broken off.
Ask = Callable[[Any, Callable[[], object]], Score | None]


def write(checkpoint: Path, score: Score) -> None:
    """Puts a score into a checkpoint's folder; raises UserError if the disk does not take it."""
    content = json.dumps(sealed(dataclasses.asdict(score)), ensure_ascii=False)
    files.write_atomic(checkpoint / FILE, content + "\n")


def read(checkpoint: Path, say: Callable[[str], None] = aloud) -> Score | None:
    """The score of a checkpoint; None where there is none, or none that can be read (that is said).

    A score that a disk spoiled costs no checkpoint: its step is as if it had not been evaluated.
    """
    path = checkpoint / FILE
    try:
        found = opened(jsontext.parse(path.read_bytes()), path)
        return Score(
            float(found["error"]), str(found["of"]), str(found["asked"]), dict(found["figures"])
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UserError, *jsontext.WRONG_SHAPE) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        say(f"WARNING: {path} is no score ({reason}): step {checkpoint.name} counts as not scored")
        return None


def read_all(run_dir: str | Path, say: Callable[[str], None] = aloud) -> dict[int, Score]:
    """Those of a run's checkpoints that have one, by step."""
    folder = Path(run_dir, "checkpoints")
    found = {step: read(folder / str(step), say) for step in places.steps(run_dir)}
    return {step: score for step, score in found.items() if score is not None}


def best(scores: Mapping[int, Score]) -> int | None:
    """The step with the least error; of equals the newest.  None where there is no score.

    Of scores for other questions (another sample, other limits) those for the newest step's count.
    """
    if not scores:
        return None
    asked = scores[max(scores)].asked
    alike = [step for step, score in scores.items() if score.asked == asked]
    return min(alike, key=lambda step: (scores[step].error, -step))


@dataclass(frozen=True)
class KeepBest:
    """Orbax's question which checkpoints stay, answered with the one that answers best.

    scored: the scores of those that are there.
    """

    scored: Callable[[], Mapping[int, Score]]

    def should_preserve(
        self,
        checkpoints: Sequence[preservation_policy.PolicyCheckpointInfo],
        *,
        context: preservation_policy.PreservationContext,
    ) -> list[bool]:
        chosen = best(self.scored())
        return [info.step == chosen for info in checkpoints]


def step_of(place: str | Path) -> tuple[Path, int | None]:
    """Folder and step that a place means (`places`); None: the newest, whichever that is.

    Raises:
      UserError: there is no such checkpoint; with the steps that there are.
    """
    folder, which = places.split(place)
    if not which:
        return folder, None
    there = places.steps(folder)
    scores = read_all(folder)
    chosen = best(scores)
    if which == places.BEST and chosen is not None:
        return folder, chosen
    if which.isdecimal() and int(which) in there:
        return folder, int(which)
    names = [f"{n} (best)" if n == chosen else str(n) for n in sorted(there)]
    has = f"there are: {', '.join(names)}" if names else f"{folder} has no checkpoints"
    if which == places.BEST:
        raise UserError(
            f"{place}: no checkpoint of {folder} was evaluated while it trained "
            f"(config.eval.every), so none is the best; {has}"
        )
    if which.isdecimal():
        raise UserError(f"{folder} has no checkpoint of step {which}; {has}")
    raise UserError(f"{place}: behind the {places.MARK} stands {places.BEST} or a step; {has}")


def exact(place: str | Path) -> str:
    """The place with the number of its step, where it names one: RUN@best → RUN@800.

    What is the best may be another a moment later, while the run trains.

    Raises:
      UserError: as `step_of`.
    """
    return places.spelled(*step_of(place))
