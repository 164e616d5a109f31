"""Measures a round trip at full size: a random checkpoint → ours → Hugging Face, byte for byte.

    python -m nota_jax.tools.full_size --work FOLDER [--size 7b] [--shards 4]

Makes a bfloat16 LLaVA of the size in legacy names (7b: 7,566,743,552 parameters, 15.13 GB; every
bit random, NaNs included), converts it with the two commands in processes of their own, compares
every tensor, and prints the duration and peak resident memory of each process.  FOLDER needs three
times the model's size and is emptied again.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import ml_dtypes
import numpy as np

from configs import common
from conversion import from_hf, hf_config, names, tensors
from nota_jax.errors import UserError, exit_status
from nota_jax.files import write_json
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.notagpt import param_shapes
from nota_jax.params import count_params, flatten, n_bytes
from nota_jax.units import human_bytes

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
SMALL_VOCABULARY = 1024  # where the size leaves it to its tokenizer


def config_of(size: str) -> NotaGPTConfig:
    values = common.model(size).to_dict()
    vocab = values["text"]["vocab_size"] or SMALL_VOCABULARY
    values["text"]["vocab_size"] = vocab
    return NotaGPTConfig.from_dict(values | {"image_token_id": vocab - 64})  # 32000 in 7b


def make(folder: Path, config: NotaGPTConfig, n_shards: int) -> int:
    """Writes the random checkpoint; returns its number of parameters."""
    shapes = flatten(param_shapes(config))
    forms = {
        name: jax.ShapeDtypeStruct(slot.tensor_shape(shapes[slot.path].shape), BFLOAT16)
        for name, slot in names.slots(shapes).items()
    }
    rng = np.random.default_rng(0)

    def produce(name: str) -> np.ndarray:
        bits = np.frombuffer(rng.bytes(tensors.nbytes(forms[name])), np.uint16)
        return bits.view(BFLOAT16).reshape(forms[name].shape)

    limit = n_bytes(forms) // n_shards + max(map(tensors.nbytes, forms.values())) // 2
    folder.mkdir(parents=True)
    tensors.write(folder, forms, produce, limit)
    write_json(folder / "config.json", hf_config.to_hf(config, "bfloat16", {}))
    return count_params(shapes)


def timed(what: str, *argv: str) -> None:
    """Runs a command of ours in a process of its own and prints what it took."""
    start = time.monotonic()
    command = [sys.executable, "-m", *argv]
    pid = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise UserError(f"{' '.join(argv)} failed")
    peak = usage.ru_maxrss * 1024  # Linux counts KiB
    say(what, start, f"peak resident memory {human_bytes(peak)}")


def say(what: str, start: float, more: str) -> None:
    print(f"{what}: {time.monotonic() - start:.0f} s, {more}", flush=True)


def compare(a: Path, b: Path) -> int:
    """The number of tensors, which are all the same bytes in both directories."""
    one, other = tensors.open_directory(a), tensors.open_directory(b)
    problems = [f"only in one: {name}" for name in one.keys() ^ other.keys()]
    for name in one.keys() & other.keys():
        x, y = one[name], other[name]
        same = (x.dtype, x.shape) == (y.dtype, y.shape)
        if not same or x.read().tobytes() != y.read().tobytes():
            problems.append(f"different: {name}")
    tensors.refuse("the round trip changed the model", problems)
    return len(one)


def measure(work: Path, size: str, n_shards: int) -> None:
    config = config_of(size)
    if work.exists() and any(work.iterdir()):
        raise UserError(f"{work} is not empty")
    work.mkdir(parents=True, exist_ok=True)
    a, ours, b = work / "hf", work / "ours", work / "back"
    try:
        start = time.monotonic()
        count = make(a, config, n_shards)
        files = sorted(a.glob("*.safetensors"))
        size_bytes = sum(file.stat().st_size for file in files)
        say("made", start, f"{count:,} parameters, {size_bytes:,} bytes in {len(files)} shards")
        timed("from_hf", "conversion.from_hf", "--llava", str(a), "--out", str(ours))
        timed("to_hf", "conversion.to_hf", "--ckpt", str(ours), "--out", str(b))
        start = time.monotonic()
        say("compared", start, f"{compare(a, b)} tensors, all bytes the same")
    finally:
        for folder in (a, ours, b):
            shutil.rmtree(folder, ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = from_hf.command("nota_jax.tools.full_size", __doc__)
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--size", choices=common.SIZES, default="7b")
    parser.add_argument("--shards", type=int, default=4)
    args = parser.parse_args(argv)
    return exit_status(lambda: measure(args.work, args.size, args.shards))


if __name__ == "__main__":
    sys.exit(main())
