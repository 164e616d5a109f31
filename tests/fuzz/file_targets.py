"""Files that people put somewhere, and disks and other programs change: JSON, safetensors, labels.

An input of the target "json" is a line with a reader's name, and then the file.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import random
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from configs import phase2
from conversion import hf_config, kinds, tensors
from nota_jax import history, typed, values
from nota_jax.checkpoint import base, verified
from nota_jax.checkpoint.fingerprints import as_shapes
from nota_jax.data.build import staging
from nota_jax.data.build.report import Tally
from nota_jax.data.feed import labels
from nota_jax.data.store import reader
from nota_jax.errors import UserError
from nota_jax.evaluation import kept
from nota_jax.files import locked
from nota_jax.notation import abc
from nota_jax.notation.engraving import boxes
from nota_jax.notation.engraving.layout import engrave
from nota_jax.training import journal
from tests.data.make_dataset import write_dataset
from tests.fuzz import mutate
from tests.fuzz.engine import ROOT, Target


@functools.cache
def folder() -> Path:
    """Of this process, where files are put to be read."""
    made = Path(tempfile.mkdtemp(prefix="fuzz-"))
    write_dataset(made / "dataset", {"extraction_train": 3, "alignment_train": 2}, shards=1)
    for name in ("about", "params", "optimizer", "metrics"):
        (made / "checkpoint" / name).mkdir(parents=True)
    (made / "run" / "base" / "about").mkdir(parents=True)
    (made / "model").mkdir()
    weights = {name: np.ones((2, 3), np.float32) for name in WEIGHTS}
    safetensors.numpy.save_file(weights, made / "model" / "model-1.safetensors")
    return made


WEIGHTS = ("language_model.model.norm.weight", "language_model.lm_head.weight")


@functools.cache
def config() -> Any:
    return phase2.get_config("tiny")


def _quiet(_: str) -> None:
    """Nobody listens."""


def _put(name: str, data: bytes) -> Path:
    path = folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# ---- JSON: a seed, and what reads it


def _history(data: bytes) -> None:
    run = _put("run/history.jsonl", data).parent
    if (state := history.read(run)) is not None:
        history.require_same_model(run, state, config())
        history.require_continuable(run, state, config(), {"tokenizer": "0", "dataset": "1"})
        history.told(state, {}, 20, 10)


def _configuration(data: bytes) -> None:
    run = _put("run-of-old/config.json", data).parent
    if (state := history.read(run)) is not None:
        history.require_same_model(run, state, config())
    hf_config.of_directory(run, 512, 5)


def _values(data: bytes) -> None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(found, dict):
        with contextlib.suppress(UserError):  # however many keys are wrong: all are named
            values.check(found)
            values.notes(found)


def _about(data: bytes) -> None:
    _put("checkpoint/metrics/metrics", b"{}")
    _put("checkpoint/about/metadata", data)
    verified.look_over(folder() / "checkpoint")


def _metrics_of_a_step(data: bytes) -> None:
    _put("checkpoint/about/metadata", b"{}")
    _put("checkpoint/metrics/metrics", data)
    verified.look_over(folder() / "checkpoint")


def _marks(data: bytes) -> None:
    _put("run/base/about/metadata", data)
    as_shapes(base.read_marks(folder() / "run"))


def _report_lines(data: bytes) -> None:
    journal._kept(data, 5, Path("metrics.jsonl"), _quiet)


def _answers(data: bytes) -> None:
    mark = {"settings": {"seed": 0}, "weights": "0" * 16}
    kept.read(_put("evaluation/predictions.jsonl", data), mark, _quiet)


def _dataset(name: str, data: bytes) -> None:
    whole = (folder() / "dataset" / name).read_bytes()
    try:
        _put(f"dataset/{name}", data)
        history.of_dataset(folder() / "dataset", ["extraction_train"])
        reader.split_sizes(folder() / "dataset")
        list(reader.PageReader(folder() / "dataset", ["extraction_train"]))
    finally:
        _put(f"dataset/{name}", whole)


def _build_report(data: bytes) -> None:
    path = _put("dataset/build_report.json", data)
    history.of_dataset(path.parent, ["extraction_train"])
    typed._require_built_so(path.parent, {"data.build.limit": 5, "data.build.seed": 0})
    staging.finished(path.parent, {"corpora": ["x"], "limit": 5, "seed": 0})


def _chunk(data: bytes) -> None:
    path = _put("chunk", data)
    chunk = staging.read_chunk(path)
    if chunk is not None:
        for split in {split for split, _, _ in chunk.places}:
            list(staging._records([path], split))
        Tally().add(chunk.tally)


def _unfinished(data: bytes) -> None:
    _put("set.partial/arguments.json", data)
    with staging.opened(folder() / "set", {"seed": 1}):
        pass


def _lock(data: bytes) -> None:
    with locked(_put("locked/lock", data).parent, "trains", say=_quiet, silent=0.0):
        pass


def _model(data: bytes) -> None:
    home = _put("model/config.json", data).parent
    kinds.require_model(home)
    kinds.require_llava(home)
    found = hf_config.of_llava(home, "legacy", WEIGHTS, None)
    hf_config.build(found, 512, 5)


def _clip(data: bytes) -> None:
    home = _put("model/config.json", data).parent
    hf_config.of_clip_and_mistral(home, home)


def _architecture(data: bytes) -> None:
    hf_config.of_directory(_put(f"converted/{hf_config.FILE}", data).parent)


def _index(data: bytes) -> None:
    _put("model/config.json", b"{}")
    index = _put(f"model/{tensors.INDEX}", data)
    try:
        tensors.open_directory(index.parent)
    finally:
        index.unlink()


def _adapter(data: bytes) -> None:
    path = _put("adapter/adapter_config.json", data)
    kinds.require_model(path.parent)


def _shipped(name: str) -> Any:
    return json.loads((ROOT / "checkpoints" / "tiny-parts" / name).read_text())


def _flat() -> dict[str, Any]:
    return history.plain(config())


def _seeds() -> dict[str, tuple[Callable[[bytes], None], Callable[[], Any]]]:
    """Reader's name → (reader, what it is used to)."""
    form = {"shape": [2, 3], "dtype": "float32", "checksum": "0" * 8}
    arguments = {"corpora": ["x"], "limit": 5, "seed": 0, "look_share": 0.0}

    def in_dataset(name: str) -> tuple[Callable[[bytes], None], Callable[[], Any]]:
        seed = functools.partial(lambda: json.loads((folder() / "dataset" / name).read_bytes()))
        return functools.partial(_dataset, name), seed

    return {
        "history.jsonl": (
            _history,
            lambda: {"step": 0, "total_steps": 30, "config": _flat(), "marks": {"tokenizer": "0"}},
        ),
        "config.json": (_configuration, lambda: json.loads(config().to_json_best_effort())),
        "values": (_values, lambda: json.loads(config().to_json_best_effort())),
        "about": (_about, lambda: {"parameters": {"a/b": form}, "base": {}, "seal": "0"}),
        "metrics": (_metrics_of_a_step, lambda: {"loss": 1.0}),
        "base": (_marks, lambda: {"base": {"a/b": form, "a/c": form}}),
        "metrics.jsonl": (_report_lines, lambda: {"step": 3, "loss": 1.0}),
        "predictions.jsonl": (
            _answers, lambda: {"settings": {"seed": 0}, "weights": "0" * 16},
        ),
        "dataset_info.json": in_dataset("dataset_info.json"),
        "features.json": in_dataset("features.json"),
        "build_report.json": (_build_report, lambda: {"arguments": arguments}),
        "chunk": (
            _chunk, lambda: {"records": [["extraction_train", 3]], "tally": Tally().to_json()},
        ),
        "arguments.json": (_unfinished, lambda: arguments),
        "lock": (_lock, lambda: {"host": "elsewhere", "process": 3, "does": "x", "since": "y"}),
        "model": (_model, lambda: _shipped("config.json")),
        "clip": (_clip, lambda: _shipped("config.json") | {"model_type": "mistral"}),
        "architecture.json": (
            _architecture,
            lambda: json.loads(config().model.to_json_best_effort()) | {"image_token_id": 5},
        ),
        "index": (_index, lambda: {"weight_map": dict.fromkeys(WEIGHTS, "model-1.safetensors")}),
        "adapter": (_adapter, lambda: {"peft_type": "LORA", "base_model_name_or_path": "x"}),
    }  # fmt: skip


# Each asks TFDS or a lock's file system, which takes its time: less often.
SLOW = ("dataset_info.json", "features.json", "lock")
LINES = (b'{"step": 7, "total_steps": 30, "changed": {"steps": [0, 30]}}', b'{"step": 4}', b"[1]",
         b"{", b"3", b'{"id": "1", "region": "", "prediction": null}')  # fmt: skip


def json_input(rng: random.Random) -> bytes:
    names = [name for name in _seeds() if name not in SLOW or rng.random() < 0.1]
    name = rng.choice(names)
    content = mutate.json_text(rng, _seeds()[name][1]())
    if name == "chunk" and rng.random() < 0.8:
        content += b"\nabc"
    elif name.endswith(".jsonl"):
        content = b"\n".join([content, *rng.choices(LINES, k=rng.randint(0, 3))]) + b"\n"
    return name.encode() + b"\n" + content


def read_json(data: bytes) -> bool:
    name, _, content = data.partition(b"\n")
    known = _seeds().get(name.decode("latin-1"))
    if known is not None:
        known[0](content)
    return known is not None


# ---- safetensors


HEADER_PIECES = (
    *mutate.JSON_PIECES, b'"F32"', b'"F8_E4M3"', b'"I64"', b'"shape":[0]', b"[2,3]",
    b"[18446744073709551615]", b'"data_offsets":[0,0]', b"__metadata__", b"version ",
    (2**63).to_bytes(8, "little"), (2**26).to_bytes(8, "little"), b"\x00" * 8,
)  # fmt: skip


def tensor_file(rng: random.Random) -> bytes:
    dtypes = (np.float32, np.float16, np.int64, np.uint8)
    shapes: tuple[tuple[int, ...], ...] = ((2, 3), (), (0,), (4,))
    made = {
        name: np.ones(rng.choice(shapes), rng.choice(dtypes)) for name in ("a.weight", "b", "é")
    }
    whole = safetensors.numpy.save(made, {"format": "pt"})
    if rng.random() < 0.5:
        return mutate.data(rng, whole, HEADER_PIECES)
    size = int.from_bytes(whole[:8], "little")
    header = mutate.json_text(rng, json.loads(whole[8 : 8 + size]))
    return len(header).to_bytes(8, "little") + header + whole[8 + size :]


def read_tensors(data: bytes) -> bool:
    path = _put("file/model.safetensors", data)
    for tensor in tensors.read_header(path).values():
        if len(tensor.shape) and 0 < np.prod(tensor.shape, dtype=float) < 1e6:
            tensor.read()
            tensor.read((slice(0, 1),))
    return True


# ---- labels of pictures


TUNE = (
    "X:1\nT:A Title\nC:Someone\nM:6/8\nL:1/8\nQ:3/8=90\nK:G\n|:(G/A/)|(B3/A/G) {g}.E^F_A|1"
    ' "Am"[GB]2 z (3cde:|2 T=c2 d-d3|]\nw:la la\n'
)


@functools.cache
def symbols() -> tuple[bytes, str]:
    """A real page's labels, and the tune that it shows."""
    picture = engrave(abc.parse(TUNE))
    return picture.symbols, abc.write(picture.tune)


def label_file(rng: random.Random) -> bytes:
    """Packed labels, damaged before they were packed or behind; a zero; an answer."""
    packed, text = symbols()
    raw = zlib.decompress(packed)
    if rng.random() < 0.7:
        packed = zlib.compress(mutate.data(rng, raw, mutate.JSON_PIECES))
    else:
        packed = mutate.data(rng, packed)
    answer = mutate.data(rng, text.encode()) if rng.random() < 0.5 else text.encode()
    return len(packed).to_bytes(4, "little") + packed + answer


def read_labels(data: bytes) -> bool:
    stream = io.BytesIO(data)
    packed = stream.read(int.from_bytes(stream.read(4), "little"))
    answer = stream.read().decode("latin-1")
    found = boxes.moved(boxes.unpack(packed), 0.9, 1.0, 2.0)
    places = labels.Places(found)
    for highlight in (None, (0, 1)):
        told = labels.classes(found, highlight)
        labels.addresses(told, found, highlight)
        labels.patches(found, told, 336, 14)
        labels.misread(told, 0.3, np.random.default_rng(0))
        assert ((told >= labels.NONE) & (told < list(labels.FIELDS.values()))).all()
    for subtask in ("abc", "alignment", "title", "composer", "key", "meter", "overview"):
        written = labels.written(answer, subtask, places, 0)
        assert written.shape == (len(answer), 2) and written.max(initial=-1) < len(found)
        starts = np.arange(-3, len(answer) + 3, 2)
        assert labels.of_tokens(written, starts).shape == (len(starts), 2)
    return True


TARGETS = {
    "json": lambda: Target("json", json_input, read_json),
    "safetensors": lambda: Target("safetensors", tensor_file, read_tensors),
    "labels": lambda: Target("labels", label_file, read_labels),
}
