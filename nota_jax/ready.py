"""What has to be there before a run: folders that can be written, memory, dataset, tokenizer.

What is missing and can be made is made, and said; what cannot be is a sentence before anything is
made.
"""

from __future__ import annotations

import fnmatch
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict
from transformers import PreTrainedTokenizerFast

from nota_jax import history, places
from nota_jax.data.build import corpora, dataset, found_in
from nota_jax.data.build.pages import Settings
from nota_jax.data.feed import tokenizer
from nota_jax.data.store import reader
from nota_jax.errors import UserError
from nota_jax.files import require_room
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.notagpt import param_shapes
from nota_jax.parallel import memory, processes
from nota_jax.parallel.mesh import make_mesh
from nota_jax.params import Tree, optax_mask
from nota_jax.training import objectives
from nota_jax.training.program import with_aids
from nota_jax.units import human_bytes, rough_time

Say = Callable[[str], None]

TRAINING_SPLIT, VALIDATION_SPLIT = "train", "validation"

# What a run directory may hold; where other things lie as well, one of the first says that it is
# one.  (A repository may have a folder called checkpoints.)
MARKS_OF_A_RUN = ("config.json", "history.jsonl", "metrics.jsonl", "base")
OF_A_RUN = (
    *MARKS_OF_A_RUN, "checkpoints", "tokenizer", "tensorboard", "evaluation_*", "plan", "bench",
    "read", "profile", "shared-*", "lock",
)  # fmt: skip
BESIDE = (".*", "*.out", "*.log", "*.err", "logs")  # what schedulers and people leave there

# Of data/small as its report has it, and the speed of one core that draws and proves.
PAGE_BYTES = 26_000
PAGES_A_SECOND = 25


def check_folders(config: ConfigDict) -> None:
    """Nothing is made; but what will be, can be, and nothing else lies there.

    Raises:
      UserError: naming the field, the folder, and what is in the way.
    """
    run_dir, data_dir = Path(config.run_dir), Path(config.data.dir)
    for key, folder in (("run_dir", run_dir), ("data.dir", data_dir)):
        there = folder.absolute()
        while not there.exists() and not there.is_symlink():
            there = there.parent
        if not there.is_dir():
            what = "a file" if there.is_file() else "no folder"
            raise UserError(
                f"config.{key} is {folder}, and {there} is {what}: choose a folder that is there, "
                "or a new one"
            )
        if not os.access(there, os.W_OK | os.X_OK) and not reader.holds_dataset(folder):
            raise UserError(
                f"config.{key} is {folder}, which cannot be made or written: no permission in "
                f"{there}. Choose another folder"
            )
    if run_dir.absolute() == data_dir.absolute():
        raise UserError(f"config.run_dir and config.data.dir are both {run_dir}: choose two")
    _require_free(run_dir)
    history.recorded(run_dir)  # not a Hugging Face model's
    if data_dir.is_dir() and not reader.holds_dataset(data_dir):
        if names := sorted(os.listdir(data_dir)):
            raise UserError(
                f"config.data.dir is {data_dir}, which holds {_shown(names)} and no "
                f"dataset_info.json: {found_in.advice(data_dir)}"
            )


def _require_free(run_dir: Path) -> None:
    found = sorted(os.listdir(run_dir)) if run_dir.is_dir() else []
    names = [name for name in found if not _is_one_of(name, BESIDE)]
    known = all(_is_one_of(name, OF_A_RUN) for name in names)
    if not known and not set(names) & set(MARKS_OF_A_RUN):
        raise UserError(
            f"config.run_dir is {run_dir}, which holds {_shown(names)} and is no run's: choose a "
            "new folder"
        )


def _is_one_of(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def check_memory(config: ConfigDict, architecture: NotaGPTConfig) -> None:
    shapes = known_shapes(config, architecture)
    frozen_bytes = 4 if jax.default_backend() == "cpu" else 2
    needed = memory.need(shapes, optax_mask(config.trainable, shapes), frozen_bytes)
    mesh = make_mesh(**config.mesh)
    ways = mesh.shape["fsdp"] * mesh.shape["tensor"]
    memory.require(needed, ways, f"phase {config.phase} at size {config.size}")


def check_agreement(config: ConfigDict) -> None:
    """Many processes must have one configuration, and one run directory on one file system.

    Raises:
      UserError: naming the first field that differs, or the directory that is not shared.
    """
    if jax.process_count() == 1:
        return
    ours = history.plain(config)
    theirs = processes.share(lambda: ours)
    differing = [key for key in sorted(ours | theirs) if ours.get(key) != theirs.get(key)]
    if processes.any_of(bool(differing)):
        where = [f"config.{key} is {ours.get(key)} here and {theirs.get(key)} in process 0"
                 for key in differing[:1]]  # fmt: skip
        raise UserError(
            f"{where[0] if where else 'another process has another configuration'}: start all "
            "processes with the same command"
        )
    folder = Path(config.run_dir)
    if processes.is_main():
        folder.mkdir(parents=True, exist_ok=True)
    mark = folder / processes.share(lambda: f"shared-{secrets.token_hex(4)}")
    if processes.is_main():
        mark.touch()
    processes.barrier("run directory")
    deadline = time.monotonic() + 15  # network file systems show a new file late,
    while not (seen := folder.is_dir() and mark.name in os.listdir(folder)):  # sooner in a listing
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    missing = processes.any_of(not seen)
    if processes.is_main():
        mark.unlink()
    if missing:
        raise UserError(
            f"the run directory {folder.absolute()} that process 0 made is not to be seen by all "
            "processes: put config.run_dir and config.data.dir on a file system that all hosts "
            "share"
        )


def prepare_dataset(config: ConfigDict, say: Say) -> None:
    """Builds the dataset where `data.dir` is not there."""
    folder, b = Path(config.data.dir), config.data.build
    if reader.holds_dataset(folder):
        return
    n_tunes = sum(1 for _ in corpora.read(b.corpora or None, b.limit or None))
    n_pages, cores = pages_of(n_tunes, b.variants), b.workers or len(os.sched_getaffinity(0))
    size, seconds = n_pages * PAGE_BYTES, n_pages / PAGES_A_SECOND / cores
    require_room(folder.parent, 2 * size, f"the dataset {folder} while it is built")
    say(
        f"building the dataset {folder}, once: {n_tunes:,} tunes, about {n_pages:,} pages, "
        f"{human_bytes(size)}, roughly {rough_time(seconds)} on {cores} cores (fewer: "
        "--config.data.build.limit=2000; `python -m nota_jax.data.build` says more)"
    )
    settings = Settings(
        variants=b.variants,
        seed=b.seed,
        size=config.model.vision.image_size,
        look_share=b.look_share,
        surroundings=b.surroundings,
        title_share=b.title_share,
        meter_share=b.meter_share,
        split_by=b.split_by,
    )
    dataset.build(folder, b.corpora or None, b.limit or None, settings, b.workers or None)
    say(f"built {folder}: see build_report.md and contact_sheet.png there")


def pages_of(n_tunes: int, variants: int) -> int:
    """About how many pages come of tunes: three tasks, a tenth of the tunes held out and drawn
    once, those of the test twice, and scanned for two tasks."""
    each = 3 * 0.9 * variants + 3 * 0.05 + (3 + 3 + 2) * 0.05
    return round(round(n_tunes * each), -1 if n_tunes < 1000 else -3)


def leave_out_absent_tasks(config: ConfigDict, say: Say) -> None:
    """Trains and evaluates on the tasks that the dataset has, where it has not all; says so.

    Raises:
      UserError: it has none of them.
    """
    wanted = tuple(config.data.tasks)
    there = {split.partition("_")[0] for split in reader.split_sizes(config.data.dir)}
    found = tuple(task for task in wanted if task in there)
    if not found:
        names = ", ".join(repr(task) for task in sorted(there))
        raise UserError(
            f"{config.data.dir} has no pages of {', '.join(wanted)}: it has those of {names}; "
            f'--config.data.tasks="({names},)" takes them'
        )
    if found != wanted:
        absent = ", ".join(task for task in wanted if task not in there)
        say(f"{config.data.dir} has no pages of {absent}: {', '.join(found)} alone")
        config.data.tasks = found


def require_split(config: ConfigDict) -> None:
    """The pages that the run is evaluated on, on the way and in the end, are there; asked before it
    begins.

    Raises:
      UserError: they are not, and what can be asked instead.
    """
    split = config.eval.split
    if not split and not config.eval.every:
        return
    sizes = reader.split_sizes(config.data.dir)

    def lacks(split: str) -> list[str]:
        return [task for task in config.data.tasks if f"{task}_{split}" not in sizes]

    if config.eval.every and (lacking := lacks(VALIDATION_SPLIT)):
        raise UserError(
            f"{config.data.dir} has no pages in "
            f"{', '.join(f'{task}_{VALIDATION_SPLIT}' for task in lacking)}, so there would be no "
            "evaluation while training: --config.eval.every=0 goes without"
        )
    if split and (lacking := lacks(split)):
        whole = [
            part for part in ("validation", "test", "test_style", "test_scan", "train")
            if not lacks(part)
        ]  # fmt: skip
        raise UserError(
            f"{config.data.dir} has no pages in {', '.join(f'{t}_{split}' for t in lacking)}, so "
            f"there would be no evaluation on {split}: --config.eval.split= goes without, and "
            f"--config.eval.split={whole[0] if whole else 'NAME'} asks those "
            f"(there is {', '.join(whole) or 'none for all tasks'}; few tunes may leave a part of "
            "the melodies empty)"
        )


def require_tokenizer(config: ConfigDict) -> None:
    """The configured tokenizer is there, before a dataset is built for it.

    Raises:
      UserError: it is not; the phase that leaves it has not run.
    """
    if config.tokenizer and tokenizer.find(config.run_dir, config.tokenizer) is None:
        raise UserError(
            f"config.tokenizer is {config.tokenizer}, where no tokenizer is: run what leaves one "
            "there first (phase 1 before phase 2), or train a new one with --config.tokenizer="
        )


def prepare_tokenizer(config: ConfigDict, say: Say) -> PreTrainedTokenizerFast:
    """The run's own tokenizer, else the configured one, the previous phase's, that of the weights
    to start from, or a new BPE.

    Raises:
      UserError: the run was trained with another than the one that lies in it now.
    """
    run_dir, own = Path(config.run_dir), Path(config.run_dir) / "tokenizer"
    starts = (config.previous, config.init_from)
    home = config.tokenizer or tokenizer.find(*(places.folder_of(p) for p in starts if p))
    begun = history.latest_step(run_dir) > 0 or (run_dir / "base").exists()
    # A start that never saved may have left one that was chosen then, and is not now.
    if tokenizer.find(run_dir) and (begun or not home):
        tok = tokenizer.load_tokenizer(run_dir)
        state = history.read(run_dir)
        mark = history.of_tokenizer(tok)
        if begun and state is not None and state.marks.get("tokenizer", mark) != mark:
            raise UserError(
                f"the tokenizer in {own} is not the one that {run_dir} was trained with, so its "
                "tokens mean something else: put the run's own back"
            )
        return tok
    if home:
        tok = tokenizer.load_tokenizer(home)
        if not (tokenizer.find(own) and _same(tok, tokenizer.load_tokenizer(own))):
            tokenizer.save_tokenizer(tok, own)
        return tok
    splits = [s for s in reader.split_sizes(config.data.dir) if s.endswith(TRAINING_SPLIT)]
    say(f"training a byte-level BPE of {config.vocab_size} entries on {', '.join(splits)}")
    texts = reader.texts(config.data.dir, splits)
    return tokenizer.train_bpe(texts, config.vocab_size, own, config.chunks)


def require_same_tokenizer(tok: PreTrainedTokenizerFast, origin: str | Path, key: str) -> None:
    """Weights are started from with the tokenizer that they were trained with.

    Raises:
      UserError: the directory they come from has another one.
    """
    theirs = tokenizer.find(places.folder_of(origin))
    if theirs is not None and not _same(tok, tokenizer.load_tokenizer(theirs)):
        raise UserError(
            f"config.{key} is {origin}, whose tokenizer ({theirs}) is another than this run's: "
            f"its weights know other tokens. Give --config.tokenizer={origin} and a new "
            "config.run_dir"
        )


def _same(a: PreTrainedTokenizerFast, b: PreTrainedTokenizerFast) -> bool:
    return history.of_tokenizer(a) == history.of_tokenizer(b)


def known_shapes(config: ConfigDict, architecture: NotaGPTConfig) -> Tree:
    """Of the model and of what its objective adds."""
    return with_aids(objectives.from_config(config), architecture, param_shapes(architecture))
