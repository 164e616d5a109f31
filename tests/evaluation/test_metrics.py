"""Metrics on predictions whose scores can be counted by hand."""

import json

import pytest

from nota_jax.evaluation.metrics import (
    Prediction,
    Rate,
    average,
    baseline_rates,
    confusion,
    distances,
    extraction_rates,
    majority_answers,
    normalise,
    summarise,
)


def item(subtask, answer, prediction, region="Europe", confusable="", id="p"):
    return Prediction(id, subtask, region, answer, prediction, confusable)


@pytest.mark.parametrize(
    ("subtask", "one", "other"),
    [
        ("title", "The  Rose Tree", " the rose tree "),
        ("title", "T: Rose", "Rose"),
        ("composer", "C:Turlough O'Carolan", "turlough o'carolan"),
        ("title", "Nüxu", "Nu\u0308xu"),  # composed and decomposed umlaut
        ("key", "Em", "E minor"),
        ("key", "K:Em", "e min"),
        ("key", "Gmaj", "G"),
        ("key", "Bb", "B flat major"),
        ("key", "F#m", "F sharp minor"),
        ("key", "Ador", "A Dorian"),
        ("key", "C ionian", "C"),
        ("key", "Aaeo", "Am"),
        ("key", "none", "None"),
        ("meter", "M: 6 / 8", "6/8"),
        ("unit_note_length", "L:1/8", "1 / 8"),
        ("abc", "X:1\r\nK:C\r\nCDE|]\n", "X:1\nK:C\nCDE|]"),
    ],
)
def test_spellings_of_one_answer_are_equal(subtask, one, other):
    assert normalise(subtask, one) == normalise(subtask, other)


@pytest.mark.parametrize(
    ("subtask", "one", "other"),
    [
        ("title", "The Rose Tree", "Rose Tree, The"),
        ("key", "G", "Em"),
        ("key", "Bb", "B"),
        ("key", "Bm", "Bbm"),
        ("key", "Am", "A"),
        ("key", "D =c", "D"),
        ("key", "G bass", "G"),
        ("meter", "C", "4/4"),
        ("meter", "C", "C|"),
        ("meter", "3/4", "6/8"),
        ("unit_note_length", "1/8", "1/16"),
        ("abc", "X:1\nK:C\nCDE|]", "X:1\nK:C\ncde|]"),
    ],
)
def test_different_answers_stay_different(subtask, one, other):
    assert normalise(subtask, one) != normalise(subtask, other)


def test_rates_count_correct_asked_and_answered():
    items = [
        item("key", "Em", "E minor"),
        item("key", "G", "Em"),
        item("key", "G", None),
        item("key", "G", ""),
        item("meter", "6/8", "6/8"),
        item("abc", "X:1", "X:1"),
    ]
    rates = extraction_rates(items)
    assert rates == {"key": Rate(1, 4, 3), "meter": Rate(1, 1, 1)}
    assert average(rates) == (0.25 + 1) / 2


def test_nothing_asked_has_no_rate():
    assert Rate(0, 0, 0).value is None
    assert average({}) is None
    assert extraction_rates([]) == {}


def test_the_majority_is_counted_in_training_and_scored_in_test():
    majority = majority_answers(
        [("key", "G"), ("key", "G major"), ("key", "D"), ("meter", "6/8"), ("abc", "X:1")]
    )
    assert majority == {"key": "G", "meter": "6/8"}
    items = [item("key", "G", "D"), item("key", "D", "D"), item("meter", "C", "C")]
    assert baseline_rates(items, majority) == {"key": Rate(1, 2, 2), "meter": Rate(0, 1, 1)}


def test_a_field_that_training_lacks_has_an_unanswered_baseline():
    assert baseline_rates([item("key", "G", "G")], {}) == {"key": Rate(0, 1, 0)}


def test_levenshtein_distances_are_counted_in_characters():
    items = [
        item("abc", "kitten", "sitting"),  # 3, of 7
        item("abc", "same", "same"),
        item("abc", "gone", None),  # 4, of 4
        item("alignment", "", ""),
        item("title", "ignored", "x"),
    ]
    result = distances(items)
    assert result["abc"].mean == pytest.approx(7 / 3)
    assert result["abc"].median == 3
    assert result["abc"].normalised == pytest.approx((3 / 7 + 0 + 1) / 3)
    assert result["abc"].exact == pytest.approx(1 / 3)
    assert result["abc"].mean_length == pytest.approx(14 / 3)
    assert (result["abc"].asked, result["abc"].answered) == (3, 2)
    assert (result["alignment"].mean, result["alignment"].normalised) == (0, 0)
    assert set(result) == {"abc", "alignment"}


def test_confusion_counts_only_pages_that_print_both():
    items = [
        item("title", "Rose", "ann lee", confusable="Ann Lee"),
        item("title", "Rose", "Rose", confusable="Ann Lee"),
        item("title", "Rose", "Rose", confusable=""),
        item("title", "Ann Lee", "Ann Lee", confusable="Ann Lee"),  # nothing to tell apart
        item("composer", "Ann Lee", None, confusable="Rose"),
        item("composer", "Ann Lee", "C: Rose", confusable="Rose"),
    ]
    assert confusion(items) == {"title": Rate(1, 2, 2), "composer": Rate(1, 2, 1)}
    assert confusion(items[2:4]) == {}


def test_the_summary_is_json_with_counts_per_region():
    items = [
        item("key", "G", "G", region="China"),
        item("key", "G", "D", region="Europe"),
        item("abc", "X:1", "X:2", region="Europe"),
    ]
    summary = json.loads(json.dumps(summarise(items, {"key": "G"})))
    assert list(summary["regions"]) == ["China", "Europe"]
    assert summary["all"]["extraction_rate"]["key"] == {
        "value": 0.5, "correct": 1, "asked": 2, "answered": 2,
    }  # fmt: skip
    assert summary["regions"]["China"]["extraction_rate_average"] == 1
    assert summary["regions"]["Europe"]["majority_rate"]["key"]["value"] == 1
    assert summary["regions"]["Europe"]["levenshtein"]["abc"]["mean"] == 1
    assert summary["all"]["questions"] == 3


def test_an_empty_evaluation_has_no_figures():
    summary = summarise([], {})
    assert summary["all"]["extraction_rate_average"] is None
    assert summary["all"]["levenshtein"] == {} and summary["regions"] == {}
