"""Form: bar numbers, sections and letters of tunes whose form is known by construction."""

from fractions import Fraction

import pytest

from nota_jax.notation import abc
from nota_jax.notation.theory.facts import facts
from nota_jax.notation.theory.form import bar_numbers, sections

A, B, C = "CDEF|GABc|BAGF|EDC2", "c2B2|A2G2|F2E2|D2C2", "EEEE|FFFF|GGGG|A4"
VARIANT = "CDEF|GABc|BAGF|G4"  # three of A's four bars


def tune(body, meter="4/8", key="C"):
    return abc.parse(f"X:1\nM:{meter}\nL:1/8\nK:{key}\n{body}\n")


def phrases(body):
    return "".join(facts(tune(body)).phrases)


@pytest.mark.parametrize(
    ("body", "order"),
    [
        (f"|:{A}:|:{B}:|", "AABB"),
        (f"{A}:|{B}|]", "AAB"),
        (f"{A}||{B}||{A}|]", "ABA"),
        (f"|:{A}||{B}:|{C}|]", "ABABC"),
        (f"{A}||{B}:|{C}|]", ""),  # does the repeat go back to the double bar?
        (f"|:{A}:|:{VARIANT}:|:{B}:|", "AAA'A'BB"),
        (f"|:{A}|1{B}:|2{C}:|", ""),  # a repeat sign that its endings do not account for
        (f"|:{A}|1 C4:|2 D4||{B}|]", "AAB"),
        (f"|:{A}:|", "AA"),
        (f"{A}|]", ""),
        (f"|:{A}:|{B} !D.C.! |]", ""),
    ],
)
def test_sections_are_played_in_the_order_that_the_signs_ask_for(body, order):
    assert "".join(facts(tune(body)).order) == order


def test_phrases_of_four_bars_get_equal_letters_where_they_sound_alike():
    assert phrases(f"{A}|{B}|{A}|{VARIANT}|]") == "abaa'"


def test_phrases_of_an_undivided_length_are_not_named():
    assert phrases(f"{A}|C4|]") == ""


def test_a_pickup_belongs_to_no_phrase():
    assert phrases(f"G|{A}|{A}|]") == "aa"


def test_phrases_do_not_reach_over_sections():
    assert phrases(f"|:{A}|C4:|:{B}|{A}|{B[:-4]}:|") == ""
    assert phrases(f"G|{A[:-1]}:|:c|{B}|{A}|]") == "aba'"  # A's last bar is cut


def test_transposed_repetition_is_not_the_same_music():
    assert phrases("CDEF|GABc|BAGF|EDC2|DEFG|ABcd|cBAG|FED2|]") == "ab"


def test_a_bar_cut_by_a_repeat_sign_has_one_number():
    numbers, pickup = bar_numbers(tune("G|CDEF|GAB:|c|cBAG|FED|]"))
    assert numbers == (0, 1, 2, 2, 3, 4)
    assert pickup == Fraction(1, 8)


def test_a_first_bar_that_a_repeat_sign_cuts_is_no_pickup():
    numbers, pickup = bar_numbers(tune("GAB|:c|CDEF|GAB:|"))
    assert (numbers, pickup) == ((1, 1, 2, 3), 0)


def test_alternative_endings_are_not_two_halves_of_a_bar():
    numbers, _ = bar_numbers(tune("G2|CDEF|1 C2:|2 D2||CDEF|]"))
    assert numbers == (0, 1, 2, 3, 4)


def test_a_free_meter_has_no_pickup():
    numbers, pickup = bar_numbers(tune("G|CDEF|GAB|]", meter="none"))
    assert (numbers, pickup) == ((1, 2, 3), 0)


def test_a_meter_change_sets_what_a_full_bar_is():
    numbers, pickup = bar_numbers(tune("CDEF|[M:3/8]CDE|FGA|]"))
    assert (numbers, pickup) == ((1, 2, 3), 0)
    assert facts(tune("CDEF|[M:3/8]CDE|FGA|]")).meter_changes[0][0] == 1


def test_sections_count_their_bars_without_the_pickup():
    parts = sections(tune(f"G|{A[:-1]}:|:c|{B}|C3|]"))
    assert [part.n_bars for part in parts] == [4, 5]
    assert [part.letter for part in parts] == ["A", "B"]
