"""The row plan: packing, what each position predicts, dropping, and the cache."""

import collections
import dataclasses
import hashlib

import numpy as np
import pytest
from PIL import Image

from nota_jax.data.feed import chat, images, packing, rows
from nota_jax.data.feed.packing import RowSettings, plan_rows
from nota_jax.data.feed.rows import fill_row
from nota_jax.data.feed.tokenizer import train_bpe
from nota_jax.data.store.reader import PageReader, texts
from nota_jax.errors import UserError
from tests.data.make_dataset import SUBTASKS, write_dataset

SETTINGS = RowSettings(n_image_tokens=4, lengths=(160,))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    directory = tmp_path_factory.mktemp("rows") / "dataset"
    return PageReader(write_dataset(directory, {"extraction_train": 12, "alignment_train": 3}),
                      ["extraction_train", "alignment_train"])  # fmt: skip


@pytest.fixture(scope="module")
def tok(pages, tmp_path_factory):
    return train_bpe(texts(pages.directory, pages.splits), 400, tmp_path_factory.mktemp("bpe"))


def filled(plan, row, length, pad_id):
    arrays = rows.empty_batch(1, length, pad_id)
    fill_row(plan, row, {name: array[0] for name, array in arrays.items()})
    return {name: array[0] for name, array in arrays.items()}


def test_every_question_is_in_exactly_one_row_and_rows_hold_one_page(pages, tok, tmp_path):
    plan = plan_rows(pages, tok, SETTINGS, cache_dir=tmp_path)
    asked = [(p, t) for p, page in enumerate(pages) for t in range(len(page.turns))]
    assert list(zip(plan.turn_pages, plan.turn_numbers, strict=True)) == asked
    assert [turn for row in range(plan.n_rows) for turn in plan.turns(row)] == [*range(len(asked))]
    for row in range(plan.n_rows):
        assert len({plan.turn_pages[turn] for turn in plan.turns(row)}) == 1
    assert plan.row_lengths.max() <= SETTINGS.max_length and not plan.dropped


def test_a_further_row_is_opened_only_when_the_next_turn_does_not_fit(pages, tok, tmp_path):
    plan = plan_rows(pages, tok, SETTINGS, cache_dir=tmp_path)
    lengths = np.diff(plan.turn_starts)
    assert plan.n_rows > len(pages)  # otherwise nothing is tested here
    for row in range(plan.n_rows - 1):
        following = plan.turns(row + 1)[0]
        if plan.turn_pages[following] == plan.turn_pages[plan.turns(row)[0]]:
            assert plan.row_lengths[row] + lengths[following] > SETTINGS.max_length


def test_what_is_asked_about_another_picture_shares_no_row(pages, tok, tmp_path):
    settings = dataclasses.replace(SETTINGS, apart=("title", "composer"))
    plan = plan_rows(pages, tok, settings, cache_dir=tmp_path)
    asked = {(p, turn.subtask) for p, page in enumerate(pages) for turn in page.turns}
    found = []
    for row in range(plan.n_rows):
        of_row = []
        for turn in plan.turns(row):
            page = int(plan.turn_pages[turn])
            of_row.append((page, pages[page].turns[int(plan.turn_numbers[turn])].subtask))
        assert len({subtask in settings.apart for _, subtask in of_row}) == 1
        assert len({page for page, _ in of_row}) == 1
        found += of_row
    assert len(found) == len(asked) and set(found) == asked


def test_each_turn_of_a_row_reads_like_a_row_of_its_own(pages, tok, tmp_path):
    """Tokens, positions, targets and weights of a turn are those of prefix + that turn alone."""
    shared = plan_rows(pages, tok, SETTINGS, cache_dir=tmp_path)
    alone = plan_rows(
        pages, tok, dataclasses.replace(SETTINGS, turns_per_row=1), cache_dir=tmp_path
    )
    assert alone.n_rows == alone.n_turns == shared.n_turns
    n_prefix = len(shared.prefix)
    for row in range(shared.n_rows):
        packed = filled(shared, row, SETTINGS.max_length, tok.pad_token_id)
        for number, turn in enumerate(shared.turns(row), 1):
            single = filled(alone, turn, SETTINGS.max_length, tok.pad_token_id)
            there, here = packed["turn_ids"] == number, single["turn_ids"] == 1
            for name in ("tokens", "positions", "targets", "weights"):
                np.testing.assert_array_equal(packed[name][there], single[name][here])
                np.testing.assert_array_equal(packed[name][:n_prefix], single[name][:n_prefix])


def test_a_row_of_one_turn_is_the_tokenised_conversation_shifted_by_one(pages, tok, tmp_path):
    plan = plan_rows(pages, tok, dataclasses.replace(SETTINGS, turns_per_row=1), cache_dir=tmp_path)
    turn = pages[5].turns[1]
    row = 5 * len(SUBTASKS) + 1
    text = f"[INST] {'<image>' * 4}\n{turn.question} [/INST] {turn.answer} </s>"
    ids = [tok.bos_token_id] + tok(text, add_special_tokens=False)["input_ids"]
    answer = len(tok(f" {turn.answer} </s>", add_special_tokens=False)["input_ids"])
    got = filled(plan, row, 160, tok.pad_token_id)
    n = len(ids)
    np.testing.assert_array_equal(got["tokens"][:n], ids)
    np.testing.assert_array_equal(got["positions"][:n], np.arange(n))
    supervised = np.zeros(160)
    supervised[n - 1 - answer : n - 1] = 1
    np.testing.assert_array_equal(got["weights"], supervised)
    targets = np.zeros(160, int)
    targets[n - 1 - answer : n - 1] = ids[-answer:]
    np.testing.assert_array_equal(got["targets"], targets)
    assert (got["tokens"][n:] == tok.pad_token_id).all() and (got["turn_ids"][n:] == -1).all()
    assert (got["turn_ids"][: len(plan.prefix)] == 0).all()


def test_no_image_position_and_no_prompt_is_ever_a_target(pages, tok, tmp_path):
    plan = plan_rows(pages, tok, SETTINGS, cache_dir=tmp_path)
    image, end = chat.image_token_id(tok), tok.convert_tokens_to_ids("[/INST]")
    for row in range(plan.n_rows):
        got = filled(plan, row, 160, tok.pad_token_id)
        wanted = got["targets"][got["weights"] == 1]
        assert image not in wanted and end not in wanted and tok.pad_token_id not in wanted
        assert (wanted == tok.eos_token_id).sum() == len(plan.turns(row))


def test_plain_has_one_turn_a_row_and_predicts_from_the_last_image_token(pages, tok, tmp_path):
    settings = dataclasses.replace(SETTINGS, template="plain", subtasks=("key", "alignment"))
    plan = plan_rows(pages, tok, settings, cache_dir=tmp_path)
    assert plan.n_rows == plan.n_turns == 12 + 3
    got = filled(plan, 2, 40, tok.pad_token_id)
    caption = tok(f"{pages[2].turns[1].answer}\n", add_special_tokens=False)["input_ids"]
    last_image, n = len(plan.prefix) - 1, len(caption)
    assert got["tokens"][last_image] == chat.image_token_id(tok)
    np.testing.assert_array_equal(got["targets"][last_image : last_image + n], caption)
    assert got["weights"].sum() == n and got["weights"][last_image] == 1


def test_turns_that_do_not_fit_are_dropped_whole_and_counted(pages, tok, tmp_path, caplog):
    settings = dataclasses.replace(SETTINGS, lengths=(60,))
    plan = plan_rows(pages, tok, settings, cache_dir=tmp_path)
    everything = plan_rows(pages, tok, SETTINGS, cache_dir=tmp_path)
    too_long = np.diff(everything.turn_starts) + len(plan.prefix) > 60
    assert plan.dropped == {"abc": too_long.sum()} and 0 < too_long.sum() < 12
    assert plan.n_turns == everything.n_turns - too_long.sum()
    assert f"longer than 60 tokens: {too_long.sum()} abc" in caplog.text


def test_a_share_of_the_pages_asks_a_subtask_and_the_others_ask_the_rest(pages, tok, tmp_path):
    def asked(share):
        settings = dataclasses.replace(SETTINGS, shares=(("abc", share),))
        plan = plan_rows(pages, tok, settings, cache_dir=tmp_path)
        counts = collections.Counter(
            pages[page].turns[number].subtask
            for page, number in zip(plan.turn_pages, plan.turn_numbers, strict=True)
        )
        return counts["abc"], counts["key"]

    all_abc, all_key = asked(1.0)
    half_abc, half_key = asked(0.5)
    assert 0 < half_abc < all_abc and half_key == all_key
    assert asked(0.0) == (0, all_key)


def test_subtasks_are_chosen_or_left_out_by_name(pages, tok, tmp_path):
    def subtasks(*names):
        settings = dataclasses.replace(SETTINGS, subtasks=names)
        plan = plan_rows(pages, tok, settings, cache_dir=tmp_path)
        chosen = zip(plan.turn_pages, plan.turn_numbers, strict=True)
        return {pages[int(page)].turns[number].subtask for page, number in chosen}

    assert subtasks() == {*SUBTASKS, "alignment"}
    assert subtasks("key", "abc") == {"key", "abc"}
    assert subtasks("-abc", "-alignment") == set(SUBTASKS) - {"abc"}
    with pytest.raises(UserError, match="subtask keys: there are abc, alignment, composer, key"):
        subtasks("keys")
    with pytest.raises(UserError, match="no question is left"):
        plan_rows(
            pages, tok, dataclasses.replace(SETTINGS, lengths=(8,)), cache_dir=tmp_path / "other"
        )


def test_the_cached_plan_equals_the_computed_one_and_every_setting_has_its_own(
    pages, tok, tmp_path, monkeypatch
):
    first = plan_rows(pages, tok, SETTINGS, cache_dir=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(packing, "_write", lambda *_: pytest.fail("computed again"))
        second = plan_rows(pages, tok, SETTINGS, cache_dir=tmp_path)
    assert first.fingerprint == second.fingerprint and first.dropped == second.dropped
    for field in dataclasses.fields(first):
        np.testing.assert_equal(getattr(second, field.name), getattr(first, field.name))
    for change in ({"template": "plain"}, {"n_image_tokens": 5}, {"turns_per_row": 2}):
        other = plan_rows(pages, tok, dataclasses.replace(SETTINGS, **change), cache_dir=tmp_path)
        assert other.fingerprint != first.fingerprint
    assert len(list(tmp_path.iterdir())) == 4


def test_the_fingerprint_is_that_of_the_plans_that_checkpoints_name(pages, tok, tmp_path):
    """Of arrays in memory, as it was made before plans were mapped from disk."""
    plan = plan_rows(pages, tok, SETTINGS, cache_dir=tmp_path)
    digest = hashlib.sha256()
    for name, dtype in (
        ("prefix", np.int32), ("tokens", np.int32), ("turn_starts", np.int64),
        ("prompt_lengths", np.int32), ("turn_pages", np.int32), ("turn_numbers", np.int32),
        ("row_starts", np.int64),
    ):  # fmt: skip
        digest.update(getattr(plan, name).astype(dtype).tobytes())
    assert plan.fingerprint == digest.hexdigest()
    lengths = [len(plan.prefix) + plan.turn_starts[plan.row_starts[row + 1]]
               - plan.turn_starts[plan.row_starts[row]] for row in range(plan.n_rows)]  # fmt: skip
    assert list(plan.row_lengths) == lengths


def test_a_damaged_plan_is_made_again(pages, tok, tmp_path):
    first = plan_rows(pages, tok, SETTINGS, cache_dir=tmp_path)
    (folder,) = tmp_path.iterdir()
    for name in ("index.json", "tokens", "row_starts"):
        whole = (folder / name).read_bytes()
        for damaged in (b"", whole[:50], whole[:-1], whole[:9] + b"\xff" + whole[10:], b"[]" * 300):
            (folder / name).unlink()  # the first plan has the old file mapped
            (folder / name).write_bytes(damaged)
            again = plan_rows(pages, tok, SETTINGS, cache_dir=tmp_path)
            np.testing.assert_equal(dataclasses.asdict(again), dataclasses.asdict(first))
    assert list(tmp_path.iterdir()) == [folder]


def test_a_process_maps_the_plan_and_holds_none_of_it(pages, tok, tmp_path):
    plan = plan_rows(pages, tok, SETTINGS, cache_dir=tmp_path)
    for field in dataclasses.fields(plan):
        array = getattr(plan, field.name)
        if isinstance(array, np.ndarray):
            assert isinstance(array.base, np.memmap) and not array.flags.owndata, field.name
            assert not array.flags.writeable


def test_planning_looks_into_no_picture(pages, tok, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "load", lambda *_, **__: pytest.fail("a picture was decoded"))
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a picture was decoded"))
    assert plan_rows(pages, tok, SETTINGS, cache_dir=tmp_path).n_turns == 12 * 6 + 3
    assert len(list(texts(pages.directory, pages.splits))) == 2 * (12 * 6 + 3)


def test_a_cache_that_cannot_be_written_costs_no_run(pages, tok, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    plan = plan_rows(pages, tok, SETTINGS, cache_dir=tmp_path / "file")
    assert plan.n_turns == 12 * 6 + 3
    assert "not kept" in caplog.text
