"""Safetensors on disk: what a directory holds, one tensor at a time in, one tensor at a time out.

The format (github.com/huggingface/safetensors): eight bytes with the header's length, the header
in JSON (name → dtype, shape, byte range), the tensors' bytes.  It is read and written here without
the library, which would map whole files into memory and knows no bfloat16 in numpy.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from nota_jax.errors import UserError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
DTYPES = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
LISTED = 40  # problems that one error spells out


@dataclass(frozen=True)
class Tensor:
    """Where a tensor's bytes are.  dtype: safetensors' name, e.g. "BF16"."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int
    nbytes: int

    def read(self) -> np.ndarray:
        """The whole tensor, C-contiguous."""
        values = np.empty(math.prod(self.shape), DTYPES[self.dtype])
        with open(self.file, "rb", buffering=0) as file:
            file.seek(self.begin)
            into = memoryview(values.view(np.uint8))
            while into:
                count = file.readinto(into)
                if not count:
                    raise UserError(f"{self.file} ended inside {self.name}: was it changed?")
                into = into[count:]
        return values.reshape(self.shape)


def refuse(what: str, problems: list[str]) -> None:
    """Raises one UserError that lists all problems; nothing if there are none."""
    if problems:
        more = len(problems) - LISTED
        listed = problems[:LISTED] + ([f"and {more} more"] if more > 0 else [])
        raise UserError(f"{what}:\n  " + "\n  ".join(listed))


def is_checkpoint(folder: str | Path) -> bool:
    """Whether the directory looks like a Hugging Face model, good or bad."""
    folder = Path(folder)
    return (folder / "config.json").is_file() and any(
        any(folder.glob(pattern)) for pattern in ("*.safetensors", INDEX, *PICKLES)
    )


def open_directory(folder: str | Path) -> dict[str, Tensor]:
    """All tensors of a model's directory by name; only headers are read.

    Raises:
      UserError: no such directory, no safetensors in it, pickled weights, a missing or truncated
        shard, an index that disagrees with the shards; all problems of the shards together.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no directory {folder}")
    if (folder / INDEX).is_file():
        return _open_indexed(folder)
    files = sorted(folder.glob("*.safetensors"))
    if (folder / SINGLE).is_file():
        files = [folder / SINGLE]
    if not files:
        _refuse_without_safetensors(folder)
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:4])
        raise UserError(
            f"{folder} holds {len(files)} safetensors files ({names} …) and no {INDEX} that says "
            "how they belong together: copy the index too"
        )
    return read_header(files[0])


def _refuse_without_safetensors(folder: Path) -> None:
    pickled = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickled:
        raise UserError(
            f"{folder} holds pickled weights only ({', '.join(pickled[:3])}), which can run any "
            "code when they are opened: they are not read here. Take the model's safetensors "
            "version, or convert it yourself where nothing can be harmed: "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'model.safetensors')"
        )
    raise UserError(
        f"{folder} is not the directory of a model: it holds neither {SINGLE} nor {INDEX}"
    )


def _open_indexed(folder: Path) -> dict[str, Tensor]:
    index = folder / INDEX
    try:
        where = json.loads(index.read_text())["weight_map"]
        expected = {str(name): str(file) for name, file in where.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is no index of shards ({error!r}): copy it again") from None
    problems, tensors = [], {}
    for file in sorted(set(expected.values())):
        listed = {name for name, home in expected.items() if home == file}
        if not (folder / file).is_file():
            problems.append(f"missing shard {file} ({len(listed)} tensors): copy it")
            continue
        try:
            found = read_header(folder / file)
        except UserError as error:
            problems.append(str(error))
            continue
        problems += [f"{file} lacks {name}, which the index promises" for name in listed - {*found}]
        problems += [f"{file} holds {name}, which the index does not list there"
                     for name in found if name not in listed]  # fmt: skip
        tensors |= found
    refuse(f"the shards in {folder} are not what {INDEX} says", sorted(problems))
    return tensors


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of one file.  Raises UserError if it is truncated or no safetensors at all."""
    size = file.stat().st_size
    with open(file, "rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            raise UserError(f"{file} is a Git LFS pointer, not the weights: run `git lfs pull`")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= 2**28:
            raise UserError(f"{file} is no safetensors file")
        if 8 + length > size:
            raise UserError(f"{file} is truncated: it ends within its header; copy it again")
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        header.pop("__metadata__", None)
        tensors, base = {}, 8 + length
        for name, entry in header.items():
            begin, end = map(int, entry["data_offsets"])
            if not 0 <= begin <= end:
                raise ValueError(f"{name} ends before it begins")
            shape = tuple(map(int, entry["shape"]))
            tensors[name] = Tensor(name, entry["dtype"], shape, file, base + begin, end - begin)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file} is no safetensors file: its header makes no sense") from None
    end = max((t.begin + t.nbytes for t in tensors.values()), default=base)
    if end > size:
        raise UserError(f"{file} is truncated: it has {size:,} of {end:,} bytes; copy it again")
    for t in tensors.values():
        if t.dtype in DTYPES and t.nbytes != math.prod(t.shape) * DTYPES[t.dtype].itemsize:
            raise UserError(f"{file} is damaged: {t.name} {t.shape} has {t.nbytes} bytes")
    return tensors


Form = tuple[np.dtype, tuple[int, ...]]


def nbytes(form: Form) -> int:
    return math.prod(form[1]) * form[0].itemsize


def cut(forms: Mapping[str, Form], limit: int) -> list[list[str]]:
    """Names in order, cut into shards of at most `limit` bytes (or of one larger tensor)."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, form in forms.items():
        if shards[-1] and filled + nbytes(form) > limit:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += nbytes(form)
    return shards


def write(
    folder: Path,
    forms: Mapping[str, Form],
    produce: Callable[[str], np.ndarray],
    limit: int,
) -> list[str]:
    """Writes sharded safetensors with their index, one tensor in memory at a time.

    Args:
      forms: name → (dtype, shape), in the order in which they are written.
      produce: name → the tensor; called once for each, in order.
      limit: bytes per shard.

    Returns:
      The files' names.
    """
    shards = cut(forms, limit)
    names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    names = names if len(shards) > 1 else [SINGLE]
    codes = {dtype: code for code, dtype in DTYPES.items()}
    for file, members in zip(names, shards, strict=True):
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for name in members:
            dtype, shape = forms[name]
            end = offset + nbytes(forms[name])
            entry = {"dtype": codes[dtype], "shape": list(shape), "data_offsets": [offset, end]}
            header[name], offset = entry, end
        raw = json.dumps(header, separators=(",", ":")).encode()
        raw += b" " * (-len(raw) % 8)
        with open(folder / file, "wb") as stream:
            stream.write(len(raw).to_bytes(8, "little") + raw)
            for name in members:
                values = np.ascontiguousarray(produce(name))
                if (values.dtype, values.shape) != (forms[name][0], tuple(forms[name][1])):
                    raise ValueError(f"{name} is {values.dtype} {values.shape}, not {forms[name]}")
                stream.write(values.reshape(-1).view(np.uint8).data)
            stream.flush()
            os.fsync(stream.fileno())
    if len(shards) > 1:
        total = sum(map(nbytes, forms.values()))
        homes = {name: file for file, members in zip(names, shards, strict=True)
                 for name in members}  # fmt: skip
        index = {"metadata": {"total_size": total}, "weight_map": homes}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    return names


@contextlib.contextmanager
def staged(out: str | Path, size: int) -> Iterator[Path]:
    """A directory to write into, which gets the name `out` when the block ends without an error.

    Until then it is called `.NAME.incomplete`, so that a killed process leaves nothing that looks
    whole; what an earlier one left is cleared away.

    Args:
      size: bytes that will be written.

    Raises:
      UserError: there is something called `out` already, or no room, or the disk gives an error.
    """
    out = Path(out).absolute()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} is there already: choose another --out, or remove it first")
    half = out.with_name(f".{out.name}.incomplete")
    try:
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        free, need = shutil.disk_usage(half).free, size + size // 50 + 2**20
        if free < need:
            raise UserError(
                f"no room for {out}: it needs {need / 1e9:.2f} GB, {free / 1e9:.2f} GB are free. "
                "Nothing was written"
            )
        yield half
        half.rename(out)
    except BaseException as error:
        shutil.rmtree(half, ignore_errors=True)
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise UserError(f"cannot write {out}: {reason}. Nothing was left there") from error
        raise
