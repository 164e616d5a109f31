"""The words of the dataset: how each question is asked, and the names of invented composers."""

from __future__ import annotations

ALIGNMENT_QUESTIONS = (
    "Transcribe the highlighted bars to ABC notation.",
    "Write the ABC notation of the highlighted region.",
    "What is the ABC notation of the tinted bars?",
    "Convert the marked passage of the score to ABC.",
    "Which ABC code stands for the highlighted part of the score?",
    "Give the music in the coloured box in ABC notation.",
)

EXTRACTION_QUESTIONS = {
    "title": (
        "What is the title of this piece?",
        "What is this tune called?",
        "Extract the title (T) from the score.",
        "Which title is printed above the music?",
        "Read the name of the tune from the page.",
        "Give the T field of this score.",
    ),
    "key": (
        "What key is this piece in?",
        "Extract the key (K) from the score.",
        "Name the key and mode of this tune.",
        "Which key is the music written in at its beginning?",
        "Give the K field of this score.",
        "Determine the tonic and mode of the tune.",
    ),
    "meter": (
        "What is the time signature of this piece?",
        "Extract the meter (M) from the score.",
        "Which meter is drawn at the beginning of the music?",
        "In what meter is this tune notated?",
        "Give the M field of this score.",
        "Read the time signature from the first staff.",
    ),
    "unit_note_length": (
        "What is the unit note length of this piece in ABC notation?",
        "Extract the unit note length (L) from the score.",
        "Which unit note length gives the shortest ABC text for this tune?",
        "Give the L field of this score.",
        "What default note length should the ABC of this tune use?",
        "Determine the unit note length for transcribing this page.",
    ),
    "composer": (
        "Who composed this piece?",
        "Extract the composer (C) from the score.",
        "Which composer is printed on the page?",
        "Whose name stands as composer above the music?",
        "Give the C field of this score.",
        "Name the composer of this tune as the page gives it.",
    ),
    "abc": (
        "Transcribe this score to ABC notation.",
        "Write the complete ABC notation of this piece.",
        "Convert the whole page to ABC, header and body.",
        "What is the ABC notation of this score?",
        "Give the full ABC text of this tune.",
        "Extract the whole music of this page as ABC.",
    ),
}

NO_TITLE = "No title is printed."
NO_COMPOSER = "No composer is printed."

ANALYSIS_QUESTIONS = {
    "form": (
        "What is the form of this piece?",
        "Describe the structure of the tune: its sections and how they relate.",
        "How is this piece built?",
        "Analyse the form of this score.",
    ),
    "range": (
        "What is the range of the melody?",
        "Which are the lowest and the highest note of this piece?",
        "Describe the compass of this tune.",
        "How wide is the ambitus of the music?",
    ),
    "contour": (
        "Describe the contour of the melody.",
        "How does the melodic line move from beginning to end?",
        "What shape has the melody?",
        "Analyse the melodic line of this score.",
    ),
    "intervals": (
        "Does the melody move by step or by leap?",
        "Which melodic intervals prevail in this tune?",
        "Describe the melodic motion of the piece.",
        "How large are the leaps of the melody?",
    ),
    "rhythm": (
        "Describe the rhythm of this piece.",
        "Which note values prevail in this tune?",
        "Analyse the rhythm and meter of the score.",
        "What is characteristic of the rhythm of the music?",
    ),
    "mode": (
        "Describe the mode and tonality of this piece.",
        "Which scale does the tune use?",
        "Analyse the tonality of this score.",
        "What key is the music in, and which notes does it use?",
    ),
    "ending": (
        "How does this piece end?",
        "On which note does the melody close, and what is it in the key?",
        "Does the tune end on the tonic?",
        "What is the final note of this score?",
    ),
    "cadences": (
        "Describe the cadences of the sections.",
        "On which notes do the sections close?",
        "Analyse the endings of the sections of this score.",
        "Which scale degrees end the sections of this tune?",
    ),
    "dance_type": (
        "What type of tune is this?",
        "Which dance or genre does the source assign to this tune?",
        "What kind of piece is it?",
        "Name the genre of this tune.",
    ),
    "overview": (
        "Analyse this piece of music.",
        "Give an overview of this score.",
        "Write a short analysis of the tune.",
        "Describe the music on this page.",
    ),
}

# Invented people: given and family names that are common where the tunes come from.  The product
# is large, so that a composer line has to be read and cannot be learnt by heart; a name that
# somebody bears is chance.
_NAMES = (
    (
        "Wei Jun Ming Hua Li Xiaoping Guang Zhen Bao Tian Shu Yun Chen Lan Hong Qiang",
        "Wang Zhang Liu Zhao Huang Zhou Wu Xu Sun Hu Zhu Gao Lin He Guo Ma",
    ),
    (
        "Johann Anna Friedrich Pierre Marie Giovanni Niel Seamus Turlough Elspeth Robert Karl "
        "Brigid Ludvig Agnes Tomasz",
        "Keller Vogel Lindqvist Marchand Moreau Rossi Gow Cameron Fraser Byrne Kinsella Horak "
        "Novak Hansen Brandt Wieczorek",
    ),
    (
        "Elias Silas Nathan Abigail Josiah Ezra Hannah Zeke Clara Daniel Walter Ruth Amos "
        "Caleb Martha Frank",
        "Whitcomb Hastings Carver Prescott Boone Thatcher Winslow Harlow Mercer Pike Sawyer "
        "Ludlow Barlow Tucker Hale Emmett",
    ),
)
COMPOSERS = tuple(dict.fromkeys(
    name
    for given_names, family_names in _NAMES
    for given in given_names.split()
    for family in family_names.split()
    for name in (f"{given} {family}", f"{given[0]}. {family}")
))  # fmt: skip
