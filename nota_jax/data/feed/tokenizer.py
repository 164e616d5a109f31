"""Tokenizers: a byte-level BPE made for scores and questions, and any Hugging Face one from disk.

The sizes `tiny` and `mini` train their own BPE on the dataset's training split; `7b` uses its
checkpoint's.  Both end up as a Hugging Face fast tokenizer that knows `<image>` and `<pad>`.

What merges and what does not (`CHUNKS`): a note with its accidental, octave, duration and tie is
one chunk, so that it becomes one token (`^c'2`, ` G`); a barline with its repeat signs and ending
number is one (` |:`, `:|`, `|1`); a header field is one (`K:`); a word is one.  Merges never reach
over a chunk's end, so the model meets each note as the same symbol in whatever company it stands.
A space belongs to the chunk behind it.  Merging whole beamed groups instead shortens a tune by only
12 % at 1,024 entries (118 → 104 tokens on average) and makes thousands of rare symbols to learn.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import re
import tempfile
from collections.abc import Iterable

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from nota_jax.data.feed.chat import CHAT_TEMPLATE, IMAGE, PAD, chat_template
from nota_jax.errors import UserError
from nota_jax.files import full_disk_is_an_error, write_atomic

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", IMAGE, PAD)
SENTENCEPIECE = "tokenizer.model"
FILES = ("tokenizer.json", SENTENCEPIECE)  # a folder with one of them holds a tokenizer
# Of `tokenizer_config.json`: how and from where it was loaded, which is nobody else's business.
NOT_KEPT = (
    "is_local", "local_files_only", "name_or_path", "tokenizer_file", "vocab_file", "merges_file",
    "special_tokens_map_file", "cache_dir", "revision", "subfolder", "token", "use_auth_token",
    "force_download", "proxies", "trust_remote_code", "auto_map", "from_slow", "_commit_hash",
    "_from_auto",
)  # fmt: skip
VOCABULARY_MULTIPLE = 64
SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 256

_NOTE = r" ?[_^=]*[A-Ga-gxzZ][,']*"
_LENGTH = r"[0-9]*(?:/+[0-9]*)?"


def _chunks(*of_a_note: str) -> str:
    return "|".join(
        (
            r" ?\[?[A-Za-z]:(?![|:])",  # header or inline field: K: [M: w:
            r" ?(?:\[\||:*\|+[:\]]?|::)(?:[0-9][0-9,-]*)?",  # barline: | || |] [| |: :| |1 :|2
            r" ?\p{L}*[^\W\d_a-gA-GxzZ]\p{L}*",  # a word: it has a letter that names no note
            *of_a_note,
            r" ?[({]+[2-9]?",  # slur, grace, tuplet
            r" ?[0-9]+(?:/[0-9]+)?",  # number or fraction: 4/4
            r"\n",
            r" ?[^\s\p{L}0-9|]",  # any other sign
            r"\s+",
        )
    )


# "notes": a note is one chunk; "fine": its pitch is one and its length another, so that a small
# model has a few dozen symbols to learn instead of hundreds.
CHUNKS = {"notes": _chunks(_NOTE + _LENGTH + "-?"), "fine": _chunks(_NOTE, r"/+[0-9]*")}


def train_bpe(
    texts: Iterable[str], vocab_size: int, out_dir: str | pathlib.Path, chunks: str = "notes"
) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE and saves it as a Hugging Face fast tokenizer.

    Args:
      texts: questions and answers of the training split.
      vocab_size: entries at most, special tokens and the 256 bytes included.
      chunks: which of `CHUNKS` merges stay within.
      out_dir: folder that gets tokenizer.json and tokenizer_config.json.

    Returns:
      The tokenizer.  Any text comes back from it unchanged: decode(encode(text)) == text.  The
      same texts, in any order, give the same files.

    Raises:
      UserError: vocab_size cannot hold the bytes, or there is no text.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise UserError(f"vocab_size is {vocab_size}: a byte-level vocabulary has at least "
                        f"{SMALLEST_VOCABULARY} entries")  # fmt: skip
    if chunks not in CHUNKS:
        raise UserError(f"config.chunks is {chunks!r}; there is {', '.join(CHUNKS)}")
    texts = iter(texts)
    first = next(texts, None)
    if first is None:
        raise UserError("no text to train a tokenizer on: the training split is empty")
    bpe = Tokenizer(models.BPE(unk_token=None))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CHUNKS[chunks]), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[AddedToken(t, normalized=False, special=True) for t in SPECIAL_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(itertools.chain([first], texts), trainer=trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", bpe.token_to_id("<s>"))]
    )
    tok = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token=PAD,
        additional_special_tokens=["[INST]", "[/INST]", IMAGE],
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
    tok.chat_template = CHAT_TEMPLATE
    save_tokenizer(tok, out_dir)
    return load_tokenizer(out_dir)


def find(*places: str | pathlib.Path) -> pathlib.Path | None:
    """The first folder that holds a tokenizer: one of `places` itself, or `tokenizer/` in it.

    places: in the order of preference: tokenizers, run directories, checkpoints; "" is passed over.
    None where none of them has one.
    """
    for place in filter(bool, map(str, places)):
        for folder in (pathlib.Path(place), pathlib.Path(place, "tokenizer")):
            if any((folder / name).is_file() for name in FILES):
                return folder
    return None


def load_tokenizer(place: str | pathlib.Path) -> PreTrainedTokenizerFast:
    """A fast tokenizer from tokenizer.json or a SentencePiece tokenizer.model, where `find` does.

    `<image>` and `<pad>` are added where they are missing (in this order, so that a Mistral
    vocabulary of 32,000 gets LLaVA's 32000 and 32001).  The chat template is always ours: one that
    the tokenizer brings is another conversation than training's, and knows no pictures.

    Raises:
      UserError: there is no tokenizer, or not one that can be read.
    """
    folder = find(place)
    if folder is None:
        raise UserError(f"{place} holds no tokenizer: neither {' nor '.join(FILES)} is there")
    name = next(name for name in FILES if (folder / name).is_file())
    kind = PreTrainedTokenizerFast
    if name != "tokenizer.json":
        # For this class transformers looks through all models that it knows, half a second.
        from transformers import LlamaTokenizer as kind
    try:
        tok = kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the libraries raise bare Exception for damaged files
        raise UserError(f"cannot read {folder / name}: {error}") from None
    tok.add_tokens([AddedToken(IMAGE, normalized=False, special=True)], special_tokens=True)
    if tok.pad_token is None:
        tok.add_special_tokens({"pad_token": PAD})
    tok.chat_template = chat_template(tok)
    return tok


def vocabulary_size(entries: int, given: int = 0) -> int:
    """Rows of the embedding for a tokenizer of so many entries.

    given: the size that the configuration or the weights say; 0 for the entries, rounded up to a
      multiple that can be sharded and suits matrix units.

    Raises:
      UserError: the given size has no room for all entries.
    """
    if entries > given > 0:
        raise UserError(
            f"the tokenizer has {entries} entries, config.model.text.vocab_size is {given}"
        )
    return given or -(-entries // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


def mistakable(tok: PreTrainedTokenizerBase) -> np.ndarray:
    """Which entries a reader of music may mistake for one another, int8 [entries]: notes 1, notes
    behind a space 2, numbers 3; 0 for all else, whose mistakes change what comes behind them."""
    kinds = (r"[A-Ga-g]", r" [A-Ga-g]", r"[1-9]")
    texts = (str(tok.decode([i])) for i in range(len(tok)))
    return np.array(
        [next((k for k, of in enumerate(kinds, 1) if re.fullmatch(of, text)), 0) for text in texts],
        np.int8,
    )


def save_tokenizer(tok: PreTrainedTokenizerBase, folder: str | pathlib.Path) -> None:
    """Writes the tokenizer so that transformers 4 and 5 both load it.

    `tokenizer.json` appears last: where it stands, the tokenizer is whole.  The SentencePiece file
    that it was loaded from or beside follows: GGUF's converters read no other.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        full_disk_is_an_error(folder),
        tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished,
    ):
        tok.save_pretrained(unfinished)
        config = pathlib.Path(unfinished, "tokenizer_config.json")
        settings = json.loads(config.read_text())
        settings = {key: value for key, value in settings.items() if key not in NOT_KEPT}
        # Transformers 5 writes a class and a list that 4 cannot read; both read these.
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        if isinstance(settings.get("extra_special_tokens"), list):
            settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
        config.write_text(json.dumps(settings, indent=2) + "\n")
        for path in sorted(config.parent.iterdir(), key=lambda path: path.name in FILES):
            path.replace(folder / path.name)
        pieces = pathlib.Path(tok.name_or_path or "-", SENTENCEPIECE)
        if not pieces.is_file():
            (folder / SENTENCEPIECE).unlink(missing_ok=True)  # of another tokenizer
        elif pieces.resolve() != (folder / SENTENCEPIECE).resolve():
            write_atomic(folder / SENTENCEPIECE, pieces.read_bytes())
