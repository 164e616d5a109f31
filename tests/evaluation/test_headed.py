"""What was read from the enlarged heading stands in the transcription."""

import pytest

from nota_jax.data.build.phrasings import NO_COMPOSER
from nota_jax.evaluation.headed import headed

BODY = "M:4/4\nL:1/8\nK:G\nT:B|\n"


@pytest.mark.parametrize(
    ("read", "before", "after"),
    [
        ({"title": "The Kesh"}, "T:Teh Kesh\nC:A\n", "T:The Kesh\nC:A\n"),
        ({"title": "One", "composer": "Å. B."}, "T:T\nT:Jig\nC:A\n", "T:One\nT:Jig\nC:Å. B.\n"),
        ({"composer": NO_COMPOSER}, "T:One\nC:A\n", "T:One\n"),
        ({"composer": "A. B."}, "T:One\nT:Two\n", "T:One\nT:Two\nC:A. B.\n"),
        ({"title": "One", "composer": "A"}, "", "T:One\nC:A\n"),
        ({"title": "  ", "composer": ""}, "T:One\nC:A\n", "T:One\nC:A\n"),
        ({"title": "\\1 on\nK:C"}, "T:One\n", "T:\\1 on K:C\n"),
        ({}, "T:One\n", "T:One\n"),
    ],
)  # fmt: skip
def test_title_and_composer_are_put_in_their_places(read, before, after):
    assert headed(f"X:1\n{before}{BODY}", read) == f"X:1\n{after}{BODY}"


@pytest.mark.parametrize("text", ["", "G2 A2|", "T:One", "no music"])
def test_a_text_without_a_header_is_left_as_it_is(text):
    assert headed(text, {"title": "One", "composer": "A"}) == text
