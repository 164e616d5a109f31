"""Batches: reproducible, resumable, the same however many processes read them."""

import collections
import dataclasses
import itertools
import json

import numpy as np
import pytest

from nota_jax.data import lettering
from nota_jax.data.build import dataset as builder
from nota_jax.data.feed import chat, heading, labels, tokenizer
from nota_jax.data.feed.pipeline import STEPS_OF_A_TEXT, Pipeline, PipelineConfig
from nota_jax.data.feed.tokenizer import train_bpe
from nota_jax.data.store import layout, writer
from nota_jax.data.store.reader import split_sizes, texts
from nota_jax.errors import UserError
from nota_jax.notation.engraving import boxes
from tests.data.make_dataset import SUBTASKS, make_page, write_dataset

SPLITS = ("extraction_train", "alignment_train")
SIZES = {"extraction_train": 61, "alignment_train": 10, "extraction_test": 25}
CONFIG = PipelineConfig(n_image_tokens=4, image_size=48, batch_size=24, lengths=(120, 160, 220))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("pipeline") / "dataset", SIZES)


@pytest.fixture(scope="module")
def tok(dataset, tmp_path_factory):
    return train_bpe(texts(dataset, SPLITS), 400, tmp_path_factory.mktemp("bpe"))


@pytest.fixture
def make(dataset, tok):
    def make(splits=SPLITS, seed=0, epochs=None, process=(0, 1), **changes):
        return Pipeline(
            dataset, splits, tok, dataclasses.replace(CONFIG, **changes),
            seed=seed, epochs=epochs, process_index=process[0], process_count=process[1],
        )  # fmt: skip

    return make


def same(one, other):
    assert one.keys() == other.keys()
    assert one["ids"] == other["ids"]
    for name in one.keys() - {"ids"}:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name, strict=True)


def all_ids(batches):
    return [name for batch in batches for row in batch["ids"] for name in row]


def test_a_batch_has_the_promised_shapes_and_types(make):
    made = make()
    seen = set()
    for batch in itertools.islice(made, made.steps_per_epoch):
        n, length = batch["tokens"].shape
        assert n == made.rows_per_batch == len(batch["ids"]) and length in CONFIG.lengths
        seen.add(length)
        assert batch["images"].shape == (n, 48, 48, 3) and batch["images"].dtype == np.uint8
        for name in ("tokens", "turn_ids", "positions", "targets"):
            assert batch[name].shape == (n, length) and batch[name].dtype == np.int32
        assert batch["weights"].shape == (n, length) and batch["weights"].dtype == np.float32
    assert len(seen) > 1  # the length classes are at work


def test_images_and_answers_of_a_row_belong_to_its_ids(make, tok):
    for batch in make(epochs=1):
        for row, ids in enumerate(batch["ids"]):
            number = int(ids[0].split(":")[0].split("-")[1])
            page = make_page(ids[0].split("-")[0], number)
            assert (batch["images"][row] == number).all()
            answers = {turn.subtask: turn.answer for turn in page.turns}
            for turn, name in enumerate(ids, 1):
                here = (batch["turn_ids"][row] == turn) & (batch["weights"][row] == 1)
                predicted = chat.decode_answer(tok, batch["targets"][row][here])
                assert predicted == answers[name.split(":")[1]]


def test_the_rows_per_batch_hold_the_batch_size_in_questions(make):
    for batch_size in (24, 48, 6):
        made = make(batch_size=batch_size)
        questions = made.report()["questions_per_batch"]
        per_row = made.plan.n_turns / made.plan.n_rows
        assert abs(questions - batch_size) <= per_row / 2 + 0.1
    assert make(turns_per_row=1).rows_per_batch == 24


def test_an_epoch_asks_each_question_at_most_once_and_misses_less_than_a_batch(make):
    made = make()
    batches = iter(made)
    epochs = [all_ids(itertools.islice(batches, made.steps_per_epoch)) for _ in range(3)]
    for ids in epochs:
        assert len(set(ids)) == len(ids)
    missed = made.plan.n_rows - made.steps_per_epoch * made.rows_per_batch
    assert 0 <= missed < made.rows_per_batch
    assert epochs[0] != epochs[1] != epochs[2]
    asked = {name for ids in epochs for name in ids}
    assert len(asked) > 0.98 * made.plan.n_turns  # what one epoch misses, another has


def test_epochs_end_the_iterator_and_may_be_fractions(make):
    made = make()
    for epochs in (0.5, 1.0, 2.25):
        assert len(list(make(epochs=epochs))) == round(epochs * made.steps_per_epoch)
    assert make(epochs=0.5).total_steps == round(0.5 * made.steps_per_epoch)
    assert made.total_steps is None


@pytest.mark.parametrize("threads, prefetch", [(0, 0), (1, 1), (3, 4)])
def test_batches_do_not_depend_on_threads_or_prefetching(make, threads, prefetch):
    for one, other in zip(
        make(epochs=1.5), make(epochs=1.5, threads=threads, prefetch=prefetch), strict=True
    ):
        same(one, other)


def test_the_seed_decides_the_order(make):
    def first(seed):
        return all_ids(itertools.islice(make(seed=seed), 3))

    assert first(1) == first(1) and first(1) != first(2)


@pytest.mark.parametrize("threads, prefetch", [(0, 0), (2, 3)])
def test_continuing_from_a_state_equals_never_having_stopped(make, threads, prefetch):
    options = {"threads": threads, "prefetch": prefetch, "epochs": 2.0}
    uninterrupted = list(make(**options))
    for stop in (0, 1, make().steps_per_epoch, len(uninterrupted) - 1):
        batches = iter(make(**options))
        for _ in range(stop):
            next(batches)
        state = json.loads(json.dumps(batches.get_state()))  # a checkpoint holds it as JSON
        resumed = iter(make(**options))
        next(resumed)  # prefetching has begun elsewhere
        resumed.set_state(state)
        for expected in uninterrupted[stop:]:
            same(next(resumed), expected)
        with pytest.raises(StopIteration):
            next(resumed)


def test_a_state_of_other_data_or_settings_is_refused(make):
    state = iter(make()).get_state()
    for changes, word in (
        ({"seed": 1}, "seed"),
        ({"batch_size": 48}, "rows_per_batch"),
        ({"lengths": (160, 220)}, "lengths"),
        ({"splits": ("extraction_train",), "batch_size": 24}, "the dataset"),
        ({"turns_per_row": 2}, "row settings"),
    ):
        with pytest.raises(UserError, match=f"{word}.* changed since"):
            iter(make(**changes)).set_state(state)
    iter(make(epochs=9, threads=0)).set_state(state)  # a longer run may continue


@pytest.mark.parametrize("multiple, counts", [(4, (2, 4)), (1, (3,)), (6, (2,))])
def test_processes_read_disjoint_parts_that_make_up_the_global_batch(make, multiple, counts):
    """And padding behind it, where its rows are no multiple of the processes'."""
    whole = make(epochs=1)
    for count in counts:
        parts = [make(row_multiple=multiple, epochs=1, process=(i, count)) for i in range(count)]
        for batch, *shares in zip(whole, *parts, strict=True):
            assert len({len(share["tokens"]) for share in shares}) == 1
            joined = {
                name: sum((share[name] for share in shares), [])
                if name == "ids"
                else np.concatenate([share[name] for share in shares])
                for name in batch.keys() - {"rows"}
            }
            n, padded = whole.rows_per_batch, len(joined["tokens"])
            assert padded % multiple == padded % count == 0 <= padded - n < multiple * count
            same({name: x[:n] for name, x in joined.items()} | {"rows": n}, batch)
            assert (joined["turn_ids"][n:] == -1).all() and not joined["weights"][n:].any()
        for shares in zip(*parts, strict=True):
            assert len(set(all_ids(shares))) == sum(len(set(all_ids([one]))) for one in shares)


def test_a_position_means_the_same_with_any_number_of_processes_and_microbatches(make):
    one = iter(make())
    next(one), next(one)
    state = json.loads(json.dumps(one.get_state()))
    parts = [iter(make(row_multiple=6, process=(i, 3))) for i in range(3)]
    for part in parts:
        part.set_state(state)
    for _ in range(3):
        assert all_ids(map(next, parts)) == all_ids([next(one)])
    assert {json.dumps(part.get_state()) for part in parts} == {json.dumps(one.get_state())}


def test_jittered_pictures_move_anew_each_epoch_alike_in_every_process(make):
    still, moved = make(), make(jitter=5)
    one, other = iter(still), iter(moved)
    unmoved = 0
    for _ in range(still.steps_per_epoch):
        a, b = next(one), next(other)
        same({k: v for k, v in a.items() if k != "images"},
             {k: v for k, v in b.items() if k != "images"})  # fmt: skip
        unmoved += sum(map(np.array_equal, a["images"], b["images"]))
        assert b["images"].shape == a["images"].shape
    assert unmoved < 0.2 * still.steps_per_epoch * still.rows_per_batch
    halves = [iter(make(jitter=5, process=(i, 2))) for i in range(2)]
    whole = iter(make(jitter=5, row_multiple=2))
    for _ in range(3):
        parts = [next(half)["images"] for half in halves]
        np.testing.assert_array_equal(np.concatenate(parts), next(whole)["images"])
    state = other.get_state()
    again = iter(make(jitter=5))
    again.set_state(state)
    same(next(again), next(other))


def test_subtasks_and_several_splits_are_mixed_as_asked(make):
    ids = all_ids(make(epochs=1, subtasks=("-abc", "-title")))
    kinds = collections.Counter(name.split(":")[1] for name in ids)
    assert set(kinds) == set(SUBTASKS) - {"abc", "title"} | {"alignment"}
    ids = all_ids(make(splits=["alignment_train"], epochs=1, batch_size=2))
    assert len(ids) == 10 and all(name.startswith("alignment-") for name in ids)


def test_shrunken_rows_are_the_same_rows_with_less_padding(make):
    plain, shrunken = make(), make(length_multiple=8)
    assert sum(shrunken.steps_by_length.values()) == plain.steps_per_epoch
    assert shrunken.report()["padding_share"] < plain.report()["padding_share"]
    for a, b in itertools.islice(zip(plain, shrunken, strict=False), plain.steps_per_epoch):
        length = b["tokens"].shape[1]
        assert a["ids"] == b["ids"] and length in shrunken.steps_by_length
        for name in ("tokens", "turn_ids", "positions", "targets", "weights"):
            np.testing.assert_array_equal(a[name][:, :length], b[name])
        assert (a["turn_ids"][:, length:] == -1).all()


def test_too_small_a_split_says_what_to_lower(make):
    with pytest.raises(UserError, match="alignment_train has 10 rows .*lower data.batch_size"):
        make(splits=["alignment_train"], batch_size=24)


@pytest.mark.parametrize("threads", [0, 2])
def test_an_unreadable_image_stops_with_the_record_named(tmp_path, tok, threads):
    page = dataclasses.replace(make_page("alignment", 3), png=b"no picture")
    path = layout.shard_path(tmp_path, "alignment_train", 0, 1)
    n_bytes = writer.write_shard(path, [layout.encode(page)])
    writer.write_metadata(tmp_path, {"alignment_train": ([1], n_bytes)}, "")
    config = dataclasses.replace(CONFIG, batch_size=1, threads=threads)
    with pytest.raises(UserError, match="image of record alignment-3"):
        next(iter(Pipeline(tmp_path, ["alignment_train"], tok, config)))


# ---- what only some objectives ask for


def test_a_share_of_the_answers_notes_and_numbers_is_shown_wrongly_and_asked_for_rightly(make, tok):
    plain, corrupt = (next(iter(make(corrupt=share))) for share in (0.0, 0.3))
    for name in plain.keys() - {"ids", "tokens"}:
        np.testing.assert_array_equal(plain[name], corrupt[name])
    differs = plain["tokens"] != corrupt["tokens"]
    answers = np.roll(plain["weights"], 1, axis=1) == 1
    kinds = tokenizer.mistakable(tok)[plain["tokens"]]
    assert not differs[~answers | (kinds == 0)].any()
    assert 0.1 < differs[answers & (kinds > 0)].mean() < 0.35
    np.testing.assert_array_equal(kinds, tokenizer.mistakable(tok)[corrupt["tokens"]])
    same(next(iter(make(corrupt=0.3))), corrupt)
    shared = {"corrupt": 0.3, "row_multiple": 2}
    parts = [next(iter(make(process=(i, 2), **shared)))["tokens"] for i in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts), next(iter(make(**shared)))["tokens"])


def test_answers_of_a_subtask_weigh_what_the_configuration_says(make):
    plain, weighed = next(iter(make())), next(iter(make(weights=(("key", 4.0),))))
    for row, ids in enumerate(plain["ids"]):
        for turn, name in enumerate(ids, 1):
            here = plain["turn_ids"][row] == turn
            factor = 4.0 if name.endswith(":key") else 1.0
            np.testing.assert_array_equal(
                weighed["weights"][row, here], factor * plain["weights"][row, here]
            )


def test_balanced_groups_go_on_exactly_where_they_were_left(make):
    balance = (("task", (("alignment", 1.0), ("extraction", 1.0))),)
    whole = list(make(balance=balance, epochs=2.0))
    tasks = collections.Counter(row[0].split("-")[0] for batch in whole for row in batch["ids"])
    assert tasks["alignment"] == pytest.approx(tasks["extraction"], rel=0.2)  # 10 pages and 61
    for stop in (1, len(whole) // 2, len(whole) - 2):
        batches = iter(make(balance=balance, epochs=2.0))
        for _ in range(stop):
            next(batches)
        resumed = iter(make(balance=balance, epochs=2.0))
        resumed.set_state(json.loads(json.dumps(batches.get_state())))
        for expected in whole[stop:]:
            same(next(resumed), expected)
    state = iter(make(balance=balance)).get_state()
    with pytest.raises(UserError, match="balance changed since"):
        iter(make()).set_state(state)
    with pytest.raises(UserError, match="balance changed since"):
        iter(make(balance=balance)).set_state(iter(make()).get_state())


def test_a_curriculum_begins_with_the_shortest_rows_and_then_mixes_them(make):
    plain = make()
    lengths = sorted(plain.steps_by_length)
    assert len(lengths) > 1
    each = 3
    growing = make(curriculum=each * len(lengths), epochs=None)
    taken = [b["tokens"].shape[1] for b in itertools.islice(growing, each * len(lengths) + 40)]
    assert taken[: each * len(lengths)] == [length for length in lengths for _ in range(each)]
    assert set(taken[each * len(lengths) :]) == set(lengths)
    again = iter(growing)
    state = [(next(again), again.get_state())[1] for _ in range(5)][-1]
    resumed = iter(growing)
    resumed.set_state(state)
    same(next(resumed), next(again))


def test_rows_of_text_alone_hold_the_turns_and_no_picture(make, tok):
    batch = next(iter(make(pictures=False, n_image_tokens=0)))
    assert "images" not in batch
    assert chat.image_token_id(tok) not in batch["tokens"]
    assert tok.decode(batch["tokens"][0][:2]) == "<s>[INST]" and batch["weights"].sum() > 0


def engraved(folder, tune):
    """A dataset of one tune, and the part, of training or held out, that it fell into."""
    (folder / "tunes").mkdir()
    (folder / "tunes/one.abc").write_text(tune)
    builder.build(folder / "data", [f"path:{folder / 'tunes'}"], workers=1)
    return folder / "data", next(iter(split_sizes(folder / "data"))).split("_", 1)[1]


def test_labels_come_with_the_pages_that_have_them(tmp_path):
    """Of engraved pages: every token that writes a note looks at the patch where its head lies."""
    config = PipelineConfig(
        n_image_tokens=4, image_size=336, batch_size=1, row_multiple=2, lengths=(400,), jitter=5,
        subtasks=("abc", "alignment"), extras=("symbols", "look", "address"),
    )  # fmt: skip
    tune = "X:1\nT:Tutti\nM:4/4\nL:1/8\nK:G\nGABc dedB|cABG A4|G2B2 d2g2|G8|\n"
    dataset, part = engraved(tmp_path, tune)
    splits = [f"alignment_{part}", f"extraction_{part}"]
    tok = train_bpe(texts(dataset, splits), 300, tmp_path / "bpe", "fine")
    kind, head = labels.NAMES.index("kind"), 1 + boxes.KINDS.index("head")
    looked = 0
    for batch in Pipeline(dataset, splits, tok, config, epochs=1):
        assert batch["symbols"].shape == (2, 576, labels.SLOTS, len(labels.FIELDS))
        for name in config.extras:  # nor do padding rows have any
            assert (batch[name][1] == labels.NONE).all() and (batch["images"][1] == 255).all()
        looks, address = batch["look"][0, :, 0], batch["address"][0]
        assert not (looks >= 0)[batch["weights"][0] == 0].any()
        for place in np.flatnonzero(looks >= 0):
            said = tok.decode([batch["targets"][0, place]]).strip()
            if said in {"A", "B", "c", "d", "e"}:  # G is the key too
                assert head in batch["symbols"][0, looks[place], :, kind]
                assert (address[place] >= 0).all()
                looked += 1
    assert looked > 10


def test_titles_are_asked_of_the_enlarged_heading(tmp_path):
    """And every letter of the answer looks at a patch that holds it there."""
    config = PipelineConfig(
        n_image_tokens=4, image_size=336, batch_size=2, lengths=(400,), jitter=5,
        subtasks=("title", "composer", "meter"), apart=heading.SUBTASKS,
        extras=("symbols", "look", "address"),
    )  # fmt: skip
    tune = "X:1\nT:Tutti\nC:A. Oz\nM:4/4\nL:1/8\nK:G\nGABc dedB|cABG A4|G8|\n"
    dataset, part = engraved(tmp_path, tune)
    splits = [f"extraction_{part}"]
    tok = train_bpe(texts(dataset, splits), 263, tmp_path / "bpe", "fine")  # letter by letter
    letter = labels.NAMES.index("letter")
    letters, pictures = [], {}
    for batch in Pipeline(dataset, splits, tok, config, epochs=2):
        for row, ids in enumerate(batch["ids"]):
            asked = {name.split(":")[-1] for name in ids}
            assert asked in ({"title", "composer"}, {"meter"})
            pictures[asked == {"meter"}] = batch["images"][row]
            looks = batch["look"][row, :, 0]
            for place in np.flatnonzero(looks >= 0) if "title" in asked else ():
                said = tok.decode([batch["targets"][row, place]]).strip()
                there = batch["symbols"][row, looks[place], :, letter]
                if len(said) == 1:
                    assert labels._LETTERS.index(said) in there
                    letters.append(said)
    assert {"T", "u", "t", "i", "A", "O", "z"} <= set(letters)
    ink = {page: (pictures[page] < 128).all(-1).sum() for page in pictures}
    assert ink[False] != ink[True] and len(pictures) == 2


def test_a_page_of_text_stands_for_some_steps_in_another_place_each_time(make, monkeypatch):
    asked, page = [], lettering.page

    def counted(size, seed):
        asked.append(seed)
        return page(size, seed)

    monkeypatch.setattr(lettering, "page", counted)
    batches = [batch["images"] for batch in make(epochs=1, letters=1.0, image_size=112, threads=0)]
    texts = -(-len(batches) // STEPS_OF_A_TEXT) * len(batches[0])
    assert len(set(asked)) == texts < len(asked)
    for i in range(len(batches[0])):
        first, then = (255 - images[i].astype(int) for images in batches[:2])
        assert (first != then).any() and abs(first.sum() / then.sum() - 1) < 0.4  # what left it


def test_some_pictures_give_way_to_pages_of_text_that_ask_nothing(make):
    """The others stay as they are, and a saved position means the same share of them."""
    settings = {"extras": ("symbols", "look", "address"), "image_size": 112}
    plain, mixed = make(epochs=1, **settings), make(epochs=1, letters=0.4, **settings)
    kind = labels.NAMES.index("kind")
    letter = 1 + boxes.KINDS.index("letter")
    n_rows = n_text = 0
    for before, after in zip(plain, mixed, strict=True):
        assert before["ids"] == after["ids"]
        for i in range(before["rows"]):
            told, n_rows = after["symbols"][i, ..., kind], n_rows + 1
            if not after["weights"][i].any():
                n_text += 1
                assert letter in told and set(np.unique(told)) <= {labels.NONE, 0, letter}
                assert (after["look"][i] == labels.NONE).all()
                assert (after["images"][i] != before["images"][i]).any()
            else:
                for name in ("images", "tokens", "weights", "symbols"):
                    np.testing.assert_array_equal(after[name][i], before[name][i])
    assert 0.25 < n_text / n_rows < 0.55
    state = iter(mixed).get_state()
    with pytest.raises(UserError, match="letters"):
        iter(plain).set_state(state)
    iter(mixed).set_state(state)
