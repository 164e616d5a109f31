"""ABC as it is found in the world: kinds of input that collections have, each read or refused.

The canonical texts were written by hand from what ABC 2.1 or the programs in use make of them.
"""

from __future__ import annotations

import pytest

from nota_jax.notation.abc import AbcError, canonical, check, parse, write
from nota_jax.notation.engraving.layout import engrave
from nota_jax.notation.transpose import Interval, transpose
from nota_jax.notation.walk import sounding_notes

HEAD = "X:1\nM:4/4\nL:1/8\nK:C\n"


def body(text: str) -> str:
    """The canonical text behind the fields, systems parted by a blank; it is its own."""
    written = canonical(text)
    assert canonical(written) == written
    lines = written.splitlines()
    return " ".join(lines[next(i for i, line in enumerate(lines) if line[:2] == "K:") + 1 :])


# kind → music under `HEAD` → canonical music
MUSIC = {
    "a tuplet of eleven": ("(11:8:11cdefgabcdef|]", "(11:8cdefgabcdef|]"),
    "a tuplet of ten": ("(10:8ccccc ccccc|]", "(10:8ccccc ccccc|]"),
    "a tuplet of twelve, its q of two digits": (
        "(12:16cccccccccccc|]", "(12:16cccccccccccc|]"),
    "a tie into the next ending": ("|:c8|1 g4 e4-:|2 e8|]", "|:c4|1 g2 e2-:|2 e4|]"),
    "a tie into an ending of another pitch": ("|:c8|1 g4 e4-:|[2 d8|]", "|:c4|1 g2 e2-:|2 d4|]"),
    "a tie into an ending behind a repeat that is in none": (
        "|:c8|1 d8|:^c8-||2 c8|]", "|:c4|1 d4|:^c4-||[2 c4|]"),
    "a tie into a first ending": ("|:c8-|1 c8:|2 d8|]", "|:c4-|1 c4:|2 d4|]"),
    "a tie behind double stops": ("[de]2-[ee]2 [fa]4|]", "[de-] [ee] [fa]2|]"),
    "a tie behind a chord with nothing in common": ("[ce]4-[df]4|]", "([ce]2 [df]2)|]"),
    "a line that is HTML": ("c8|]\n</html>", "c4|]"),
    "endings at an invisible bar line": ("|:c8|\n[|]1 d8:|\n[|]2 e8|]", "|:c4| [1 d4:| [2 e4|]"),
    "an ending inside a bar": ("|:c4 [1 d4:|[2 e4|]", "|:c2[1 d2:|2 e2|]"),
    "an ending inside a bar that keeps its accidental": (
        "|:^c4 [1 c4:|[2 =c4|]", "|:^c2[1 c2:|2 =c2|]"),
    "a bar line behind the beginning of an ending": (
        "|:^c4 [1|c4:|[2 d4|]", "|:^c2|1 c2:|2 d2|]"),
    "an ending where the bar is full": ("|:c8 [1 d8:|[2 e8|]", "|:c4|1 d4:|2 e4|]"),
    "an ending on its own line inside a bar": ("|:c4\n[1 d4:|[2 e4|]", "|:c2 [1 d2:|2 e2|]"),
    "an unknown decoration of signs": ("c4!~(!d2!~)!e2|]", "c2 d e|]"),
    "a decoration of words": ("c4 d4!D.C. al fine!|e8|]", "c2 d2|e4|]"),
    "decorations with blanks": ("! roll!c4 !f !d4|]", "~c2 !f!d2|]"),
    "line breaks of ABC 1.6": ("c4 d4|!e4 f4|!g8|]", "c2 d2| e2 f2| g4|]"),
    "line breaks of ABC 1.6 without bars": ("c4!d2e2!|f8|]", "c2 d e| f4|]"),
    "a field behind a line break": ("c4 d4|! K:G! f8|]", "c2 d2| [K:G] f4|]"),
    "a meter behind a line break": ("c4 d4|!M:C|!f8|]", "c2 d2| [M:C|] f4|]"),
    "two chord symbols on a note": ('"F""Bb"A4 "C"G4|]', '"F Bb"A2 "C"G2|]'),
    "three chord symbols on a note": ('"C" "Am""F#m7"c8|]', '"C Am F#m7"c4|]'),
    "a no-break space": ("c4\u00a0d4|]", "c2 d2|]"),
    "other blanks of Unicode": ("c2\u2009d2\u3000e2\u200bf2|]", "c d e f|]"),
    "a text block": ("c4 c4|\n%%begintext\nA bad age\n\nX:2\n%%endtext\nd8|]", "c2 c2| d4|]"),
    "PostScript": ("%%beginps\n/dacs { gsave } def\n%%endps\nc8|]", "c4|]"),
    "endings with a dot": ("|:c8|[1. d8:|[2. e8|]", "|:c4|1 d4:|2 e4|]"),
    "an ending of several with dots": ("|:c8|1.,2. d8:|3. e8|]", "|:c4|1,2 d4:|3 e4|]"),
    "ordinal endings": ("|:c8|1st d8:|2nd e8|]", "|:c4|1 d4:|2 e4|]"),
    "escapes in annotations": (
        r'''"^caf\'e"c4 "^50\% &amp; up"d4|]''', r'''"^café"c2 "^50\% & up"d2|]'''),
    "a quotation mark in an annotation": ('"^a &quot;b&quot;"c8|]', '"^a &quot;b&quot;"c4|]'),
    "an umlaut in an annotation": ('"^f\\"ur Elise"c4 "^x"d4|]', '"^für Elise"c2 "^x"d2|]'),
    "an accidental of Unicode in a chord symbol": (r'"B\u266d"c8|]', '"B♭"c4|]'),
    "a lone bracket": ("c8|d4 e4 ]", "c4|d2 e2|]"),
    "a lone bracket inside the tune": ("c8 ]\nd8|]", "c4|] d4|]"),
    "repeat signs with brackets": ("[:c8:]\nd8|]", "|:c4:| d4|]"),
    "repeat signs with blanks": ("c8 | :d8: |", "c4|:d4:|"),
    "a dotted slur": (".(cdef) g4|]", "(cdef) g4|]"),
    "a dotted tie": ("c4.-c4|]", "c2- c2|]"),
    "a staccato before a tuplet": (".(3cde f6|]", "(3.cde f6|]"),
    "old chords with blanks": ("+c2 e2+d2 +c4e4+|]", "[ce] d [ce]2|]"),
    "letters that mean nothing": ("kckd kgBkaB Je2 I|]", "cd gBaB e2|]"),
    "D.C. without quotes": ("c4 d4 D.C.|]", "c2 !D.C.!d2|]"),
    "a comment's sign in a field": ("[r:50\\% slower]c8|]", "c4|]"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MUSIC)
def test_music_is_read_as_what_it_means(kind):
    music, expected = MUSIC[kind]
    assert body(HEAD + music) == expected


# kind → the whole text → its canonical text, `X:1` and the last line end left out
TUNES = {
    "a title that goes on": (
        "X:1\nR:reel\nT:A very long\n+:title\nL:1/8\nK:C\nc8|]",
        "T:A very long title\nM:none\nL:1/4\nK:C\nc4|]"),
    "a composer that goes on": (
        "X:1\nC:Somebody\n% who\n+:the Elder\nL:1/8\nK:C\nc8|]",
        "C:Somebody the Elder\nM:none\nL:1/4\nK:C\nc4|]"),
    "lyrics that go on": (
        f"{HEAD}c4 d4|]\nw:one\n+:two", "M:4/4\nL:1/4\nK:C\nc2 d2|]\nw:one two"),
    "lyrics behind two lines": (
        "X:1\nM:4/4\nL:1/4\nK:C\nCDEF|\nGABc|]\nw:a b c d e f g h\nw:i",
        "M:4/4\nL:1/4\nK:C\nC D E F|\nw:a b c d\nG A B c|]\nw:e f g h\nw:i"),
    "lyrics under the second line alone": (
        "X:1\nM:4/4\nL:1/4\nK:C\nCDEF|\nGABc|]\nw:e f g h",
        "M:4/4\nL:1/4\nK:C\nC D E F|\nG A B c|]\nw:e f g h"),
    "escapes in a title": (
        "X:1\nT:B\\u266d march caf\\u00e9, na\\\"ive &#233; \\351\nL:1/8\nK:C\nc8|]",
        "T:B♭ march café, naïve é é\nM:none\nL:1/4\nK:C\nc4|]"),
    "control characters in a title": (
        "X:1\nT:a\x07b\\u0000c &#7;\nL:1/8\nK:C\nc8|]", "T:abc\nM:none\nL:1/4\nK:C\nc4|]"),
    "a single voice": (
        '%%score 1\nX:1\nM:4/4\nL:1/8\nI:linebreak $\nK:D\nV:1 treble nm="Violin"\nV:1\n'
        "d4 f4|$ a8|\nd8|]",
        "M:4/4\nL:1/4\nK:D\nd2 f2|\na4|d4|]"),
    "a single voice with a clef": (
        "X:1\nL:1/8\nV:T clef=bass name=\"Cello\"\nK:D\n[V:T]D,8|]",
        "M:none\nL:1/4\nK:D bass\nD,4|]"),
    "a tempo in words": (
        "X:1\nL:1/8\nQ:Quick\nK:C\nc8|]", 'M:none\nL:1/4\nQ:"Quick"\nK:C\nc4|]'),
    "an octave": ("X:1\nL:1/8\nK:G octave=-1\nc8 {d}e8|]", "M:none\nL:1/4\nK:G\nC4 {D}E4|]"),
    "playback and layout": (
        "X:1\nL:1/8\nK:G transpose=-12 stafflines=5 nm=\"x y\"\nc8|]",
        "M:none\nL:1/4\nK:G\nc4|]"),
    "a clef alone leaves the key": (
        "X:1\nL:1/8\nK:G\nc8|[K:clef=bass]C8|[K:D]C8|[K:treble]c8|]",
        "M:none\nL:1/4\nK:G\nc4|[K:G bass] C4|[K:D bass] C4|[K:D treble] c4|]"),
    "a symbol that is a text": (
        'X:1\nU:l="^hi"\nL:1/8\nK:C\nlc4(3 CGC d4|]', 'M:none\nL:1/8\nK:C\n"^hi"c4 (3CGC d4|]'),
    "a symbol of another program": (
        "X:1\nU:S = head-sml\nL:1/8\nK:C\nSc8|]", "M:none\nL:1/4\nK:C\nc4|]"),
    "indented fields": (
        " X:1\n  T:Far in\n L:1/8\n  K:C\n  c8|]\n  w:la",
        "T:Far in\nM:none\nL:1/4\nK:C\nc4|]\nw:la"),
    "a change where a repeat starts": (
        f"{HEAD}c8|\nK:G\n|:f8:|", "M:4/4\nL:1/4\nK:C\nc4|\n|:[K:G] f4:|"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TUNES)
def test_a_tune_is_read_as_what_it_means(kind):
    text, expected = TUNES[kind]
    written = canonical(text)
    assert written == f"X:1\n{expected}\n"
    assert canonical(written) == written


# kind → the whole text → what the refusal says
REFUSED = {
    "a chord as grace note": (HEAD + "{[ce]}g8|]", r"line 5, column 1: a chord as grace note"),
    "a quarter tone": (HEAD + "c4^/f4|]", r"line 5, column 3: a quarter tone \('\^/'\)"),
    "a quarter tone in a chord": (HEAD + "[_3/2bd]4|]", "a quarter tone"),
    "a quarter tone in the key": ("X:1\nK:C ^/f\nc|]", r"line 2, column 3: a quarter tone"),
    "HTML in the music": (HEAD + "c8|<br>\n", r"line 5, column 4: '<br>' is HTML, not ABC"),
    "an entity in the music": (HEAD + "c8|&nbsp;\n", "'&nbsp;' is HTML, not ABC"),
    "music before the key": (
        "X:1\nR:reel\nM:4/4\n|:G2B2 d4|\nK:G\nd8|]", "line 4, column 1: music before the K: field"),
    "several voices": ("X:1\nV:1\nV:2\nK:C\nc|]", "line 3, column 3: several voices"),
    "a second voice behind music": (HEAD + "c8|\nV:2\nd8|]", "several voices"),
    "an overlay": (HEAD + "c8 & e8|]", "a second voice in the bar"),
    "a middle line": ("X:1\nK:C middle=d\nc|]", "notes written at another pitch"),
    "a staff of one line": ("X:1\nK:C stafflines=1\nc|]", "a staff of other than five lines"),
    "another clef": ("X:1\nK:C clef=perc\nc|]", "the clef 'perc' is not supported"),
    "a clef on another line": ("X:1\nK:C bass3\nc|]", "the clef 'bass3' is not supported"),
    "a tuplet of ten without a time": (HEAD + "(10cccccccccc|]", r"\(10 does not say how long"),
    "a text block without an end": (HEAD + "%%begintext\nc8|]", "line 5.*without %%endtext"),
    "words": (HEAD + "c4 d4|]fine", r"line 5, column 8: 'fine' is a word and no music"),
    "a word at the end": (HEAD + "c4 d4 al|]", "'al' is a word"),
    "a line of words": (HEAD + "c8|]\nThis is a nice tune", "line 6, column 1: 'This' is a word"),
    "a small word": (HEAD + "c4 d4 and|]", "'and' is a word"),
    "a number of 5,000 digits": (HEAD + "Z" + "9" * 5000, "too large a number"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_says_in_the_users_words_why(kind):
    text, said = REFUSED[kind]
    with pytest.raises(AbcError, match=said):
        parse(text)


def test_two_chord_symbols_move_together():
    tune = parse(HEAD + '"C""Am"c4 "F"d4|]')
    assert '"D Bm"d2 "G"e2' in write(transpose(tune, Interval(1, 2)))


def test_a_tie_that_leads_back_joins_nothing_behind_it():
    tune = parse(HEAD + "|:e8|1 g4 e4-:|2 e8|]")
    assert [note.duration * 8 for note in sounding_notes(tune)] == [8, 4, 4, 8]
    assert check(tune) == []


@pytest.mark.parametrize(
    "kind",
    ["a tuplet of eleven", "a tie into the next ending", "a tie behind double stops",
     "an ending inside a bar that keeps its accidental", "a quotation mark in an annotation"],
)  # fmt: skip
def test_what_is_read_is_drawn_and_proved(kind):
    drawn = engrave(parse(HEAD + MUSIC[kind][0]))
    assert canonical(write(drawn.tune, breaks=False)) == canonical(HEAD + MUSIC[kind][0])


def test_a_change_between_a_bar_line_and_a_start_repeat_is_drawn_and_proved():
    for change in ("K:G", "M:3/4", "K:Em\nM:3/4"):
        drawn = engrave(parse(f"{HEAD}c8|\n{change}\n|:f6:|"))
        assert [bar.repeat_start for bar in drawn.tune.bars] == [False, True]


NO_MUSIC = (
    "!foo bar!", "! a bad age !", "!~(!", "!D.C. al fine!", '"^abc defg"', '"Gad"', '"C"',
    "[r:abc def]", "[N:cdefg]", "+foo+", "`", "$", "y", "\u00a0", "\u200b", "{[ce]}", "<br>",
    "</b>", "&nbsp;", " fine ", " and ", " Coda ", "\nThis is a bad age\n", "\n% abc defg\n",
    "\n%%text abc defg\n", "\n%%begintext\nabc defg\n%%endtext\n", "\n</pre>\n",
    "\nN:abc\n+:defg\n", "\nW:abc defg\n", "\nT:A bad age\n", "\nQ:Adagio\n", "|1st ", "|2nd ",
    "[1. ", "[|]2 ", '["bad"', '\nU:k="^abc"\n', "\nI:abc def\n",
)  # fmt: skip


REFUSED_THINGS = (
    "{[ce]}", "<br>", "</b>", "&nbsp;", " fine ", " and ", " Coda ", "\nThis is a bad age\n",
)  # fmt: skip


@pytest.mark.parametrize("thing", NO_MUSIC)
def test_what_is_no_music_invents_no_note_wherever_it_stands(thing):
    """Between any two tokens of a tune: its notes are read as they are, or the tune is refused."""
    pieces = ["c2", " ", "d2", "-", "|", "(", "^e2", " ", "f2", ")", "|", "g", "a", "b2", "|]"]
    pitches = [72, 74, 77, 77, 79, 81, 83]
    read = 0
    for place in range(len(pieces) + 1):
        music = "".join([*pieces[:place], thing, *pieces[place:]])
        try:
            tune = parse(HEAD + music)
        except AbcError as error:
            assert error.message
            continue
        read += 1
        heads = [note.midi for event in tune.events for note in event.notes]
        assert heads == pitches, music
        assert canonical(write(tune)) == write(tune)
    assert bool(read) != (thing in REFUSED_THINGS)
