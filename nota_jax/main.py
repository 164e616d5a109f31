"""Trains and evaluates one phase.

    python -m nota_jax.main --config=configs/phase2.py                    # size tiny
    python -m nota_jax.main --config=configs/phase2.py:7b                 # the paper's run
    python -m nota_jax.main --config=configs/phase2.py --mode=evaluate [--config.run_dir=RUN@best]
    python -m nota_jax.main --config=configs/phase2.py:7b --mode=plan --target=a100-80gb:8 [--fit]
    python -m nota_jax.main --config=configs/phase2.py --config.optim.learning_rate=3e-4

What is missing (dataset, tokenizer) is made first; an interrupted run goes on where it was.
"""

from __future__ import annotations

import difflib
import re
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from nota_jax import history, places, typed, values
from nota_jax.environment import quiet
from nota_jax.errors import UserError, cut, exit_status, fitting

MODES = ("train", "evaluate", "plan")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status, see `exit_status`."""
    quiet()
    argv = sys.argv if argv is None else argv
    if {"-h", "--help"} & set(argv[1:]):
        print(__doc__.strip())
        return 0
    return exit_status(
        lambda: 130 if _command(argv) else 0, interrupted="the same command continues"
    )


def _command(argv: Sequence[str]) -> bool:
    """What a command line asks for, done; True where it was stopped on request."""
    config, mode, plan_flags = parse(argv)
    if mode != "plan":  # which reads none of them
        begun = history.latest_step(places.folder_of(config.run_dir)) > 0
        changed = typed.changed(config, _without_overrides(argv))
        typed.require_places(config, typed.named(argv), changed, begun)
    return run_mode(config, mode, plan_flags)


def run_mode(config: ConfigDict, mode: str, plan_flags: Mapping[str, Any]) -> bool:
    """True where training was stopped on request; then there is no evaluation."""
    # Imported late, so that a mistake on the command line is answered at once.
    if mode == "plan":
        from nota_jax.plan import verdict

        out = Path(plan_flags["out"] or Path(config.run_dir) / "plan")
        verdict.run(config, verdict.Settings(plan_flags["target"], plan_flags["fit"], out))
        return False

    from nota_jax import ready, run
    from nota_jax.parallel import processes

    params = interrupted = None
    folder, which = places.split(config.run_dir)
    config.run_dir = str(folder)
    with processes.together() as cluster:
        say = print if processes.is_main() else _silent
        if cluster:
            say(cluster)
        prepared = run.prepare(config, say)
        ready.require_split(config)
        if mode == "train":
            with fitting(_smaller_steps(config)):
                outcome = run.train(prepared, say)
            params, interrupted = outcome.state.params, outcome.interrupted
            del outcome  # the optimizer's moments, whose room evaluation is planned without
        if not interrupted and (mode == "evaluate" or config.eval.split):
            with fitting("ask fewer pages at once (--config.eval.batch_size=1)"):
                run.evaluate_run(prepared, params, say, which)
    return bool(interrupted)


def _smaller_steps(config: ConfigDict) -> str:
    """What to do where a step of training does not fit."""
    recompute = ", --config.model.remat=full" if config.model.remat == "none" else ""
    return (
        "compute a step in more parts, which changes no result "
        f"(--config.data.accumulation={2 * config.data.accumulation}{recompute}), or take a "
        "smaller --config.data.batch_size; --mode=plan says what fits on which devices. The same "
        "command goes on behind the last saved step"
    )


def _silent(_: str) -> None:
    """What processes other than the first say."""


def parse(argv: Sequence[str]) -> tuple[ConfigDict, str, dict[str, Any]]:
    """The configuration, the mode and the plan's flags that a command line asks for.

    Raises:
      UserError: no or an unknown configuration, flag or key, with the nearest valid name; or
        values that cannot be run, all of them.
    """
    given = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=given, sys_argv=list(argv))
    mode = flags.DEFINE_enum("mode", "train", MODES, "train ends with an evaluation", given)
    plan_flags = {
        "target": flags.DEFINE_string("target", "", "of --mode=plan: a100-80gb:8, v5e:16 …", given),
        "fit": flags.DEFINE_bool("fit", False, "search rows a device and remat", given),
        "out": flags.DEFINE_string("out", "", "folder of the plan; RUN_DIR/plan", given),
    }
    try:
        rest = given(list(argv))
        if config.value is not None:
            _ = config.value.size  # a file that cannot be loaded answers only when it is asked
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(_explain(argv, error)) from None
    except (MemoryError, RecursionError):  # of Python's parser, which reads keys and values
        deepest = max(argv[1:], key=lambda argument: len(re.findall(r"[(\[{]", argument)))
        raise UserError(f"{cut(deepest)} is nested too deep to be read") from None
    if len(rest) > 1:
        raise UserError(f"what is {cut(repr(rest[1]))}? Fields are set as --config.a.b=value")
    if config.value is None:
        there = ", ".join(sorted(map(str, Path("configs").glob("phase*.py"))))
        raise UserError(f"--config is missing: name one of {there or 'the files in configs/'}")
    chosen = {name: flag.value for name, flag in plan_flags.items()}
    if mode.value == "plan" and not chosen["target"]:
        raise UserError("--mode=plan needs a --target, as in --target=a100-80gb:8 or v5e:16")
    if mode.value != "plan" and any(chosen.values()):
        named = ", ".join(f"--{name}" for name, value in chosen.items() if value)
        raise UserError(f"{named} belongs to --mode=plan")
    if mode.value != "evaluate" and (which := places.split(config.value.run_dir)[1]):
        raise UserError(
            f"config.run_dir is {config.value.run_dir}: a run is written to a folder, and "
            f"{places.MARK}{cut(which)} says which of its checkpoints is read, with --mode=evaluate"
        )
    if mode.value == "evaluate" and not config.value.eval.split:
        raise UserError("--mode=evaluate needs pages to ask: --config.eval.split=test")
    changed = typed.changed(config.value, _without_overrides(argv))
    typed.require_chosen_by_argument(argv, changed & typed.named(argv))
    values.check(config.value)
    return config.value, mode.value, chosen


def _explain(argv: Sequence[str], error: Exception) -> str:
    """A sentence about a command line that cannot be read."""
    for argument in argv[1:]:
        if match := re.match(r"--config=([^:]+)", argument):
            if not Path(match[1]).is_file():
                there = sorted(map(str, Path(match[1]).parent.glob("*.py")))
                near = difflib.get_close_matches(match[1], there, n=1) or there
                return f"there is no configuration {match[1]}; there is {', '.join(near)}"
    config = _without_overrides(argv)
    for argument in argv[1:]:
        if config is not None and (match := re.match(r"--config\.([^=]+)", argument)):
            if match[1] not in (keys := _keys(config)):
                return typed.explain(match[1], keys)
        # A field without its `config.`, as --lr=1.
        if config is not None and (match := re.match(r"--(?!config\b)([^=]+)", argument)):
            if f"'{match[1]}'" in str(error):
                keys = _keys(config)
                hint = f"write --config.{match[1]}=" if match[1] in keys else ""
                return f"--{match[1]} is no flag: " + (hint or typed.explain(match[1], keys))
    text = str(error).strip() or type(error).__name__
    return cut(text.splitlines()[-1].removeprefix("ValueError: "))


def _keys(config: ConfigDict) -> list[str]:
    """Every key of a configuration, groups too."""
    found = values.flat(config)
    return sorted({key for path in found for key in (path, path.rsplit(".", 1)[0])})


def _without_overrides(argv: Sequence[str]) -> ConfigDict | None:
    """The configuration as its file makes it, where it can be made.

    Loaded here and not by `config_flags`, which would read the overrides again.
    """
    named = [argument for argument in argv if argument.startswith("--config=")]
    if not named:
        return None
    path, _, size = named[-1].removeprefix("--config=").partition(":")
    try:
        get_config = runpy.run_path(path)["get_config"]
        return get_config(size) if size else get_config()
    except Exception:  # the file itself is at fault: the first error says so
        return None


if __name__ == "__main__":
    sys.exit(main())
