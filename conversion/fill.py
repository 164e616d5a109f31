"""Every tensor of a checkpoint against every parameter of the model: what fills what.

Decided from headers alone, before anything large is read or written.  A tensor is used or left out
by a named rule; a parameter is filled from tensors or initialised by a named rule; shapes and
dtypes fit; everything that does not is listed together.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import numpy as np

from conversion import names
from conversion.names import LeftOut, Slot
from conversion.tensors import DTYPES, Tensor, refuse
from nota_jax.checkpoint import slices
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.notagpt import init_params, param_shapes
from nota_jax.params import Tree, flatten, unflatten

EMBEDDING = "language_model/model/embed_tokens/embedding"
HEAD = "language_model/lm_head/kernel"
CONNECTOR = "multi_modal_projector"

MEAN_RULE = "new tokens begin at the mean of the old ones"
CONNECTOR_RULE = (
    "the connector is absent and begins at random (the model's own initialiser, seed 0)"
)
TIED_RULE = "tied: equal to embed_tokens, which serves as the head"

Index = tuple[slice, ...]  # a slice for each axis of a parameter, steps of 1


@dataclass(frozen=True)
class Source:
    """One directory's tensors under one layout; components: which of the layout's are wanted."""

    folder: Path
    layout: str
    tensors: Mapping[str, Tensor]
    components: tuple[str, ...] = tuple(names.COMPONENTS)


@dataclass(frozen=True)
class Parameter:
    """One parameter of the model, read when it is asked for.

    form: shape and dtype, as it will be; tensors: its only one, or one for each row of axis 0;
    slot: of the first of them.
    """

    path: str
    form: jax.ShapeDtypeStruct
    tensors: tuple[Tensor, ...]
    slot: Slot

    @property
    def stacked(self) -> bool:
        return self.slot.layer is not None

    @property
    def new_tokens(self) -> int:
        """By how much the vocabulary is longer here than there."""
        return self.slot.tensor_shape(self.form.shape)[0] - self.tensors[0].shape[0]

    def read(self, index: Index | None = None) -> np.ndarray:
        """The parameter, or the part of it that `index` cuts out; no other part is read."""
        index = (slice(None),) * len(self.form.shape) if index is None else index
        ranges = [range(n)[cut] for n, cut in zip(self.form.shape, index, strict=True)]
        cuts = [slice(r.start, r.stop) for r in ranges]
        if not self.stacked:
            part = self._read_tensor(self.tensors[0], self.slot.by_tensor_axis(cuts))
            return np.ascontiguousarray(self.slot.to_ours(part))
        within = self.slot.by_tensor_axis(cuts[1:])
        out = np.empty([len(r) for r in ranges], self.form.dtype)
        for row, layer in zip(out, ranges[0], strict=True):
            row[...] = self.slot.to_ours(self._read_tensor(self.tensors[layer], within))
        return out

    def _read_tensor(self, tensor: Tensor, index: Index) -> np.ndarray:
        """Part of a tensor, whose axis 0 goes on with new tokens where there are any."""
        if not self.new_tokens:
            return tensor.read(index)
        (first, *rest), old = index, tensor.shape[0]
        parts = []
        if first.start < old:
            parts.append(tensor.read((slice(first.start, min(first.stop, old)), *rest)))
        if first.stop > old:
            added = first.stop - max(first.start, old)
            parts.append(np.repeat(self._mean[(None, *rest)], added, 0))
        return np.concatenate(parts)

    @cached_property
    def _mean(self) -> np.ndarray:
        """Of the tensor's entries, in its own dtype."""
        (tensor,) = self.tensors
        total = np.zeros(tensor.shape[1:], np.float64)
        for start in range(0, tensor.shape[0], 1024):  # a float64 copy of all would be gigabytes
            rows = slice(start, min(start + 1024, tensor.shape[0]))
            total += tensor.read((rows, *map(slice, tensor.shape[1:]))).astype(np.float64).sum(0)
        return (total / tensor.shape[0]).astype(self.form.dtype)

    def blocks(self) -> Iterator[slices.Block]:
        """The parameter in runs of rows that fit into memory."""
        step = slices.rows_per_block(self.form) if self.stacked else self.form.shape[0]
        rest = (slice(None),) * (len(self.form.shape) - 1)
        for start in range(0, self.form.shape[0], step):
            yield self.path, start, self.read((slice(start, start + step), *rest))


@dataclass(frozen=True)
class Fresh:
    """A parameter of the connector that no tensor fills; form: shape and dtype."""

    path: str
    form: jax.ShapeDtypeStruct
    config: NotaGPTConfig

    def read(self, index: Index | None = None) -> np.ndarray:
        values = _fresh_connector(self.config)[self.path].astype(self.form.dtype)
        return values if index is None else values[index]

    def blocks(self) -> Iterator[slices.Block]:
        yield self.path, 0, self.read()


@functools.cache
def _fresh_connector(config: NotaGPTConfig) -> dict[str, np.ndarray]:
    # Nothing but the connector is asked for, so XLA never makes the rest.
    init = jax.jit(lambda rng: {CONNECTOR: init_params(config, rng)[CONNECTOR]})
    return flatten(jax.device_get(init(jax.random.key(0))))


@dataclass(frozen=True)
class Plan:
    """parameters by path; what is left out and what is made new, each as (name, why)."""

    parameters: Mapping[str, Parameter | Fresh]
    left_out: list[tuple[str, str]]
    initialised: list[tuple[str, str]]

    @property
    def shapes(self) -> Tree:
        return unflatten({path: p.form for path, p in self.parameters.items()})

    def blocks(self) -> Iterator[slices.Block]:
        for parameter in self.parameters.values():
            yield from parameter.blocks()


def place(parameter: Parameter | Fresh, sharding: jax.sharding.Sharding) -> jax.Array:
    """The parameter on this process's devices, every part of it read once.

    Devices that hold the same part share one reading (`jax.make_array_from_callback` would read
    it for each), and no more than one part is in the host's memory at a time.
    """
    holders: dict[str, tuple[Index, list[jax.Device]]] = {}
    shape = parameter.form.shape
    for device, index in sharding.addressable_devices_indices_map(shape).items():
        holders.setdefault(str(index), (index or (), []))[1].append(device)
    arrays = []
    for index, devices in holders.values():
        part = parameter.read(index)
        arrays += jax.block_until_ready([jax.device_put(part, device) for device in devices])
    return jax.make_array_from_single_device_arrays(shape, sharding, arrays)


def plan(sources: Sequence[Source], config: NotaGPTConfig, vocab_size: int) -> Plan:
    """What fills a model of this architecture from the sources.

    vocab_size: what the tensors have; the architecture's may be larger.

    Raises:
      UserError: that lists every unknown, missing, surplus or misshapen tensor.
    """
    shapes = flatten(param_shapes(config))
    problems: list[str] = []
    left_out: list[tuple[str, str]] = []
    found: dict[str, dict[int | None, Tensor]] = {}
    tied_heads: list[Tensor] = []
    for source in sources:
        for name, tensor in source.tensors.items():
            slot = names.locate(name, source.layout)
            if isinstance(slot, LeftOut):
                left_out.append((name, slot.why))
            elif slot is None:
                problems.append(f"unknown tensor {name} {tensor.shape}")
            elif names.component_of(slot.path) not in source.components:
                left_out.append((name, f"taken from the other directory, not from {source.folder}"))
            elif slot.path == HEAD and HEAD not in shapes:
                tied_heads.append(tensor)
            elif slot.layer is not None and slot.layer >= shapes[slot.path].shape[0]:
                layers = shapes[slot.path].shape[0]
                problems.append(f"surplus tensor {name}: the configuration has {layers} layers")
            else:
                found.setdefault(slot.path, {})[slot.layer] = tensor

    parameters: dict[str, Parameter] = {}
    # CLIP and Mistral have none; a LLaVA without one has lost it.
    absent_connector = not any("connector" in names.LAYOUTS[s.layout] for s in sources)
    connector = [path for path in shapes if names.component_of(path) == "connector"]
    for path, shape in shapes.items():
        if not (absent_connector and path in connector):
            wanted = _wanted(path, shape.shape, sources)
            there = found.get(path, {})
            if wrong := _misfits(path, shape.shape, wanted, there, vocab_size):
                problems += wrong
            else:
                tensors = [there[slot.layer] for _, slot in wanted]
                form = jax.ShapeDtypeStruct(shape.shape, DTYPES[tensors[0].dtype])
                parameters[path] = Parameter(path, form, tuple(tensors), wanted[0][1])
    where = " with ".join(f"{source.folder} ({source.layout})" for source in sources)
    refuse(f"{where} does not fit the model that its configuration describes", problems)

    initialised = [
        (f"{path}, tokens {vocab_size} to {config.text.vocab_size - 1}", MEAN_RULE)
        for path, parameter in parameters.items()
        if parameter.new_tokens
    ]
    for tensor in tied_heads:
        if tensor.read().tobytes() != parameters[EMBEDDING].tensors[0].read().tobytes():
            refuse(where, [f"{tensor.name} differs from the embedding it is tied to"])
        left_out.append((tensor.name, TIED_RULE))
    if HEAD not in shapes and not tied_heads:
        initialised.append((HEAD, TIED_RULE))
    fresh: dict[str, Fresh] = {}
    if absent_connector:
        dtype = parameters[EMBEDDING].form.dtype
        for path in connector:
            form = jax.ShapeDtypeStruct(shapes[path].shape, dtype)
            fresh[path] = Fresh(path, form, config)
            initialised.append((path, CONNECTOR_RULE))
    return Plan({**parameters, **fresh}, left_out, initialised)


def _wanted(path: str, shape: tuple[int, ...], sources: Sequence[Source]) -> list[tuple[str, Slot]]:
    """The tensors that have to be there, named as in the source that should hold them."""
    component = names.component_of(path)
    for source in sources:
        if component in source.components and component in names.LAYOUTS[source.layout]:
            return names.sources(path, shape[0], source.layout)
    return names.sources(path, shape[0], "legacy")


def _misfits(
    path: str,
    shape: tuple[int, ...],
    wanted: Sequence[tuple[str, Slot]],
    found: Mapping[int | None, Tensor],
    vocab_size: int,
) -> list[str]:
    """Why the tensors found, by layer, cannot be the parameter."""
    problems = []
    for name, slot in wanted:
        if slot.layer not in found:
            problems.append(f"missing tensor {name}")
            continue
        tensor = found[slot.layer]
        expected = slot.tensor_shape(shape)
        if path in (EMBEDDING, HEAD):
            # Hugging Face's tables have the vocabulary on axis 0, both of them.
            expected = (min(vocab_size, expected[0]), *expected[1:])
        if tensor.dtype not in DTYPES:
            problems.append(
                f"{tensor.name} is {tensor.dtype}: only {', '.join(DTYPES)} are read; quantised "
                "weights have to be dequantised first"
            )
        if tensor.shape != expected:
            problems.append(f"{tensor.name} has shape {tensor.shape}, expected is {expected}")
    dtypes = {tensor.dtype for tensor in found.values()}
    if len(dtypes) > 1:
        problems.append(f"the layers of {path} have different dtypes: {', '.join(sorted(dtypes))}")
    return problems
