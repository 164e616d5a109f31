"""Answers held-out questions with a model and keeps every answer.

Pages are read in a fixed order, each picture is encoded once and its questions are answered as a
batch.  Answers are appended to predictions.jsonl as they come, so an interrupted evaluation goes
on where it was.  The file's first line marks all that they depend on: settings, weights, pages,
model and tokenizer.

Of many processes and devices all run one program: the pages of a batch are cut over the devices as
training's rows are, and the parameters stay where training left them, so that whatever could be
trained can be evaluated (gathered, 7b would not fit one device).  Process 0 alone writes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh
from transformers import PreTrainedTokenizerFast

from nota_jax import progress
from nota_jax.checkpoint import fingerprints
from nota_jax.data.feed import chat, heading, images
from nota_jax.data.feed.evaluation import EvalPage, eval_questions, sampled
from nota_jax.data.records import question_ids
from nota_jax.data.store.reader import PageReader
from nota_jax.evaluation import kept
from nota_jax.evaluation.answers import ANSWERS
from nota_jax.evaluation.headed import headed
from nota_jax.evaluation.metrics import FIELDS, SHORT_ANSWER, TRANSCRIPTIONS, Prediction
from nota_jax.evaluation.rules import abc_rules
from nota_jax.models import decode, grammar
from nota_jax.models.notagpt import NotaGPT
from nota_jax.notation.abc.grammar import closed
from nota_jax.parallel import processes
from nota_jax.parallel.mesh import batch_ways, place_whole
from nota_jax.pixels import normalize


@dataclass(frozen=True)
class Settings:
    """What is asked, and how answers are drawn.

    splits: of the dataset; subtasks: () for all.
    questions: at most so many of each split, 0 for all.
    max_new_tokens: an answer that is longer is cut there.
    temperature: 0 is greedy.
    grammar: transcriptions can only be canonical ABC, and bars that add up are preferred.
    views: of a page, moved by a few pixels each, from which its answers are read together.
    """

    dataset: str
    splits: tuple[str, ...]
    subtasks: tuple[str, ...] = ()
    template: str = "mistral_instruct"
    image_mode: str = "pad"
    questions: int = 240
    pages_per_batch: int = 8
    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    grammar: bool = False
    views: int = 1


def predict(
    model: NotaGPT,
    params: Any,
    tokenizer: PreTrainedTokenizerFast,
    settings: Settings,
    out: Path,
    say: Callable[[str], None] = print,
    mesh: Mesh | None = None,
) -> list[Prediction]:
    """A prediction for every question, in the order of the questions; [] but in process 0.

    out: folder of predictions.jsonl (see `kept.folder`); its answers are taken from there where its
      mark is the same, and asked for otherwise.
    mesh: that the parameters lie on; None for one device.  A batch has at least a page for each
      part that the mesh cuts it into.
    """
    main = processes.is_main()
    path = out / ANSWERS
    mark = {
        "settings": kept.as_json(settings),
        "weights": weights_mark(params),
        "asked": kept.digest(
            PageReader(settings.dataset, settings.splits).fingerprint(),
            model.config.to_dict(),
            sorted(tokenizer.get_vocab().items()),
        ),
    }
    known = kept.read(path, mark, say) if main else {}
    if main:
        kept.begin(path, mark, known)
    if known:
        say(f"{len(known)} answers are already in {path}")
    per_batch = pages_at_once(settings, mesh)
    with path.open("a") if main else contextlib.nullcontext() as file:
        batches = in_batches(asked_pages(model, tokenizer, settings), per_batch)
        bar = progress.bar(
            unit="question",
            desc="evaluate",
            total=_total(settings) if main else None,
            disable=not main,
        )
        results, start = [], time.monotonic()
        for pages in batches:
            records = kept.questions(pages)
            for record in records:
                if not kept.asks(record, known.get(record["id"], record)):
                    del known[record["id"]]  # the page says something else by now
            asked = partial(any, [record["id"] not in known for record in records])
            if processes.share(asked):
                answers = answer(model, params, tokenizer, settings, pages, per_batch, mesh)
                if file is None:  # not process 0
                    continue
                for record, (text, cut) in zip(records, answers, strict=True):
                    if record["id"] not in known:
                        known[record["id"]] = record | {"prediction": text, "cut": cut}
                        file.write(kept.written(known[record["id"]]))
                file.flush()
            if main:
                results += [known[record["id"]] for record in records]
                bar.update(len(records))
        bar.total = len(results)
        bar.close()
        say(f"{len(results)} questions answered in {time.monotonic() - start:.0f} s")
    names = [field.name for field in dataclasses.fields(Prediction)]
    return [Prediction(**{name: record[name] for name in names}) for record in results]


def weights_mark(params: Any) -> str:
    """Changes when the weights do: a digest of every parameter's shape and checksum."""
    return kept.digest(fingerprints.fingerprint(params))


def asked_pages(
    model: NotaGPT, tokenizer: PreTrainedTokenizerFast, settings: Settings, **sample: int
) -> Iterator[EvalPage]:
    """What the settings ask; sample: `pages` and `seed` of `eval_questions`."""
    return eval_questions(
        settings.dataset,
        settings.splits,
        tokenizer,
        n_image_tokens=model.config.num_image_tokens,
        image_size=model.config.vision.image_size,
        limit=settings.questions,
        subtasks=settings.subtasks,
        template=settings.template,
        image_mode=settings.image_mode,
        **sample,
    )


def pages_at_once(settings: Settings, mesh: Mesh | None) -> int:
    """Of a batch: one at least for each part that the mesh cuts it into, and all alike."""
    ways = 1 if mesh is None else batch_ways(mesh)
    return -(-settings.pages_per_batch // ways) * ways


def _total(settings: Settings) -> int:
    """Questions: at most so many where their number is limited, else counted."""
    if settings.questions:
        return settings.questions * len(settings.splits)
    pages = sampled(settings.dataset, settings.splits, settings.questions, settings.subtasks)
    return sum(len(page.turns) for page in pages)


def in_batches(pages: Iterable[EvalPage], size: int) -> Iterator[list[EvalPage]]:
    pages = iter(pages)
    while batch := list(itertools.islice(pages, size)):
        yield batch


def answer(
    model: NotaGPT,
    params: Any,
    tokenizer: PreTrainedTokenizerFast,
    settings: Settings,
    pages: Sequence[EvalPage],
    rows: int,
    mesh: Mesh | None,
    among: Sequence[EvalPage] = (),
) -> list[tuple[str, bool]]:
    """The model's answers to all questions about the pages, page after page, and whether each was
    cut off: its last token was not the end.

    rows: of the batch, at least as many as there are pages.  mesh: as in `predict`.
    among: the pages of all batches, where those are known: then all have the same shapes, and their
      programs are compiled once.

    A batch runs until its longest answer has ended, so header fields, which are short, do not
    wait for transcriptions.
    """
    answers: dict[tuple[int, int], tuple[str, bool]] = {}
    rules, views = _rules(model, tokenizer, settings), settings.views
    apart = heading.subtasks(model.config.vision.heading)

    def of_kind(kind: str, page: EvalPage) -> list[int]:
        turns = enumerate(page.turns)
        return [n for n, turn in turns if _kind(turn.subtask, rules, apart) == kind]

    @cache
    def pixels(close: bool) -> np.ndarray:
        """All views of the pages, or of their enlarged headings, [rows · views, S, S, 3]."""
        shape = pages[0].image.shape
        out = np.zeros((rows, views, *shape), np.uint8)
        for i, page in enumerate(pages):
            shown = heading.enlarged(page.image)[0] if close else page.image
            out[i] = images.views(shown, views)
        return out.reshape(-1, *shape)

    for kind in ("short", "heading", "long", *rules):
        short = kind in ("short", "heading")
        asked = [of_kind(kind, page) for page in pages]
        if not any(asked):
            continue
        # Static shapes: every batch of a kind has the same number of places for questions.
        shaping = [(page, of_kind(kind, page)) for page in among or pages]
        places = max(len(FIELDS) if short else 1, *(len(ns) for _, ns in shaping))
        longest = max(len(page.prompts[n]) for page, ns in shaping for n in ns)
        turns = np.full((rows, places, longest), tokenizer.pad_token_id, np.int32)
        lengths = np.zeros((rows, places), np.int32)
        seeds = np.zeros((rows, places), np.uint32)
        for i, (page, numbers) in enumerate(zip(pages, asked, strict=True)):
            ids = question_ids(page.id, page.turns)
            for place, n in enumerate(numbers):
                lengths[i, place] = len(page.prompts[n])
                turns[i, place, : lengths[i, place]] = page.prompts[n]
                seeds[i, place] = _seed(settings.seed, ids[n])
        limit = min(SHORT_ANSWER, settings.max_new_tokens) if short else settings.max_new_tokens
        found = decode.generate(
            model,
            params,
            normalize(pixels(kind == "heading")),
            np.tile(np.asarray(pages[0].prefix, np.int32), (rows, 1)),
            turns,
            lengths,
            max_new_tokens=limit,
            eos_ids=(tokenizer.eos_token_id,),
            temperature=settings.temperature,
            top_p=settings.top_p,
            seeds=seeds,
            rules=rules.get(kind),
            views=views,
            place=None if mesh is None else partial(place_whole, mesh),
        )
        for i, numbers in enumerate(asked):
            for place, n in enumerate(numbers):
                ids = found.tokens[i, place, : found.lengths[i, place]].tolist()
                text = chat.decode_answer(tokenizer, ids)
                text = closed(text) if kind == "abc" and rules else text
                answers[i, n] = text, len(ids) >= limit
    if apart:
        _write_headings(answers, pages)
    return [answers[i, n] for i, page in enumerate(pages) for n in range(len(page.turns))]


def _write_headings(
    answers: dict[tuple[int, int], tuple[str, bool]], pages: Sequence[EvalPage]
) -> None:
    """Puts what was read from the enlarged heading into the page's transcription."""
    for i, page in enumerate(pages):
        by_subtask = {turn.subtask: n for n, turn in enumerate(page.turns)}
        read = {name: answers[i, by_subtask[name]][0] for name in heading.SUBTASKS
                if name in by_subtask}  # fmt: skip
        if (n := by_subtask.get("abc")) is not None:
            text, cut = answers[i, n]
            answers[i, n] = headed(text, read), cut


def _kind(subtask: str, rules: Mapping[str, Any], apart: Sequence[str]) -> str:
    """Which questions are answered together, about the same pictures."""
    if subtask in apart:
        return "heading"
    return "short" if subtask in FIELDS else subtask if subtask in rules else "long"


def _rules(
    model: NotaGPT, tokenizer: PreTrainedTokenizerFast, settings: Settings
) -> dict[str, grammar.Tables]:
    """The grammar of each subtask that has one."""
    vocabulary, wanted = model.config.text.vocab_size, TRANSCRIPTIONS if settings.grammar else ()
    return {name: abc_rules(tokenizer, vocabulary, fragment=name == "alignment") for name in wanted}


def _seed(seed: int, question: str) -> int:
    """Each question's own, so that its answer does not depend on which others are asked with it."""
    return zlib.crc32(f"{seed}:{question}".encode())
