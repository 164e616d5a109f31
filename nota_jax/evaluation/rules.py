"""The grammar of ABC for a model's decoder: the tokenizer's tables, on the device."""

from __future__ import annotations

from functools import lru_cache

import jax.numpy as jnp
from transformers import PreTrainedTokenizerFast

from nota_jax.data.feed import grammar as of_tokenizer
from nota_jax.models import grammar


@lru_cache(maxsize=4)
def abc_rules(
    tokenizer: PreTrainedTokenizerFast, vocabulary: int, *, fragment: bool = False
) -> grammar.Tables:
    """Made once for each tokenizer; the arguments are those of `data.feed.grammar.tables`."""
    made = of_tokenizer.tables(tokenizer, vocabulary, fragment)
    return grammar.Tables(**{name: jnp.asarray(table) for name, table in made.items()})
