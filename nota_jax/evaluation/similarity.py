"""How much an analysis resembles the true one in words: LSA, ROUGE-1, ROUGE-L, METEOR.

The paper's figures.  They need the extra `[scores]`; without it they are left out, and that is
said.  What they cannot see, a false number among right words, `facts.py` does.

LSA: S. Deerwester et al., "Indexing by latent semantic analysis" (1990): the cosine between two
answers in the space of the largest `DIMENSIONS` singular vectors of the training answers' tf-idf.
The paper does not say on what its own was fitted, so that only figures of one dataset compare.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module, metadata
from typing import Any

import numpy as np

from nota_jax.evaluation.bootstrap import Marks

DIMENSIONS = 100
MOST_FITTED = 10_000  # training answers
_PACKAGES = {"sklearn": "scikit-learn", "rouge_score": "rouge-score", "nltk": "nltk"}
# Letters of notes and signs count, which scikit-learn's own pattern drops.
_WORD = r"[A-Za-z0-9#'%/]+"


@lru_cache(maxsize=1)
def missing() -> str:
    """A sentence where the extra is not installed, else ""."""
    absent = [name for module, name in _PACKAGES.items() if not _there(module)]
    if not absent:
        return ""
    return (
        f"LSA, ROUGE and METEOR are left out, for want of {', '.join(absent)}: "
        "pip install 'nota_jax[scores]'"
    )


def about() -> dict[str, str]:
    """What each score was computed with."""
    of = {module: f"{name} {metadata.version(name)}" for module, name in _PACKAGES.items()}
    synonyms = "with WordNet's synonyms" if _wordnet() else "exact and stem matches, no WordNet"
    return {
        "LSA": f"{of['sklearn']}: TruncatedSVD, {DIMENSIONS} dimensions, fitted on at most "
        f"{MOST_FITTED} training answers",
        "ROUGE": f"{of['rouge_score']}: F1, no stemmer",
        "METEOR": f"{of['nltk']}: {synonyms}",
    }


def marks(truth: str, said: str) -> Marks:
    """(sum, weight) of ROUGE-1, ROUGE-L and METEOR of an answer; {} without the extra."""
    if missing():
        return {}
    rouge = _rouge().score(truth, said)
    return {
        "analysis.rouge1": (rouge["rouge1"].fmeasure, 1.0),
        "analysis.rougeL": (rouge["rougeL"].fmeasure, 1.0),
        "analysis.meteor": (_meteor(truth, said), 1.0),
    }


def lsa(pairs: Sequence[tuple[str, str]], training: Sequence[str]) -> list[float]:
    """The similarity of each (true answer, answer), −1 … 1; 0 where a text has no known word.

    training: answers to fit on; of more than `MOST_FITTED` as many are taken, evenly spaced.
    """
    if len(training) > MOST_FITTED:
        training = [training[i * len(training) // MOST_FITTED] for i in range(MOST_FITTED)]
    words = import_module("sklearn.feature_extraction.text").TfidfVectorizer(
        token_pattern=_WORD, sublinear_tf=True
    )
    counted = words.fit_transform(training)
    dimensions = min(DIMENSIONS, *counted.shape)
    svd = import_module("sklearn.decomposition").TruncatedSVD(dimensions, random_state=0)
    svd.fit(counted)
    texts = {text: i for i, text in enumerate(dict.fromkeys(t for pair in pairs for t in pair))}
    vectors = svd.transform(words.transform(texts))
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return [float(vectors[texts[truth]] @ vectors[texts[said]]) for truth, said in pairs]


@lru_cache(maxsize=1)
def _rouge() -> Any:
    return import_module("rouge_score.rouge_scorer").RougeScorer(["rouge1", "rougeL"])


def _meteor(truth: str, said: str) -> float:
    score = import_module("nltk.translate.meteor_score").single_meteor_score
    if not said.strip():
        return 0.0
    return float(score(_words(truth), _words(said), stemmer=_STEMS, wordnet=_wordnet() or _ALONE))


@lru_cache(maxsize=16384)
def _words(text: str) -> list[str]:
    return re.findall(_WORD, text.lower())


class _Stems:
    """Porter's stems, each found once: most of METEOR's time goes there otherwise."""

    @staticmethod
    @lru_cache(maxsize=65536)
    def stem(word: str) -> str:
        return import_module("nltk.stem.porter").PorterStemmer().stem(word)


class _Alone:
    """The thesaurus where WordNet is not installed: no word has a synonym."""

    @staticmethod
    def synsets(word: str) -> list[Any]:
        return []


_STEMS, _ALONE = _Stems(), _Alone()


@lru_cache(maxsize=1)
def _wordnet() -> Any:
    """WordNet, where nltk finds it on this machine; else None."""
    wordnet = import_module("nltk.corpus").wordnet
    try:
        wordnet.ensure_loaded()
    except LookupError:
        return None
    return wordnet


def _there(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True
