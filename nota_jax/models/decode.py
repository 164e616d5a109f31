"""Answers questions about images: each image is read once, its questions go on as a batch.

One jitted function holds it all.  The prefill runs image prefix and questions as one row of
turns, exactly as in training, and keeps the keys and values; the prefix's are stored once per
image, not once per question.  A `while_loop` then makes one token per question and step, until
every question has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from nota_jax.errors import UserError
from nota_jax.models import grammar, mistral
from nota_jax.models.notagpt import NotaGPT, Params

PREFERENCES = grammar.Preferences()
TURN_BUCKET = 32  # questions are padded to a multiple, so that few shapes are compiled


class Answers(NamedTuple):
    """tokens: int32 [B, Q, max_new_tokens], −1 behind the end; lengths: int32 [B, Q].

    An answer is `tokens[b, q, : lengths[b, q]]`; the end-of-sequence token is not part of it.
    """

    tokens: np.ndarray
    lengths: np.ndarray


def generate(
    model: NotaGPT,
    params: Params,
    pixels: jax.Array,
    prefix_tokens: np.ndarray,
    turn_tokens: np.ndarray,
    turn_lengths: np.ndarray,
    *,
    max_new_tokens: int,
    eos_ids: tuple[int, ...],
    temperature: float = 0.0,
    top_p: float = 1.0,
    seeds: np.ndarray | None = None,
    rules: grammar.Tables | None = None,
    preferences: grammar.Preferences = PREFERENCES,
    views: int = 1,
    place: Callable[[np.ndarray], jax.Array] | None = None,
) -> Answers:
    """Answers Q questions about each of B images.

    Compiled anew for every (B, Q, P, padded L, max_new_tokens): call it with constant ones, and
    put questions with short answers into calls of their own, since a batch runs until its
    longest answer has ended.

    Args:
      pixels: normalised, [B · views, S, S, 3].
      prefix_tokens: int [B, P], what precedes every question, all image tokens included; no
        padding.
      turn_tokens: int [B, Q, L], the questions up to where the answer starts, padded at the end.
      turn_lengths: int [B, Q]; 0 marks a place without a question, whose answer is empty.
      eos_ids: tokens that end an answer.
      temperature: 0 takes the most probable token; otherwise samples from softmax(logits / it).
      top_p: samples from the fewest most probable tokens that together reach this probability
        (Holtzman et al. 2020).
      seeds: int [B, Q], for sampling: what a question draws follows from its seed alone, whatever
        batch and mesh it is asked in.
      rules, preferences: of a grammar that the answers keep to (`models.grammar`); an answer that
        is cut off at `max_new_tokens` is the beginning of one that does.
      views: so many pictures in turn show one page, each a little different; they write one
        answer, each token from the mean of their log-probabilities.
      place: puts an array with one row per image where it belongs on several devices; None leaves
        that to jax.
    """
    turn_tokens, turn_lengths = np.asarray(turn_tokens), np.asarray(turn_lengths)
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens is {max_new_tokens}; at least 1 is needed")
    if temperature < 0 or not 0 < top_p <= 1:
        raise UserError(
            f"sampling needs temperature >= 0 and 0 < top_p <= 1, not {temperature} and {top_p}"
        )
    if len(pixels) != views * len(turn_lengths):
        raise UserError(f"{len(pixels)} rows are no pages of {views} views each")
    if temperature and seeds is None:
        raise UserError("sampling (temperature > 0) needs seeds, a number for each question")
    config, prefix_tokens = model.config, np.asarray(prefix_tokens)
    n_image = (prefix_tokens == config.image_token_id).sum(1)
    if (n_image != config.num_image_tokens).any():
        raise UserError(
            f"the prefix holds {n_image.min()} to {n_image.max()} image tokens; this model's "
            f"images take {config.num_image_tokens}"
        )
    sampling = None
    if temperature:
        sampling = np.float32(temperature), None if top_p == 1 else np.float32(top_p)
    seeds = np.zeros_like(turn_lengths) if seeds is None else np.asarray(seeds)
    asked = prefix_tokens, _padded(turn_tokens), turn_lengths, seeds.astype(np.uint32)
    batch = pixels, *(np.repeat(of_page, views, axis=0) for of_page in asked)
    if place is not None:
        batch = tuple(map(place, batch))
    answers = _generate(
        model, params, *batch, sampling, rules, preferences, max_new_tokens=max_new_tokens,
        eos_ids=tuple(eos_ids), views=views, mesh=_mesh_of(params),
    )  # fmt: skip
    return Answers(*(_whole(found)[::views] for found in answers))


def trace(
    model: NotaGPT, params: Params, pixels: Any, prefix_tokens: Any, turn_tokens: Any,
    turn_lengths: Any, *, max_new_tokens: int, eos_ids: tuple[int, ...],
) -> jax.stages.Traced:  # fmt: skip
    """The program that `generate` would run for the same arguments, greedily; nothing is run.

    Arrays may be `jax.ShapeDtypeStruct`s, and turns have to be padded to `TURN_BUCKET` then.
    """
    if isinstance(turn_tokens, np.ndarray):
        turn_tokens = _padded(turn_tokens)
    seeds = jax.ShapeDtypeStruct(
        turn_lengths.shape, jnp.uint32, sharding=getattr(turn_lengths, "sharding", None)
    )
    return _generate.trace(
        model, params, pixels, prefix_tokens, turn_tokens, turn_lengths, seeds, None, None, None,
        max_new_tokens=max_new_tokens, eos_ids=eos_ids, views=1, mesh=_mesh_of(params),
    )  # fmt: skip


def _padded(turn_tokens: np.ndarray) -> np.ndarray:
    return np.pad(turn_tokens, ((0, 0), (0, 0), (0, -turn_tokens.shape[2] % TURN_BUCKET)))


def _whole(x: jax.Array) -> np.ndarray:
    """The array on this host, also where parts of it lie on others'."""
    here = x.is_fully_addressable
    return np.asarray(x) if here else multihost_utils.process_allgather(x, tiled=True)


def _mesh_of(params: Params) -> jax.sharding.AbstractMesh | None:
    """That the parameters are sharded over; None where they lie on one device."""
    where = getattr(jax.tree.leaves(params)[0], "sharding", None)
    mesh = getattr(where, "mesh", None)
    return mesh.abstract_mesh if mesh is not None and mesh.size > 1 else None


@partial(jax.jit, static_argnames=("model", "max_new_tokens", "eos_ids", "views", "mesh"))
def _generate(model, params, *arguments, mesh=None, **limits):
    if mesh is None:
        return _answer(model, params, *arguments, **limits)
    with jax.sharding.use_abstract_mesh(mesh):  # for `models.layers.constrain`
        return _answer(model, params, *arguments, **limits)


def _answer(
    model, params, pixels, prefix, turns, lengths, seeds, sampling, rules, preferences, *,
    max_new_tokens, eos_ids, views,
):  # fmt: skip
    n_prefix, n_turn = prefix.shape[1], turns.shape[2]
    eos = jnp.asarray(eos_ids)
    config = model.config
    hidden, caches = _prefill(model, params, pixels, prefix, turns, lengths, max_new_tokens - 1)
    weights = mistral.step_weights(config, params["language_model"])
    keys = jax.vmap(jax.vmap(jax.random.key))(seeds)

    def choose(logits, place, n):
        """Token n, and where in the grammar it leads."""
        if views > 1:
            logits = _agreed(logits, views)
        if rules is None:
            return _choose(logits, sampling, keys, n), place
        allowed = grammar.constrained(logits, rules, place, preferences)
        token = _choose(allowed, sampling, keys, n)
        return token, grammar.advance(rules, place, token)

    begin = None if rules is None else grammar.start(lengths.shape)
    token, place = choose(mistral.step_logits(config, weights, hidden), begin, 0)

    def step(state):
        """Reads token n − 1 of each answer, chooses token n."""
        n, token, ended, answers, caches, place = state
        positions = n_prefix + lengths + n - 1
        masks = _visible(positions, lengths, n_prefix, n_turn, n, max_new_tokens - 1, model)
        logits, caches = mistral.step(
            config, weights, token, positions, caches, *masks, slot=n_turn + n - 1
        )
        token, place = choose(logits, place, n)
        answers = answers.at[..., n].set(jnp.where(ended, -1, token))
        return n + 1, token, ended | jnp.isin(token, eos), answers, caches, place

    absent = lengths == 0
    answers = jnp.full((*lengths.shape, max_new_tokens), -1, jnp.int32)
    answers = answers.at[..., 0].set(jnp.where(absent, -1, token))
    *_, answers, _, _ = jax.lax.while_loop(
        lambda state: (state[0] < max_new_tokens) & ~state[2].all(),
        step,
        (jnp.int32(1), token, absent | jnp.isin(token, eos), answers, caches, place),
    )
    answers = jnp.where(jnp.isin(answers, eos), -1, answers)
    return answers, (answers >= 0).sum(-1, dtype=jnp.int32)


def _prefill(model, params, pixels, prefix, turns, lengths, n_free):
    """Last hidden state of each question [B, Q, D], and caches with `n_free` free slots."""
    (batch, n_prefix), (_, n_questions, n_turn) = prefix.shape, turns.shape
    place = jnp.arange(n_turn)
    ids = jnp.where(place < lengths[..., None], jnp.arange(1, n_questions + 1)[:, None], -1)
    positions = jnp.broadcast_to(n_prefix + place, turns.shape)

    def row(prefix_part, turn_part):
        prefix_part = jnp.broadcast_to(prefix_part, prefix.shape)
        return jnp.concatenate([prefix_part, turn_part.reshape(batch, -1)], axis=1)

    features = model.apply({"params": params}, pixels, method="encode_images")
    hidden, kv = model.apply(
        {"params": params}, row(prefix, turns), row(0, ids), row(jnp.arange(n_prefix), positions),
        features, keep="kv", method="hidden",
    )  # fmt: skip
    turns_hidden = hidden[:, n_prefix:].reshape(batch, n_questions, n_turn, -1)
    last = jnp.maximum(lengths - 1, 0)[..., None, None]
    hidden = jnp.take_along_axis(turns_hidden, last, axis=2)[:, :, 0]

    def split(x):
        """[B, T, K, D] → the prefix's [B, K, P, D] and the turns' [B · Q, K, slots, D]."""
        own = x[:, n_prefix:].reshape(-1, n_turn, *x.shape[2:]).swapaxes(1, 2)
        own = jnp.pad(own, ((0, 0), (0, 0), (0, n_free), (0, 0)))
        return x[:, :n_prefix].swapaxes(1, 2), own

    caches = []
    for k, v in zip(*kv, strict=True):
        (prefix_k, own_k), (prefix_v, own_v) = split(k), split(v)
        prefix_k, own_k = prefix_k.swapaxes(-1, -2), own_k.swapaxes(-1, -2)
        caches.append(mistral.Cache(prefix_k, prefix_v, own_k, own_v))
    return hidden, caches


def _visible(positions, lengths, n_prefix, n_turn, n_answered, n_free, model):
    """What each newest token sees: bool [B, Q, P] of the prefix, [B, Q, C] of its own slots.

    A question's slots hold its `lengths` tokens, padding up to `n_turn`, then the answer.
    """
    slots = jnp.arange(n_turn + n_free)
    lengths, positions = lengths[..., None], positions[..., None]
    own = (slots < lengths) | (slots >= n_turn) & (slots < n_turn + n_answered)
    slot_positions = n_prefix + jnp.where(slots < n_turn, slots, lengths + slots - n_turn)
    prefix = jnp.ones((*own.shape[:2], n_prefix), bool)
    if (window := model.config.text.sliding_window) is not None:
        own &= positions - slot_positions < window
        prefix &= positions - jnp.arange(n_prefix) < window
    return prefix, own


def _agreed(logits: jax.Array, views: int) -> jax.Array:
    """What `views` rows in turn of [B, Q, V] say together, for each of them."""
    each = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    mean = each.reshape(-1, views, *each.shape[1:]).mean(1)
    return jnp.repeat(mean, views, axis=0)


def _choose(logits: jax.Array, sampling, keys: jax.Array, n: int | jax.Array) -> jax.Array:
    """The next token int32 [B, Q], each answer's n-th, from logits [B, Q, V] and keys [B, Q]."""
    if sampling is None:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    temperature, top_p = sampling
    logits = logits / temperature
    if top_p is not None:
        logits = keep_top_p(logits, top_p)

    def draw(key: jax.Array, logits: jax.Array) -> jax.Array:
        return jax.random.categorical(jax.random.fold_in(key, n), logits)

    return jax.vmap(jax.vmap(draw))(keys, logits).astype(jnp.int32)


def keep_top_p(logits: jax.Array, top_p: jax.Array) -> jax.Array:
    """Logits […, V] with −∞ outside the fewest tokens whose probabilities reach `top_p`."""
    ordered = jnp.sort(logits, axis=-1, descending=True)
    probabilities = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    threshold = jnp.min(jnp.where(before < top_p, ordered, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits >= threshold, logits, -jnp.inf)
