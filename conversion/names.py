"""The weight map: Hugging Face tensor names ↔ paths in our parameter tree, in both directions.

Each row of a table is (tensor name, path, transform) within one component of the model; `{}` in
a name is the layer's number, which becomes an index into axis 0 of the stacked parameter.  A
layout says under which prefix each component is found.  The legacy layout is the one that
transformers 4.46, 4.57 and 5.x all read, so it is the one we write.

Weights stay numpy arrays here; which tensors a file holds, in which order they stream, and where
they land on a mesh is for `from_hf` and `to_hf`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nota_jax.errors import UserError


@dataclass(frozen=True)
class Transform:
    """How a tensor's axes turn into the parameter's (`to_ours`) and back (`to_hf`)."""

    to_ours: Callable[[np.ndarray], np.ndarray]
    to_hf: Callable[[np.ndarray], np.ndarray]


SAME = Transform(lambda x: x, lambda x: x)
LINEAR = Transform(lambda x: x.T, lambda x: x.T)  # torch's Linear holds (out, in)
CONV = Transform(  # (out, in, height, width) ↔ (height, width, in, out)
    lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1)
)

Row = tuple[str, str, Transform]

VISION: tuple[Row, ...] = (
    ("embeddings.class_embedding", "embeddings/class_embedding", SAME),
    ("embeddings.patch_embedding.weight", "embeddings/patch_embedding/kernel", CONV),
    ("embeddings.position_embedding.weight", "embeddings/position_embedding/embedding", SAME),
    ("pre_layrnorm.weight", "pre_layrnorm/scale", SAME),
    ("pre_layrnorm.bias", "pre_layrnorm/bias", SAME),
    ("encoder.layers.{}.layer_norm1.weight", "encoder/layers/layer_norm1/scale", SAME),
    ("encoder.layers.{}.layer_norm1.bias", "encoder/layers/layer_norm1/bias", SAME),
    ("encoder.layers.{}.self_attn.q_proj.weight", "encoder/layers/self_attn/q_proj/kernel", LINEAR),
    ("encoder.layers.{}.self_attn.q_proj.bias", "encoder/layers/self_attn/q_proj/bias", SAME),
    ("encoder.layers.{}.self_attn.k_proj.weight", "encoder/layers/self_attn/k_proj/kernel", LINEAR),
    ("encoder.layers.{}.self_attn.k_proj.bias", "encoder/layers/self_attn/k_proj/bias", SAME),
    ("encoder.layers.{}.self_attn.v_proj.weight", "encoder/layers/self_attn/v_proj/kernel", LINEAR),
    ("encoder.layers.{}.self_attn.v_proj.bias", "encoder/layers/self_attn/v_proj/bias", SAME),
    ("encoder.layers.{}.self_attn.out_proj.weight", "encoder/layers/self_attn/out_proj/kernel",
     LINEAR),
    ("encoder.layers.{}.self_attn.out_proj.bias", "encoder/layers/self_attn/out_proj/bias", SAME),
    ("encoder.layers.{}.layer_norm2.weight", "encoder/layers/layer_norm2/scale", SAME),
    ("encoder.layers.{}.layer_norm2.bias", "encoder/layers/layer_norm2/bias", SAME),
    ("encoder.layers.{}.mlp.fc1.weight", "encoder/layers/mlp/fc1/kernel", LINEAR),
    ("encoder.layers.{}.mlp.fc1.bias", "encoder/layers/mlp/fc1/bias", SAME),
    ("encoder.layers.{}.mlp.fc2.weight", "encoder/layers/mlp/fc2/kernel", LINEAR),
    ("encoder.layers.{}.mlp.fc2.bias", "encoder/layers/mlp/fc2/bias", SAME),
    ("post_layernorm.weight", "post_layernorm/scale", SAME),
    ("post_layernorm.bias", "post_layernorm/bias", SAME),
)  # fmt: skip

CONNECTOR: tuple[Row, ...] = (
    ("linear_1.weight", "linear_1/kernel", LINEAR),
    ("linear_1.bias", "linear_1/bias", SAME),
    ("linear_2.weight", "linear_2/kernel", LINEAR),
    ("linear_2.bias", "linear_2/bias", SAME),
)

TEXT: tuple[Row, ...] = (
    ("embed_tokens.weight", "embed_tokens/embedding", SAME),
    ("layers.{}.input_layernorm.weight", "layers/input_layernorm/scale", SAME),
    ("layers.{}.self_attn.q_proj.weight", "layers/self_attn/q_proj/kernel", LINEAR),
    ("layers.{}.self_attn.k_proj.weight", "layers/self_attn/k_proj/kernel", LINEAR),
    ("layers.{}.self_attn.v_proj.weight", "layers/self_attn/v_proj/kernel", LINEAR),
    ("layers.{}.self_attn.o_proj.weight", "layers/self_attn/o_proj/kernel", LINEAR),
    ("layers.{}.post_attention_layernorm.weight", "layers/post_attention_layernorm/scale", SAME),
    ("layers.{}.mlp.gate_proj.weight", "layers/mlp/gate_proj/kernel", LINEAR),
    ("layers.{}.mlp.up_proj.weight", "layers/mlp/up_proj/kernel", LINEAR),
    ("layers.{}.mlp.down_proj.weight", "layers/mlp/down_proj/kernel", LINEAR),
    ("norm.weight", "norm/scale", SAME),
)

HEAD: tuple[Row, ...] = (("weight", "kernel", LINEAR),)

# component → (where it hangs in our tree, its table)
COMPONENTS: dict[str, tuple[str, tuple[Row, ...]]] = {
    "vision": ("vision_tower/", VISION),
    "connector": ("multi_modal_projector/", CONNECTOR),
    "text": ("language_model/model/", TEXT),
    "head": ("language_model/lm_head/", HEAD),
}

# layout → component → prefix of its tensor names
LAYOUTS: dict[str, dict[str, str]] = {
    # transformers 4.46; what 4.57 saves; what we write, because 4.46, 4.57 and 5 all load it.
    "legacy": {
        "vision": "vision_tower.vision_model.",
        "connector": "multi_modal_projector.",
        "text": "language_model.model.",
        "head": "language_model.lm_head.",
    },
    # transformers 4.57 in memory
    "transformers-4.57": {
        "vision": "model.vision_tower.vision_model.",
        "connector": "model.multi_modal_projector.",
        "text": "model.language_model.",
        "head": "lm_head.",
    },
    # transformers 5 in memory
    "transformers-5": {
        "vision": "model.vision_tower.",
        "connector": "model.multi_modal_projector.",
        "text": "model.language_model.",
        "head": "lm_head.",
    },
    # what transformers 5 saves; 4.x would leave its vision tower random in silence
    "transformers-5-saved": {
        "vision": "vision_tower.",
        "connector": "multi_modal_projector.",
        "text": "language_model.model.",
        "head": "language_model.lm_head.",
    },
    # the LLaVA repository's own; v1.5 leaves the vision tower out, v1.6 has it
    "original": {
        "vision": "model.vision_tower.vision_tower.vision_model.",
        "connector": "model.mm_projector.",
        "text": "model.",
        "head": "lm_head.",
    },
    # parts of a model: CLIP by itself (4.x, and CLIPModel of 5; CLIPVisionModel of 5), Mistral
    "clip": {"vision": "vision_model."},
    "clip-flat": {"vision": ""},
    "mistral": {"text": "model.", "head": "lm_head."},
}
WHOLE = tuple(layout for layout, parts in LAYOUTS.items() if parts.keys() == COMPONENTS.keys())

# The original's connector is a torch Sequential: (linear, GELU, linear) are its 0, 1 and 2.
RENAMED: dict[tuple[str, str], dict[str, str]] = {
    ("original", "connector"): {"linear_1.": "0.", "linear_2.": "2."},
}

# Tensors that are left out knowingly: (regex, layouts, why).
EVERY = tuple(LAYOUTS)
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
    transform: Transform


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
        roots = [COMPONENTS[component][0] for component in LAYOUTS[layout]]
        return len(found), -sum(not any(p.startswith(root) for p in found) for root in roots)

    scores = {layout: score(layout) for layout in LAYOUTS}
    layout = max(scores, key=scores.__getitem__)
    if not scores[layout][0]:
        raise UserError(
            f"no tensor name is known from any layout ({', '.join(LAYOUTS)}); "
            f"the first names are {', '.join(sorted(names)[:3])}"
        )
    return layout


def locate(name: str, layout: str) -> Slot | LeftOut | None:
    """Where the tensor called `name` goes; None if the layout does not know it."""
    stacked, single = _rows_by_name(layout)
    if name in single:
        return Slot(single[name][0], None, single[name][1])
    if match := re.fullmatch(r"(.*\blayers\.)(\d+)(\..*)", name):
        if row := stacked.get(f"{match[1]}{{}}{match[3]}"):
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
    for name, found, transform in _rows(layout):
        if found == path:
            if "{}" not in name:
                return [(name, Slot(path, None, transform))]
            return [(name.format(i), Slot(path, i, transform)) for i in range(layers)]
    raise UserError(f"the parameter {path} has no counterpart in Hugging Face's LLaVA")


def to_tree(tensors: Mapping[str, np.ndarray], layout: str | None = None) -> dict[str, Any]:
    """All tensors of a model in memory → the nested parameter tree, dtypes kept.

    Raises one UserError that lists every unknown tensor and every gap in a stack of layers.
    """
    layout = layout or recognise(tensors)
    stacks: dict[str, dict[int | None, np.ndarray]] = {}
    problems = []
    for name, tensor in tensors.items():
        slot = locate(name, layout)
        if slot is None:
            problems.append(f"unknown tensor {name}")
        elif isinstance(slot, Slot):
            stacks.setdefault(slot.path, {})[slot.layer] = slot.transform.to_ours(tensor)
    for path, stack in stacks.items():
        if None not in stack:
            missing = set(range(max(stack) + 1)) - set(stack)
            problems += [f"{path} lacks layer {layer}" for layer in sorted(missing)]
    if problems:
        raise UserError(f"tensors do not fit the layout {layout}: " + "; ".join(problems))
    tree: dict[str, Any] = {}
    for path, stack in stacks.items():
        *parents, leaf = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = stack[None] if None in stack else np.stack([stack[i] for i in sorted(stack)])
    return tree


def to_tensors(params: Mapping[str, Any], layout: str = "legacy") -> dict[str, np.ndarray]:
    """The nested parameter tree → contiguous tensors under the layout's names, dtypes kept."""
    tensors = {}
    for path, value in _flatten(params):
        value = np.asarray(value)
        for name, slot in sources(path, len(value), layout):
            part = value if slot.layer is None else value[slot.layer]
            tensors[name] = np.ascontiguousarray(slot.transform.to_hf(part))
    return tensors


def _rows(layout: str) -> Iterator[Row]:
    """(whole tensor name with `{}` for the layer, path, transform) of a layout."""
    if layout not in LAYOUTS:
        raise UserError(f"unknown layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
    for component, prefix in LAYOUTS[layout].items():
        root, rows = COMPONENTS[component]
        for name, tail, transform in rows:
            for ours, theirs in RENAMED.get((layout, component), {}).items():
                name = theirs + name.removeprefix(ours) if name.startswith(ours) else name
            yield prefix + name, root + tail, transform


@functools.cache
def _rows_by_name(layout: str) -> tuple[dict[str, tuple], dict[str, tuple]]:
    """name → (path, transform), of stacked and of single parameters."""
    rows = list(_rows(layout))
    stacked = {name: (path, transform) for name, path, transform in rows if "{}" in name}
    return stacked, {n: (path, transform) for n, path, transform in rows if "{}" not in n}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value
