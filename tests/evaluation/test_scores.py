"""Scores of whole answers, worked out by hand."""

import pytest

from nota_jax.data.build.phrasings import NO_COMPOSER
from nota_jax.evaluation import extraction, failures, names, report, transcription
from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.groups import of_page
from nota_jax.evaluation.summary import counts, marks, score, summarise

PAGE = "X:1\nT:Rose\nC:Ann Lee\nM:2/4\nL:1/8\nK:G\nGABc|dBcA|e2 d2|G4|]\n"


def answer(subtask, truth, said, page="p", **about):
    about = {"abc": PAGE, "region": "Europe", "split": "test"} | about
    return Answer(f"{page}:{subtask}", page, subtask, truth, said, about=about)


def whole(said):
    return {
        k.partition(".")[2]: v for k, v in transcription.marks(answer("abc", PAGE, said)).items()
    }


def test_a_perfect_page():
    found = whole(PAGE)
    for name in ("distance", "canonical_distance", "symbol_errors", "line_errors", "pitch_errors"):
        assert found[name][0] == 0
    for name in ("exact", "canonical_exact", "valid", "music_right"):
        assert found[name] == (1, 1)
    assert found["note_f1"] == (22, 22) and found["bars_right"] == (4, 4)
    assert found["bars_off_meter"] == (0, 4)


def test_another_spelling_is_no_error():
    """In quarters instead of eighths, with courtesy blanks and a source's own fields."""
    said = PAGE.replace("L:1/8", "L:1/4\nZ:somebody").replace(
        "GABc|dBcA|e2 d2|G4|]", "G/A/B/c/ | d/B/c/A/ | ed | G2 |]"
    )
    found = whole(said)
    assert found["distance"][0] > 10 and found["exact"] == (0, 1)
    assert found["canonical_distance"] == (0, 1) and found["canonical_exact"] == (1, 1)
    assert found["note_f1"] == (22, 22) and found["music_right"] == (1, 1)


def test_a_fence_and_a_preface_are_no_music():
    found = whole(f"Here is the ABC:\n```abc\n{PAGE}```\nI hope this helps.")
    assert found["exact"] == (0, 1) and found["canonical_exact"] == (1, 1)
    assert whole(f"Here is the ABC notation of this score:\n{PAGE}")["canonical_exact"] == (1, 1)


def test_one_wrong_note_is_one_character_one_symbol_one_line_one_bar():
    found = whole(PAGE.replace("GABc", "GABd"))
    assert found["distance"] == (1, 1) and found["character_errors"] == (1, len(PAGE) - 1)
    # 6 header fields, then 4 + 1, 4 + 1, 2 + 1, 1 + 1 notes and barlines.
    assert found["symbol_errors"] == (1, 6 + 5 + 5 + 3 + 2)
    assert found["line_errors"] == (1, 7)
    assert found["pitch_errors"] == (1, 11) and found["rhythm_errors"] == (0, 11)
    assert found["note_precision"] == (10, 11) == found["note_recall"]
    assert found["note_f1"] == (20, 22)
    assert found["bars_right"] == (3, 4) and found["music_right"] == (0, 1)


def test_a_missing_note_is_missing_and_its_bar_too_short():
    found = whole(PAGE.replace("dBcA", "dBc"))
    assert found["notes_missing"] == (1, 11) and found["notes_invented"] == (0, 10)
    assert found["bars_off_meter"] == (1, 4) and found["true_bars_off_meter"] == (0, 4)
    assert found["note_precision"] == (10, 10) and found["note_recall"] == (10, 11)


def test_an_invented_bar():
    found = whole(PAGE.replace("dBcA|", "dBcA|f2 f2|"))
    assert found["bars_invented"] == (1, 5) and found["bars_missing"] == (0, 4)
    assert found["notes_invented"] == (2, 13)


def test_what_is_no_abc_has_no_notes():
    found = whole("A lovely tune.")
    assert found["valid"] == (0, 1) and found["note_recall"] == (0, 11)
    assert found["note_precision"] == (0, 0)  # nothing was read, so nothing is invented
    assert found["notes_missing"] == (11, 11) and found["bars_missing"] == (4, 4)
    assert whole(None)["distance"] == (len(PAGE) - 1, 1)


def fragment(truth, said, highlight="1-2", abc=PAGE):
    found = transcription.marks(answer("alignment", truth, said, abc=abc, highlight=highlight))
    return {name.partition(".")[2]: pair for name, pair in found.items()}


def test_a_fragment_is_judged_as_a_fragment():
    found = fragment("dBcA|e2 d2|", "dBcA|e2 d2|")
    assert found["valid"] == (1, 1) and found["bars_off_meter"] == (0, 2)
    assert found["note_f1"] == (12, 12) and found["music_right"] == (1, 1)


def test_a_fragment_is_read_with_the_key_and_meter_in_force():
    """The F of bar 2 sounds sharp in D, and the bar has three quarters."""
    page = "X:1\nM:2/4\nL:1/8\nK:C\nCDEF|[K:D] [M:3/4] F2 F2 F2|]\n"
    found = fragment("F2 F2 F2|]", "^F2 F2 F2|]", "1-1", page)
    assert found["pitch_errors"] == (0, 3) and found["bars_off_meter"] == (0, 1)
    found = fragment("F2 F2 F2|]", "=F2 F2 F2|]", "1-1", page)
    assert found["pitch_errors"] == (3, 3)


def test_a_fragments_last_bar_may_be_short():
    page = "X:1\nM:2/4\nL:1/8\nK:C\nC|CDEF|CDEF|CDE|]\n"
    assert fragment("CDEF|CDE|]", "CDEF|CDE|]", "2-3", page)["bars_off_meter"] == (0, 2)
    assert fragment("CDEF|CDE|]", "CDEF|CDEFG|]", "2-3", page)["bars_off_meter"] == (1, 2)


def test_extraction_has_both_rates():
    found = extraction.marks(answer("key", "Em", "The key is E minor."))
    assert found == {"key.strict": (0, 1), "key.lenient": (1, 1), "key.signature": (1, 1)}
    assert extraction.marks(answer("key", "G", "Em"))["key.signature"] == (1, 1)
    assert extraction.marks(answer("key", "G", None))["key.signature"] == (0, 1)
    assert extraction.marks(answer("abc", PAGE, f"```\n{PAGE}```")) == {
        "abc.strict": (0, 1), "abc.lenient": (1, 1),
    }  # fmt: skip
    assert extraction.marks(answer("form", "AB", "AB")) == {}


@pytest.mark.parametrize(
    ("truth", "source", "kind"),
    [("Ann Lee", "source", "printed"), ("Ann Lee", "synthetic", "invented"),
     (NO_COMPOSER, "none", "none")],
)  # fmt: skip
def test_composers_are_counted_by_where_they_come_from(truth, source, kind):
    found = extraction.marks(answer("composer", truth, truth, composer_source=source))
    assert found[f"composer.{kind}.strict"] == found[f"composer.{kind}.lenient"] == (1, 1)
    # Where one is printed, whoever put it there, there is a rate of both kinds together.
    assert found.get("composer.stated.lenient") == (None if kind == "none" else (1, 1))


@pytest.mark.parametrize(
    ("said", "outcome"),
    [("Rose", "right"), ("Title: Rose", "right"), ("ANN LEE.", "other"),
     ("Composed by Ann Lee", "other"), ("No title is printed.", "nothing"), ("Lily", "else"),
     ("", "unanswered"), (None, "unanswered")],
)  # fmt: skip
def test_the_row_of_titles_in_the_matrix_of_confusion(said, outcome):
    assert failures.confusion(answer("title", "Rose", said)) == outcome


def test_only_pages_that_print_both_can_be_confused():
    page = PAGE.replace("C:Ann Lee\n", "")
    assert failures.confusion(answer("title", "Rose", "Rose", abc=page)) == ""
    same = PAGE.replace("Ann Lee", "Rose")
    assert failures.confusion(answer("title", "Rose", "Rose", abc=same)) == ""
    assert failures.confusion(answer("title", "Rose", "Rose", abc="")) == ""


def test_hallucinations():
    def named(subtask, truth, said):
        return marks(answer(subtask, truth, said)).get("hallucination.fields")

    assert named("composer", NO_COMPOSER, "Ann Lee") == (1, 1)
    assert named("composer", NO_COMPOSER, "Traditional") == (1, 1)
    assert named("composer", NO_COMPOSER, "none") == (0, 1)
    assert named("composer", NO_COMPOSER, "") == (0, 1)
    assert named("composer", "Ann Lee", "Rose") is None  # misread, not made up
    assert named("key", "none", "G") == (1, 1) and named("key", "none", "no key") == (0, 1)
    assert named("meter", "none", "4/4") == (1, 1) and named("meter", "none", "none") == (0, 1)
    invented = marks(answer("abc", PAGE, PAGE.replace("dBcA|", "dBcA|f2 f2|")))
    assert invented["hallucination.notes"] == (2, 13)
    assert invented["hallucination.bars"] == (1, 5)
    # One answer with something put there, whatever and however much.
    assert invented["hallucination.answers"] == (1, 1)
    assert marks(answer("abc", PAGE, PAGE))["hallucination.answers"] == (0, 1)
    assert "hallucination.answers" not in marks(answer("key", "G", "D"))


def test_the_median_stands_beside_the_mean_raw_and_in_canonical_spelling():
    """Distances 0, 1 and 11; in canonical spelling 0, 1 and 0."""
    other = PAGE.replace("L:1/8\n", "L:1/8\nZ:somebody\n")
    assert len(other) - len(PAGE) == 11
    read = [PAGE, PAGE.replace("GABc", "GABd"), other]
    asked = [answer("abc", PAGE, said, page) for page, said in zip("abc", read, strict=True)]
    figures = summarise(score(asked, {"abc": ""}))["figures"]
    assert figures["abc.distance"]["value"] == 4 and figures["abc.median_distance"]["value"] == 1
    assert figures["abc.canonical_distance"]["value"] == pytest.approx(1 / 3)
    assert figures["abc.median_canonical_distance"]["value"] == 0
    assert figures["abc.median_distance"]["trivial"] == len(PAGE) - 1


def test_the_matrix_of_confusion_and_the_papers_table_stand_in_the_summary():
    said = {"a": "Rose", "b": "Ann Lee", "c": "Lily", "d": None}
    asked = [answer("title", "Rose", text, page) for page, text in said.items()]
    asked += [answer("composer", "Ann Lee", "Rose", "a", composer_source="source")]
    figures = summarise(score(asked, {}))["figures"]
    assert report.confusion(figures) == [
        ("title", "25.0 %", "25.0 %", "0.0 %", "25.0 %", "25.0 %", "4"),
        ("composer", "0.0 %", "100.0 %", "0.0 %", "0.0 %", "0.0 %", "1"),
    ]
    whole_page = summarise(score([answer("abc", PAGE, PAGE.replace("GABc", "GABd"))], {"abc": ""}))
    extraction_rate, distance = report.paper(whole_page["figures"])
    assert extraction_rate[:4] == ("extraction rate, mean of six", "–", "–", "67.84 %")
    length = f"{len(PAGE) - 1:.1f}"
    assert distance[1:] == ("1.0", length, "59.47", "655.45", "308.27")
    assert report.cell("abc.distance", whole_page["figures"]["abc.distance"]) == (
        f"1.0 (1.0 … 1.0), {length}, 1"
    )


def test_the_summary_has_groups_trivial_answers_and_means_over_fixed_fields():
    truths = {"title": "Rose", "key": "G", "meter": "2/4", "unit_note_length": "1/8",
              "composer": "Ann Lee"}  # fmt: skip
    answers = [answer(field, truth, truth, "a") for field, truth in truths.items()]
    answers += [answer("key", "G", "D", "b", region="China", split="test_scan")]
    summary = summarise(score(answers, {"key": "G", "abc": ""}))
    figures = summary["figures"]
    assert figures["key.lenient"]["value"] == 0.5 and figures["key.lenient"]["trivial"] == 1
    assert figures["title.lenient"]["trivial"] == 0  # there is no commonest title
    assert figures["fields.lenient"]["value"] == pytest.approx((4 + 0.5) / 5)
    assert "six.lenient" not in figures  # the whole ABC was not asked
    china = summary["groups"]["region"]["China"]
    assert china["figures"]["key.lenient"]["value"] == 0
    assert "fields.lenient" not in china["figures"]
    assert set(summary["groups"]["degradation"]) == {"clean", "scanned"}


def test_what_was_cut_and_what_was_not_asked_is_counted():
    answers = [
        Answer("1", "a", "key", "G", "G", cut=True), Answer("2", "a", "key", "G", "G", cut=False),
        Answer("3", "b", "key", "G", None, too_long=True),
    ]  # fmt: skip
    assert counts(answers) == {
        "questions": 3, "pages": 2, "answered": 2, "cut": 1, "too_long": 1,
    }  # fmt: skip
    assert counts([Answer("1", "a", "key", "G", "G")])["cut"] is None


def test_groups_of_a_page():
    about = {"region": "China", "corpus": "essen", "music_font": "Petaluma", "split": "test_style",
             "staff_spacing": 5.36, "abc": PAGE}  # fmt: skip
    assert of_page(about) == {
        "region": "China", "corpus": "essen", "degradation": "fonts never trained on",
        "music font": "Petaluma (never trained on)", "staff spacing": "  5–6 px", "notes": "  1–50",
    }  # fmt: skip


def test_every_figure_has_a_name_and_a_direction():
    asked = [answer("abc", PAGE, PAGE), answer("alignment", "GABc|", "GABc|", highlight="0-0"),
             answer("title", "Rose", "Rose"), answer("key", "none", "G"),
             answer("composer", "Ann Lee", "Ann Lee", composer_source="source")]  # fmt: skip
    figures = summarise(score(asked, {}))["figures"]
    assert {name for _, name, _ in names.rows(figures)} == set(figures)
    assert names.more_is_better("abc.note_f1") and not names.more_is_better("abc.distance")
    assert names.shown("abc.distance", 5.53) == "5.5" and names.shown("key.strict", 0.5) == "50.0 %"
