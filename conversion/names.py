"""The weight map: Hugging Face tensor names ↔ paths in our parameter tree, in both directions.

Our tree speaks Hugging Face's names, so a table needs no second column of paths: a row is a
module's name within one component of the model, and the kind of module, which says what its
tensors are called there and here and how their axes turn.  `{}` is the layer's number, which
becomes an index into axis 0 of the stacked parameter.  A layout says under which prefix each
component is found.  The legacy layout is the one that transformers 4.46, 4.57 and 5.x all read,
so it is the one we write.

Nothing is read or written here: that is for `tensors`, `from_hf` and `to_hf`.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nota_jax.errors import UserError
from nota_jax.params import flatten

Axes = tuple[int, ...]  # our parameter is `tensor.transpose(axes)`

# A kind of module: (end of the tensor's name, end of our path, axes) of each of its tensors.
Kind = tuple[tuple[str, str, Axes], ...]

PLAIN: Kind = (("", "", (0,)),)
EMBEDDING: Kind = ((".weight", "/embedding", (0, 1)),)
CONVOLUTION: Kind = ((".weight", "/kernel", (2, 3, 1, 0)),)  # from (out, in, height, width)
MATRIX: Kind = ((".weight", "/kernel", (1, 0)),)  # torch's Linear holds (out, in)
LINEAR: Kind = (*MATRIX, (".bias", "/bias", (0,)))
RMS_NORM: Kind = ((".weight", "/scale", (0,)),)
LAYER_NORM: Kind = (*RMS_NORM, (".bias", "/bias", (0,)))

VISION: dict[str, Kind] = {
    "embeddings.class_embedding": PLAIN,
    "embeddings.patch_embedding": CONVOLUTION,
    "embeddings.position_embedding": EMBEDDING,
    "pre_layrnorm": LAYER_NORM,
    "encoder.layers.{}.layer_norm1": LAYER_NORM,
    "encoder.layers.{}.self_attn.q_proj": LINEAR,
    "encoder.layers.{}.self_attn.k_proj": LINEAR,
    "encoder.layers.{}.self_attn.v_proj": LINEAR,
    "encoder.layers.{}.self_attn.out_proj": LINEAR,
    "encoder.layers.{}.layer_norm2": LAYER_NORM,
    "encoder.layers.{}.mlp.fc1": LINEAR,
    "encoder.layers.{}.mlp.fc2": LINEAR,
    "post_layernorm": LAYER_NORM,
}
CONNECTOR: dict[str, Kind] = {"linear_1": LINEAR, "linear_2": LINEAR}
TEXT: dict[str, Kind] = {
    "embed_tokens": EMBEDDING,
    "layers.{}.input_layernorm": RMS_NORM,
    "layers.{}.self_attn.q_proj": MATRIX,
    "layers.{}.self_attn.k_proj": MATRIX,
    "layers.{}.self_attn.v_proj": MATRIX,
    "layers.{}.self_attn.o_proj": MATRIX,
    "layers.{}.post_attention_layernorm": RMS_NORM,
    "layers.{}.mlp.gate_proj": MATRIX,
    "layers.{}.mlp.up_proj": MATRIX,
    "layers.{}.mlp.down_proj": MATRIX,
    "norm": RMS_NORM,
}
HEAD: dict[str, Kind] = {"lm_head": MATRIX}

# component → (where it hangs in our tree, its table)
COMPONENTS: dict[str, tuple[str, dict[str, Kind]]] = {
    "vision": ("vision_tower/", VISION),
    "connector": ("multi_modal_projector/", CONNECTOR),
    "text": ("language_model/model/", TEXT),
    "head": ("language_model/", HEAD),
}

# layout → component → prefix of its tensor names
LAYOUTS: dict[str, dict[str, str]] = {
    # transformers 4.46; what 4.57 saves; what we write, because 4.46, 4.57 and 5 all load it.
    "legacy": {
        "vision": "vision_tower.vision_model.",
        "connector": "multi_modal_projector.",
        "text": "language_model.model.",
        "head": "language_model.",
    },
    # transformers 4.57 in memory
    "transformers-4.57": {
        "vision": "model.vision_tower.vision_model.",
        "connector": "model.multi_modal_projector.",
        "text": "model.language_model.",
        "head": "",
    },
    # transformers 5 in memory
    "transformers-5": {
        "vision": "model.vision_tower.",
        "connector": "model.multi_modal_projector.",
        "text": "model.language_model.",
        "head": "",
    },
    # what transformers 5 saves; 4.x would leave its vision tower random in silence
    "transformers-5-saved": {
        "vision": "vision_tower.",
        "connector": "multi_modal_projector.",
        "text": "language_model.model.",
        "head": "language_model.",
    },
    # the LLaVA repository's own; v1.5 leaves the vision tower out, v1.6 has it
    "original": {
        "vision": "model.vision_tower.vision_tower.vision_model.",
        "connector": "model.mm_projector.",
        "text": "model.",
        "head": "",
    },
    # parts of a model: CLIP by itself (4.x, and CLIPModel of 5; CLIPVisionModel of 5), Mistral
    "clip": {"vision": "vision_model."},
    "clip-flat": {"vision": ""},
    "mistral": {"text": "model.", "head": ""},
}
EVERY = tuple(LAYOUTS)
WHOLE = tuple(layout for layout, parts in LAYOUTS.items() if parts.keys() == COMPONENTS.keys())

# The original's connector is a torch Sequential: (linear, GELU, linear) are its 0, 1 and 2.
RENAMED = {("original", "linear_1"): "0", ("original", "linear_2"): "2"}

# Tensors that are left out knowingly: (regex, layouts, why).
LEFT_OUT: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (r"(.*\.)?position_ids", EVERY, "a buffer that counts 0, 1, 2 …"),
    (r".*\.rotary_emb\.inv_freq", EVERY, "a buffer, computed from rope_theta"),
    (r"(model\.)?image_newline", WHOLE, "LLaVA-NeXT's tiling of large images, which we do not do"),
    (r"text_model\..*", ("clip",), "CLIP's text tower"),
    (r"(text|visual)_projection\.weight", ("clip",), "CLIP's space of pictures and texts"),
    (r"logit_scale", ("clip",), "CLIP's contrastive loss"),
)


@dataclass(frozen=True)
class Slot:
    """Where one tensor goes: a parameter's path and, if layers are stacked there, the index."""

    path: str
    layer: int | None
    axes: Axes

    def to_ours(self, tensor: np.ndarray) -> np.ndarray:
        """A view of the tensor with the parameter's axes."""
        return tensor.transpose(self.axes)

    def to_hf(self, part: np.ndarray) -> np.ndarray:
        """A view with the tensor's axes of the parameter, or of its layer; undoes `to_ours`."""
        return part.transpose(self.by_tensor_axis(range(part.ndim)))

    def by_tensor_axis(self, by_axis: Sequence[Any]) -> tuple[Any, ...]:
        """What stands for each axis of the parameter (of its layer) → for each of the tensor."""
        return tuple(by_axis[self.axes.index(axis)] for axis in range(len(self.axes)))

    def tensor_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The tensor's shape, where the parameter has this one."""
        return self.by_tensor_axis(shape if self.layer is None else shape[1:])


@dataclass(frozen=True)
class LeftOut:
    """A tensor that no parameter wants, and why."""

    why: str


def recognise(names: Iterable[str]) -> str:
    """The layout that knows most names; a UserError if none knows any.

    Layouts share names (a Mistral alone and a LLaVA of the original repository, say).  Among those
    that know equally many, it is the one with the fewest components that are not there.
    """
    names = list(names)

    def score(layout: str) -> tuple[int, int]:
        found = [slot.path for name in names if isinstance(slot := locate(name, layout), Slot)]
        parts = {component_of(path) for path in found}
        return len(found), -len(LAYOUTS[layout].keys() - parts)

    scores = {layout: score(layout) for layout in LAYOUTS}
    layout = max(scores, key=scores.__getitem__)
    if not scores[layout][0]:
        raise UserError(
            f"no tensor name is known from any layout ({', '.join(LAYOUTS)}); "
            f"the first names are {', '.join(sorted(names)[:3])}"
        )
    return layout


def component_of(path: str) -> str | None:
    """The component that a parameter belongs to; None where Hugging Face has none for it."""
    roots = {component: root for component, (root, _) in COMPONENTS.items()}
    return next((part for part, root in roots.items() if path.startswith(root)), None)


def locate(name: str, layout: str) -> Slot | LeftOut | None:
    """Where the tensor called `name` goes; None if the layout does not know it."""
    known = _by_name(layout)
    if name in known:
        return Slot(known[name][0], None, known[name][1])
    if match := re.fullmatch(r"(.*\blayers\.)(\d+)(\..*)", name):
        if row := known.get(f"{match[1]}{{}}{match[3]}"):
            return Slot(row[0], int(match[2]), row[1])
    for pattern, layouts, why in LEFT_OUT:
        if layout in layouts and re.fullmatch(pattern, name):
            return LeftOut(why)
    return None


def sources(path: str, layers: int, layout: str) -> list[tuple[str, Slot]]:
    """The tensors that make up the parameter at `path`, in order of layers.

    layers: length of the parameter's axis 0; read only where the path is a stack of layers.
    Raises a UserError if the layout has no name for it.
    """
    for name, (found, axes) in _by_name(layout).items():
        if found == path:
            if "{}" not in name:
                return [(name, Slot(path, None, axes))]
            return [(name.format(i), Slot(path, i, axes)) for i in range(layers)]
    raise UserError(f"the parameter {path} has no counterpart in Hugging Face's LLaVA")


def slots(params: Mapping[str, Any], layout: str = "legacy") -> dict[str, Slot]:
    """The names of all tensors that a tree of parameters, or of their shapes, becomes."""
    pairs = (sources(path, leaf.shape[0], layout) for path, leaf in flatten(params).items())
    return dict(itertools.chain.from_iterable(pairs))


def to_tensors(params: Mapping[str, Any], layout: str = "legacy") -> dict[str, np.ndarray]:
    """The nested parameter tree → contiguous tensors under the layout's names, dtypes kept."""
    flat, tensors = flatten(params), {}
    for name, slot in slots(params, layout).items():
        value = np.asarray(flat[slot.path])
        part = value if slot.layer is None else value[slot.layer]
        tensors[name] = np.ascontiguousarray(slot.to_hf(part))
    return tensors


@functools.cache
def _by_name(layout: str) -> dict[str, tuple[str, Axes]]:
    """Every tensor name of a layout, with `{}` for the layer → (path, axes)."""
    if layout not in LAYOUTS:
        raise UserError(f"unknown layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
    return dict(_rows(layout))


def _rows(layout: str) -> Iterator[tuple[str, tuple[str, Axes]]]:
    for component, prefix in LAYOUTS[layout].items():
        root, table = COMPONENTS[component]
        for module, kind in table.items():
            path = root + module.replace(".{}", "").replace(".", "/")
            name = prefix + RENAMED.get((layout, module), module)
            for theirs, ours, axes in kind:
                yield name + theirs, (path + ours, axes)
