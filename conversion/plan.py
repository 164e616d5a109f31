"""Every tensor of a checkpoint against every parameter of the model: what becomes what.

Made from headers alone, before anything large is read or written.  A tensor is used or left out by
a named rule; a parameter is filled from tensors or initialised by a named rule; shapes and dtypes
fit; everything that does not is listed together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from conversion import names
from conversion.names import LeftOut, Slot, Transform
from conversion.shards import DTYPES, Tensor, refuse
from nota_jax.checkpoint import streams
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.notagpt import init_params
from nota_jax.params import Tree, flatten, unflatten

EMBEDDING = "language_model/model/embed_tokens/embedding"
HEAD = "language_model/lm_head/kernel"
CONNECTOR = "multi_modal_projector/"
WIDER = {EMBEDDING: 0, HEAD: 1}  # parameters with an axis of the vocabulary

MEAN_RULE = "new tokens begin at the mean of the old ones"
CONNECTOR_RULE = (
    "the connector is absent and begins at random (the model's own initialiser, seed 0)"
)
TIED_RULE = "tied: equal to embed_tokens, which serves as the head"


@dataclass(frozen=True)
class Source:
    """One directory's tensors under one layout; components: which of the layout's are wanted."""

    folder: Path
    layout: str
    tensors: Mapping[str, Tensor]
    components: tuple[str, ...] = tuple(names.COMPONENTS)

    def wants(self, path: str) -> bool:
        return any(path.startswith(names.COMPONENTS[part][0]) for part in self.components)


@dataclass(frozen=True)
class Parameter:
    """One parameter of the model, read when it is asked for.

    form: shape and dtype, as it will be; tensors: its only one, or one for each row of axis 0.
    grow_axis: where the tensor has fewer entries than the form, the axis of the vocabulary.
    """

    path: str
    form: jax.ShapeDtypeStruct
    tensors: tuple[Tensor, ...]
    transform: Transform
    stacked: bool
    grow_axis: int | None = None

    def read(self, index: tuple[slice, ...] | None = None) -> np.ndarray:
        """The parameter, or the part of it that `index` (a slice for each axis) cuts out.

        No more than one tensor beside the answer is in memory.
        """
        index = (slice(None),) * len(self.form.shape) if index is None else index
        if not self.stacked:
            return np.ascontiguousarray(self._whole(self.tensors[0])[index])
        rows = range(len(self.tensors))[index[0]]
        part = [len(range(n)[cut]) for n, cut in zip(self.form.shape[1:], index[1:], strict=True)]
        out = np.empty((len(rows), *part), self.form.dtype)
        for i, row in enumerate(rows):
            out[i] = self._whole(self.tensors[row])[index[1:]]
        return out

    def blocks(self) -> Iterator[streams.Block]:
        """The parameter in runs of rows that fit into memory."""
        step = streams.rows_per_block(self.form) if self.stacked else self.form.shape[0]
        rest = (slice(None),) * (len(self.form.shape) - 1)
        for start in range(0, self.form.shape[0], step):
            yield self.path, start, self.read((slice(start, start + step), *rest))

    def _whole(self, tensor: Tensor) -> np.ndarray:
        values = self.transform.to_ours(tensor.read())
        if self.grow_axis is None:
            return values
        return _grown(values, self.form.shape[self.grow_axis], self.grow_axis)


def _grown(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    """With entries at the mean of those that are there, up to `size` along `axis`."""
    values = np.moveaxis(values, axis, 0)
    total = np.zeros(values.shape[1:], np.float64)
    for start in range(0, len(values), 1024):  # a float64 copy of all would be gigabytes
        total += values[start : start + 1024].astype(np.float64).sum(0)
    more = np.broadcast_to(total / len(values), (size - len(values), *values.shape[1:]))
    return np.moveaxis(np.concatenate([values, more.astype(values.dtype)]), 0, axis)


@dataclass(frozen=True)
class Fresh:
    """A parameter of the connector that no tensor fills."""

    path: str
    form: jax.ShapeDtypeStruct
    config: NotaGPTConfig

    @cached_property
    def _values(self) -> np.ndarray:
        def connector(rng):
            # Nothing but the connector is asked for, so XLA never makes the rest.
            return flatten(init_params(self.config, rng))[self.path]

        return np.asarray(jax.jit(connector)(jax.random.key(0))).astype(self.form.dtype)

    def read(self, index: tuple[slice, ...] | None = None) -> np.ndarray:
        return self._values if index is None else self._values[index]

    def blocks(self) -> Iterator[streams.Block]:
        yield self.path, 0, self.read()


@dataclass(frozen=True)
class Plan:
    """parameters by path; what is left out and what is made new, each as (name, why)."""

    parameters: dict[str, Parameter | Fresh]
    left_out: list[tuple[str, str]] = field(default_factory=list)
    initialised: list[tuple[str, str]] = field(default_factory=list)

    @property
    def shapes(self) -> Tree:
        return unflatten({path: p.form for path, p in self.parameters.items()})

    def blocks(self) -> Iterator[streams.Block]:
        for parameter in self.parameters.values():
            yield from parameter.blocks()


def make(sources: Sequence[Source], config: NotaGPTConfig, vocab_size: int) -> Plan:
    """The plan that fills a model of this architecture from the sources.

    vocab_size: what the tensors have; the architecture's may be larger.

    Raises:
      UserError: that lists every unknown, missing, surplus or misshapen tensor.
    """
    shapes = flatten(jax.eval_shape(lambda: init_params(config, jax.random.key(0))))
    problems: list[str] = []
    left_out: list[tuple[str, str]] = []
    found: dict[str, dict[int | None, tuple[Tensor, Transform]]] = {}
    tied_heads: list[Tensor] = []
    for source in sources:
        for name, tensor in source.tensors.items():
            slot = names.locate(name, source.layout)
            if isinstance(slot, LeftOut):
                left_out.append((name, slot.why))
            elif slot is None:
                problems.append(f"unknown tensor {name} {tensor.shape}")
            elif not source.wants(slot.path):
                left_out.append((name, f"taken from the other directory, not from {source.folder}"))
            elif slot.path == HEAD and HEAD not in shapes:
                tied_heads.append(tensor)
            elif slot.layer is not None and slot.layer >= shapes[slot.path].shape[0]:
                layers = shapes[slot.path].shape[0]
                problems.append(f"surplus tensor {name}: the configuration has {layers} layers")
            else:
                found.setdefault(slot.path, {})[slot.layer] = (tensor, slot.transform)

    parameters: dict[str, Parameter | Fresh] = {}
    initialised = []
    # CLIP and Mistral have none; a LLaVA without one has lost it.
    absent_connector = not any("connector" in names.LAYOUTS[s.layout] for s in sources)
    for path, shape in shapes.items():
        if absent_connector and path.startswith(CONNECTOR):
            continue
        parameter = _parameter(
            path, shape.shape, found.get(path, {}), sources, vocab_size, problems
        )
        if parameter is not None:
            parameters[path] = parameter
            if parameter.grow_axis is not None:
                old = parameter.tensors[0].shape[0]
                initialised.append(
                    (f"{path}, tokens {old} to {config.text.vocab_size - 1}", MEAN_RULE)
                )
    refuse(f"{_where(sources)} does not fit the model that its configuration describes", problems)

    for tensor in tied_heads:
        if not np.array_equal(_bits(tensor), _bits(parameters[EMBEDDING].tensors[0])):
            refuse(_where(sources), [f"{tensor.name} differs from the embedding it is tied to"])
        left_out.append((tensor.name, TIED_RULE))
    if HEAD not in shapes and not tied_heads:
        initialised.append((HEAD, TIED_RULE))
    if absent_connector:
        dtype = parameters[EMBEDDING].form.dtype
        for path in filter(lambda p: p.startswith(CONNECTOR), shapes):
            form = jax.ShapeDtypeStruct(shapes[path].shape, dtype)
            parameters[path] = Fresh(path, form, config)
            initialised.append((path, CONNECTOR_RULE))
    return Plan(parameters, left_out, initialised)


def _parameter(
    path: str,
    shape: tuple[int, ...],
    found: Mapping[int | None, tuple[Tensor, Transform]],
    sources: Sequence[Source],
    vocab_size: int,
    problems: list[str],
) -> Parameter | None:
    """The parameter that the tensors found make up, or None with the reasons in `problems`."""
    before, tensors, grow_axis = len(problems), [], None
    wanted = _wanted(path, shape, sources)
    for name, slot in wanted:
        if slot.layer not in found:
            problems.append(f"missing tensor {name}")
            continue
        tensor, transform = found[slot.layer]
        part = shape if slot.layer is None else shape[1:]
        expected = transform.to_hf(np.broadcast_to(np.empty(()), part)).shape
        if tensor.dtype not in DTYPES:
            problems.append(
                f"{tensor.name} is {tensor.dtype}: only {', '.join(DTYPES)} are read; quantised "
                "weights have to be dequantised first"
            )
        if path in WIDER and vocab_size < expected[0]:
            # Hugging Face's tables have the vocabulary on axis 0, both of them.
            grow_axis, expected = WIDER[path], (vocab_size, *expected[1:])
        if tensor.shape != expected:
            problems.append(f"{tensor.name} has shape {tensor.shape}, expected is {expected}")
        tensors.append(tensor)
    dtypes = {tensor.dtype for tensor in tensors}
    if len(dtypes) > 1:
        problems.append(f"the layers of {path} have different dtypes: {', '.join(sorted(dtypes))}")
    if len(problems) > before:
        return None
    form = jax.ShapeDtypeStruct(shape, jnp.dtype(DTYPES[tensors[0].dtype]))
    slot = wanted[0][1]
    return Parameter(path, form, tuple(tensors), slot.transform, slot.layer is not None, grow_axis)


def _wanted(path: str, shape: tuple[int, ...], sources: Sequence[Source]) -> list[tuple[str, Slot]]:
    """The tensors that have to be there, named as in the source that should hold them."""
    for source in sources:
        component = next(c for c, (root, _) in names.COMPONENTS.items() if path.startswith(root))
        if component in source.components and component in names.LAYOUTS[source.layout]:
            return names.sources(path, shape[0], source.layout)
    return names.sources(path, shape[0], "legacy")


def _where(sources: Sequence[Source]) -> str:
    return " with ".join(f"{source.folder} ({source.layout})" for source in sources)


def _bits(tensor: Tensor) -> np.ndarray:
    return tensor.read().view(np.uint8)


def n_bytes(plan: Plan) -> int:
    return sum(math.prod(p.form.shape) * p.form.dtype.itemsize for p in plan.parameters.values())
