"""What a run was begun with, and what was changed when it went on: RUN_DIR/history.jsonl.

    {"step": 0, "total_steps": 300, "config": {"optim.learning_rate": 0.001, …}, "marks": {…}}
    {"step": 120, "total_steps": 300, "changed": {"optim.learning_rate": [0.001, 0.0003]}}

config.json says what was run in the end; this says since when.  A run that goes on is compared
with the last state: what gives its parameters their meaning, where it began and which batches it
has seen must be the same (`values.TABLE` says which values those are), the recipe may change and
is said and written down, the rest is nobody's business.

marks: digests of the tokenizer and of the training splits, which the paths in the configuration do
not tell: a folder may be made again with other tunes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nota_jax import jsontext, places, values
from nota_jax.errors import UserError, cut
from nota_jax.files import full_disk_is_an_error

FILE = "history.jsonl"

_UNCOMPARED = (
    "the run cannot be compared with what it was begun with. Put the file back, or move it away to "
    "go without"
)

# Why a value cannot change in a run that goes on, by its role.
REASONS = {
    values.MODEL: "the meaning of its parameters depends on it",
    values.ORIGIN: "that is where it began",
    values.BATCHES: "the batches that it has seen depend on it",
}

# A change of these also changes which arrays a checkpoint holds, where the form changes.
FORMS: dict[str, Callable[[Any], Any]] = {
    "optim.weight_decay": bool,
    "optim.clip_norm": lambda x: x is None,
    "optim.multiplier_rules": lambda pairs: all(factor == 1 for _, factor in pairs),
    "optim.center_rules": lambda pairs: any(on for _, on in pairs),
    "aids.symbols": bool,
}


@dataclass(frozen=True)
class State:
    """What a run was trained with last: flat configuration, marks, and its steps in all.

    total_steps: 0 where it is not known (a run of before there was a history).
    """

    config: Mapping[str, Any]
    total_steps: int = 0
    marks: Mapping[str, str] = field(default_factory=dict)


def latest_step(run_dir: str | Path) -> int:
    """Of the newest checkpoint; 0 where there is none."""
    return max(places.steps(run_dir), default=0)


def read(run_dir: str | Path) -> State | None:
    """The last state of a run, of config.json alone where it has no history; None: no run there.

    Raises:
      UserError: what is there cannot be read.
    """
    path = Path(run_dir, FILE)
    lines = list(_lines(path))
    if not lines:
        whole = recorded(run_dir)
        if not whole:
            return None
        steps = whole.get("steps")
        return State(values.flat(whole), steps if isinstance(steps, int) else 0)
    try:
        return _state(lines)
    except jsontext.WRONG_SHAPE as error:
        raise UserError(
            f"{path} is damaged (it tells of no run: {cut(repr(error))}): {_UNCOMPARED}"
        ) from None


def _state(lines: Sequence[dict[str, Any]]) -> State:
    config, marks, total = dict(lines[0]["config"]), dict(lines[0]["marks"]), 0
    for line in lines:
        total = line["total_steps"]
        marks |= line.get("marks", {})
        for key, (_, new) in line.get("changed", {}).items():
            config[key] = new
    if not isinstance(total, int):
        raise ValueError(f"total_steps is {total!r}")
    return State(config, total, marks)


def changes(run_dir: str | Path) -> list[tuple[int, dict[str, Sequence[Any]]]]:
    """Behind which step what was changed: key → (old, new), the steps in all among them."""
    found, total = [], 0
    for line in _lines(Path(run_dir, FILE)):
        changed = dict(line.get("changed", {}))
        if total not in (0, line["total_steps"]):
            changed["steps"] = total, line["total_steps"]
        total = line["total_steps"]
        if changed:
            found.append((line["step"], changed))
    return found


def recorded(run_dir: str | Path) -> dict[str, Any] | None:
    """A run's config.json; None where there is none.

    Raises:
      UserError: it cannot be read, or is no run's.
    """
    path = Path(run_dir, "config.json")
    try:
        found = jsontext.parse(path.read_bytes())
        _ = found["model"], found["optim"], found["data"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is no configuration of a run, or is damaged ({reason}): put the run's own "
            "back, or start from another directory"
        ) from None
    return found


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines; the last may have been cut off with the power."""
    try:
        lines = list(jsontext.lines(path.read_bytes()))
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, 1):
        try:
            yield jsontext.parse(line)
        except ValueError:
            if number < len(lines):
                raise UserError(f"line {number} of {path} is damaged: {_UNCOMPARED}") from None


def write(
    run_dir: str | Path,
    total_steps: int,
    config: Mapping[str, Any],
    marks: Mapping[str, str],
    step: int = 0,
) -> None:
    """The first line, where a run begins; what stood there belongs to one that never saved."""
    line = {"step": step, "total_steps": total_steps, "config": plain(config), "marks": dict(marks)}
    _put(Path(run_dir, FILE), line, "w")


def add(
    run_dir: str | Path,
    state: State,
    changed: Mapping[str, Sequence[Any]],
    total_steps: int,
    config: Mapping[str, Any],
    marks: Mapping[str, str],
) -> None:
    """A further line, behind which the run has other values: key → (old, new).

    None where nothing is changed, or nothing is left to train; the first one where a run was begun
    before there was a history.
    """
    step = latest_step(run_dir)
    if not state.marks:
        write(run_dir, total_steps, config, marks, step)
    elif step < total_steps and (changed or state.total_steps != total_steps):
        line = {"step": step, "total_steps": total_steps, "changed": dict(changed)}
        _put(Path(run_dir, FILE), line, "a")


def told(
    state: State | None, changed: Mapping[str, Sequence[Any]], total_steps: int, step: int
) -> list[str]:
    """What `add` would write, as people read it."""
    if state is None or step >= total_steps:
        return []
    lines = [
        f"changed behind step {step}: config.{key} was {then!r}, is {now!r}"
        for key, (then, now) in changed.items()
    ]
    if state.total_steps not in (0, total_steps):
        lines.append(f"changed behind step {step}: {total_steps} steps, not {state.total_steps}")
    return lines


def _put(path: Path, line: Mapping[str, Any], mode: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "a" and path.is_file():
        whole = path.read_bytes()
        os.truncate(path, whole.rfind(b"\n") + 1)  # without what a power cut left
    with full_disk_is_an_error(path), path.open(mode) as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A flat configuration in JSON's values: tuples are lists."""
    return json.loads(json.dumps(values.flat(config)))


def differences(
    state: State, config: Mapping[str, Any], keys: Callable[[str], bool] = lambda key: True
) -> dict[str, tuple[Any, Any]]:
    """key → (then, now) of what was changed, of the keys for which `keys` says True.

    A key that one side does not have was no key then, or is none now: nobody changed it, but for
    the fields of an open group, as data.weights.
    """
    ours, found = plain(config), {}
    for key in sorted(ours.keys() | state.config.keys()):
        both = key in ours and key in state.config
        if keys(key) and (both or values.open_group(key)):
            if ours.get(key) != state.config.get(key):
                found[key] = (state.config.get(key), ours.get(key))
    return found


def require_continuable(
    run_dir: str | Path, state: State, config: Mapping[str, Any], marks: Mapping[str, str]
) -> dict[str, tuple[Any, Any]]:
    """What of the recipe changed; all that cannot change is the same.

    Raises:
      UserError: naming each key that cannot change, or what the marks say is another.
    """
    found = differences(state, config)
    refused = []
    for key, (then, now) in found.items():
        role = _role(key)
        form = FORMS.get(key)
        if role in REASONS:
            refused.append(f"config.{key} was {then!r} and is {now!r}: {REASONS[role]}")
        elif form is not None and _form(form, then) != _form(form, now):
            refused.append(
                f"config.{key} was {then!r} and is {now!r}: its checkpoints hold no arrays for that"
            )
    for name, mark in marks.items():
        if state.marks.get(name, mark) != mark:
            refused.append(f"the {name} is another than when it began, under the same name")
    if refused:
        raise UserError(
            f"the run in {run_dir} cannot go on like this. {'; '.join(refused)}. Take that back, "
            "or choose another config.run_dir"
        )
    return {key: change for key, change in found.items() if _role(key) == values.RECIPE}


def _role(key: str) -> str:
    row = values.row_of(key)
    return row.role if row is not None else values.FREE


def _form(form: Callable[[Any], Any], value: Any) -> Any:
    """What `FORMS` makes of a value; of one that makes no sense to it the value."""
    try:
        return form(value)
    except (TypeError, ValueError):
        return value


def require_same_model(
    run_dir: str | Path, state: State, config: Mapping[str, Any], what: str = "was trained"
) -> None:
    """The parameters of a run mean in `config.model` what they meant there.

    How many patches are looked at may differ, and what titles are read from; the vocabulary's 0
    stands for the tokenizer's.

    Raises:
      UserError: naming each key that differs.
    """
    free = (
        "model.vision.patches", "model.vision.most_patches", "model.vision.heading",
        "model.text.vocab_size",
    )  # fmt: skip

    def meaning(key: str) -> bool:
        return key.startswith("model.") and _role(key) == values.MODEL and key not in free

    if found := differences(state, config, meaning):
        named = "; ".join(
            f"config.{key} was {then!r} and is {now!r}" for key, (then, now) in found.items()
        )
        raise UserError(
            f"the run in {run_dir} {what} with another model: {named}. Take that back (its "
            "config.json has all values)"
        )


def of_tokenizer(tok: Any) -> str:
    """A tokenizer's mark: its entries, and how it cuts a line that has some of everything."""
    probe = "X:1\nT:The Kesh Jig\nK:G\n|:^F2 (A,/B,/)c'3- c|1 [CEG]4:|2 z8|] Größe 1850"
    return _digest(sorted(tok.get_vocab().items()), tok(probe, add_special_tokens=False).input_ids)


def of_dataset(folder: str | Path, splits: Sequence[str]) -> str:
    """A dataset's mark, of some of its splits on disk: their bytes, and the tunes they show.

    The same wherever it is copied to, and whatever other splits it gets.
    """
    try:
        splits_there = jsontext.parse(Path(folder, "dataset_info.json").read_bytes())["splits"]
        sizes = {s["name"]: [s.get("numBytes"), s.get("shardLengths")] for s in splits_there}
    except (OSError, *jsontext.WRONG_SHAPE):
        sizes = {}  # whoever reads its pages says what is wrong with it
    try:
        report = jsontext.parse(Path(folder, "build_report.json").read_bytes())
        tunes = report["arguments"].get("tunes_sha256")
    except (OSError, *jsontext.WRONG_SHAPE):
        tunes = None  # not built by us
    return _digest(tunes, [[split, sizes.get(split)] for split in sorted(splits)])


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
