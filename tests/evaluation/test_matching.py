"""The rules of docs/evaluation.md on single answers, right and wrong ones."""

from pathlib import Path

import pytest

from nota_jax.data.build.phrasings import NO_COMPOSER, NO_TITLE
from nota_jax.evaluation.matching import lenient, same_signature, strict, value_of

# (field, what the page has, an answer, found in it): the table of docs/evaluation.md and more.
CASES = [
    ("title", "The Rose Tree", "the  rose tree.", True),
    ("title", "The Rose Tree", "Title: The Rose Tree", True),
    ("title", "The Rose Tree", "**Title:** The Rose Tree", True),
    ("title", "The Rose Tree", "“The Rose Tree”", True),
    ("title", "The Rose Tree", "The title of this piece is “The Rose Tree”.", True),
    ("title", "The Rose Tree", "This tune is called The Rose Tree.", True),
    ("title", "The Rose Tree", "T:The Rose Tree\nC:Ann Lee\nM:6/8", True),
    ("title", "The Rose Tree", 'The words "The Rose Tree" stand above the music', True),
    ("title", "Nüxu", "Nu\u0308xu", True),
    ("title", NO_TITLE, "There is no title.", True),
    ("title", "Reel", "The Flogging Reel", False),  # a piece of another title
    ("title", "The Rose Tree", "Rose Tree, The", False),
    ("title", "The Rose Tree", "Title: The Rose Tree\nTitle: Ann Lee", False),  # a guess
    ("title", "The Rose Tree", '"The Rose Tree" or "The Ash Grove"', False),
    ("title", "The Rose Tree", NO_TITLE, False),
    ("title", "The Rose Tree", "", False),
    ("key", "Em", "E minor", True),
    ("key", "Em", "Emin", True),
    ("key", "Em", "K: Em", True),
    ("key", "Em", "The key is E minor.", True),
    ("key", "Em", "The piece is in E minor (one sharp).", True),
    ("key", "Em", "e minor", True),
    ("key", "G", "The key is G.", True),
    ("key", "G", "The tune is in the key of G", True),
    ("key", "G", "G major key", True),
    ("key", "G bass", "G", True),  # a clef is no key
    ("key", "Bb", "B flat major", True),
    ("key", "Bb", "B♭", True),
    ("key", "Bb", "It is in B-flat major.", True),
    ("key", "F#m", "F sharp minor", True),
    ("key", "Ador", "A Dorian", True),
    ("key", "C", "C ionian", True),
    ("key", "Am", "Aaeo", True),
    ("key", "D =c", "K:D =c", True),
    ("key", "none", "There is no key signature.", True),
    ("key", "G", "Em", False),
    ("key", "G", "G minor", False),
    ("key", "Em", "E minor or G major", False),  # a guess
    ("key", "Am", "It is a minor change", False),  # an article
    ("key", "Am", "a minuet", False),
    ("key", "Gmix", "G mixolyd", True),
    ("key", "Bb", "B", False),
    ("key", "Bm", "Bbm", False),
    ("key", "D =c", "D", False),
    ("key", "none", "C", False),
    ("meter", "C", "4/4", True),
    ("meter", "4/4", "C", True),
    ("meter", "C", "common time (4/4)", True),
    ("meter", "C|", "cut time", True),
    ("meter", "C|", "2/2", True),
    ("meter", "6/8", "6/8 time", True),
    ("meter", "6/8", "The time signature is 6 / 8.", True),
    ("meter", "3/4", "M: 3/4\nL: 1/8", True),
    ("meter", "2+3/8", "M:2+3/8", True),
    ("meter", "none", "free meter", True),
    ("meter", "C", "C|", False),
    ("meter", "4/4", "cut common time", False),
    ("meter", "3/4", "6/8", False),
    ("meter", "6/8", "6/8 or 9/8", False),
    ("unit_note_length", "1/8", "L:1/8", True),
    ("unit_note_length", "1/8", "⅛", True),
    ("unit_note_length", "1/8", "an eighth note", True),
    ("unit_note_length", "1/16", "The unit note length is 1/16.", True),
    ("unit_note_length", "1/8", "M:6/8\nL:1/8", True),
    ("unit_note_length", "1/8", "sixteenth", False),
    ("unit_note_length", "1/8", "1/8 or 1/16", False),
    ("composer", "Ann Lee", "Composed by Ann Lee.", True),
    ("composer", "Ann Lee", "This piece was composed by ANN LEE.", True),
    ("composer", "Ann Lee", "C: Ann Lee", True),
    ("composer", "J. S. Bach", "by J. S. Bach", True),
    ("composer", NO_COMPOSER, "None", True),
    ("composer", NO_COMPOSER, "Unknown.", True),
    ("composer", NO_COMPOSER, "The composer is not stated.", True),
    ("composer", NO_COMPOSER, "No composer is listed on this page.", True),
    ("composer", NO_COMPOSER, "Traditional", False),  # not on the page either
    ("composer", NO_COMPOSER, "", False),
    ("composer", "Ann Lee", NO_COMPOSER, False),
    ("composer", "Ann Lee", "Ann Leigh", False),
]


@pytest.mark.parametrize(("field", "truth", "answer", "right"), CASES)
def test_an_answer_is_right_if_the_field_and_no_other_can_be_found(field, truth, answer, right):
    assert lenient(field, truth, answer) == right


@pytest.mark.parametrize(("field", "truth", "answer", "right"), CASES)
def test_whatever_is_strictly_right_is_leniently_right(field, truth, answer, right):
    assert strict(field, truth, truth) and lenient(field, truth, truth)
    assert right or not strict(field, truth, answer)


def test_strict_is_the_field_itself():
    assert strict("title", "The Rose Tree", " The Rose Tree\n")
    assert strict("title", "Nüxu", "Nu\u0308xu")
    for answer in ("the rose tree", "The Rose Tree.", "Title: The Rose Tree", "The  Rose Tree"):
        assert not strict("title", "The Rose Tree", answer)
    assert not strict("key", "Em", "E minor") and not strict("meter", "C", "4/4")


@pytest.mark.parametrize(
    ("truth", "answer", "same"),
    [
        ("C", "A minor", True), ("G", "The key is E minor.", True), ("D", "Amix", True),
        ("none", "C", True), ("C", "G", False), ("D", "D =c", False), ("G", "no idea", False),
        ("G", "G or D major", False),
    ],
)  # fmt: skip
def test_a_signature_does_not_tell_major_from_minor(truth, answer, same):
    assert same_signature(truth, answer) == same


def test_different_texts_have_different_values():
    values = [value_of("title", text) for text in ("A B", "AB", "A-B", "B A")]
    assert len(set(values)) == 4


def documented():
    """The rows of the table in docs/evaluation.md."""
    text = (Path(__file__).parents[2] / "docs/evaluation.md").read_text()
    rows = text.split("| field | the page has | an answer | strict | lenient |\n")[1].split("\n\n")[
        0
    ]
    return [[c.strip() for c in row.strip("|").split("|")] for row in rows.splitlines()[1:]]


@pytest.mark.parametrize("row", documented(), ids=lambda row: row[2])
def test_the_table_of_the_documentation_is_true(row):
    field, truth, answer, to_the_letter, in_meaning = row
    assert [strict(field, truth, answer), lenient(field, truth, answer)] == [
        {"yes": True, "no": False}[cell] for cell in (to_the_letter, in_meaning)
    ]
