"""Asks a model in Hugging Face's format, through transformers and PyTorch, a dataset's questions.

For our exports and for anybody's: whatever `AutoProcessor` and `AutoModelForImageTextToText` load
from a folder and its chat template can be shown a picture with.  Code that lies in the folder is
not run.  Answers are greedy, and kept as `kept` does: an interrupted evaluation goes on where it
was, with other batches if need be.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nota_jax import progress
from nota_jax.data.feed import images
from nota_jax.data.feed.evaluation import sampled
from nota_jax.data.store.reader import PageReader
from nota_jax.errors import UserError, cut, first_line
from nota_jax.evaluation import kept
from nota_jax.evaluation.answers import ANSWERS
from nota_jax.evaluation.metrics import FIELDS, SHORT_ANSWER
from nota_jax.files import locked

DTYPES = ("auto", "float32", "bfloat16", "float16")
# What weights and processors are made of; whatever else lies in the folder changes no answer.
_OF_A_MODEL = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")


@dataclass(frozen=True)
class Settings:
    """What is asked, and how.

    model: its folder.  dataset, splits, subtasks, questions, max_new_tokens: as in
    `predict.Settings`.  dtype: of the weights; "auto" is the folder's own, on a CPU float32.
    """

    model: str
    dataset: str
    splits: tuple[str, ...]
    subtasks: tuple[str, ...] = ()
    questions: int = 0
    max_new_tokens: int = 512
    dtype: str = "auto"


@dataclass(frozen=True)
class Loaded:
    """A model that can be asked; most: tokens that question and answer may have together."""

    torch: Any
    processor: Any
    model: Any
    device: str
    stops: frozenset[int]
    most: int


@dataclass(frozen=True)
class Said:
    """text: None where the question was too long to ask; cut: ended by the limit of tokens."""

    text: str | None
    cut: bool = False


def predict(
    settings: Settings, out: Path, batch: int = 8, say: Callable[[str], None] = print
) -> Path:
    """Answers every question; returns the folder of predictions.jsonl.

    out: that folder, or where it has answers to other settings, the one beside it is taken.

    Raises:
      UserError: no such model or dataset, no PyTorch, a model that does not load whole or has no
        chat template; a batch that does not fit into memory.
    """
    if batch < 1:
        raise UserError(f"--batch {batch}: at least one question is asked at a time")
    _packages()
    _require_model(Path(settings.model))
    out = kept.folder(out, settings)
    with locked(out, "asks a model"):
        path = out / ANSWERS
        mark = {
            "settings": kept.as_json(settings),
            "weights": _fingerprint(Path(settings.model)),
            "asked": PageReader(settings.dataset, settings.splits).fingerprint(),
        }
        known = kept.read(path, mark, say)
        left = [record["id"] for record, _ in _asked(settings, known)]
        if known:
            say(f"{len(known)} answers are already in {path}, {len(left)} questions are left")
        kept.begin(path, mark, known)
        if left:
            _ask_all(settings, path, known, batch, len(left))
    return out


def _ask_all(settings: Settings, path: Path, known: dict[str, dict], batch: int, n: int) -> None:
    model = load(Path(settings.model), settings.dtype)
    with path.open("a") as file, progress.bar(total=n, unit="question", desc="ask") as bar:
        for rows in _batches(_asked(settings, known), batch):
            short = rows[0][0]["subtask"] in FIELDS
            limit = min(SHORT_ANSWER, settings.max_new_tokens) if short else settings.max_new_tokens
            pictures = [
                images.decode(png, name=record["id"]).convert("RGB") for record, png in rows
            ]
            said = ask(model, pictures, [record["question"] for record, _ in rows], limit)
            for (record, _), answer in zip(rows, said, strict=True):
                more = {"cut": answer.cut, "too_long": answer.text is None}
                file.write(kept.written(record | {"prediction": answer.text} | more))
            file.flush()
            bar.update(len(rows))


def _asked(settings: Settings, known: dict[str, dict]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The questions that have no answer yet, each with its encoded picture."""
    pages = sampled(settings.dataset, settings.splits, settings.questions, settings.subtasks)
    for page in pages:
        for record in kept.questions([page]):
            old = known.get(record["id"])
            if old is None or not kept.asks(record, old):
                yield record, page.png


def _batches(asked: Iterator[tuple[dict[str, Any], bytes]], size: int) -> Iterator[list]:
    """Header fields by themselves: a batch runs until its longest answer has ended."""
    waiting: dict[bool, list] = {True: [], False: []}
    for record, png in asked:
        rows = waiting[record["subtask"] in FIELDS]
        rows.append((record, png))
        if len(rows) == size:
            yield list(rows)
            rows.clear()
    yield from filter(None, waiting.values())


def ask(model: Loaded, pictures: Sequence[Any], questions: Sequence[str], limit: int) -> list[Said]:
    """Greedy answers to one question about each picture, all in one batch, padded on the left.

    limit: tokens of an answer.
    """
    if not questions:
        return []
    conversations = [
        [{"role": "user", "content": [{"type": "image", "image": picture},
                                      {"type": "text", "text": question}]}]
        for picture, question in zip(pictures, questions, strict=True)
    ]  # fmt: skip
    inputs = model.processor.apply_chat_template(
        conversations, add_generation_prompt=True, tokenize=True, return_dict=True,
        return_tensors="pt", processor_kwargs={"padding": True},
    )  # fmt: skip
    fits = (inputs["attention_mask"].sum(1) < model.most).tolist()
    if not all(fits):
        rest = [i for i, good in enumerate(fits) if good]
        said = ask(model, [pictures[i] for i in rest], [questions[i] for i in rest], limit)
        return [said.pop(0) if good else Said(None) for good in fits]
    start = inputs["input_ids"].shape[1]
    inputs = inputs.to(model.device, dtype=model.model.dtype)
    try:
        with model.torch.inference_mode():
            made = model.model.generate(
                **inputs, max_new_tokens=min(limit, model.most - start), do_sample=False,
                num_beams=1, eos_token_id=sorted(model.stops),
            )  # fmt: skip
    except model.torch.OutOfMemoryError:
        raise UserError(
            f"{len(questions)} questions at once do not fit into {model.device}'s memory: the "
            "answers so far are kept, go on with a smaller --batch"
        ) from None
    return [_said(model, row) for row in made[:, start:].tolist()]


def _said(model: Loaded, tokens: list[int]) -> Said:
    end = next((i for i, token in enumerate(tokens) if token in model.stops), None)
    text = model.processor.tokenizer.decode(
        tokens[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return Said(text.strip(), cut=end is None)


# ------------------------------------------------------------------ loading


def load(folder: Path, dtype: str = "auto") -> Loaded:
    """The model in a folder, on the accelerator where PyTorch has one.

    Raises:
      UserError: no PyTorch, no model there, weights that are missing, a processor without a chat
        template.
    """
    torch, transformers = _packages()
    _require_model(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    exact = "float32" if dtype == "auto" and device == "cpu" else dtype
    try:
        processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, problems = transformers.AutoModelForImageTextToText.from_pretrained(
                folder, dtype=exact, local_files_only=True, output_loading_info=True
            )
    except Exception as error:  # it raises whatever its parts raise
        reason = first_line(error)
        raise UserError(
            f"transformers {transformers.__version__} does not load {folder}: {cut(reason)}"
        ) from error
    if missing := sorted(map(str, problems["missing_keys"])):
        raise UserError(
            f"{folder} has no weights for {len(missing)} tensors of its model, which would be "
            f"random: {', '.join(missing[:3])} …"
        )
    if not hasattr(processor, "image_processor"):
        raise UserError(f"{folder} has no processor for pictures (preprocessor_config.json)")
    if not processor.chat_template:
        raise UserError(
            f"{folder} has no chat template (chat_template.jinja): nobody knows how its model is "
            "asked about a picture"
        )
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"  # so that every answer follows its question
    stops = model.generation_config.eos_token_id
    stops = tokenizer.eos_token_id if stops is None else stops
    stops = frozenset([stops] if isinstance(stops, int) else stops or ())
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return Loaded(torch, processor, model.eval().to(device), device, stops, most or 2**31)


def _packages() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise UserError(
            f"--hf asks through transformers and PyTorch, and {error.name} is missing: pip install "
            "'nota_jax[convert]'"
        ) from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return torch, transformers


def _require_model(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} is not the folder of a Hugging Face model: it has no config.json (a run of "
            "ours is exported with `python -m conversion.to_hf`)"
        )


def _fingerprint(folder: Path) -> str:
    """Changes when a file of the model does: names, sizes and times."""
    files = sorted(path for path in folder.iterdir() if path.suffix in _OF_A_MODEL)
    return kept.digest([(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files])
