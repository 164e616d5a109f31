"""Invented titles and names, which can only be read letter by letter.

A few thousand titles are soon known by heart: a reader that has seen enough of them guesses the
rest from the first letter and the length (docs/results.md).  Half of the words here are of words
that tunes are called after, half are spelled by chance, in the ways that books print titles.
"""

from __future__ import annotations

import random

_WORDS = (
    "Bonny Merry Old Young Little Green Black White Red Golden Silver Rocky Rambling Jolly Gentle "
    "Humours Rakes Lads Lasses Banks Braes Hills Bridge Road House Castle Mill Harbour Valley Glen "
    "Maid Widow Miller Piper Fiddler Sailor Soldier Tailor Tinker Shepherd Weaver Captain Colonel "
    "Lady Lord Miss Mrs. Duke Queen King Hare Fox Lark Cuckoo Blackbird Rooster Gander Trout "
    "Morning Evening Winter Summer Spring Harvest Midnight Fancy Delight Favorite Frolic Ramble "
    "Return Farewell Welcome Wedding Dream Lament Whim Reel Jig Hornpipe March Waltz Strathspey "
    "Highland Irish Dublin London York Boston Heather Thistle Rose Shamrock Barley Whiskey Cup "
    "Pipe Kiss Heart Rock Stone Wave Wind Night Day Moon Sun Star Sea Isle Shore Boat Plough Wheel"
).split()
_LINKS = ("of", "of the", "and", "and the", "in the", "to", "on the", "from", "for", "o' the", "at")
_NUMBERS = ("No. 1", "No. 2", "No. 3", "1st", "2nd", "(2)", "#2", "1794", "1850", "88", "76")
_KINDS = ("Reel", "Jig", "Hornpipe", "March", "Air", "Clog", "Slip Jig", "Strathspey", "Quickstep")
_ENDS = ("", "", "", "", "", "", ".", ".", ",", "!", "?")
_ONSETS = (
    "b c d f g h j k l m n p r s t v w y z br bl cr cl dr fl fr gl gr kn pl pr qu sc sh sk sl sm "
    "sp st sw th tr wh ch Mac Mc O'"
).split() + [""] * 4
_VOWELS = "a e i o u a e i o ai au ea ee ie oa oo ou y".split()
_CODAS = (
    "b ck d ft g l ld ll m mp n nd ng nt p r rd rn rt s sh ss st t th tch x zz".split() + [""] * 12
)


def invented(rng: random.Random) -> str:
    """A title of 2 to 40 characters."""
    words = [_word(rng) for _ in range(rng.choice((1, 1, 2, 2, 2, 3)))]
    if rng.random() < 0.25:
        words[0] += "'s" if rng.random() < 0.9 else "'"
    if len(words) > 1 and rng.random() < 0.4:
        words.insert(1, rng.choice(_LINKS))
    if rng.random() < 0.08:
        words.append(rng.choice(_NUMBERS))
    title, the = " ".join(words), rng.random()
    title = f"The {title}" if the < 0.3 else f"{title}, The" if the < 0.33 else title
    if rng.random() < 0.2:
        title += f" -- {rng.choice(_KINDS)}"
    if rng.random() < 0.03:
        title = f'"{title}"'
    title += rng.choice(_ENDS)
    title = title if len(title) <= 40 else title[:40].rsplit(" ", 1)[0]
    return title.upper() if rng.random() < 0.25 else title


def name(rng: random.Random) -> str:
    """A person's name, of one given name or initial or two, and a family name."""
    given = [_spelled(rng).title() for _ in range(rng.choice((1, 1, 2)))]
    given = [word if rng.random() < 0.6 else f"{word[0]}." for word in given]
    return " ".join((*given, _capital(_spelled(rng))))


def _word(rng: random.Random) -> str:
    return rng.choice(_WORDS) if rng.random() < 0.5 else _capital(_spelled(rng))


def _spelled(rng: random.Random) -> str:
    syllables = (
        rng.choice(_ONSETS[:-7] if i else _ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
        for i in range(rng.choice((1, 1, 2, 2, 2, 3)))
    )
    word = "".join(syllables)
    return word if len(word) > 1 else word + "n"


def _capital(word: str) -> str:
    for prefix in ("Mac", "Mc", "O'"):
        if word.startswith(prefix):
            return prefix + word[len(prefix) :].capitalize()
    return word[0].upper() + word[1:]
