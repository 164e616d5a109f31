"""Every value of a configuration: what it may be, and what depends on it in a run that goes on.

One row a key, in the order of `configs/common.py`.  `check` is asked before anything is built,
compiled or trained, and names all that is wrong in one sentence.  What belongs together (heads and
widths, pictures and lengths) stands below the table, in `RELATIONS`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nota_jax.errors import UserError, cut
from nota_jax.kinds import (
    Kind,
    either,
    flag,
    many,
    number,
    one_of,
    place,
    profiled,
    share,
    table,
    whole,
)

# Their homes import jax or TensorFlow Datasets, and a mistake is to be answered at once: what
# stands here is held equal to what stands there by tests/test_values.py.
OBJECTIVES = ("answers", "described", "reading", "symbols", "text")
ANSWERING = ("answers", "reading")  # objectives that learn to answer about a picture
TEMPLATES = ("mistral_instruct", "plain")
ASKING = ("mistral_instruct",)  # templates that have a question and an end
IMAGE_MODES = ("pad", "center_crop")
PARTS = ("train", "validation", "test", "test_style", "test_scan")
TASKS = ("alignment", "extraction", "analysis")
SUBTASKS = (
    "alignment", "title", "key", "meter", "unit_note_length", "composer", "abc",
    "form", "range", "contour", "intervals", "rhythm", "mode", "ending", "cadences", "dance_type",
    "overview",
    "other",  # of data from elsewhere
)  # fmt: skip
CORPORA = (
    "essenFolksong", "oneills1850", "airdsAirs", "ryansMammoth", "miscFolk", "nottingham-dataset",
)  # fmt: skip
SPLITS_BY = ("clusters", "hash")
# Of a dataset's training drawings, how many are drawn in some other way than the source's.
DRAWING_SHARES = ("look_share", "surroundings", "title_share", "meter_share")
GROUPED = ("task", "region", "corpus", "composer_source", "music_font", "text_font")
ATTENTION = ("auto", "reference", "blocked", "cudnn", "splash")
CHUNKS = ("notes", "fine")
CONNECTORS = ("mlp2", "mlp1", "resampler")
ACTIVATIONS = ("quick_gelu", "gelu")
PATCHES = ("all", "inked")
HEADINGS = ("page", "enlarged")
REMAT = ("none", "full", "dots")
SMALLEST_VOCABULARY = 263  # special tokens and bytes
SIZES = ("tiny", "small", "mini", "7b")


asked = Kind(
    f"of {', '.join(SUBTASKS)}, with a minus in front to leave it out",
    lambda x: isinstance(x, str) and x.removeprefix("-") in SUBTASKS,
)
corpus = Kind(
    f"of {', '.join(CORPORA)}, or path:FOLDER, or music:FOLDER",
    lambda x: (
        isinstance(x, str)
        and (x in CORPORA or re.fullmatch(r"(path|music(\[.+\])?):.+", x) is not None)
    ),
)
seed = whole(0, 2**32 - 1)
axis = whole(1, also=-1)

# What depends on a value in a run that goes on from its checkpoint (`history`): its parameters'
# meaning, where it began, which batches it has seen; how it is trained; or nothing.
MODEL, ORIGIN, BATCHES, RECIPE, FREE = "model", "origin", "batches", "recipe", "free"


@dataclass(frozen=True)
class Row:
    kind: Kind
    role: str


TABLE: dict[str, Row] = {
    key: Row(kind, role)
    for key, kind, role in (
        ("size", one_of(*SIZES), ORIGIN),
        ("phase", whole(0, 3), ORIGIN),
        ("seed", seed, ORIGIN),
        ("run_dir", place, FREE),
        ("previous", either(place, ""), ORIGIN),
        ("init_from", either(place, ""), ORIGIN),
        ("parts", table(place, least=0), ORIGIN),
        ("tokenizer", either(place, ""), MODEL),
        ("vocab_size", whole(SMALLEST_VOCABULARY, 2**20), MODEL),
        ("chunks", one_of(*CHUNKS), MODEL),
        # ---- architecture
        ("model.vision.image_size", whole(32, 4096), MODEL),
        ("model.vision.patch_size", whole(1, 4096), MODEL),
        ("model.vision.hidden_size", whole(1), MODEL),
        ("model.vision.intermediate_size", whole(1), MODEL),
        ("model.vision.num_hidden_layers", whole(1), MODEL),
        ("model.vision.num_attention_heads", whole(1), MODEL),
        ("model.vision.hidden_act", one_of(*ACTIVATIONS), MODEL),
        ("model.vision.layer_norm_eps", number(0, 1, above=True), MODEL),
        ("model.vision.feature_layer", whole(-10_000, 10_000), MODEL),
        ("model.vision.patches", one_of(*PATCHES), MODEL),
        ("model.vision.most_patches", whole(0), MODEL),
        ("model.vision.heading", one_of(*HEADINGS), MODEL),
        ("model.text.vocab_size", whole(0, 2**24), MODEL),
        ("model.text.hidden_size", whole(1), MODEL),
        ("model.text.intermediate_size", whole(1), MODEL),
        ("model.text.num_hidden_layers", whole(1), MODEL),
        ("model.text.num_attention_heads", whole(1), MODEL),
        ("model.text.num_key_value_heads", whole(1), MODEL),
        ("model.text.head_dim", whole(2, even=True), MODEL),
        ("model.text.rope_theta", number(0, above=True), MODEL),
        ("model.text.rms_norm_eps", number(0, 1, above=True), MODEL),
        ("model.text.sliding_window", whole(0), MODEL),
        ("model.text.tie_word_embeddings", flag, MODEL),
        ("model.connector.kind", one_of(*CONNECTORS), MODEL),
        ("model.connector.num_queries", whole(1), MODEL),
        ("model.connector.num_hidden_layers", whole(1), MODEL),
        ("model.connector.num_attention_heads", whole(1), MODEL),
        ("model.remat", one_of(*REMAT), FREE),
        ("model.attention", one_of(*ATTENTION), FREE),
        ("model.unroll", whole(1, 1000), FREE),
        ("model.operands", one_of("", "auto", "float32", "bfloat16"), RECIPE),
        # ---- data
        ("data.dir", place, FREE),  # what it holds is compared, not what it is called
        ("data.build.limit", whole(0), FREE),
        ("data.build.variants", whole(1, 1000), FREE),
        ("data.build.corpora", many(corpus), FREE),
        ("data.build.seed", seed, FREE),
        ("data.build.workers", whole(0, 1024), FREE),
        *((f"data.build.{name}", share, FREE) for name in DRAWING_SHARES),
        ("data.build.split_by", one_of(*SPLITS_BY), FREE),
        ("data.tasks", many(one_of(*TASKS), least=1), BATCHES),
        ("data.subtasks", many(asked), BATCHES),
        ("data.shares.*", share, BATCHES),
        ("data.weights.*", number(0, 1e6), BATCHES),
        *((f"data.weights.{feature}.*", number(0, 1e6), BATCHES) for feature in GROUPED),
        ("data.template", one_of(*TEMPLATES), BATCHES),
        ("data.image_mode", one_of(*IMAGE_MODES), BATCHES),
        ("data.jitter", whole(0), BATCHES),
        ("data.degrade", share, BATCHES),
        ("data.letters", share, BATCHES),
        ("data.corrupt", share, BATCHES),
        ("data.misread", share, BATCHES),
        ("data.curriculum", whole(0), BATCHES),
        ("data.pictures", flag, BATCHES),
        ("data.batch_size", whole(1, 2**20), BATCHES),
        ("data.accumulation", whole(1, 2**20), RECIPE),
        ("data.turns_per_row", whole(0), BATCHES),
        ("data.lengths", many(whole(1, 2**20), least=1), BATCHES),
        ("data.length_multiple", whole(0, 2**20), FREE),
        ("data.threads", whole(0, 1024), FREE),
        # ---- training
        ("trainable", table(flag), MODEL),
        ("optim.learning_rate", number(0, 10), RECIPE),
        ("optim.warmup", number(0, 1, below=True), RECIPE),
        ("optim.final", number(0, 1), RECIPE),
        ("optim.weight_decay", number(0, 10), RECIPE),
        ("optim.clip_norm", either(number(0, above=True), None), RECIPE),
        ("optim.b1", number(0, 1, below=True), RECIPE),
        ("optim.b2", number(0, 1, below=True), RECIPE),
        ("optim.eps", number(0, 1, above=True), RECIPE),
        ("optim.center_rules", table(flag), RECIPE),
        ("optim.multiplier_rules", table(number(0, 1e6)), RECIPE),
        ("epochs", number(0, 1e6, above=True), RECIPE),
        ("steps", whole(0, 2**31 - 1), RECIPE),
        ("objective", one_of(*OBJECTIVES), MODEL),
        ("loss_weights.*", number(0, 1e6), RECIPE),
        ("aids.gaze", number(0, 1e6), RECIPE),
        ("aids.address", number(0, 1e6), RECIPE),
        ("aids.symbols", number(0, 1e6), RECIPE),
        ("loss_chunk", whole(1, 2**20), FREE),
        ("mesh.data", axis, FREE),
        ("mesh.fsdp", axis, FREE),
        ("mesh.tensor", axis, FREE),
        ("dtype", one_of("", "float32", "bfloat16"), RECIPE),
        ("log_every", whole(1), FREE),
        ("save_every", whole(1), FREE),
        ("keep", whole(1), FREE),
        ("profile", either(profiled, ()), FREE),
        # ---- evaluation
        ("eval.split", either(one_of(*PARTS), ""), FREE),
        ("eval.questions", whole(0), FREE),
        ("eval.max_new_tokens", whole(1, 2**20), FREE),
        ("eval.batch_size", whole(1, 2**20), FREE),
        ("eval.temperature", number(0, 100), FREE),
        ("eval.top_p", number(0, 1, above=True), FREE),
        ("eval.template", one_of(*ASKING), FREE),
        ("eval.grammar", flag, FREE),
        ("eval.views", whole(1, 8), FREE),
        ("eval.every", whole(0), FREE),
        ("eval.sample", whole(1, 10_000), FREE),
    )
}
# Groups whose fields the configuration names itself, and what it can name (None: anything).
OPEN: dict[str, tuple[str, ...] | None] = {
    "data.shares": SUBTASKS,
    "data.weights": SUBTASKS,
    **{f"data.weights.{feature}": None for feature in GROUPED},
    "loss_weights": None,
}


@dataclass(frozen=True)
class Relation:
    """Between values that are each in their range.

    keys: all that it reads, the one to blame first.  needed: what that one would have to be.
    """

    keys: tuple[str, ...]
    needed: Callable[[Mapping[str, Any]], str]
    holds: Callable[[Mapping[str, Any]], bool]


def _multiple(key: str, by: str) -> Relation:
    return Relation(
        (key, by), lambda v: f"a multiple of {by} ({v[by]})", lambda v: v[key] % v[by] == 0
    )


def patches(v: Mapping[str, Any]) -> int:
    """Patches of a page."""
    return (v["model.vision.image_size"] // v["model.vision.patch_size"]) ** 2


def image_tokens(v: Mapping[str, Any]) -> int:
    """Positions that a picture takes in the decoder's rows."""
    if not v["data.pictures"]:
        return 0
    if v["model.connector.kind"] == "resampler":
        return v["model.connector.num_queries"]
    return v["model.vision.most_patches"] or patches(v)


def _layer_is_there(v: Mapping[str, Any]) -> bool:
    n = v["model.vision.num_hidden_layers"]
    return -n - 1 <= v["model.vision.feature_layer"] <= n


_SIDE, _PATCH = "model.vision.image_size", "model.vision.patch_size"
_KIND, _HEADS = "model.connector.kind", "model.connector.num_attention_heads"
_WIDTH = "model.text.hidden_size"

RELATIONS = (
    _multiple(_SIDE, _PATCH),
    _multiple("model.vision.hidden_size", "model.vision.num_attention_heads"),
    _multiple("model.text.num_attention_heads", "model.text.num_key_value_heads"),
    Relation(
        ("model.vision.feature_layer", "model.vision.num_hidden_layers"),
        lambda v: "one of {0} to {1}, the hidden states of {1} layers".format(
            -v["model.vision.num_hidden_layers"] - 1, v["model.vision.num_hidden_layers"]
        ),
        _layer_is_there,
    ),
    Relation(
        ("model.vision.most_patches", "model.vision.patches", _SIDE, _PATCH),
        lambda v: (
            f'1 to {patches(v)} with patches "inked"'
            if v["model.vision.patches"] == "inked"
            else '0 with patches "all"'
        ),
        lambda v: (
            1 <= v["model.vision.most_patches"] <= patches(v)
            if v["model.vision.patches"] == "inked"
            else v["model.vision.most_patches"] == 0
        ),
    ),
    Relation(
        (_WIDTH, _KIND, _HEADS),
        lambda v: f"a multiple of {_HEADS} ({v[_HEADS]}) for the resampler",
        lambda v: v[_KIND] != "resampler" or v[_WIDTH] % v[_HEADS] == 0,
    ),
    Relation(
        (
            "data.lengths", "data.pictures", "model.vision.most_patches", _SIDE, _PATCH, _KIND,
            "model.connector.num_queries",
        ),
        lambda v: f"a length beyond the {image_tokens(v)} tokens that a picture takes",
        lambda v: max(v["data.lengths"]) > image_tokens(v) + 1,
    ),
    Relation(
        ("data.jitter", _SIDE),
        lambda v: f"less than model.vision.image_size ({v[_SIDE]})",
        lambda v: v["data.jitter"] < v[_SIDE],
    ),
    Relation(
        ("data.pictures", "objective"),
        lambda v: 'True; rows without pictures are for the objective "text"',
        lambda v: v["data.pictures"] or v["objective"] == "text",
    ),
    Relation(
        ("eval.every", "objective"),
        lambda v: f'0 with the objective "{v["objective"]}", which learns to answer nothing',
        lambda v: not v["eval.every"] or v["objective"] in ANSWERING,
    ),
    Relation(
        ("vocab_size", "model.text.vocab_size", "tokenizer"),
        lambda v: f"at most model.text.vocab_size ({v['model.text.vocab_size']})",
        lambda v: bool(v["tokenizer"]) or v["vocab_size"] <= (v["model.text.vocab_size"] or 2**24),
    ),
)  # fmt: skip


def row_of(key: str) -> Row | None:
    """The row of a key; None where the configuration has no such."""
    if key in TABLE:
        return TABLE[key]
    group = open_group(key)
    known = OPEN[group] if group else ()
    return TABLE[f"{group}.*"] if known is None or key[len(group) + 1 :] in known else None


def open_group(key: str) -> str:
    """The group of `OPEN` that a key is a field of; "" where it is of none."""
    return max((group for group in OPEN if key.startswith(f"{group}.")), key=len, default="")


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value by its dotted key."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        inner = hasattr(value, "items")
        found |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return found


def check(config: Mapping[str, Any]) -> None:
    """Raises UserError, which names every value that cannot be, what it is and what is needed."""
    values = flat(config)
    if problems := [*_wrong_keys(values), *_wrong_values(values)]:
        raise UserError("the configuration cannot be run: " + "; ".join(problems))


def _wrong_keys(values: Mapping[str, Any]) -> Iterator[str]:
    for key in values:
        if row_of(key) is None:
            group = open_group(key)
            names = [f"{group}.{name}" for name in OPEN.get(group) or ()] or list(TABLE)
            near = difflib.get_close_matches(key, names, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            yield f"config.{cut(key)} is read by nobody{hint}"
    for key in TABLE:
        if key not in values and not key.endswith(".*"):
            yield f"config.{key} is missing (configs/common.py has it)"


def _wrong_values(values: Mapping[str, Any]) -> Iterator[str]:
    rows = {key: row for key in values if (row := row_of(key)) is not None}
    wrong = {key: row.kind.needed for key, row in rows.items() if not row.kind.holds(values[key])}
    for relation in RELATIONS:
        keys = relation.keys
        if all(key in rows and key not in wrong for key in keys) and not relation.holds(values):
            wrong[keys[0]] = relation.needed(values)
    for key, needed in wrong.items():
        yield f"config.{key} is {cut(repr(values[key]))}, needed is {needed}"


def notes(config: Mapping[str, Any]) -> list[str]:
    """What can be run and is perhaps not what was meant, a line each."""
    v, found = flat(config), []
    if 0 < v["steps"] < v["data.curriculum"]:
        found.append(
            f"note: data.curriculum is {v['data.curriculum']} and there are {v['steps']} steps: "
            "the longest rows are not reached"
        )
    return found
