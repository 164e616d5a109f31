"""How ABC is read, construct by construct, and how errors say where."""

from __future__ import annotations

import cProfile
import pickle
from fractions import Fraction

import pytest

from nota_jax.notation.abc import AbcError, parse, split_tunebook, write_body
from nota_jax.notation.abc.tunebook import decode
from nota_jax.notation.tempo import Tempo
from nota_jax.notation.tune import Event, Key, Meter, Tune, Tuplet
from nota_jax.notation.walk import sounding_notes


def tune(body: str, header: str = "M:4/4\nL:1/8\nK:C") -> Tune:
    return parse(f"X:1\n{header}\n{body}")


def events(body: str, header: str = "M:4/4\nL:1/8\nK:C") -> list[Event]:
    return list(tune(body, header).events)


def midi(body: str, header: str = "M:4/4\nL:1/8\nK:C") -> list[int]:
    return [note.midi for event in events(body, header) for note in event.notes]


def eighths(body: str, header: str = "M:4/4\nL:1/8\nK:C") -> list[Fraction]:
    return [event.duration * 8 for event in events(body, header)]


# --- Header -----------------------------------------------------------------------------------


def test_a_header_is_read_into_its_fields():
    read = parse(
        'X:7\nT:The  Lads\nT:Second\nC:Anon.\nO:Ireland\nM:6/8\nL:1/16\nQ:"Slow" 3/8=60\n'
        "R:jig\nK:Em\nE|\n"
    )
    assert read.titles == ("The Lads", "Second")
    assert (read.composer, read.reference) == ("Anon.", "7")
    assert read.tempo == Tempo("Slow", (Fraction(3, 8),), 60)
    assert (read.meter, read.unit) == (Meter("6/8"), Fraction(1, 16))
    assert read.key == Key("E", "minor")
    assert read.metadata == (("O", "Ireland"), ("R", "jig"))


def test_titles_may_hold_mnemonics_entities_and_percent_signs():
    read = parse("X:1\nT:La Nov\\'elle f\\\"ur &eacute; 50\\% % a comment\nK:C\nc|")
    assert read.title == "La Novélle für é 50%"


@pytest.mark.parametrize(
    ("meter", "unit"),
    [("M:2/4\n", Fraction(1, 16)), ("M:6/8\n", Fraction(1, 8)), ("", Fraction(1, 8))],
)
def test_the_unit_follows_from_the_meter_where_it_is_not_stated(meter, unit):
    assert parse(f"X:1\n{meter}K:C\nc|").unit == unit


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("G", Key("G")), ("Em", Key("E", "minor")), ("E Minor", Key("E", "minor")),
        ("EM", Key("E", "minor")), ("AMix", Key("A", "mixolydian")),
        ("Dmix % comment", Key("D", "mixolydian")),
        ("Bb", Key("Bb")), ("F#m", Key("F#", "minor")), ("Adorian", Key("A", "dorian")),
        ("Dmix=c", Key("D", "mixolydian", (("C", 0),))),
        ("D exp ^c", Key("", accidentals=(("C", 1),))),
        ("H", Key("B")), ("Es", Key("Eb")), ("Hp", Key("A", "mixolydian")), ("HP", Key("")),
        ("none", Key("")), ("", Key("")), ("G clef=bass", Key("G", clef="bass")),
        ("bass", Key("", clef="bass")), ("Am treble-8", Key("A", "minor", clef="treble-8")),
    ],
)  # fmt: skip
def test_keys_are_read_as_the_collections_write_them(text, key):
    assert parse(f"X:1\nK:{text}\nc|").key == key


@pytest.mark.parametrize(
    ("text", "meter"),
    [("C", "C"), ("C|", "C|"), (" 6/8", "6/8"), ("(2+3)/8", "2+3/8"), ("none", "none"),
     ("FREI4/4", "none"), ("", "none")],
)  # fmt: skip
def test_meters_are_read_as_the_collections_write_them(text, meter):
    assert parse(f"X:1\nM:{text}\nK:C\nc|").meter == Meter(meter)


# --- Notes ------------------------------------------------------------------------------------


def test_pitches_and_lengths():
    assert midi("C, C c c' c'' ^C __B =e |") == [48, 60, 72, 84, 96, 61, 69, 76]
    assert eighths("A A2 A3/2 A/ A// A/2 A/4 |") == [
        1, 2, Fraction(3, 2), Fraction(1, 2), Fraction(1, 4), Fraction(1, 2), Fraction(1, 4)
    ]  # fmt: skip


def test_an_accidental_holds_to_the_end_of_its_bar_in_every_octave():
    assert midi("^F f F|F|", "K:C") == [66, 78, 66, 65]
    assert [n.accidental for e in events("^F f F|F|", "K:C") for n in e.notes] == [1] + [None] * 3


def test_the_key_signature_sounds_and_is_not_drawn_at_the_note():
    assert midi("F =F F|F|", "K:D") == [66, 65, 65, 66]


def test_a_tie_carries_its_accidental_over_the_barline_and_no_further():
    assert midi("_B4-|B2 B2|", "K:C") == [70, 70, 71]
    assert [n.duration for n in sounding_notes(tune("_B4-|B2 B2|"))] == [
        Fraction(3, 4), Fraction(1, 4)
    ]  # fmt: skip


def test_a_curve_between_different_pitches_is_a_slur():
    first, second = events("G3-A|")
    assert (first.slurs_open, second.slurs_close, first.notes[0].tie) == (1, 1, False)


def test_broken_rhythm_is_expanded():
    assert eighths("A>B c<d e>>f g>-g|") == [
        Fraction(3, 2), Fraction(1, 2), Fraction(1, 2), Fraction(3, 2), Fraction(7, 4),
        Fraction(1, 4), Fraction(3, 2), Fraction(1, 2),
    ]  # fmt: skip
    assert eighths("(A>)(B c) >{g}d|") == [1.5, 0.5, 1.5, 0.5]


def test_a_duration_of_no_single_note_is_tied_together():
    first, second = events("(A5 B3)|")[:2]
    assert [first.duration, second.duration] == [Fraction(1, 2), Fraction(1, 8)]
    assert (first.notes[0].tie, second.notes[0].tie) == (True, False)
    assert [e.duration for e in events("z5|")] == [Fraction(1, 2), Fraction(1, 8)]


def test_chords_last_as_long_as_their_first_note_and_are_sorted():
    (chord,) = events("[a4c4E4]|")
    assert ([note.midi for note in chord.notes], chord.duration) == ([64, 72, 81], Fraction(1, 2))
    assert [note.tie for note in events("[CE-G]2[CEG]|")[0].notes] == [False, True, False]
    assert events("+CE+2|") == events("[CE]2|")


def test_rests():
    rest, bar_rest, again = events("z4|Z2|", "M:3/4\nL:1/8\nK:C")
    assert (rest.notes, rest.duration, rest.bar_rest) == ((), Fraction(1, 2), False)
    assert bar_rest == again == Event(duration=Fraction(3, 4), bar_rest=True)
    assert [e.notes[0].step for e in events("A x2 Hx B y|")] == ["A", "B"]


def test_tuplets_know_their_meter():
    a, b, c, d = events("(3abc d|")
    assert a.tuplet == b.tuplet == c.tuplet == Tuplet(3, 2, 0)
    assert (a.sounding, d.tuplet) == (Fraction(1, 12), None)
    assert events("(5abcde|")[0].tuplet == Tuplet(5, 2, 0)
    assert events("(5abcde|", "M:6/8\nK:C")[0].tuplet == Tuplet(5, 3, 0)
    assert [e.tuplet for e in events("(3:2:2a2b c|")] == [Tuplet(3, 2, 0)] * 2 + [None]
    assert [e.tuplet.number for e in events("((3abc) (3(abc)|")] == [0] * 3 + [1] * 3


def test_graces_count_eighths_alone_and_sixteenths_together():
    (event,) = events("{/g}A|")
    assert (event.grace.slash, event.grace.notes[0][1]) == (True, Fraction(1, 8))
    assert [length for _, length in events("{g2fe}A|")[0].grace.notes] == [
        Fraction(1, 8), Fraction(1, 16), Fraction(1, 16)
    ]  # fmt: skip


def test_graces_before_a_barline_go_to_the_next_note_and_leave_its_bar_as_it_was_meant():
    first, second = (event.notes[0] for event in events("^cd{^gc}|gg|")[2:])
    grace = events("^cd{^gc}|gg|")[2].grace
    assert [(note.alter, note.accidental) for note, _ in grace.notes] == [(1, 1), (1, 1)]
    assert [(note.alter, note.accidental) for note in (first, second)] == [(0, 0), (0, None)]


def test_beams_join_short_notes_without_a_space():
    assert [e.beam for e in events("AB c2d zA A/`B/ A|Bc|")] == [
        True, False, False, False, False, False, True, False, False, True, False
    ]  # fmt: skip


def test_slurs_open_before_and_close_after_their_notes():
    assert [(e.slurs_open, e.slurs_close) for e in events("(A(B)c)(d)|")] == [
        (1, 0), (1, 1), (0, 1), (0, 0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "annotation"),
    [
        ("@-5,3.2 hi", "@hi"), ("@ 10 , .5 hi there", "@hi there"), ("@5,3hi", "@hi"),
        ("@hi 3,4", "@hi 3,4"), ("@4 hands", "@4 hands"), ("^1,2 times", "^1,2 times"),
    ],
)  # fmt: skip
def test_a_text_placed_freely_loses_its_coordinates(text, annotation):
    (event,) = tune(f'"{text}"c8|').events
    assert event.annotations == (annotation,)


def test_coordinates_alone_are_no_text():
    (event,) = tune('"@-5,3.2""@1,2 3,4"c8|').events
    assert event.annotations == ()


def test_of_several_changes_between_two_notes_the_last_of_each_kind_is_drawn():
    music = tune("c8|[K:G][M:2/4][K:D]c4|[K:G][K:D]c4|[K:C]\n[M:3/4][M:2/4][K:D]c4|")
    assert [bar.items[:-1] for bar in music.bars[1:]] == [(Meter("2/4"), Key("D")), (), ()]


@pytest.mark.parametrize("body", ["Z" + "9" * 5000, "(3:" + "9" * 5000 + "ccc", "c" + "1" * 5000])
def test_a_number_of_thousands_of_digits_is_refused_with_its_place(body):
    with pytest.raises(AbcError, match="line 5, column 1: .*(too large|cannot be drawn)"):
        tune(body)


def test_marks_texts_and_chord_symbols():
    (event,) = events('"Am7/G""^slow""_dolce"".text"~!trill!+fermata+L!unknown!A|')
    assert event.chord_symbol == "Am7/G"
    assert event.annotations == ("^slow", "_dolce", "^.text")
    assert event.decorations == ("~", "T", "H", "accent")
    assert events('AB!D.C.!"fine"|')[1].decorations == ("D.C.",)
    assert events('AB!D.C.!"fine"|')[1].annotations == ("^fine",)
    assert events("U:k=!accent!\nkA|", "K:C")[0].decorations == ("accent",)


# --- Bars -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "barlines", "starts"),
    [
        ("A|B||C|]", ["|", "||", "|]"], [False] * 3),
        ("|:A:|B::c:|", [":|", ":|", ":|"], [True, False, True]),
        ("A:||:B:|", [":|", ":|"], [False, True]),
        ("A:|\n|:B:|", [":|", ":|"], [False, True]),
        ("A||\n|:B:|", ["||", ":|"], [False, True]),
        ("A|:|", [":|"], [False]),
        ("||A|B", ["|", "|]"], [False] * 2),
        ("A|B|", ["|", "|]"], [False] * 2),
        ("A|B||", ["|", "||"], [False] * 2),
        ("A[|]|]", ["|]"], [False]),
        ("A|\\\n:B:|", ["|", ":|"], [False, True]),
    ],
)
def test_barlines_and_repeats(body, barlines, starts):
    read = tune(body)
    assert [bar.barline for bar in read.bars] == barlines
    assert [bar.repeat_start for bar in read.bars] == starts


def test_endings_last_to_the_next_one_or_to_a_barline_that_is_not_plain():
    read = tune('A|1 B|C:|2 D|E||F|[1,3 G:|["last" A')
    assert [bar.ending for bar in read.bars] == ["", "1", "", "2", "", "", "1,3", "last"]
    assert [bar.ending_stop for bar in read.bars] == [
        False, False, True, False, True, False, True, True
    ]  # fmt: skip


def test_lines_break_where_a_bar_ends():
    assert tune("AB|\ncd\nef|\\\nga|\nbc|").line_breaks == (0, 2)


def test_a_line_that_ends_with_a_full_bar_ends_it():
    """The Essen files leave the barline out there."""
    read = tune("A4B4 | c8\nd8 | e4\nf4", "M:4/4\nL:1/8\nK:C")
    assert write_body(read) == "A2 B2|c4|\nd4|e2 f2|]"
    assert read.line_breaks == (1,)


def test_an_accidental_that_holds_on_over_such_a_line_end_is_drawn_again():
    read = tune("_B4B4-\nB4 B4|B8|_B8\n=B8\nB8", "M:4/4\nL:1/8\nK:C")
    heads = [note for event in read.events for note in event.notes]
    assert [note.alter for note in heads] == [-1, -1, -1, -1, 0, -1, 0, 0]
    assert [note.accidental for note in heads] == [-1, None, None, -1, None, -1, 0, None]


def test_keys_meters_and_units_change_where_they_stand():
    read = tune("A4|[K:D]F4|\nM:3/4\nL:1/16\nF4|[M:3/4][K:D]F4|", "M:2/4\nL:1/8\nK:C")
    assert read.bars[1].items[0] == Key("D")
    assert read.bars[2].items[0] == Meter("3/4")
    assert [e.duration for e in read.events] == [Fraction(1, 2)] * 2 + [Fraction(1, 4)] * 2
    assert len(read.bars[3].items) == 1  # what looks like the key and meter in force is no change
    assert [note.midi for event in read.events for note in event.notes] == [69, 66, 66, 66]


def test_lyrics_are_laid_under_the_notes_of_their_line():
    read = tune("AB z c d|e f|\nw:Hel-lo _ * | you~all\nw:se-cond\nA|\nw:x")
    assert [e.lyrics for e in read.events] == [
        ("Hel-", "se-"), ("lo", "cond"), (), ("_",), (), ("you all",), (), ("x",)
    ]  # fmt: skip


def test_mail_artifacts_are_undone():
    assert midi("=3Dc =\nd|=20\ne|", "K:D") == [72, 74, 76]


# --- Files ------------------------------------------------------------------------------------


def test_a_tunebook_is_split_and_its_header_inherited():
    book = "% comment\nM:6/8\nO:France\n\nX:1\nK:C\nc|\n\nfree text\n\nX:2\nM:3/4\nK:G\nd|\n"
    (line_1, one), (line_2, two) = split_tunebook(book)
    assert (parse(one).meter, parse(two).meter) == (Meter("6/8"), Meter("3/4"))
    assert parse(one).metadata == (("O", "France"),)
    # The two inherited lines stand before the tune's own, whose numbers stay the file's.
    assert (line_1 + 2, line_2 + 2) == (5, 11)
    with pytest.raises(AbcError) as caught:
        parse(two + "\n)", source="f.abc", line=line_2)
    assert caught.value.line == 15


def test_files_are_utf8_or_latin1():
    assert decode("ü".encode()) == decode("ü".encode("latin-1")) == "ü"


# --- Errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "column", "reason"),
    [
        ("AB)|", 3, "a slur ends here"),
        ("A (BC|", 4, "a slur begins here"),
        ("AB =|c", 4, "an accidental '='"),
        ("A 2B|", 3, "a length that belongs to no note"),
        ("(3AB|c|", 5, "before the tuplet is full (1 missing)"),
        ("(3A(3BCD|", 4, "a tuplet begins"),
        ("A>|B|", 3, "broken rhythm"),
        ("ABZ|", 3, "whole-bar rest (Z)"),
        ("A [CE|", 3, "the chord that '[' begins"),
        ("[Cz]|", 1, "inside a chord"),
        ("A {|", 3, "the grace notes that '{' begins"),
        ("{}A|", 1, "without a note"),
        ('A "Am|', 3, "the text that '\"' begins"),
        ("A/3|", 1, "without a tuplet"),
        ("A0|", 1, "is no length"),
        ("A9999|", 1, "cannot be drawn"),
        ("AB & CD|", 4, "a second voice"),
        ("AB }c|", 4, "closes nothing"),
        ("A [V:2] B|", 3, "several voices"),
        ("A [M:3/0] B|", 3, "M:3/0"),
        ("A [K:X] B|", 3, "K:X"),
        ("A é B|", 3, "is not ABC music code"),
        ("A,,,,,,|", 1, "outside any instrument's range"),
    ],
)
def test_errors_name_line_column_and_reason(code, column, reason):
    with pytest.raises(AbcError) as caught:
        parse(f"X:12\nM:4/4\nL:1/8\nK:C\nABc d|\n{code}", source="book.abc", line=101)
    error = caught.value
    assert (error.source, error.tune, error.line, error.column) == ("book.abc", "12", 106, column)
    assert reason in error.message
    assert str(error) == f"book.abc: tune 12, line 106, column {column}: {error.message}"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("X:1\nT:no key\n", 4, "no K: field"),
        ("X:1\nK:C\n", 4, "no notes"),
        ("X:1\nV:1\nV:2\nK:C\nc|", 3, "several voices"),
        ("X:1\nM:3/7\nK:C\nc|", 2, "M:3/7"),
        ("X:1\nL:7\nK:C\nc|", 2, "L:7"),
        ("X:1\nQ:1/4=\nK:C\nc|", 2, "Q:1/4="),
        ("X:1\nK:Bn\nc|", 2, "K:Bn"),
        ("X:1\nK:G#\nc|", 2, "more than seven"),
        ("X:1\nK:C\nc|\nw:a b\n", 4, "more syllables"),
        ("X:1\nK:C\nc|\nX:2\nK:C\nd|", 4, "split the tunebook"),
        ("X:1\nM:4/4\n1/4=120\nK:C\nc|", 3, "neither a header field"),
        ("X:1\nM:none\nK:C\nZ|", 4, "the meter is free"),
        ("X:1\nK:C\ns:!f!\nc|", 3, "symbol lines"),
    ],
)
def test_errors_of_fields_name_their_line(text, line, reason):
    with pytest.raises(AbcError) as caught:
        parse(text)
    assert caught.value.line == line
    assert reason in caught.value.message


def test_an_error_survives_the_way_between_processes():
    error = AbcError("reason", source="f", tune="1", line=2, column=3)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_a_note_costs_the_same_in_a_long_bar_as_in_a_short_one():
    """19,999 notes in one bar once took 20 seconds, in the process that builds a dataset."""

    def calls(n: int) -> int:
        profile = cProfile.Profile()
        profile.runcall(parse, "X:1\nM:4/4\nL:1/8\nK:G\n" + "A" * n + "|\n")
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(1600) < 2.2 * calls(800)
