"""Labels: what patches hold and what tokens write, held against the picture and the tune."""

import io

import numpy as np
import pytest
from PIL import Image

from nota_jax.data.feed import images, labels
from nota_jax.notation import abc
from nota_jax.notation.engraving import boxes
from nota_jax.notation.engraving.layout import Style, engrave

TEXT = """X:1
T:The Old Bush
C:Trad.
M:6/8
L:1/8
K:D
|:"G"d2e (fg)a|^c3-c2z|(3ABc d2 [df]2|g4 a2:|
"""
SIZE, PATCH = 336, 14


@pytest.fixture(scope="module")
def picture():
    return engrave(abc.parse(TEXT), Style())


@pytest.fixture(scope="module")
def symbols(picture):
    return boxes.unpack(picture.symbols)


def of_kind(symbols, name):
    return np.array(boxes.KINDS)[symbols["kind"]] == name


def field(told, name):
    return told[..., labels.NAMES.index(name)]


def test_classes_say_what_the_symbols_are(symbols):
    told, head = labels.classes(symbols), of_kind(symbols, "head")
    events = [event for bar in abc.parse(TEXT).bars for event in bar.events]
    heads = [note for event in events for note in event.notes]
    assert head.sum() == len(heads) == 15
    fields = {name: field(told, name)[head] for name in labels.NAMES}
    # d is on the fourth line, six steps above the lowest; f, g, a lie above it.
    assert list(fields["height"][:5] - 12) == [6, 7, 8, 9, 10]
    quarter, eighth = (3 * (halvings + 2) for halvings in (2, 3))
    assert list(fields["value"][:6]) == [quarter, eighth, eighth, eighth, eighth, quarter + 1]
    assert list(np.flatnonzero(fields["accidental"] != 5)) == [5]  # the one sharp that is drawn
    assert list(np.flatnonzero(fields["slur"])) == [2, 3]  # opens at f, closes at g
    assert list(fields["tie"][5:7]) == [2, 1]
    assert list(np.flatnonzero(fields["tuplet"])) == [7, 8, 9]
    assert list(fields["bar"][:6]) == [0, 0, 0, 0, 0, 1]
    for system in set(fields["system"]):
        assert fields["bar"][fields["system"] == system].min() == 0
    letters = of_kind(symbols, "letter")
    assert (field(told, "letter")[letters] >= 0).all() and (field(told, "letter")[head] < 0).all()
    assert (told[:, 1:] < np.array(list(labels.FIELDS.values()))[1:]).all()


def test_only_highlighted_bars_are_inside(symbols):
    told = labels.classes(symbols, (1, 2))
    assert set(symbols["bar"][field(told, "inside") == 1]) == {1, 2}
    assert (field(labels.classes(symbols), "inside") <= 0).all()


def test_each_patch_tells_from_left_to_right_what_has_its_centre_there(symbols):
    told = labels.classes(symbols)
    patches = labels.patches(symbols, told, SIZE, PATCH)
    cell = labels.cells(symbols, SIZE, PATCH)
    assert patches.shape == (576, labels.SLOTS, len(labels.FIELDS))
    for place in set(cell.tolist()):
        here = np.flatnonzero(cell == place)
        found = patches[place][patches[place][:, 0] > 0]
        assert len(found) == min(len(here), labels.SLOTS)
        if len(here) <= labels.SLOTS:  # in order, with gaps between letters alone
            middle = symbols["box"][here, 0] + symbols["box"][here, 2]
            order = here[np.lexsort((-symbols["box"][here, 1], middle))]
            np.testing.assert_array_equal(found, told[order])
    empty = np.setdiff1d(np.arange(576), cell)
    assert (patches[empty][..., 0] == 0).all() and (patches[empty][..., 1:] == labels.NONE).all()


def test_letters_alone_stand_at_their_third_of_a_patch(symbols):
    letter, head = (symbols[of_kind(symbols, kind)][:1] for kind in ("letter", "head"))

    def slots(*middles, first=letter):
        crowd = np.concatenate([first] + [letter] * (len(middles) - 1))
        for row, middle in zip(crowd, middles, strict=True):
            row["box"] = [PATCH + middle - 1, 3, PATCH + middle + 1, 9]
        found = labels.patches(crowd, labels.classes(crowd), SIZE, PATCH)
        return np.flatnonzero(found[1][:, 0]).tolist()

    assert [slots(x) for x in (0, 4, 5, 9, 10, 13)] == [[0], [0], [1], [1], [2], [2]]
    assert slots(1, 12) == [0, 2] and slots(1, 3) == [0, 1] and slots(10, 12) == [1, 2]
    assert slots(6, 8) == [1, 2] and slots(9, 11, 13) == [0, 1, 2]
    assert slots(12, first=head) == [0] and slots(8, 12, first=head) == [0, 1]


def test_of_a_full_patch_notes_are_told_before_letters(symbols):
    crowd = np.concatenate([symbols[of_kind(symbols, k)][:3] for k in ("letter", "head")])
    crowd["box"] = [10, 10, 12, 12]
    patches = labels.patches(crowd, labels.classes(crowd), SIZE, PATCH)
    assert set(field(patches[0], "kind").tolist()) == {1 + boxes.KINDS.index("head")}


def test_every_event_is_written_by_the_symbol_that_shows_it(picture, symbols):
    answer = abc.write(picture.tune)
    both = labels.written(answer, "abc", labels.Places(symbols), 0)
    written = both[:, 0]
    read = "".join(c for c, w in zip(answer, written, strict=True) if w >= 0 and c != "\n")
    music = answer.split("K:D\n")[1]
    assert read == "TheOldBushTrad.6/8D" + music.replace(" ", "").replace("\n", "")
    line_end = answer.index("\n", answer.index("K:D\n") + 4)
    assert boxes.KINDS[symbols[written[line_end]]["kind"]] == "bar line"
    apart = np.flatnonzero(both[:, 0] != both[:, 1])  # a key is read from the last note too
    assert "".join(answer[i] for i in apart) == "D\n"
    heads = np.flatnonzero(of_kind(symbols, "head"))
    assert symbols[both[apart[0], 1]]["bar"] == symbols[heads]["bar"].max()
    place = answer.index("^c")
    assert symbols[written[place]]["accidental"] == 1
    assert boxes.KINDS[symbols[written[answer.index("|^")]]["kind"]] == "bar line"
    assert symbols[written[answer.index("Old")]]["label"] == "O"


def test_fields_and_highlighted_bars_are_written_too(picture, symbols):
    def said(answer, subtask, first=0):
        return labels.written(answer, subtask, labels.Places(symbols), first)[:, 0]

    kinds = np.array(boxes.KINDS)
    key = symbols[said("D", "key")]
    assert set(kinds[key["kind"]]) == {"key"} and set(key["number"]) == {1}  # the last of two
    assert set(kinds[symbols[said("6/8", "meter")]["kind"]]) == {"meter"}
    assert (said("1/8", "unit_note_length") == -1).all()
    assert "".join(symbols[said("The", "title")]["label"]) == "The"
    assert (said("Thy", "title")[2:] == -1).all()  # no such letter is drawn there
    region = said("^c3-c2z|", "alignment", 1)
    assert set(symbols[region]["bar"]) == {1}


def test_addresses_count_from_the_highlighted_bars(symbols):
    told = labels.classes(symbols, (1, 2))
    address = labels.addresses(told, symbols, (1, 2))
    head = of_kind(symbols, "head")
    assert set(address[head & (symbols["bar"] == 1), 1]) == {0}
    assert set(address[head & (symbols["bar"] == 3), 1]) == {labels.NONE}
    np.testing.assert_array_equal(labels.addresses(told, symbols, None)[:, 2], field(told, "event"))


def test_a_token_is_read_from_the_first_and_the_last_symbol_of_its_characters():
    of_characters = np.array([[-1, -1], [4, 4], [5, 5], [-1, -1], [7, 8]])
    starts = np.array([-1, 1, 3, 5, 9])
    read = labels.of_tokens(of_characters, starts)
    assert read.tolist() == [[-1, -1], [4, 5], [7, 8], [7, 8], [7, 8]]  # the end as what is last
    assert labels.of_tokens(of_characters[:0], np.array([0])).tolist() == [[-1, -1]]


def test_the_misread_share_of_labels_are_those_of_other_symbols(symbols):
    told = labels.classes(symbols)
    rng = np.random.default_rng(0)
    assert (labels.misread(told, 0.0, rng) == told).all()
    wrong = labels.misread(told, 0.4, rng)
    assert ((wrong == labels.NONE) == (told == labels.NONE)).all()
    np.testing.assert_array_equal(field(wrong, "kind"), field(told, "kind"))
    height = field(told, "height")
    other = (field(wrong, "height") != height)[height != labels.NONE].mean()
    assert 0.1 < other < 0.5
    assert set(field(wrong, "height").tolist()) <= set(height.tolist())


@pytest.mark.parametrize("mode", ["pad", "center_crop"])
@pytest.mark.parametrize("shape", [(336, 336), (200, 300), (500, 400)])
def test_labels_move_as_the_picture_does(mode, shape):
    """A black dot is where its box is said to be, whatever was done to the picture."""
    width, height = shape
    pixels = np.full((height, width), 255, np.uint8)
    x, y = width // 2 + 31, height // 2 - 23
    pixels[y - 4 : y + 4, x - 4 : x + 4] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    symbol = np.zeros(1, boxes.SYMBOL)
    symbol["box"] = [x - 4, y - 4, x + 4, y + 4]

    scale, right, down = images.placement(file.getvalue(), SIZE, mode)
    seen = images.shift(images.load(file.getvalue(), SIZE, mode), 5, -3)
    box = boxes.moved(symbol, scale, right - 3, down + 5)["box"][0]
    rows, columns = np.nonzero(seen[..., 0] < 128)
    assert abs((box[0] + box[2]) / 2 - columns.mean() - 0.5) < 1
    assert abs((box[1] + box[3]) / 2 - rows.mean() - 0.5) < 1


def test_the_ink_of_a_moved_page_lies_in_the_patches_that_say_so(picture, symbols):
    """Heads are black where their labels are, behind jitter."""
    image = images.shift(images.load(picture.png, SIZE), 7, 6)
    moved = boxes.moved(symbols, 1.0, 6, 7)
    for box in moved["box"][of_kind(symbols, "head")]:
        left, top, right, bottom = np.round(box).astype(int)
        assert (image[top:bottom, left:right].min(-1) < 100).mean() > 0.3
