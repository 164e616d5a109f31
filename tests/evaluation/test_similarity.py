"""Words against words, beside values that can be worked out."""

import pytest

from nota_jax.evaluation import similarity, summary
from nota_jax.evaluation.answers import Answer

pytest.importorskip("sklearn")
TRUTH = "the tune is in G major"


def scores(said, truth=TRUTH):
    return {name: value for name, (value, _) in similarity.marks(truth, said).items()}


def test_the_same_words():
    assert scores(TRUTH)["analysis.rouge1"] == scores(TRUTH)["analysis.rougeL"] == 1
    # One chunk of six words: 1 − 0.5 · (1/6)³.
    assert scores(TRUTH)["analysis.meteor"] == pytest.approx(1 - 0.5 / 6**3)


def test_rouge_counts_words_and_their_order():
    found = scores("in G major is the tune")  # all six words, the longest run in order: in G major
    assert found["analysis.rouge1"] == 1
    assert found["analysis.rougeL"] == pytest.approx(3 / 6)
    found = scores("the tune")  # precision 1, recall 1/3
    assert found["analysis.rouge1"] == pytest.approx(2 * 1 * (1 / 3) / (1 + 1 / 3))


def test_meteor_takes_stems_and_charges_for_pieces():
    # Five of six words in two pieces: P = R = 5/6, penalty 0.5 · (2/5)³.
    found = scores("the tune is in D major")
    assert found["analysis.meteor"] == pytest.approx(5 / 6 * (1 - 0.5 * (2 / 5) ** 3))
    assert scores("tunes", "tune")["analysis.meteor"] == pytest.approx(0.5)  # one chunk of one
    assert scores("")["analysis.meteor"] == 0


def test_words_cannot_tell_a_false_number():
    """Why facts are counted apart."""
    assert scores("the tune is in D major")["analysis.rouge1"] == pytest.approx(5 / 6)


def test_lsa_is_the_cosine_of_what_training_knows():
    training = ["the range is wide", "the range is small", "the key is G", "the key is D"] * 3
    wide = "the range is wide"
    pairs = [(wide, wide), (wide, "the key is G"), (wide, "never seen words"),
             ("the key is G", "the key is D")]  # fmt: skip
    same, other, nothing, near = similarity.lsa(pairs, training)
    assert same == pytest.approx(1) and nothing == 0
    assert other < near < 1


def test_without_the_extra_a_sentence_and_the_other_figures(monkeypatch):
    monkeypatch.setattr(similarity, "_there", lambda module: module != "nltk")
    similarity.missing.cache_clear()
    try:
        assert similarity.missing() == (
            "LSA, ROUGE and METEOR are left out, for want of nltk: pip install 'nota_jax[scores]'"
        )
        about = {"abc": "X:1\nM:2/4\nL:1/8\nK:C\nC4|C4|C4|]\n"}
        said = "It has 3 bars."
        asked = Answer("p:form", "p", "form", said, said, task="analysis", about=about)
        found = summary.summarise(summary.score([asked], {"form": "None."}, ["It has 3 bars."]))
    finally:
        similarity.missing.cache_clear()
    assert "facts.unchecked" in found["figures"] and "analysis.rouge1" not in found["figures"]
    assert found["remarks"] == [
        "LSA, ROUGE and METEOR are left out, for want of nltk: pip install 'nota_jax[scores]'"
    ]


def test_what_a_score_was_computed_with_is_said():
    about = similarity.about()
    assert "scikit-learn" in about["LSA"] and "training answers" in about["LSA"]
    assert "WordNet" in about["METEOR"]


def test_many_answers_are_scored_by_several_processes_alike(monkeypatch):
    answers = [
        Answer(f"p{i % 7}:form{i}", f"p{i % 7}", "form", TRUTH, TRUTH[: i + 3], task="analysis")
        for i in range(20)
    ]
    alone = summary.score(answers, {"form": "the tune"}, [TRUTH, "the key is D"])
    monkeypatch.setattr(summary, "MOST_ALONE", 10)
    assert summary.score(answers, {"form": "the tune"}, [TRUTH, "the key is D"]) == alone
    assert alone.marks[3]["analysis.lsa"][1] == 1 and alone.trivial[3]["analysis.rouge1"][0] < 1
