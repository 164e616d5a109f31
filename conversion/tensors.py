"""Safetensors on disk: what a directory holds, a slice of a tensor in, one tensor at a time out.

Reading is the safetensors library's.  It maps a file into memory, so a file is opened anew for
every tensor: the pages of one are let go before the next is asked for, and a shard of 5 GB never
counts as a whole.  Writing is ours, because the library wants all tensors of a file at once.  The
format (github.com/huggingface/safetensors) is eight bytes with the header's length, the header in
JSON (name → dtype, shape, byte range), the tensors' bytes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # also teaches numpy the name "bfloat16", by which the library asks for it
import numpy as np
from huggingface_hub import split_state_dict_into_shards_factory
from jax import ShapeDtypeStruct
from safetensors import SafetensorError, safe_open

from conversion import kinds
from nota_jax import jsontext
from nota_jax.errors import UserError, cut

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
DTYPES = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_SHARD = re.compile(r"[^/\\\0]{1,200}")  # a file of the same directory, whatever the index says
LISTED = 40  # problems that one error spells out

# (what the library says of a file, what that means)
DAMAGES = (
    ("invalid header length", "is truncated: it ends within its header; copy it again"),
    ("not fully covered", "is truncated, or not all its own: it has {size:,} bytes, and its header "
                          "tells of another number; copy it again"),
    ("JSON", "is no safetensors file: its header makes no sense ({error})"),
    ("", "is no safetensors file ({error})"),
)  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file.  dtype: safetensors' name, e.g. "BF16"."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path

    def read(self, index: Sequence[slice] = ()) -> np.ndarray:
        """The whole tensor, or what `index` (a slice for each axis, steps of 1) cuts out of it."""
        try:
            with safe_open(self.file, "np") as file:
                return file.get_slice(self.name)[tuple(index) or ...]
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"cannot read {self.name} from {self.file} ({error}): was it changed?"
            ) from error


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
      UserError: no such directory, something else in it than a model's safetensors, a missing or
        truncated shard, an index that disagrees with the shards; all problems of the shards
        together.
    """
    folder = Path(folder)
    kinds.require_model(folder)
    found = _open_indexed(folder) if (folder / INDEX).is_file() else _open_single(folder)
    kinds.require_whole(folder, found)
    return found


def _open_single(folder: Path) -> dict[str, Tensor]:
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
        where = jsontext.parse(index.read_bytes())["weight_map"]
        expected = {str(name): str(file) for name, file in where.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is no index of shards ({error!r}): copy it again") from None
    if strange := [file for file in expected.values() if not _SHARD.fullmatch(file)]:
        raise UserError(
            f"{index} names {cut(repr(strange[0]))}, which is no shard beside it: copy it again"
        )
    problems: list[str] = []
    tensors: dict[str, Tensor] = {}
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
        for name in listed - found.keys():
            problems.append(f"{file} lacks {name}, which the index promises")
        for name in found.keys() - listed:
            problems.append(f"{file} holds {name}, which the index does not list there")
        tensors |= found
    refuse(f"the shards in {folder} are not what {INDEX} says", sorted(problems))
    return tensors


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of one file.  Raises UserError if it is truncated or no safetensors at all."""
    with open(file, "rb") as stream:
        if stream.read(8) == b"version ":
            raise UserError(f"{file} is a Git LFS pointer, not the weights: run `git lfs pull`")
    try:
        with safe_open(file, "np") as opened:
            found = {name: opened.get_slice(name) for name in opened.keys()}
            return {
                name: Tensor(name, entry.get_dtype(), tuple(entry.get_shape()), file)
                for name, entry in found.items()
            }
    except SafetensorError as error:
        meaning = next(meaning for words, meaning in DAMAGES if words in str(error))
        size = file.stat().st_size
        raise UserError(f"{file} {meaning.format(size=size, error=error)}") from None


def nbytes(form: ShapeDtypeStruct) -> int:
    return form.size * form.dtype.itemsize


def write(
    folder: Path,
    forms: Mapping[str, ShapeDtypeStruct],
    produce: Callable[[str], np.ndarray],
    limit: int,
) -> list[str]:
    """Writes sharded safetensors with their index, one tensor in memory at a time.

    Args:
      forms: name → dtype and shape, in the order in which they are written.
      produce: name → the tensor; called once for each.
      limit: bytes per shard; a larger tensor gets a shard of its own.

    Returns:
      The files' names.
    """
    split = split_state_dict_into_shards_factory(
        dict(forms),
        get_storage_size=nbytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=limit,
    )
    for file, members in split.filename_to_tensors.items():
        _write_file(folder / file, {name: forms[name] for name in members}, produce)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    return list(split.filename_to_tensors)


def _write_file(
    path: Path, forms: Mapping[str, ShapeDtypeStruct], produce: Callable[[str], np.ndarray]
) -> None:
    codes = {dtype: code for code, dtype in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, form in forms.items():
        end = offset + nbytes(form)
        header[name] = {
            "dtype": codes[form.dtype],
            "shape": list(form.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with open(path, "wb") as stream:
        stream.write(len(raw).to_bytes(8, "little") + raw)
        for name, form in forms.items():
            values = np.ascontiguousarray(produce(name))
            if (values.dtype, values.shape) != (form.dtype, form.shape):
                raise ValueError(f"{name} is {values.dtype} {values.shape}, not {form}")
            stream.write(values.reshape(-1).view(np.uint8).data)
        stream.flush()
        os.fsync(stream.fileno())
